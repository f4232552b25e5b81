// What leaves an engine, answers and calls of its ports, in order. It waits here while it rests on
// commits that a crash could still take away.
#pragma once
#include <functional>
#include <vector>

#include "base/error.h"
#include "engine/ports.h"

namespace ptwop::engine {

class Gate final : public Gossip, public BlockStore {
 public:
  /// Called once: with null, or with why the turn that gave the answer does not count.
  using Answer = std::function<void(const Error*)>;

  Gate(Gossip& gossip, BlockStore& blocks) : gossip_(gossip), blocks_(blocks) {}

  /// Something was committed that has to be durable before anything else leaves.
  void close() { committed_ = true; }
  bool closed() const { return committed_ || syncing_; }
  /// A sync has to begin: something was committed since the last one began, and that one is over.
  bool sync_due() const { return committed_ && !syncing_; }
  void begin_sync();
  /// What the sync was for goes out.
  void end_sync();
  /// Nothing that waits goes out; whoever waits for an answer is told why.
  void drop(const Error& error);

  void answer(Answer answer);
  // Gossip
  void subscribe(const ipld::Cid& channel) override;
  void unsubscribe(const ipld::Cid& channel) override;
  void publish(const ipld::Cid& channel, Bytes message) override;
  // BlockStore
  void put(uint64_t ticket, std::vector<Block> blocks) override;
  void get(const ipld::Cid& cid) override;
  void pin(const ipld::Cid& last, const ipld::Cid& next) override;
  void unpin(const ipld::Cid& cid) override;

 private:
  void pass(Answer what);

  Gossip& gossip_;
  BlockStore& blocks_;
  std::vector<Answer> waiting_;
  size_t covered_ = 0;  ///< How many of them the sync under way is for.
  bool committed_ = false, syncing_ = false;
};

}  // namespace ptwop::engine
