// What keeps a channel's blocks from Kubo's garbage collection: each daemon pins, recursively, one
// block a channel, {kind, roots, channel, version, identity, manifest}, which links the manifest
// and each list's newest root. It is unique to the daemon, so two beside one Kubo cannot release
// each other's. Which one is pinned is kept in the store, so that none is left behind.
#pragma once
#include <map>
#include <set>
#include <vector>

#include "engine/world.h"

namespace ptwop::engine {

class Pins {
 public:
  explicit Pins(World& world) : world_(world) {}
  Result<void> open();
  /// The channel's roots changed, or Kubo may not have its block.
  void wish(uint32_t channel);
  void drop_wish(uint32_t channel) { wished_.erase(channel); }
  /// Channels whose pin is to be changed.
  size_t count() const;
  /// It is pinned, or will be.
  bool knows(uint32_t channel) const {
    const auto it = pins_.find(channel);
    return it != pins_.end() && (it->second.next || wished_.contains(channel));
  }
  /// The channels to be prepared in this turn, at most one change each in five seconds…
  std::vector<uint32_t> due() const;
  /// …and when the next one is (mono).
  uint64_t due_ms() const;
  /// Notes in the transaction what will be pinned.
  void prepare(uint32_t channel, const ipld::Cid& manifest, BytesView manifest_block,
               const std::vector<ipld::Cid>& roots);
  void send();    ///< After the commit: what was prepared goes to Kubo…
  void cancel();  ///< …or it failed.
  /// The channel was left: what is pinned of it is released when Kubo is there, also after a
  /// restart.
  void release(uint32_t channel);
  /// Releases what is left of the channels that are not among these.
  template <class Channels>
  void release_others(const Channels& channels) {
    for (auto& [channel, pin] : pins_)
      if (!channels.contains(channel)) release(channel);
  }
  void release_left();  ///< In a turn, before the commit.
  void on_stored(uint64_t ticket, bool ok);
  /// Gives a channel that Kubo could not pin twice: it has not got all of its blocks.
  std::optional<uint32_t> on_pinned(const ipld::Cid& cid, bool ok);
  void on_online();

 private:
  struct Pin {
    ipld::Cid next;              ///< Is pinned, or being pinned.
    std::vector<ipld::Cid> old;  ///< May be pinned; released when `next` is.
    bool done = false;
    bool under_way = false;
    bool left = false;    ///< Its channel is.
    uint64_t due_ms = 0;  ///< mono
    uint64_t changed_ms = 0;
    std::vector<Block> blocks;  ///< Prepared, to be sent.
    unsigned failures = 0;
  };
  void fail(uint32_t channel, Pin& pin);
  void wish_at(uint32_t channel, Pin& pin, uint64_t at_ms);

  World& world_;
  std::map<uint32_t, Pin> pins_;
  std::set<uint32_t> wished_;          ///< Channels with something to be done.
  std::map<uint64_t, uint32_t> puts_;  ///< Channels, by ticket.
  uint64_t paused_until_ms_ = 0;       ///< A commit failed: not at once again (mono).
};

}  // namespace ptwop::engine
