// Own nodes that are not in Kubo yet. They wait in the store, so neither a restart nor a Kubo that
// is down loses any.
#pragma once
#include <map>
#include <set>
#include <vector>

#include "engine/world.h"

namespace ptwop::engine {

class Outbox {
 public:
  explicit Outbox(World& world) : world_(world) {}
  /// Counts what waits.
  Result<void> open();
  /// Nodes not yet in Kubo.
  uint64_t count() const { return world_.outbox; }

  void on_online();
  void on_offline();
  /// Hands the next batch to Kubo, unless one is on its way. After the commit. Nodes gather for a
  /// moment, so that their announcement goes first and one request takes many; large ones, which
  /// nobody gets otherwise, go at once.
  void drain();
  /// When `drain` has something to do (mono).
  uint64_t due_ms() const;
  /// Nodes too large for a message: put (again) after the commit, then named to the channel.
  void put_large(uint32_t channel, std::vector<Block> blocks, std::vector<sync::LargeNode> names);
  /// What is in Kubo now and too large to travel inline, by channel: to be announced by CID.
  std::map<uint32_t, std::vector<sync::LargeNode>> on_stored(uint64_t ticket, bool ok);
  /// Puts what Kubo took into the transaction.
  void save();
  /// The channel was left: `drop` its nodes.
  void forget(uint32_t channel);

 private:
  struct Batch {
    bool drains = false;  ///< From the outbox: the next one waits for it.
    std::vector<Bytes> keys;
    std::map<uint32_t, std::vector<sync::LargeNode>> large;
  };
  World& world_;
  std::map<uint64_t, Batch> batches_;  ///< By ticket: on their way.
  bool draining_ = false;
  uint64_t ripe_at_ms_ = 0;  ///< Until when nodes gather; 0: none do.
  struct Large {
    uint32_t channel;
    std::vector<Block> blocks;
    std::vector<sync::LargeNode> names;
  };
  void send_large();
  std::vector<Large> large_;  ///< To be put after the commit.
  bool recount_ = false;
  std::set<Bytes> stored_;
  uint64_t retry_at_ms_ = 0;
  unsigned failures_ = 0;
};

}  // namespace ptwop::engine
