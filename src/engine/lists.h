// The lists of one channel: what is held of each, what waits, and every check a node must pass
// before it is held.
#pragma once
#include <functional>
#include <map>
#include <set>
#include <vector>

#include "access/membership.h"
#include "engine/records.h"
#include "engine/world.h"
#include "list/node.h"
#include "sync/replicator.h"

namespace ptwop::engine {

struct ListState {
  ListRecord record;
  bool admitted = true;  ///< False: the grant under which it was opened does not count (any more).

  /// The number up to which nodes may be applied: beyond it there is nothing, or a fork.
  uint64_t applicable() const {
    if (!admitted) return 0;
    return record.cut ? std::min(record.held.number, record.cut - 1) : record.held.number;
  }
};

/// A node as it came in, with its block.
struct Arrived {
  list::Node node;
  Bytes block;
  bool verified = false;  ///< Its own signature was checked.
};

class Lists {
 public:
  Lists(World& world, uint32_t channel, const ipld::Cid& cid)
      : world_(world), channel_(channel), cid_(cid) {}
  Result<void> load();

  const std::map<list::ListId, ListState>& all() const { return lists_; }
  ListState* find(const list::ListId& list);
  const sync::Holdings& holdings() const { return holdings_; }

  /// One of our own nodes, complete and signed, right after the last one; applied already.
  void append_own(const list::Node& node, const Bytes& block);

  /// A node from outside. It is held if all checks pass now; it waits (bounded) if something it
  /// needs is not here yet; else it is refused and counted.
  void offer(list::Node node, Bytes block, const access::Membership& membership);
  /// Consecutive nodes of one list, of which one signature may cover many. What cannot be held now,
  /// because more of the list is missing or its grant is, does not wait.
  void offer_run(const list::ListId& id, std::vector<Arrived> run,
                 const access::Membership& membership);
  /// The first node of a list that is not held yet, and the grant that it names is not here.
  bool awaits_grant(const list::Node& first, const access::Membership& membership) const;
  /// Tries what waits again: a grant came, time passed.
  void retry(const access::Membership& membership);

  /// What happened since the last call: for the replicator and for applying.
  struct Events {
    std::set<list::ListId> grown;
    std::set<list::ListId> came;   ///< Those that grew by nodes from outside.
    std::vector<list::At> claims;  ///< Positions that must exist somewhere and are not here.
    std::vector<list::At>
        branches;  ///< A fork at or below this number: the other branch is wanted.
    std::set<list::ListId>
        cut;  ///< Less of these counts than did: what was applied from there on must be undone.
    std::vector<list::Node> strays;  ///< Of other branches of our own forked lists.
  };
  Events take_events() { return std::exchange(events_, {}); }
  /// Whether a list counts at all.
  void admit(const list::ListId& list, bool admitted);
  /// Lists with nodes held and not applied.
  std::set<list::ListId>& unapplied() { return unapplied_; }

  Result<list::Node> node(const list::ListId& list, uint64_t number) const;
  /// Blocks of [from, to], and both of a fork in it; at most about `bytes_max`.
  Result<std::vector<Bytes>> range(const sync::Range& range, size_t bytes_max) const;
  void set_applied(ListState& state, const list::ListId& id, list::Position position);
  /// Puts changed records into the transaction.
  void save();
  void end_turn() { fresh_.clear(); }
  /// The newest root of a list that is in Kubo.
  void set_root(const list::ListId& id, uint64_t number, const ipld::Cid& root);
  std::vector<ipld::Cid> roots() const;
  /// Lists that grew or were cut, and up to where they may be packed: nodes that may count. Those
  /// that are to be packed `later` stay.
  std::map<list::ListId, uint64_t> take_packable(
      const std::function<bool(const list::ListId&)>& later);
  uint64_t waiting() const { return waiting_count_; }
  size_t waiting_lists() const { return waiting_.size(); }
  bool waits(const list::ListId& list) const { return waiting_.contains(list); }

 private:
  struct Waiting {
    std::map<uint64_t, Arrived> nodes;  ///< By number.
    size_t bytes = 0;
    uint64_t since_ms = 0;  ///< mono
  };
  void drain(const list::ListId& id, const access::Membership& membership);
  bool drain_run(const list::ListId& id, const access::Membership& membership);
  bool open_list(const list::ListId& id, const access::Membership& membership);
  void hold(ListState& state, Arrived arrived);
  void take_stray(Arrived arrived);
  void compare_with_held(ListState& state, Arrived arrived);
  void fork(ListState& state, const Arrived& other);
  void let_wait(const list::ListId& id, Arrived arrived);
  void drop(const list::ListId& id, uint64_t number);
  void drop_all(const list::ListId& id);
  bool room_for(const list::ListId& id, const Arrived& arrived, bool known);
  void forget_oldest_unknown();
  static bool verify(Arrived& arrived);

  World& world_;
  uint32_t channel_;
  ipld::Cid cid_;
  std::map<list::ListId, ListState> lists_;
  sync::Holdings holdings_;
  std::map<list::ListId, Waiting> waiting_;
  size_t waiting_bytes_ = 0;
  size_t waiting_count_ = 0;
  std::set<list::ListId> unapplied_;
  std::map<std::pair<list::ListId, uint64_t>, list::Node>
      fresh_;                       ///< Held in this turn, decoded already.
  std::set<list::ListId> to_pack_;  ///< Since take_packable.
  std::set<list::ListId> dirty_;    ///< Records that changed in this turn.
  Events events_;
};

bool signature_ok(const list::Node& node);

}  // namespace ptwop::engine
