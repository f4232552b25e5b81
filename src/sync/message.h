// What replicas tell each other on a channel's topic (formats.md, "Messages"). Strict DAG-CBOR:
//   {"body": …, "boot": uint, "kind": text, "count": uint, "sender": key, "channel": CID bytes,
//   "version": 1, "signature"}
// The signature (kind "message") covers everything but itself.
#pragma once
#include <optional>
#include <variant>
#include <vector>

#include "ipld/cid.h"
#include "list/node.h"
#include "sync/digest.h"

namespace ptwop::sync {

/// A node too large to ride inline: fetched by its CID.
struct LargeNode {
  list::ListId list;
  uint64_t number = 0;
  ipld::Cid cid;
};

/// Kind "nodes": fresh nodes, or the answer to a want. `last`: a want's answer ends here.
struct Nodes {
  std::vector<Bytes> nodes;
  std::vector<LargeNode> large;
  Bytes manifest;  ///< Only when wanted; else empty.
  bool last = false;
};

/// One list in a clock. `cut`: the lowest forked number known, 0 if none. `root`: the newest that
/// the sender's Kubo has, up to node `root_number`, or none.
struct ClockEntry {
  list::At at;
  uint64_t cut = 0;
  uint64_t root_number = 0;
  ipld::Cid root;
};

/// Kind "clock": all positions that the sender holds and has checked; of many lists a digest of all
/// of them, and the entries of some.
struct ClockMessage {
  std::vector<ClockEntry> entries;
  std::optional<Digest> digest;
  uint64_t wall_ms = 0;  ///< The sender's time: for telling a clock that is off.
  bool has_manifest = false;
  bool ask = false;  ///< Whoever hears this is to tell its own clock soon.
  std::string peer;  ///< The sender's Kubo's peer id if that takes p2p streams; else empty.
};

struct Range {
  list::ListId list;
  uint64_t from = 0, to = 0;  ///< Inclusive.
};

/// Kind "want": what the sender misses, asked of one replica (or of any when `to` is all zero).
struct Want {
  list::PublicKey to;
  uint64_t to_boot = 0;  ///< Two replicas may share an identity for a while (a copied folder).
  std::vector<Range> ranges;
  bool manifest = false;
};

struct Message {
  ipld::Cid channel;
  list::PublicKey sender;
  uint64_t boot = 0;   ///< Rises with every start of the sender.
  uint64_t count = 0;  ///< Rises with every message of one boot.
  std::variant<Nodes, ClockMessage, Want> body;
  list::Signature signature;
};

inline constexpr size_t kRangesMax = 64;
inline constexpr size_t kClockEntriesMax = 8192;
inline constexpr size_t kPeerBytesMax = 128;

Bytes encode_unsigned(const Message& message);
/// The message as sent, given what encode_unsigned returned.
Bytes encode_signed(const Message& message);

/// Strict. Does not check the signature. `unsigned_part` gets what it covers.
Result<Message> decode(BytesView bytes, Bytes& unsigned_part);

}  // namespace ptwop::sync
