// What a replica holds of a channel, in few bytes: one hash for each part of its lists. Replicas
// that hold the same say the same, and tell each other the entries of the parts that differ.
#pragma once
#include <array>
#include <map>

#include "list/node.h"

namespace ptwop::sync {

/// What this replica holds and has checked of a list.
struct Held {
  list::Position position;
  uint64_t cut = 0;          ///< lowest forked number, 0 if none
  uint64_t root_number = 0;  ///< Up to where its newest root goes…
  ipld::Cid root;            ///< …and that root, which our Kubo has; or none.
};
using Holdings = std::map<list::ListId, Held>;

inline constexpr size_t kDigestParts = 64;
/// By part: the first 8 bytes of SHA-256 over list, number, tag and cut of each of its lists, in
/// order; 0 for a part without lists.
using Digest = std::array<uint64_t, kDigestParts>;

Digest digest_of(const Holdings& holdings);
/// The part that a list belongs to.
size_t part_of(const list::ListId& list);

}  // namespace ptwop::sync
