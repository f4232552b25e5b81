// Channel, second half: what comes in, and how held nodes become state.
#include <algorithm>

#include "base/limits.h"
#include "base/log.h"
#include "base/mutant.h"
#include "engine/channel.h"
#include "engine/lane.h"

namespace ptwop::engine {
namespace {

constexpr size_t kAnswerBytesMax = 2 << 20;
// What of others one turn applies: whoever writes waits for it, and until the commit it is in
// memory.
constexpr size_t kApplyBytesMax = 8 << 20;
constexpr size_t kApplyNodeBytes = 1 << 10;  // that each counts for beside its body
constexpr uint64_t kRetryMs = 250;
constexpr size_t kInKuboMax = 4096;
constexpr size_t kAwaitedMax = 4096;
constexpr uint64_t kLargeAheadMax = 4096;
constexpr size_t kStraysMax = 4096;

}  // namespace

// --- what comes in -------------------------------------------------------------------------------

bool Channel::is_member(const list::PublicKey& key) const {
  return membership_ && membership_->role(key) != access::Role::none;
}

void Channel::on_message(std::string_view from, BytesView bytes) {
  if (aside_) return;
  auto message =
      talk_.receive(from, nullptr, bytes, [this](const auto& key) { return is_member(key); });
  if (message) take_message(from, std::move(*message));
}

void Channel::on_message(const list::PublicKey& peer, BytesView bytes) {
  if (aside_) return;
  const Bytes from = "stream " + Bytes(peer.view());
  auto message =
      talk_.receive(from, &peer, bytes, [this](const auto& key) { return is_member(key); });
  if (message) take_message(from, std::move(*message));
}

void Channel::take_message(std::string_view from, sync::Message received) {
  sync::Message* const message = &received;
  const uint64_t now = world_.now_ms();
  sync::Replicator& replicator = talk_.replicator();
  if (auto* nodes = std::get_if<sync::Nodes>(&message->body)) {
    if (!nodes->manifest.empty()) take_manifest(nodes->manifest);
    const bool trusted = is_member(message->sender);
    for (const sync::LargeNode& large : nodes->large) {
      const ListState* state = lists_.find(large.list);
      const uint64_t held = state ? state->record.held.number : 0;
      const bool stray = own_cuts_.contains(large.list) && large.number >= state->record.cut;
      const bool useful = stray || ((state || trusted) && large.number > held &&
                                    large.number - held <= kLargeAheadMax);
      if (useful && talk_.fetch(large.cid, trusted)) world_.ports.blocks.get(large.cid);
    }
    const uint64_t refused = world_.refusals;
    std::map<list::ListId, list::At> there;  // what it sends it holds
    if (membership_)
      for (Bytes& block : nodes->nodes) {
        const auto at = take_node(std::move(block));
        if (!at) break;  // who sends one that is no node sends noise
        list::At& known = there[at->list];
        if (known.position.number <= at->position.number) known = *at;
      }
    talk_.charge(trusted ? Talk::account_of(message->sender) : Bytes(from),
                 world_.refusals - refused);
    replicator.on_nodes(message->sender, there, nodes->last, now);
  } else if (auto* clock = std::get_if<sync::ClockMessage>(&message->body)) {
    const bool member = is_member(message->sender);
    if (member) note_own(*clock);
    world_.lane->learn(message->sender, clock->peer, member);
    replicator.on_clock(*message, member, now, world_.wall_ms());
  } else if (auto* want = std::get_if<sync::Want>(&message->body)) {
    if (want->to == world_.me.key() && (want->to_boot == 0 || want->to_boot == world_.boot))
      serve(*want, message->sender);
  }
}

// A member holds more of one of our own lists than we do: this folder is an older copy, whose list
// must not be continued.
void Channel::note_own(const sync::ClockMessage& clock) {
  for (const bool control : {false, true}) {
    if (own_[control].begun || PTWOP_MUTANT(ignore_own_past)) continue;
    const ListState* state = lists_.find(own_[control].id);
    const uint64_t here = (state ? state->record.held.number : 0) + (open_ && !control ? 1 : 0);
    for (const sync::ClockEntry& entry : clock.entries)
      if (entry.at.list == own_[control].id && entry.at.position.number > here) {
        if (open_ && !control) close_node();
        renew_own(control);
        break;
      }
  }
}

void Channel::serve(const sync::Want& want, const list::PublicKey& asker) {
  if (PTWOP_MUTANT(never_serve)) return;
  std::vector<Bytes> blocks;
  std::vector<Block> large;
  std::vector<sync::LargeNode> names, ready;
  size_t bytes = 0;
  for (const sync::Range& range : want.ranges) {
    auto part = lists_.range(range, kAnswerBytesMax - bytes);
    if (!part) return break_turn(part.error());
    for (Bytes& block : *part) {
      bytes += block.size();
      if (block.size() <= limits::kInlineNodeBytesMax) {
        blocks.push_back(std::move(block));
        continue;
      }
      const auto node = list::decode(block);
      if (!node) continue;
      const sync::LargeNode name{node->id, node->number, node->cid};
      if (in_kubo_.contains(node->cid)) {
        ready.push_back(name);
      } else {
        names.push_back(name);
        large.push_back({node->cid, std::move(block)});
      }
    }
    if (bytes >= kAnswerBytesMax) break;
  }
  const bool all = large.empty();
  if (!all) world_.put_large(number_, std::move(large), names);
  talk_.answer(asker, std::move(blocks), std::move(ready), all,
               want.manifest && membership_ ? record_.manifest : Bytes{});
}

// Gives its position, if it is a node at all.
std::optional<list::At> Channel::take_node(Bytes block) {
  auto node = list::decode(block);
  if (!node) {
    world_.refuse(node.error().code == Code::too_large ? "oversized" : "not_canonical");
    return std::nullopt;
  }
  const list::At at = node->at();
  if (open_ && node->id == open_->node.id && node->number >= open_->node.number)
    world_.refuse("own_list");
  else
    lists_.offer(std::move(*node), std::move(block), *membership_);
  return at;
}

// From a file, where control nodes come first: who may write has to be known before what they wrote
// comes, of which only little may wait.
Imported Channel::import_blocks(std::vector<Bytes> blocks) {
  Imported out;
  if (aside_ || !membership_) return out;
  close_node();
  bool control = false;
  for (Bytes& block : blocks) {
    const uint64_t refused = world_.refusals;
    auto node = list::decode(block);
    bool here = false;
    if (!node) {
      world_.refuse("not_canonical");
    } else {
      if (!node->list.control && std::exchange(control, false)) apply_all();
      control |= node->list.control;
      // What is held, and of a forked list what lies beyond the cut, which is kept in another way.
      const ListState* state = lists_.find(node->id);
      here = state && (node->number <= state->record.held.number || state->record.cut);
      lists_.offer(std::move(*node), std::move(block), *membership_);
    }
    if (world_.refusals > refused)
      ++out.refused;
    else if (here)
      ++out.here;
  }
  for (const auto& [id, state] : lists_.all()) out.held += state.record.held.number;
  return out;
}

void Channel::on_block(const ipld::Cid& cid, Result<Bytes> block) {
  const bool expected = talk_.fetched(cid);
  bulk_.on_block(cid, block);
  if (aside_ || !block || ipld::Cid::of(*block) != cid) return;
  if (cid == record_.cid)
    take_manifest(*block);
  else if (membership_ && expected)
    take_node(std::move(*block));
}

void Channel::on_stored(const std::vector<sync::LargeNode>& large) {
  for (const sync::LargeNode& node : large) {
    if (in_kubo_.size() >= kInKuboMax) in_kubo_.clear();
    in_kubo_.insert(node.cid);
    talk_.announce(node);
  }
}

// --- held nodes become state ---------------------------------------------------------------------

void Channel::follow_events() {
  const uint64_t now = world_.now_ms();
  sync::Replicator& replicator = talk_.replicator();
  Lists::Events events = lists_.take_events();
  for (const list::ListId& id : events.cut)
    if (ListState* state = lists_.find(id)) {
      undo_from(id, *state);
      note_cut(id, *state);
      forget_awaited(id, state->record);
      log::warn(
          "engine",
          state->record.cut
              ? "a list is forked: from there on it counts only where its owner writes it again"
              : "a list's grant does not count any more, and so the list does not",
          {{"channel", view_->address},
           {"list", hex(id.view())},
           {"from", std::max<uint64_t>(state->record.cut, 1)}});
    }
  for (list::Node& stray : events.strays) {
    time_max_ = std::max(time_max_, stray.time);  // what writes it again has to be later
    if (strays_.size() < kStraysMax)
      strays_.push_back(std::move(stray));  // else it will be wanted again
  }
  for (const bool control : {false, true})
    if (events.came.contains(own_[control].id)) renew_own(control);
  for (const list::ListId& id : events.grown) {
    const ListState* state = lists_.find(id);
    time_max_ = std::max(time_max_, state->record.time);
    // Beyond a cut no control node takes effect, but the keys that it gives are given.
    if (state->record.cut && state->record.name.control) membership_stale_ = true;
    replicator.on_held(id, state->record.name.writer == world_.me.key(), now);
  }
  for (const list::At& at : events.claims) replicator.on_claim(at, now);
  for (const list::At& at : events.branches) replicator.on_branch(at, now);
}

void Channel::settle() {
  if (aside_) return;
  close_node();
  if (membership_) {
    bulk_.advance(*membership_);
    apply_all();
    if (membership_changed_ || world_.now_ms() >= retry_at_ms_) {
      retry_at_ms_ = world_.now_ms() + kRetryMs;
      membership_changed_ = false;
      if (lists_.waiting() > 0 && !PTWOP_MUTANT(no_retry)) {
        lists_.retry(*membership_);
        apply_all();
      }
    }
    repeat_own();
    apply_all();
  }
  lists_.save();
  applied_bytes_ = 0;
}

void Channel::apply_all() {
  behind_ = false;
  bool progress = true;
  while (progress && !world_.broken) {
    do follow_events();
    while (refresh_membership());
    progress = false;
    const std::set<list::ListId> ids = lists_.unapplied();
    for (const list::ListId& id : ids) {
      ListState* state = lists_.find(id);
      if (!state->record.name.control && !membership_->readable()) continue;
      while (state->record.applied.number < state->applicable() && apply_next(id, *state)) {
        progress = true;
        behind_ = applied_bytes_ >= kApplyBytesMax && !state->record.name.control;
        if (behind_) return;
      }
      if (state->record.applied.number >= state->applicable()) lists_.unapplied().erase(id);
    }
  }
}

// What a list is awaited for is timed once for all who name it: a node that is withheld holds up
// the others for ten seconds in all, not ten for each.
bool Channel::seen_met(const list::Node& node) {
  if (PTWOP_MUTANT(ignore_seen)) return true;
  const uint64_t now = world_.now_ms();
  bool met = true;
  for (const list::At& at : node.seen) {
    const ListState* other = lists_.find(at.list);
    if (other && (other->record.applied.number >= at.position.number ||
                  (other->record.cut && at.position.number >= other->record.cut)))
      continue;
    talk_.replicator().on_claim(at, now);
    if (awaited_.size() >= kAwaitedMax && !awaited_.contains(at.list)) {
      std::erase_if(awaited_, [now](const auto& item) {
        return now - item.second.since_ms >= limits::kSeenWaitMs;
      });
      if (awaited_.size() >= kAwaitedMax) continue;
    }
    const auto [it, fresh] = awaited_.try_emplace(at.list, Awaited{now, at.position.number});
    it->second.number = std::max(it->second.number, at.position.number);
    if (now - it->second.since_ms < limits::kSeenWaitMs || PTWOP_MUTANT(wait_for_ever)) met = false;
  }
  return met;
}

// What was awaited of this list came, or never will.
void Channel::forget_awaited(const list::ListId& id, const ListRecord& record) {
  const auto it = awaited_.find(id);
  if (it == awaited_.end()) return;
  const uint64_t last =
      record.cut ? std::min(it->second.number, record.cut - 1) : it->second.number;
  if (record.applied.number >= last) awaited_.erase(it);
}

bool Channel::apply_next(const list::ListId& id, ListState& state) {
  const auto node = lists_.node(id, state.record.applied.number + 1);
  if (!node) {
    break_turn(node.error());
    return false;
  }
  if (!(node->list.control || seen_met(*node)) || !count_node(*node, state)) return false;
  forget_awaited(id, state.record);
  applied_bytes_ += node->body.size() + kApplyNodeBytes;
  return true;
}

void Channel::apply_ops(const list::Node& node, const std::vector<Bytes>& ops) {
  if (ops.empty() || access::is_again(ops)) return;
  if (node.list.control) return apply_control(node);
  const types::Type& type = *types::find_type(membership_->manifest().type);
  ChannelState state(world_.txn, number_);
  for (int times = PTWOP_MUTANT(apply_twice) ? 2 : 1; times > 0; --times)
    for (uint32_t index = 0; index < ops.size(); ++index)
      if (const auto ok = type.apply(
              state, {{node.time, node.id, node.number, index}, node.list.writer}, ops[index]);
          !ok)
        return break_turn(ok.error());
}

void Channel::undo_ops(const list::Node& node) {
  const auto ops = open_ops(node);
  if (!ops || access::is_again(*ops) || PTWOP_MUTANT(no_undo)) return;
  const types::Type& type = *types::find_type(membership_->manifest().type);
  ChannelState state(world_.txn, number_);
  const auto source = make_source(true);
  undoing_ = &node;
  for (size_t i = ops->size(); i-- > 0 && !world_.broken;) {
    const types::OpContext at{{node.time, node.id, node.number, static_cast<uint32_t>(i)},
                              node.list.writer};
    if (const auto ok = type.undo(state, at, (*ops)[i], *source); !ok) break_turn(ok.error());
  }
  undoing_ = nullptr;
}

// The operations of a node; none of a void one. Nothing: its key is not here, or its type is none
// of ours.
std::optional<std::vector<Bytes>> Channel::open_ops(const list::Node& node) const {
  const auto void_node = [this] {
    world_.refuse("void");
    return std::vector<Bytes>{};
  };
  const types::Type* type = types::find_type(membership_->manifest().type);
  if (!node.list.control && !type) return std::nullopt;
  if (!node.list.control && static_cast<bool>(node.epoch) == membership_->manifest().is_public)
    return void_node();
  Result<Bytes> framed = node.body;
  if (node.epoch) {
    const access::Epoch* epoch = membership_->epoch(node.epoch);
    if (!epoch || epoch->secret.empty()) return std::nullopt;
    framed = access::open_body(node, access::body_key(epoch->secret));
  }
  if (!framed) return void_node();
  auto ops = access::unframe_ops(*framed);
  if (!ops) return void_node();
  const bool again = access::is_again(*ops);
  const bool good =
      again ? access::read_again(node, *ops).ok()
            : node.list.control || std::all_of(ops->begin(), ops->end(), [&](const Bytes& op) {
                return type->check(op).ok() || PTWOP_MUTANT(trust_operations);
              });
  if (!good) return void_node();
  return std::move(*ops);
}

void Channel::apply_control(const list::Node& node) {
  membership_changed_ = true;
  const auto ops = access::unframe_ops(node.body);
  if (!ops || !membership_->apply(node, *ops, world_.me)) world_.refuse("void");
}

}  // namespace ptwop::engine
