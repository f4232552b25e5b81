// What keeps a channel's blocks from Kubo's garbage collection: each daemon pins, recursively, one
// block a channel, {identity, channel, manifest, roots}. It is unique to the daemon, so two beside
// one Kubo cannot release each other's.
#pragma once
#include <map>
#include <set>

#include "engine/world.h"

namespace ptwop::engine {

class Pins {
 public:
  explicit Pins(World& world) : world_(world) {}
  /// Puts and pins the channel's block unless that was done since Kubo was last reached.
  void want(uint32_t channel, const ipld::Cid& manifest, BytesView manifest_block);
  void release(uint32_t channel, const ipld::Cid& manifest);
  void on_stored(uint64_t ticket, bool ok);
  void on_online();
  /// The pinned block of a channel.
  Block block(const ipld::Cid& manifest) const;

 private:
  World& world_;
  std::set<uint32_t> done_;
  std::map<uint64_t, std::pair<uint32_t, ipld::Cid>> puts_;  ///< By ticket.
};

}  // namespace ptwop::engine
