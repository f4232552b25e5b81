// Several engines in one process on a fake Kubo network, virtual time and memory, all chance from
// one seed: messages are lost, doubled, delayed and reordered as asked.
#pragma once
#include <map>
#include <memory>
#include <random>
#include <set>
#include <vector>

#include "engine/engine.h"
#include "engine/records.h"
#include "links.h"
#include "memory_store.h"

namespace ptwop::test {

struct Faults {
  double loss = 0, duplicate = 0;
  uint64_t delay_ms_max = 5;
};

class Network;

/// One replica: an engine with its own store and its own Kubo.
class Replica : engine::Gossip, engine::BlockStore, Clock, Entropy {
 public:
  Replica(Network& network, size_t index);
  ~Replica() override;

  engine::Engine& operator*() { return *engine_; }
  engine::Engine* operator->() { return engine_.get(); }
  MemoryStore& store() { return store_; }
  std::string did() const { return access::did_from(engine_->identity().key()); }
  /// Ends the process and starts it again on the same store.
  void restart();
  /// Starts it again on an older copy of its store; `restored`: which it knows.
  void restart_from(const MemoryStore& old, bool restored = false);
  /// Becomes a copy of another one's folder, identity and all, while that one goes on.
  void restart_as(const Replica& other);
  void set_online(bool online);
  bool online() const { return online_; }
  /// Its Kubo forgets every block, whether it is pinned or not.
  void lose_blocks() { blocks_.clear(); }
  /// Its Kubo forgets what is not pinned.
  void collect_garbage() { pins_.collect_garbage(blocks_); }
  const std::unordered_map<ipld::Cid, Bytes>& blocks() const { return blocks_; }
  const std::set<ipld::Cid>& pinned() const { return pins_.all(); }
  int64_t clock_offset_ms = 0;

  // Calls that run a turn and give the answer.
  engine::ChannelRef create(const std::string& name, const std::string& type,
                            bool is_public = false);
  engine::ChannelRef join(const std::string& address, const std::string& name);
  Result<std::string> grant(const std::string& channel, const std::string& id,
                            const std::string& role);
  Result<engine::Written> write(const std::string& channel, const types::Type& type,
                                std::vector<Bytes> ops, std::string request = "");
  engine::ChannelInfo info(const std::string& channel);

 private:
  friend class Network;
  void open(bool restored = false);
  uint64_t wall_ms() const override;
  uint64_t mono_ms() const override;
  void fill(unsigned char* out, size_t size) override;
  void subscribe(const ipld::Cid& channel) override { topics_.insert(channel); }
  void unsubscribe(const ipld::Cid& channel) override { topics_.erase(channel); }
  void publish(const ipld::Cid& channel, Bytes message) override;
  void put(uint64_t ticket, std::vector<engine::Block> blocks) override;
  void get(const ipld::Cid& cid) override;
  void pin(const ipld::Cid& last, const ipld::Cid& next) override;
  void unpin(const ipld::Cid& cid) override { pins_.unpin(cid); }

  Network& network_;
  size_t index_;
  Bytes seed_;
  MemoryStore store_;
  std::unique_ptr<engine::Engine> engine_;
  uint64_t generation_ = 0;
  std::set<ipld::Cid> topics_;
  std::unordered_map<ipld::Cid, Bytes> blocks_;
  PinSet pins_;
  bool online_ = true;
  uint64_t due_ms_ = 0;
};

class Network {
 public:
  Network(size_t replicas, uint64_t seed, Faults faults = {});
  Replica& operator[](size_t i) { return *replicas_[i]; }
  size_t size() const { return replicas_.size(); }

  void run_ms(uint64_t ms);
  /// Runs until `done` or the time is over; true if done.
  template <class Done>
  bool run_until(uint64_t ms, Done done) {
    for (const uint64_t end = now_ms + ms; now_ms < end; run_ms(5))
      if (done()) return true;
    return done();
  }
  /// Hands a message to all who listen, as a stranger would.
  void inject(const ipld::Cid& channel, const Bytes& message);
  /// Each message that was published so far.
  std::vector<std::pair<ipld::Cid, Bytes>> published;

  uint64_t now_ms = 1'000;
  std::mt19937_64 random;
  Faults faults;

 private:
  friend class Replica;
  struct Event {
    size_t replica;
    uint64_t generation;
    std::function<void(engine::Engine&)> run;
  };
  void later(size_t replica, uint64_t delay_ms, std::function<void(engine::Engine&)> run);
  bool chance(double p) { return std::uniform_real_distribution<double>(0, 1)(random) < p; }
  uint64_t delay() { return 1 + random() % faults.delay_ms_max; }
  std::multimap<uint64_t, Event> events_;
  std::vector<std::unique_ptr<Replica>> replicas_;
};

}  // namespace ptwop::test
