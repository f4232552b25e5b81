// Streams between simulated daemons: the second lane, as far as the engine sees it. In order, at
// most once; cut by partitions, dead processes and Kubos, and now and then for no reason. While a
// Kubo hangs, what is in its streams waits; half-way through they may break.
#pragma once
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <vector>

#include "engine/ports.h"
#include "random.h"

namespace ptwop::sim {

class World;

class Streams {
 public:
  Streams(World& world, size_t replicas, uint64_t seed);

  /// Which replicas' Kubos take streams; pubsub is off for good at those where this says so.
  bool on(size_t replica) const { return on_[replica]; }
  bool pubsub_off(size_t replica) const { return pubsub_off_[replica]; }

  // The ports of a replica.
  void want(size_t from, std::vector<engine::PeerAddress> peers);
  void meet(size_t from, std::vector<ipld::Cid> channels, std::vector<ipld::Cid> sought);
  void send(size_t from, const list::PublicKey& to, uint64_t ticket, Bytes message);
  void drop(size_t from, const list::PublicKey& to);

  /// Its process or its Kubo went: all its streams end. `told`: it lives to hear of it.
  void end(size_t replica, bool told);
  void look();  ///< Opens and cuts; goes on by itself.

 private:
  struct Message {
    uint64_t ticket, at_ms;
    Bytes bytes;
  };
  struct Link {
    uint64_t id;
    bool told[2] = {};              ///< The lower number knows that it is there, and the higher.
    std::deque<Message> on_way[2];  ///< From the lower number, and from the higher.
  };
  using Pair = std::pair<size_t, size_t>;
  bool possible(size_t a, size_t b) const;
  bool wanted(size_t a, size_t b) const;
  void open(size_t a, size_t b);
  void cut(size_t a, size_t b);
  void deliver(Pair pair, bool back, uint64_t id);
  std::optional<size_t> replica_of(const list::PublicKey& key) const;

  World& world_;
  Random random_;
  std::vector<bool> on_, pubsub_off_;
  struct Wishes {
    std::set<size_t> peers;
    std::set<ipld::Cid> met, sought;
  };
  std::vector<Wishes> wishes_;
  std::map<Pair, Link> links_;
  uint64_t last_id_ = 0;
};

}  // namespace ptwop::sim
