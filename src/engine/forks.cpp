// Channel, third part: lists that are forked. What lies beyond a cut is taken back, and what an
// honest owner wrote there is written again by that owner (access/again.h), so that it counts after
// all.
#include <algorithm>
#include <set>

#include "base/log.h"
#include "base/mutant.h"
#include "engine/channel.h"

namespace ptwop::engine {
namespace {

constexpr size_t kRepeatBytesMax = 1 << 20;  // in one turn
constexpr uint64_t kSeekMs = 1'000, kSeekMsMax = 60'000;

}  // namespace

// --- what counts ---------------------------------------------------------------------------------

/// The node that counts at this place.
Result<std::optional<list::Node>> Channel::counted(const Place& place) const {
  if (PTWOP_MUTANT(again_before_accepted) && again_.any(place.list))
    if (auto first = again_.at(place); first && *first) return first;
  if (const auto it = lists_.all().find(place.list);
      it != lists_.all().end() && it->second.record.applied.number >= place.number) {
    PTWOP_TRY(list::Node node, lists_.node(place.list, place.number));
    if (node.time == place.time) return std::optional(std::move(node));
  }
  if (!again_.any(place.list)) return std::optional<list::Node>();
  return again_.at(place);
}

/// `change` may change which node counts at the place of `node`: the state follows.
template <class Change>
void Channel::recount(const list::Node& node, Change change) {
  if (node.list.control) {
    change();
    membership_stale_ = true;
    return;
  }
  const auto before = counted(Place(node));
  change();
  const auto after = counted(Place(node));
  if (!before || !after) return break_turn(before ? after.error() : before.error());
  if (*before && *after && (*before)->cid == (*after)->cid && !PTWOP_MUTANT(again_counts_twice))
    return;
  if (*before && !PTWOP_MUTANT(again_counts_twice)) undo_ops(**before);
  if (!*after) return;
  if (const auto ops = open_ops(**after)) apply_ops(**after, *ops);
}

// The next node of its list takes effect. False: its key is not here, or the turn broke.
bool Channel::count_node(const list::Node& node, ListState& state) {
  const auto ops = open_ops(node);
  if (!ops) return false;
  const auto applied = [&] { lists_.set_applied(state, node.id, node.position()); };
  if (access::is_again(*ops)) {
    if (!apply_again(node, *ops)) return false;
    applied();
  } else if (again_.any(node.id)) {
    recount(node, applied);
  } else {
    apply_ops(node, *ops);
    applied();
  }
  return !world_.broken;
}

// What counted of a list counts no more, newest first.
void Channel::undo_from(const list::ListId& id, ListState& state) {
  while (state.record.applied.number > state.applicable() && !world_.broken) {
    const uint64_t number = state.record.applied.number;
    const auto node = lists_.node(id, number);
    if (!node) return break_turn(node.error());
    const auto undone = [&] {
      lists_.set_applied(state, id, {number - 1, node->prev ? node->prev.tag() : 0});
    };
    const auto ops = open_ops(*node);
    if (ops && access::is_again(*ops)) {
      undo_again(*node, *ops);
      undone();
    } else if (node->list.control || (again_.any(id) && !PTWOP_MUTANT(cut_takes_all_back))) {
      recount(*node, undone);
    } else {
      undo_ops(*node);
      undone();
    }
  }
}

bool Channel::apply_again(const list::Node& node, const std::vector<Bytes>& ops) {
  const auto repeated = access::read_again(node, ops);
  if (!repeated) return true;  // void, and counted as such
  for (const access::Repeated& inner : *repeated)
    if (!open_ops(inner.node)) return false;
  for (const access::Repeated& inner : *repeated)
    recount(inner.node,
            [&] { again_.add(inner, PTWOP_MUTANT(again_by_one) ? list::At{} : node.at()); });
  return true;
}

void Channel::undo_again(const list::Node& node, const std::vector<Bytes>& ops) {
  const auto repeated = access::read_again(node, ops);
  if (!repeated || PTWOP_MUTANT(again_stays)) return;
  for (const access::Repeated& inner : *repeated)
    recount(inner.node, [&] { again_.remove(inner.node, node.at()); });
}

// --- membership ----------------------------------------------------------------------------------

// A key that was given stays given, also by a node that a fork cut off since: what is read with it
// is here. Starts the membership anew.
Result<void> Channel::open_keys() {
  access::Membership opened = membership_->anew();
  for (const auto& [id, state] : lists_.all())
    for (uint64_t number = 1; state.record.name.control && number <= state.record.held.number;
         ++number) {
      PTWOP_TRY(const list::Node node, lists_.node(id, number));
      const auto ops = access::unframe_ops(node.body);
      if (!ops) continue;
      if (!access::is_again(*ops)) (void)opened.apply(node, *ops, world_.me);
      const auto repeated = access::read_again(node, *ops);
      for (size_t i = 0; repeated && i < repeated->size(); ++i)
        if (const auto inner = access::unframe_ops((*repeated)[i].node.body))
          (void)opened.apply((*repeated)[i].node, *inner, world_.me);
    }
  membership_ = opened.anew();
  return {};
}

// From all control nodes that count: at the start, and after some were taken back or written again.
Result<void> Channel::evaluate_membership() {
  membership_stale_ = false;
  if (!membership_) return {};
  PTWOP_CHECK(open_keys());
  bool forked = false;
  std::set<ipld::Cid> taken;
  for (const auto& [id, state] : lists_.all()) {
    if (!state.record.name.control) continue;
    forked |= state.record.cut > 0;
    for (uint64_t number = 1; number <= state.record.applied.number; ++number) {
      PTWOP_TRY(const list::Node node, lists_.node(id, number));
      taken.insert(node.cid);
      apply_control(node);
    }
  }
  for (const list::ListId& id : again_.lists()) {  // also of lists that are not here
    Result<void> result;
    PTWOP_CHECK(again_.each(id, [&](const list::Node& node) {
      if (!node.list.control) return;
      const auto counts = counted(Place(node));
      if (!counts) result = counts.error();
      if (counts && *counts && (*counts)->cid == node.cid && !PTWOP_MUTANT(control_never_again) &&
          taken.insert(node.cid).second)
        apply_control(node);
    }));
    PTWOP_CHECK(result);
  }
  // A list counts while the grant counts under which it was opened.
  for (const auto& [id, state] : lists_.all()) {
    if (state.record.name.control || (state.admitted && !forked)) continue;
    if (PTWOP_MUTANT(cut_grant_counts)) continue;
    PTWOP_TRY(const list::Node first, lists_.node(id, 1));
    lists_.admit(id, membership_->admits(first, state.record.held).ok());
  }
  return {};
}

bool Channel::refresh_membership() {
  if (!membership_stale_ || world_.broken) return false;
  if (const auto evaluated = evaluate_membership(); !evaluated) break_turn(evaluated.error());
  return true;
}

// --- our own forked lists ------------------------------------------------------------------------

void Channel::note_cut(const list::ListId& id, const ListState& state) {
  const uint64_t cut = state.record.cut;
  if (!cut || (state.record.name.writer != world_.me.key() && !PTWOP_MUTANT(others_again))) return;
  OwnCut& own = own_cuts_.try_emplace(id, OwnCut{cut, cut}).first->second;
  if (!PTWOP_MUTANT(lower_cut_unseen)) own.next = std::min(own.next, cut);
  own.seek_from = std::min(own.seek_from, cut);
  own.known.clear();
}

bool Channel::repeating() const {
  return !strays_.empty() ||
         std::any_of(own_cuts_.begin(), own_cuts_.end(), [this](const auto& item) {
           return item.second.next <= lists_.all().at(item.first).record.held.number;
         });
}

// What was cut off of our own lists, as far as it is here, is written again.
void Channel::repeat_own() {
  if (own_cuts_.empty() || PTWOP_MUTANT(never_again)) return;
  const bool admin = membership_->is_admin(world_.me.key());
  const bool writer = membership_->readable() && membership_->may_write(world_.me.key());
  size_t bytes = 0;
  Repeats control{true, {}, 0, {}}, data{false, {}, 0, {}};
  for (auto& [id, cut] : own_cuts_) {
    const ListRecord record = lists_.find(id)->record;
    if (record.name.control ? !admin : !writer) continue;
    for (; cut.next <= record.held.number && bytes < kRepeatBytesMax; ++cut.next) {
      const auto node = lists_.node(id, cut.next);
      if (!node) return break_turn(node.error());
      bytes += node->body.size();
      if (!repeat(*node, record.name.control ? control : data)) break;
    }
  }
  for (; !strays_.empty() && bytes < kRepeatBytesMax; strays_.pop_front()) {
    const list::Node& node = strays_.front();
    if (node.list.control ? !admin : !writer) continue;
    bytes += node.body.size();
    if (!repeat(node, node.list.control ? control : data)) break;
    OwnCut& cut = own_cuts_.at(node.id);
    cut.seek_from = std::max(cut.seek_from, node.number + 1);
    cut.seek_after_ms = 0;
  }
  flush(control);
  flush(data);
}

// False: its stamp is ahead of what we may write now.
bool Channel::repeat(const list::Node& node, Repeats& to) {
  std::vector<access::Repeated> inner;
  const auto ops = open_ops(node);
  if (!ops) return false;
  if (access::is_again(*ops)) {
    if (auto nodes = access::read_again(node, *ops)) inner = std::move(*nodes);
  } else {
    inner.push_back({node, list::encode(node)});
  }
  const uint64_t stamp = next_time(0);
  for (const access::Repeated& one : inner) {
    const auto known = again_.has(one.node.at());
    if (!known) break_turn(known.error());
    if (!known || (*known && !PTWOP_MUTANT(again_and_again))) continue;
    if (one.node.time >= stamp && !PTWOP_MUTANT(again_too_early)) return false;
    if (!to.nodes.insert(one.node.cid).second) continue;  // it came twice
    Bytes op = access::again_op(one.block);
    if (!to.ops.empty() && to.bytes + op.size() > kOpsBytesTarget) flush(to);
    to.bytes += op.size();
    to.ops.push_back(std::move(op));
  }
  return true;
}

void Channel::flush(Repeats& repeats) {
  if (repeats.ops.empty() || world_.broken) return;
  const std::vector<Bytes> ops = std::exchange(repeats.ops, {});
  repeats.bytes = 0;
  log::info("engine", "writing again what a fork of our own list cut off",
            {{"channel", view_->address}, {"nodes", ops.size()}, {"control", repeats.control}});
  if (repeats.control) return (void)write_control(ops);
  open_node();
  list::Node node = std::exchange(open_, std::nullopt)->node;
  finish_node(node, ops, false);
  apply_again(node, ops);
}

// Other branches of our own lists: an older copy of this folder wrote them, or we did, before this
// folder was restored.
void Channel::seek_branches() {
  if (PTWOP_MUTANT(never_seek)) return;
  const uint64_t now = world_.now_ms();
  for (auto& [id, cut] : own_cuts_) {
    if (now < cut.seek_at_ms) continue;
    cut.seek_after_ms = std::clamp(2 * cut.seek_after_ms, kSeekMs, kSeekMsMax);
    cut.seek_at_ms = now + cut.seek_after_ms;
    const ListRecord& record = lists_.find(id)->record;
    for (const auto& [key, peer] : talk_.replicator().peers()) {
      const auto theirs = peer.clock.find(id);
      if (theirs == peer.clock.end() || theirs->second.at.position.number < record.cut) continue;
      const list::Position end = theirs->second.at.position;
      if (cut.known.contains(end)) continue;
      const auto lacks = lacking(id, record, end);
      if (lacks && *lacks == 0) cut.known.insert(end);
      if (!lacks || *lacks == 0) continue;
      if (cut.seek_from > *lacks) cut.seek_from = record.cut;
      talk_.want({key, peer.boot, {{id, cut.seek_from, *lacks}}, false});
    }
  }
}

// The last node that is not here of the branch that ends there, back to the cut or to where it
// joins ours; 0: none.
Result<uint64_t> Channel::lacking(const list::ListId& list, const ListRecord& record,
                                  list::Position end) const {
  for (; end.number >= record.cut; --end.number) {
    if (end.number <= record.held.number) {
      PTWOP_TRY(const list::Node ours, lists_.node(list, end.number));
      if (ours.cid.tag() == end.tag) return 0;
    }
    PTWOP_TRY(const auto node, again_.node({list, end}));
    if (!node) return end.number;
    end.tag = node->prev ? node->prev.tag() : 0;
  }
  return 0;
}

void Channel::tick() {
  if (aside_) return;
  talk_.tick(membership_.has_value(), [this](const list::ListId& list, const list::PublicKey& peer,
                                             const ipld::Cid& root, uint64_t number) {
    return membership_ && membership_->role(peer) != access::Role::none &&
           bulk_.fetch(list, peer, root, number);
  });
  if (membership_) seek_branches();
}

}  // namespace ptwop::engine
