// Lists on their way into Kubo, as packs and roots (list/pack.h). What Kubo has of each list is
// kept in the store, so neither a restart nor a Kubo that is down loses any: the rest is made from
// the nodes when Kubo is there.
#pragma once
#include <map>
#include <set>
#include <vector>

#include "engine/world.h"
#include "list/pack.h"

namespace ptwop::engine {

/// The newest root of a list that is in Kubo.
struct Rooted {
  uint32_t channel = 0;
  list::ListId list;
  list::Position position;
  ipld::Cid root;
};

class Outbox {
 public:
  explicit Outbox(World& world) : world_(world) {}
  /// Reads what Kubo has of each list. Then `held` says what is here.
  Result<std::vector<Rooted>> open();
  /// The nodes of a list that count go up to `number`, as committed.
  void held(uint32_t channel, const ipld::Cid& cid, const list::ListId& list, uint64_t number);
  /// Nodes that no root in Kubo covers.
  uint64_t count() const { return missing_; }

  void on_online();
  void on_offline();
  /// Hands Kubo the packs and roots that are due, a bounded part of them at a time. After the
  /// commit. A list has a root a moment after its first new node, then at most one in five seconds.
  void drain();
  /// When `drain` has something to do (mono).
  uint64_t due_ms() const;
  /// Nodes too large for a message: put after the commit, then named to the channel.
  void put_large(uint32_t channel, std::vector<Block> blocks, std::vector<sync::LargeNode> names);
  struct Stored {
    std::map<uint32_t, std::vector<sync::LargeNode>> large;  ///< To be announced by CID.
    std::vector<Rooted> roots;
  };
  Stored on_stored(uint64_t ticket, bool ok);
  /// Puts what Kubo took into the transaction.
  void save();
  /// The channel was left.
  void forget(uint32_t channel);
  /// Kubo has lost blocks of this channel: all of them are made again.
  void start_over(uint32_t channel);

 private:
  using Key = std::pair<uint32_t, list::ListId>;
  struct Shelf {
    uint64_t held = 0;
    list::Position rooted;
    ipld::Cid root;
    uint64_t due_ms = 0;  ///< mono; 0: all of it is in Kubo, or on its way
    uint64_t rooted_ms = 0;
    uint64_t sending = 0;  ///< The ticket of what is on its way; 0: nothing that counts.
    uint64_t again = 0;    ///< Kubo lost blocks of it: up to here they are put once more.
    uint64_t missing() const { return held - std::min(held, rooted.number); }
  };
  struct Step {
    Key key;
    list::Position position;
    ipld::Cid root;
    Bytes record;
    bool more = false;  ///< It did not fit into one step.
  };
  struct Batch {
    std::vector<Step> steps;
    std::map<uint32_t, std::vector<sync::LargeNode>> large;
  };
  struct Large {
    uint32_t channel;
    std::vector<Block> blocks;
    std::vector<sync::LargeNode> names;
  };
  void send_large();
  void set_due(const Key& key, Shelf& shelf, uint64_t at_ms);
  void set_rooted(Shelf& shelf, list::Position position, const ipld::Cid& root);
  Result<Step> advance(const Key& key, const Shelf& shelf, std::vector<Block>& out, size_t& bytes);

  World& world_;
  std::map<Key, Shelf> shelves_;
  std::map<uint32_t, ipld::Cid> cids_;
  std::set<std::pair<uint64_t, Key>> due_;
  uint64_t missing_ = 0;
  std::map<uint64_t, Batch> batches_;  ///< By ticket: on their way.
  unsigned in_flight_ = 0;             ///< Of them, those with steps.
  std::vector<Large> large_;           ///< To be put after the commit.
  std::map<Key, Bytes> saved_;         ///< Records for the next transaction; empty: none any more.
  unsigned failures_ = 0;
};

}  // namespace ptwop::engine
