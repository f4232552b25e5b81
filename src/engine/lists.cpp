#include "engine/lists.h"

#include <algorithm>

#include "base/limits.h"
#include "base/mutant.h"
#include "ipld/dag_cbor.h"

namespace ptwop::engine {
namespace {

constexpr size_t kWaitingPerListBytesMax = 4 << 20;
constexpr size_t kWaitingPerListMax = 2048;
constexpr size_t kWaitingBytesMax = 16 << 20;
// A list of which nothing is held may be anybody's: few of them wait, and not for long.
constexpr size_t kUnknownListsMax = 64;
constexpr size_t kUnknownListBytesMax = 128 << 10;
constexpr uint64_t kUnknownKeptMs = 60'000;
// How many signatures of one run are checked from its end: a run with more bad ones than that is
// noise.
constexpr int kSignatureTriesMax = 4;

}  // namespace

bool signature_ok(const list::Node& node) {
  if (PTWOP_MUTANT(skip_signature)) return true;
  return access::verify(node.list.writer, "node", list::encode_unsigned(node), node.signature);
}

Result<void> Lists::load() {
  const Bytes prefix = meta_key('l', channel_);
  Result<void> decoded;
  PTWOP_CHECK(world_.ports.store.scan(
      Table::meta, prefix, after_prefix(prefix), false, [&](BytesView key, BytesView value) {
        auto record = decode_list(value);
        if (!record.ok() || key.size() != prefix.size() + list::ListId::kSize) {
          decoded = fail(Code::corrupt,
                         "a list record is damaged: nothing was changed; restore the data folder "
                         "from a backup");
          return false;
        }
        const auto id = list::ListId::from(key.substr(prefix.size()));
        holdings_[id] = {record->held, record->cut, 0, {}};
        to_pack_.insert(id);
        ListState& state = lists_[id];
        state.record = std::move(*record);
        if (state.record.applied.number < state.applicable()) unapplied_.insert(id);
        return true;
      }));
  return decoded;
}

ListState* Lists::find(const list::ListId& list) {
  const auto it = lists_.find(list);
  return it == lists_.end() ? nullptr : &it->second;
}

void Lists::append_own(const list::Node& node, const Bytes& block) {
  ListState& state = lists_[node.id];
  assert(node.number == state.record.held.number + 1 && node.prev == state.record.head);
  state.record.name = node.list;
  hold(state, {node, block});
  set_applied(state, node.id, node.position());
}

void Lists::hold(ListState& state, Arrived arrived) {
  const list::Node& node = arrived.node;
  world_.txn.put(Table::nodes, node_key(channel_, node.id, node.number), arrived.block);
  state.record.held = node.position();
  state.record.head = node.cid;
  state.record.time = node.time;
  dirty_.insert(node.id);
  sync::Held& held = holdings_[node.id];
  held.position = state.record.held;
  held.cut = state.record.cut;
  to_pack_.insert(node.id);
  unapplied_.insert(node.id);
  events_.grown.insert(node.id);
  fresh_.insert_or_assign({node.id, node.number}, std::move(arrived.node));
}

void Lists::offer(list::Node node, Bytes block, const access::Membership& membership) {
  if (node.channel != cid_ && !PTWOP_MUTANT(skip_channel)) return world_.refuse("other_channel");
  const list::ListId id = node.id;
  ListState* state = find(id);
  if (state && state->record.cut && node.number >= state->record.cut &&
      node.list.writer == world_.me.key() && !PTWOP_MUTANT(no_strays))
    return take_stray({std::move(node), std::move(block)});
  if (state && node.number <= state->record.held.number)
    return compare_with_held(*state, {std::move(node), std::move(block)});
  const uint64_t number = node.number;
  Arrived arrived{std::move(node), std::move(block)};
  // Straight in order is the usual case, and so is a run of which only the end is checked; anything
  // else may be noise, so it must be signed before it may wait.
  const bool next = number == (state ? state->record.held.number : 0) + 1;
  if (const auto it = waiting_.find(id); it != waiting_.end()) {
    auto& nodes = it->second.nodes;
    if (const auto same = nodes.find(number); same != nodes.end()) {
      if (same->second.node.cid == arrived.node.cid) return;
      const bool early = !PTWOP_MUTANT(early_node_stays) &&
                         same->second.node.time_ms() > world_.wall_ms() + limits::kFutureMs;
      if (!early && verify(same->second)) return;
      drop(id, number);  // a forgery sat in its place, or a branch that may wait for years
    }
  }
  const auto it = waiting_.find(id);
  const auto before = it == waiting_.end() ? std::map<uint64_t, Arrived>::iterator{}
                                           : it->second.nodes.find(number - 1);
  const bool chained = it != waiting_.end() && before != it->second.nodes.end() &&
                       before->second.node.cid == arrived.node.prev;
  if (!next) {
    if (state && state->record.cut) return;  // what is missing before it is not asked for any more
    if (!chained && !verify(arrived)) return world_.refuse("forged");
    events_.claims.push_back({id, {number - 1, 0}});
  }
  if (!room_for(id, arrived, state != nullptr)) {
    ++world_.stats.refused["queue_full"];  // no fault of the sender's, so it is not charged for it
    return;
  }
  let_wait(id, std::move(arrived));
  drain(id, membership);
}

void Lists::let_wait(const list::ListId& id, Arrived arrived) {
  Waiting& waiting = waiting_[id];
  if (waiting.nodes.empty()) waiting.since_ms = world_.now_ms();
  waiting.bytes += arrived.block.size();
  waiting_bytes_ += arrived.block.size();
  ++waiting_count_;
  const uint64_t number = arrived.node.number;
  waiting.nodes.emplace(number, std::move(arrived));
}

void Lists::offer_run(const list::ListId& id, std::vector<Arrived> run,
                      const access::Membership& membership) {
  const ListState* state = find(id);
  const uint64_t held = state ? state->record.held.number : 0;
  if ((state && state->record.cut) || run.front().node.number > held + 1) return;
  const uint64_t first = run.front().node.number, last = run.back().node.number;
  for (Arrived& arrived : run) {
    const uint64_t number = arrived.node.number;
    if (number <= held) {
      if (state) compare_with_held(*find(id), std::move(arrived));
      continue;
    }
    drop(id, number);
    let_wait(id, std::move(arrived));
  }
  drain(id, membership);
  // Far more than may wait may be left of it.
  for (uint64_t number = first; number <= last && waiting_.contains(id); ++number) drop(id, number);
}

bool Lists::awaits_grant(const list::Node& first, const access::Membership& membership) const {
  if (first.number != 1 || lists_.contains(first.id)) return false;
  const auto granting = first.grant ? lists_.find(first.grant->list) : lists_.end();
  const auto admitted = membership.admits(
      first, granting == lists_.end() ? list::Position{} : granting->second.record.applied);
  return !admitted && admitted.error().code == Code::no_manifest;
}

// We wrote this, somewhere else, and it is cut off. If we hold it as well it is known already.
void Lists::take_stray(Arrived arrived) {
  const auto held =
      world_.txn.get(Table::nodes, node_key(channel_, arrived.node.id, arrived.node.number));
  if (held && *held && **held == arrived.block) return;
  if (!verify(arrived) && !PTWOP_MUTANT(strays_unsigned)) return world_.refuse("forged");
  events_.strays.push_back(std::move(arrived.node));
}

void Lists::admit(const list::ListId& id, bool admitted) {
  ListState& state = lists_.at(id);
  if (std::exchange(state.admitted, admitted) == admitted) return;
  if (admitted && PTWOP_MUTANT(cut_grant_never_again)) return;
  (admitted ? unapplied_ : events_.cut).insert(id);
}

bool Lists::verify(Arrived& arrived) {
  if (!arrived.verified) arrived.verified = signature_ok(arrived.node);
  return arrived.verified;
}

// The lower a number, the sooner it is needed: what waits with higher ones makes room.
bool Lists::room_for(const list::ListId& id, const Arrived& arrived, bool known) {
  if (!known && !waiting_.contains(id)) forget_oldest_unknown();
  for (auto it = waiting_.find(id); it != waiting_.end(); it = waiting_.find(id)) {
    const auto& [nodes, waiting_bytes, since_ms] = it->second;
    const size_t bytes = waiting_bytes + arrived.block.size();
    const bool room = known
                          ? nodes.size() < kWaitingPerListMax && bytes <= kWaitingPerListBytesMax &&
                                waiting_bytes_ < kWaitingBytesMax
                          : bytes <= kUnknownListBytesMax;
    if (room) return true;
    const uint64_t last = nodes.rbegin()->first;
    if (last < arrived.node.number) return false;
    drop(id, last);
  }
  return true;
}

// Makes room for one more list of which nothing is held.
void Lists::forget_oldest_unknown() {
  size_t count = 0;
  const list::ListId* oldest = nullptr;
  uint64_t since = UINT64_MAX;
  for (const auto& [id, waiting] : waiting_) {
    if (lists_.contains(id)) continue;
    ++count;
    if (waiting.since_ms < since) {
      since = waiting.since_ms;
      oldest = &id;
    }
  }
  if (count >= kUnknownListsMax && !PTWOP_MUTANT(hoard_unknown)) drop_all(list::ListId(*oldest));
}

void Lists::drop(const list::ListId& id, uint64_t number) {
  const auto it = waiting_.find(id);
  if (it == waiting_.end()) return;
  const auto node = it->second.nodes.find(number);
  if (node == it->second.nodes.end()) return;
  const size_t size = node->second.block.size();
  it->second.bytes -= size;
  waiting_bytes_ -= size;
  --waiting_count_;
  it->second.nodes.erase(node);
  if (it->second.nodes.empty()) waiting_.erase(it);
}

void Lists::drop_all(const list::ListId& id) {
  const auto it = waiting_.find(id);
  if (it == waiting_.end()) return;
  waiting_bytes_ -= it->second.bytes;
  waiting_count_ -= it->second.nodes.size();
  waiting_.erase(it);
}

void Lists::retry(const access::Membership& membership) {
  std::vector<list::ListId> ids;
  for (const auto& [id, waiting] : waiting_) ids.push_back(id);
  const uint64_t now = world_.now_ms();
  for (const auto& id : ids) {
    if (!lists_.contains(id) && now - waiting_.at(id).since_ms > kUnknownKeptMs)
      drop_all(id);
    else
      drain(id, membership);
  }
}

// A list is remembered only after its first node was checked against a grant.
bool Lists::open_list(const list::ListId& id, const access::Membership& membership) {
  const auto waiting = waiting_.find(id);
  const auto first = waiting->second.nodes.find(1);
  if (first == waiting->second.nodes.end()) return false;
  const list::Node& node = first->second.node;
  if (PTWOP_MUTANT(skip_grant)) return true;
  if (node.list.control && !membership.is_admin(node.list.writer)) {
    world_.refuse("stranger");
    drop_all(id);
    return false;
  }
  const ListState* granting = node.grant ? find(node.grant->list) : nullptr;
  const auto admitted =
      membership.admits(node, granting ? granting->record.applied : list::Position{});
  if (!admitted && admitted.error().code == Code::no_manifest) {
    if (!verify(first->second)) {
      world_.refuse("forged");
      drop_all(id);
    } else {
      events_.claims.push_back(*node.grant);
    }
    return false;
  }
  if (!admitted) {
    world_.refuse("stranger");
    drop_all(id);
    return false;
  }
  return true;
}

void Lists::drain(const list::ListId& id, const access::Membership& membership) {
  while (drain_run(id, membership)) {
  }
}

// Holds the next run of what waits; false when there is none.
bool Lists::drain_run(const list::ListId& id, const access::Membership& membership) {
  const auto it = waiting_.find(id);
  if (it == waiting_.end()) return false;
  ListState* state = find(id);
  if (!state && !open_list(id, membership)) return false;
  const ListRecord before = state ? state->record : ListRecord{};
  auto& nodes = it->second.nodes;
  while (!nodes.empty() && nodes.begin()->first <= before.held.number)
    drop(id, nodes.begin()->first);
  if (!waiting_.contains(id)) return false;

  // The run that follows what is held, linked by hashes: one signature at its end covers all of it.
  const uint64_t latest_ms = world_.wall_ms() + limits::kFutureMs;
  std::vector<Arrived*> run;
  ipld::Cid prev = before.head;
  uint64_t time = before.time;
  for (auto n = nodes.find(before.held.number + 1); n != nodes.end(); ++n) {
    const list::Node& node = n->second.node;
    if (node.number != before.held.number + 1 + run.size()) break;
    if (node.time_ms() > latest_ms && !PTWOP_MUTANT(skip_future)) {
      if (verify(n->second)) break;  // it waits for its time
      world_.refuse("forged");
      drop(id, node.number);
      break;
    }
    if ((node.prev != prev && !PTWOP_MUTANT(skip_prev)) ||
        (node.time <= time && !PTWOP_MUTANT(skip_time))) {
      const bool genuine = verify(n->second);
      world_.refuse(!genuine ? "forged" : node.prev != prev ? "branch" : "time");
      if (genuine && node.prev != prev && run.empty() && !PTWOP_MUTANT(branch_not_asked))
        events_.branches.push_back({id, before.held});
      drop(id, node.number);
      break;
    }
    run.push_back(&n->second);
    prev = node.cid;
    time = node.time;
  }
  for (int tries = kSignatureTriesMax; !run.empty() && !verify(*run.back());) {
    world_.refuse("forged");
    const uint64_t number = run.back()->node.number;
    run.pop_back();
    drop(id, number);
    if (--tries > 0) continue;
    // Much noise behind what may be good: go on from the last one that is known to be, or try the
    // first.
    while (run.size() > 1 && !run.back()->verified) run.pop_back();
    tries = 1;
  }
  if (run.empty()) return false;
  if (!state) {
    state = &lists_[id];
    state->record.name = run.front()->node.list;
  }
  std::vector<Arrived> accepted;
  for (Arrived* arrived : run) accepted.push_back(*arrived);
  for (const Arrived& arrived : accepted) drop(id, arrived.node.number);
  for (Arrived& arrived : accepted) {
    ++world_.stats.nodes_received;
    events_.came.insert(id);
    if (!PTWOP_MUTANT(promise_unsynced)) world_.must_keep = true;
    hold(*state, std::move(arrived));
  }
  return true;
}

// It says it stands where we hold a node already: the same one again, or a fork.
void Lists::compare_with_held(ListState& state, Arrived arrived) {
  const list::Node& node = arrived.node;
  if (node.number == state.record.held.number && node.cid == state.record.head) return;
  const auto held = world_.txn.get(Table::nodes, node_key(channel_, node.id, node.number));
  if (!held || !*held) return;
  if (ipld::Cid::of(**held) == node.cid) return;
  if (!signature_ok(node) && !PTWOP_MUTANT(fork_unsigned)) return world_.refuse("forged");
  fork(state, arrived);
}

void Lists::fork(ListState& state, const Arrived& other) {
  const list::Node& node = other.node;
  ListRecord& record = state.record;
  if (record.cut && (record.cut <= node.number || PTWOP_MUTANT(first_fork_stays))) return;
  if (PTWOP_MUTANT(ignore_fork)) return;
  record.cut = node.number;
  drop_all(node.id);
  dirty_.insert(node.id);
  sync::Held& held_here = holdings_[node.id];
  held_here.cut = record.cut;
  if (held_here.root_number >= record.cut) held_here.root_number = 0, held_here.root = {};
  to_pack_.insert(node.id);
  world_.txn.put(Table::meta, meta_key('f', channel_, node.id.view()), other.block);
  if (!PTWOP_MUTANT(promise_unsynced)) world_.must_keep = true;  // others are given it as the proof
  events_.cut.insert(node.id);
  events_.grown.insert(node.id);
  if (node.list.writer == world_.me.key()) events_.strays.push_back(node);
  if (node.number == 1) return;
  const auto before = this->node(node.id, node.number - 1);
  if (before.ok() && before->cid != node.prev) events_.branches.push_back(before->at());
}

Result<list::Node> Lists::node(const list::ListId& list, uint64_t number) const {
  if (const auto it = fresh_.find({list, number}); it != fresh_.end()) return it->second;
  PTWOP_TRY(const auto block, world_.txn.get(Table::nodes, node_key(channel_, list, number)));
  if (!block) return fail(Code::corrupt, "a node that should be here is missing from the store");
  return list::decode(*block);
}

Result<std::vector<Bytes>> Lists::range(const sync::Range& range, size_t bytes_max) const {
  std::vector<Bytes> out;
  const auto held = holdings_.find(range.list);
  if (held == holdings_.end()) return out;
  size_t bytes = 0;
  PTWOP_CHECK(world_.txn.scan(Table::nodes, node_key(channel_, range.list, range.from),
                              after_prefix(node_key(channel_, range.list, range.to)), false,
                              [&](BytesView, BytesView block) {
                                out.emplace_back(block);
                                bytes += block.size();
                                return bytes < bytes_max;
                              }));
  if (const uint64_t cut = held->second.cut;
      cut && !PTWOP_MUTANT(proof_kept_back) && range.from <= cut && cut <= range.to) {
    PTWOP_TRY(const auto other,
              world_.txn.get(Table::meta, meta_key('f', channel_, range.list.view())));
    if (other) out.push_back(*other);
  }
  return out;
}

void Lists::set_applied(ListState& state, const list::ListId& id, list::Position position) {
  state.record.applied = position;
  dirty_.insert(id);
  if (position.number >= state.applicable()) unapplied_.erase(id);
}

void Lists::set_root(const list::ListId& id, uint64_t number, const ipld::Cid& root) {
  const auto it = holdings_.find(id);
  if (it == holdings_.end() ||
      (it->second.cut && number >= it->second.cut && !PTWOP_MUTANT(pack_beyond_cut)))
    return;
  it->second.root_number = number;
  it->second.root = root;
}

std::vector<ipld::Cid> Lists::roots() const {
  std::vector<ipld::Cid> out;
  for (const auto& [id, held] : holdings_)
    if (held.root) out.push_back(held.root);
  if (PTWOP_MUTANT(pin_misses_a_list) && !out.empty()) out.pop_back();
  return out;
}

std::map<list::ListId, uint64_t> Lists::take_packable(
    const std::function<bool(const list::ListId&)>& later) {
  std::map<list::ListId, uint64_t> out;
  for (const list::ListId& id : std::exchange(to_pack_, {})) {
    if (later(id)) {
      to_pack_.insert(id);
      continue;
    }
    const ListRecord& record = lists_.at(id).record;
    out[id] = record.cut && !PTWOP_MUTANT(pack_beyond_cut)
                  ? std::min(record.held.number, record.cut - 1)
                  : record.held.number;
  }
  return out;
}

void Lists::save() {
  for (const list::ListId& id : dirty_)
    world_.txn.put(Table::meta, meta_key('l', channel_, id.view()), encode(lists_.at(id).record));
  dirty_.clear();
}

}  // namespace ptwop::engine
