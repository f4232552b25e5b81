// A channel as a file carries it: manifest, then control lists, then data lists, each list's nodes
// in order. Read from the store as committed, from any thread, in pieces.
#pragma once
#include <functional>
#include <optional>

#include "engine/directory.h"
#include "engine/ports.h"
#include "list/position.h"

namespace ptwop::engine {

/// What of a channel. Control lists are always part of it: without them the rest is not accepted.
struct ArchiveOf {
  std::optional<list::ListId> only;  ///< Of the data lists only this one.
  list::ClockMap since;              ///< Only what comes after these positions.
};
struct ArchiveDone {
  uint64_t lists = 0, nodes = 0;
};

/// Gives every block to `take`, the manifest first; an error of `take` ends it. Errors: no_channel
/// (it was left), no_manifest, not_found (no such list), corrupt, internal.
Result<ArchiveDone> read_archive(const StateStore& store, const ChannelView& channel,
                                 const ArchiveOf& of,
                                 const std::function<Result<void>(BytesView block)>& take);

}  // namespace ptwop::engine
