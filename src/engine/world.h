// What the channels of one engine share: ports, identity, and what the present turn has gathered so
// far.
#pragma once
#include <functional>
#include <map>
#include <vector>

#include "access/identity.h"
#include "engine/engine.h"
#include "engine/ports.h"
#include "engine/transaction.h"
#include "sync/message.h"

namespace ptwop::engine {

class Lane;

struct World {
  Ports ports;
  access::Identity me;
  Transaction txn;
  EngineStats stats;
  KuboState kubo;
  uint64_t boot = 0;  ///< Rises with every start.
  uint64_t stamp_tail =
      1;  ///< The part below a millisecond of this start's stamps: random, 1 to 2^14.
  uint64_t tickets = 0;        ///< The last one given to BlockStore::put.
  size_t bulk_blocks = 0;      ///< That Bulk asked for, or has not opened yet.
  uint64_t channels = 0;       ///< How many there are.
  uint64_t message_count = 0;  ///< Rises with every message sent.

  /// Answers of this turn: called after the commit with null, or with why it failed.
  std::vector<std::function<void(const Error*)>> replies;
  /// True if something in this turn must be durable before the turn ends.
  bool must_sync = false;
  /// True if this turn took in what clocks and tokens will promise: durable before anything goes
  /// out.
  bool must_keep = false;
  /// A read or write of the store failed in mid-turn: the turn is discarded.
  std::optional<Error> broken;
  /// …because this channel's part of the store is damaged.
  std::optional<uint32_t> damaged;

  World(Ports p, access::Identity identity) : ports(p), me(std::move(identity)), txn(p.store) {}

  uint64_t now_ms() const { return ports.clock.mono_ms(); }
  uint64_t wall_ms() const { return ports.clock.wall_ms(); }
  void refuse(const char* kind) {
    ++stats.refused[kind];
    ++refusals;
  }
  uint64_t refusals = 0;  ///< All kinds together.

  Lane* lane = nullptr;  ///< The engine's; set before anything else.

  /// Puts nodes too large for a message into Kubo; then the channel announces them by CID.
  std::function<void(uint32_t channel, std::vector<Block> blocks,
                     std::vector<sync::LargeNode> names)>
      put_large;

  template <class T>
  void reply(Done<T> done, Result<T> result) {
    replies.push_back(
        [done = std::move(done), result = std::move(result)](const Error* failed) mutable {
          if (failed && result.ok())
            done(*failed);
          else
            done(std::move(result));
        });
  }
};

}  // namespace ptwop::engine
