#include "engine/channel.h"

#include <algorithm>

#include "base/limits.h"
#include "base/log.h"
#include "ipld/dag_cbor.h"

namespace ptwop::engine {
namespace {

// Inline nodes travel at once; a node is closed before its block could grow over that.
constexpr size_t kOpsBytesTarget = limits::kInlineNodeBytesMax - (8 << 10);
constexpr size_t kAnswerBytesMax = 2 << 20;
constexpr uint64_t kRetryMs = 250;

/// The accepted nodes of a channel as the engine's turn (or the committed store) has them.
class Source : public types::NodeSource {
 public:
  using Load = std::function<Result<std::optional<Bytes>>(const list::ListId&, uint64_t)>;
  Source(Load load, std::map<ipld::Cid, access::BodyKey> keys) : load_(std::move(load)), keys_(std::move(keys)) {}

  Result<types::SourceNode> node(const list::ListId& list, uint64_t number) const override {
    PTWOP_TRY(const auto block, load_(list, number));
    if (!block) return fail(Code::corrupt, "a node that should be here is missing from the store");
    PTWOP_TRY(const list::Node node, list::decode(*block));
    types::SourceNode out{node.list.writer, node.time, {}, {}};
    for (const list::At& at : node.seen) out.seen[at.list] = at.position;
    Bytes framed = node.body;
    if (node.epoch) {
      const auto key = keys_.find(node.epoch);
      if (key == keys_.end()) return fail(Code::no_read_key, "the key of an older node is not here");
      PTWOP_TRY(framed, access::open_body(node, key->second));
    }
    PTWOP_TRY(out.ops, access::unframe_ops(framed));
    return out;
  }

 private:
  Load load_;
  std::map<ipld::Cid, access::BodyKey> keys_;
};

std::map<ipld::Cid, access::BodyKey> keys_of(const std::optional<access::Membership>& membership) {
  std::map<ipld::Cid, access::BodyKey> keys;
  if (membership)
    for (const auto& [cid, epoch] : membership->epochs())
      if (!epoch.secret.empty()) keys[cid] = access::body_key(epoch.secret);
  return keys;
}

}  // namespace

Channel::Channel(World& world, uint32_t number, ChannelRecord record)
    : world_(world),
      number_(number),
      record_(std::move(record)),
      view_(std::make_shared<ChannelView>()),
      lists_(world, number, record_.cid),
      talk_(world, record_.cid, lists_.holdings(), read_be64(world.ports.entropy.bytes(8))) {
  view_->number = number;
  view_->name = record_.name;
  view_->address = "/ptwop/" + record_.cid.text();
  view_->cid = record_.cid;
}

Result<void> Channel::load() {
  if (!record_.manifest.empty()) {
    PTWOP_TRY(auto manifest, access::read_manifest(record_.manifest));
    membership_.emplace(std::move(manifest));
  }
  PTWOP_CHECK(lists_.load());
  for (const auto& [id, state] : lists_.all()) {
    time_max_ = std::max(time_max_, state.record.time);
    if (!state.record.name.control || !membership_) continue;
    for (uint64_t number = 1; number <= state.record.applied.number; ++number) {
      PTWOP_TRY(const list::Node node, lists_.node(id, number));
      apply_control(node);
    }
  }
  show();
  return {};
}

void Channel::start(access::Manifest manifest) { membership_.emplace(std::move(manifest)); }

void Channel::save_record() { world_.txn.put(Table::meta, meta_key('c', number_), encode(record_)); }

void Channel::take_manifest(BytesView block) {
  if (membership_) return;
  if (ipld::Cid::of(block) != record_.cid) return world_.refuse("manifest");
  auto manifest = access::read_manifest(block);
  if (!manifest) return world_.refuse("manifest");
  record_.manifest = Bytes(block);
  membership_.emplace(std::move(*manifest));
  save_record();
  log::info("engine", "the manifest is here", {{"channel", view_->address}, {"type", membership_->manifest().type}});
}

void Channel::break_turn(const Error& error) {
  if (!world_.broken) world_.broken = error;
}

// --- local writes ---------------------------------------------------------------------------------------------------

list::ListName Channel::own_list(bool control) const {
  return {world_.me.key(), control ? record_.control : record_.data, control};
}

uint64_t Channel::next_time(uint64_t last) const {
  const uint64_t wall = world_.wall_ms();
  const uint64_t follow = std::min(time_max_ + 1, (wall + limits::kOwnLeadMs) << 16);
  return std::max({last + 1, wall << 16, follow});
}

// The newest first, as far as they fit.
std::vector<list::At> Channel::seen_by(const list::ListId& own) const {
  std::vector<std::pair<uint64_t, list::At>> all;
  for (const auto& [id, state] : lists_.all())
    if (id != own && state.record.applied.number > 0) all.push_back({state.record.time, {id, state.record.applied}});
  const size_t count = std::min(all.size(), limits::kSeenMax);
  std::partial_sort(all.begin(), all.begin() + static_cast<ptrdiff_t>(count), all.end(),
                    [](const auto& a, const auto& b) { return a > b; });
  std::vector<list::At> seen;
  for (size_t i = 0; i < count; ++i) seen.push_back(all[i].second);
  return seen;
}

list::Node Channel::next_node(const list::ListName& name) const {
  list::Node node;
  node.channel = record_.cid;
  node.list = name;
  node.id = list::list_id(record_.cid, name);
  const auto& lists = lists_.all();
  const auto it = lists.find(node.id);
  const ListRecord last = it == lists.end() ? ListRecord{} : it->second.record;
  node.number = last.held.number + 1;
  node.prev = last.head;
  node.time = next_time(last.time);
  node.seen = seen_by(node.id);
  return node;
}

void Channel::open_node() {
  if (open_) return;
  list::ListName name = own_list(false);
  const ListState* state = lists_.find(list::list_id(record_.cid, name));
  // Never continue a list that was cut, or whose tail is elsewhere (an old copy of the data folder): a new one.
  if (own_stale_ || (state && (state->record.cut || state->record.applied.number < state->record.held.number))) {
    world_.ports.entropy.fill(record_.data.raw.data(), list::Incarnation::kSize);
    save_record();
    own_stale_ = false;
    name = own_list(false);
  }
  open_.emplace();
  open_->node = next_node(name);
  if (open_->node.number == 1 && !membership_->is_admin(world_.me.key()))
    if (const access::Grant* grant = membership_->write_grant(world_.me.key())) open_->node.grant = grant->at;
  if (!membership_->manifest().is_public) {
    open_->node.epoch = membership_->current_epoch()->cid;
    open_->node.nonce = world_.ports.entropy.bytes(access::kNonceBytes);
  }
}

void Channel::finish_node(list::Node& node, const std::vector<Bytes>& ops, bool one_client) {
  node.body = access::frame_ops(ops, one_client);
  if (node.epoch) node.body = access::seal_body(node, node.body, access::body_key(membership_->epoch(node.epoch)->secret));
  node.signature = world_.me.sign("node", list::encode_unsigned(node));
  const Bytes block = list::encode(node);
  node.cid = ipld::Cid::of(block);
  time_max_ = std::max(time_max_, node.time);
  lists_.append_own(node, block);
  world_.txn.put(Table::outbox, node_key(number_, node.id, node.number), {});
  ++world_.outbox;
  ++world_.stats.nodes_written;
  world_.must_sync = true;
  if (block.size() <= limits::kInlineNodeBytesMax) fresh_.push_back(block);
}

void Channel::close_node() {
  if (!open_) return;
  OpenNode open = std::move(*open_);
  open_.reset();
  finish_node(open.node, open.ops, open.pending.size() == 1);
  const std::string at = open.node.at().token();
  for (Pending& pending : open.pending) {
    const Written written{at, pending.result};
    if (!pending.request.empty())
      world_.txn.put(Table::meta, pending.request, encode(RequestRecord{world_.wall_ms(), written}));
    for (auto& done : pending.done) world_.reply<Written>(std::move(done), written);
  }
}

// True if this request was carried out before, or is being carried out in this turn.
bool Channel::replay(const std::string& key, Done<Written>& done) {
  if (open_)
    for (Pending& pending : open_->pending)
      if (pending.request == key) {
        pending.done.push_back(std::move(done));
        return true;
      }
  const auto stored = world_.txn.get(Table::meta, key);
  if (!stored || !*stored) return false;
  const auto record = decode_request(**stored);
  if (!record || record->wall_ms + limits::kRequestKeptMs < world_.wall_ms()) return false;
  world_.reply<Written>(std::move(done), record->written);
  return true;
}

void Channel::write(const types::Type& type, const std::vector<Bytes>& ops, const std::string& request, Done<Written> done) {
  std::string request_key;
  if (!request.empty()) {
    request_key = meta_key('r', number_, BytesView(ipld::sha256(request)).substr(0, 16));
    if (replay(request_key, done)) return;
  }
  const auto refuse = [&](const Error& error) { world_.reply<Written>(std::move(done), error); };
  size_t bytes = 0;
  for (const Bytes& op : ops) {
    if (const auto ok = type.check(op); !ok) return refuse(ok.error());
    bytes += op.size();
  }
  if (bytes > limits::kBatchBytesMax) return refuse(fail(Code::too_large, "a write of more than 940 KiB: split it"));
  ChannelState state(world_.txn, number_);
  if (ops.size() == 1)
    if (const auto ok = type.admit(state, ops[0]); !ok) return refuse(ok.error());
  if (open_ && open_->bytes + bytes > kOpsBytesTarget) close_node();
  open_node();
  Pending pending;
  pending.request = std::move(request_key);
  for (const Bytes& op : ops) {
    const types::OpContext at{{open_->node.time, open_->node.id, open_->node.number, static_cast<uint32_t>(open_->ops.size())},
                              world_.me.key()};
    if (const auto ok = type.apply(state, at, op); !ok) break_turn(ok.error());
    if (&op == &ops.front()) {
      auto result = type.result(state, at, op);
      if (result) pending.result = std::move(*result);
      else break_turn(result.error());
    }
    open_->ops.push_back(op);
  }
  open_->bytes += bytes;
  pending.done.push_back(std::move(done));
  open_->pending.push_back(std::move(pending));
  ++world_.stats.writes;
}

Result<list::At> Channel::write_control(const std::vector<Bytes>& ops) {
  close_node();
  const ListState* state = lists_.find(list::list_id(record_.cid, own_list(true)));
  if (state && (state->record.cut || state->record.applied.number < state->record.held.number)) {
    world_.ports.entropy.fill(record_.control.raw.data(), list::Incarnation::kSize);
    save_record();
  }
  list::Node node = next_node(own_list(true));
  finish_node(node, ops, true);
  apply_control(node);
  return node.at();
}

// --- what comes in ---------------------------------------------------------------------------------------------------

void Channel::on_message(std::string_view from, BytesView bytes) {
  auto message = talk_.receive(from, bytes);
  if (!message) return;
  const uint64_t now = world_.now_ms();
  sync::Replicator& replicator = talk_.replicator();
  if (auto* nodes = std::get_if<sync::Nodes>(&message->body)) {
    if (!nodes->manifest.empty()) take_manifest(nodes->manifest);
    for (const sync::LargeNode& large : nodes->large) {
      const ListState* state = lists_.find(large.list);
      if ((!state || state->record.held.number < large.number) && talk_.fetch(large.cid)) world_.ports.blocks.get(large.cid);
    }
    if (membership_) take_nodes(std::move(nodes->nodes));
    std::vector<list::At> there;
    for (const auto& id : arrived_) {
      const auto it = lists_.holdings().find(id);
      if (it != lists_.holdings().end()) there.push_back({id, it->second.position});
    }
    arrived_.clear();
    replicator.on_nodes(message->sender, there, nodes->last, now);
  } else if (auto* clock = std::get_if<sync::ClockMessage>(&message->body)) {
    for (const sync::ClockEntry& entry : clock->entries) note_own(entry.at.list, entry.at.position.number);
    const bool member = membership_ && membership_->role(message->sender) != access::Role::none;
    replicator.on_clock(*message, member, now, world_.wall_ms());
  } else if (auto* want = std::get_if<sync::Want>(&message->body)) {
    if (want->to == world_.me.key() && (want->to_boot == 0 || want->to_boot == world_.boot)) serve(*want);
  }
}

// Somebody holds more of our own list than we do: this folder is an older copy. Its list must not be continued.
void Channel::note_own(const list::ListId& id, uint64_t number) {
  if (id != list::list_id(record_.cid, own_list(false))) return;
  const ListState* state = lists_.find(id);
  const uint64_t here = (state ? state->record.held.number : 0) + (open_ ? 1 : 0);
  if (number > here) own_stale_ = true;
}

void Channel::serve(const sync::Want& want) {
  std::vector<Bytes> blocks;
  std::vector<Block> large;
  std::vector<sync::LargeNode> names;
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
      names.push_back({node->id, node->number, node->cid});
      large.push_back({node->cid, std::move(block)});
    }
    if (bytes >= kAnswerBytesMax) break;
  }
  if (!large.empty()) world_.put_large(number_, std::move(large), names);
  talk_.answer(std::move(blocks), {}, want.manifest && membership_ ? record_.manifest : Bytes{});
}

void Channel::take_nodes(std::vector<Bytes> blocks) {
  for (Bytes& block : blocks) take_node(std::move(block));
}

void Channel::take_node(Bytes block) {
  auto node = list::decode(block);
  if (!node) return world_.refuse(node.error().code == Code::too_large ? "oversized" : "not_canonical");
  note_own(node->id, node->number);
  if (open_ && node->id == open_->node.id && node->number >= open_->node.number) return world_.refuse("own_list");
  arrived_.insert(node->id);
  lists_.offer(std::move(*node), std::move(block), *membership_);
}

void Channel::on_block(const ipld::Cid& cid, Result<Bytes> block) {
  talk_.fetched(cid);
  if (!block || ipld::Cid::of(*block) != cid) return;
  if (cid == record_.cid) take_manifest(*block);
  else if (membership_) take_node(std::move(*block));
}

void Channel::on_stored(const std::vector<sync::LargeNode>& large) {
  for (const sync::LargeNode& node : large) talk_.announce(node);
}

// --- held nodes become state -----------------------------------------------------------------------------------------

void Channel::follow_events() {
  const uint64_t now = world_.now_ms();
  sync::Replicator& replicator = talk_.replicator();
  Lists::Events events = lists_.take_events();
  for (const list::ListId& id : events.cut)
    if (ListState* state = lists_.find(id)) undo_from(id, *state);
  for (const list::ListId& id : events.grown) {
    const ListState* state = lists_.find(id);
    time_max_ = std::max(time_max_, state->record.time);
    replicator.on_held(id, state->record.name.writer == world_.me.key(), now);
  }
  for (const list::At& at : events.claims) replicator.on_claim(at, now);
  for (const list::At& at : events.branches) replicator.on_branch(at, now);
}

void Channel::settle() {
  close_node();
  if (membership_) {
    apply_all();
    if (membership_changed_ || world_.now_ms() >= retry_at_ms_) {
      retry_at_ms_ = world_.now_ms() + kRetryMs;
      membership_changed_ = false;
      if (lists_.waiting() > 0) {
        lists_.retry(*membership_);
        apply_all();
      }
    }
  }
  lists_.save();
}

void Channel::apply_all() {
  bool progress = true;
  while (progress && !world_.broken) {
    follow_events();
    progress = false;
    const std::set<list::ListId> ids = lists_.unapplied();
    for (const list::ListId& id : ids) {
      ListState* state = lists_.find(id);
      while (state->record.applied.number < state->applicable() && apply_next(id, *state)) progress = true;
      if (state->record.applied.number >= state->applicable()) lists_.unapplied().erase(id);
    }
  }
}

bool Channel::seen_met(const list::Node& node, ListState& state) {
  bool met = true;
  for (const list::At& at : node.seen) {
    const ListState* other = lists_.find(at.list);
    if (other && (other->record.applied.number >= at.position.number ||
                  (other->record.cut && at.position.number >= other->record.cut)))
      continue;
    met = false;
    talk_.replicator().on_claim(at, world_.now_ms());
  }
  if (met) return true;
  const uint64_t now = world_.now_ms();
  if (state.blocked_since_ms == 0) state.blocked_since_ms = now;
  return now - state.blocked_since_ms >= limits::kSeenWaitMs;
}

bool Channel::apply_next(const list::ListId& id, ListState& state) {
  const auto node = lists_.node(id, state.record.applied.number + 1);
  if (!node) {
    break_turn(node.error());
    return false;
  }
  if (node->list.control) {
    apply_control(*node);
  } else {
    const types::Type* type = types::find_type(membership_->manifest().type);
    std::vector<Bytes> ops;
    if (!type || open_ops(*node, ops) == Opened::no_key || !seen_met(*node, state)) return false;
    for (const Bytes& op : ops)
      if (!type->check(op)) {
        world_.refuse("void");
        ops.clear();
        break;
      }
    ChannelState channel_state(world_.txn, number_);
    for (uint32_t index = 0; index < ops.size(); ++index)
      if (const auto ok = type->apply(channel_state, {{node->time, id, node->number, index}, node->list.writer}, ops[index]); !ok) {
        break_turn(ok.error());
        return false;
      }
  }
  lists_.set_applied(state, id, node->position());
  return true;
}

Channel::Opened Channel::open_ops(const list::Node& node, std::vector<Bytes>& ops) const {
  Bytes framed = node.body;
  if (static_cast<bool>(node.epoch) == membership_->manifest().is_public) {
    world_.refuse("void");
    return Opened::empty;
  }
  if (node.epoch) {
    const access::Epoch* epoch = membership_->epoch(node.epoch);
    if (!epoch || epoch->secret.empty()) return Opened::no_key;
    auto opened = access::open_body(node, access::body_key(epoch->secret));
    if (!opened) {
      world_.refuse("void");
      return Opened::empty;
    }
    framed = std::move(*opened);
  }
  auto unframed = access::unframe_ops(framed);
  if (!unframed) {
    world_.refuse("void");
    return Opened::empty;
  }
  ops = std::move(*unframed);
  return Opened::ops;
}

void Channel::apply_control(const list::Node& node) {
  membership_changed_ = true;
  const auto ops = access::unframe_ops(node.body);
  if (!ops || !membership_->apply(node, *ops, world_.me)) world_.refuse("void");
}

// The cut of a list fell: what was applied from there on is taken back, newest first.
void Channel::undo_from(const list::ListId& id, ListState& state) {
  const types::Type* type = types::find_type(membership_->manifest().type);
  ChannelState channel_state(world_.txn, number_);
  const auto source = make_source(true);
  while (state.record.applied.number > state.applicable() && !world_.broken) {
    const uint64_t number = state.record.applied.number;
    const auto node = lists_.node(id, number);
    if (!node) return break_turn(node.error());
    std::vector<Bytes> ops;
    if (!node->list.control && type) open_ops(*node, ops);
    if (std::any_of(ops.begin(), ops.end(), [&](const Bytes& op) { return !type->check(op); })) ops.clear();
    for (size_t i = ops.size(); i-- > 0;) {
      const types::OpContext at{{node->time, id, number, static_cast<uint32_t>(i)}, node->list.writer};
      if (const auto ok = type->undo(channel_state, at, ops[i], *source); !ok) return break_turn(ok.error());
    }
    lists_.set_applied(state, id, {number - 1, node->prev ? node->prev.tag() : 0});
  }
  log::warn("engine", "a list is forked: what its writer wrote from there on does not count",
            {{"channel", view_->address}, {"list", hex(id.view())}, {"from", state.record.cut}});
}

std::unique_ptr<types::NodeSource> Channel::make_source(bool in_turn) const {
  const uint32_t channel = number_;
  const Transaction* txn = &world_.txn;
  const StateStore* store = &world_.ports.store;
  return std::make_unique<Source>(
      [=](const list::ListId& list, uint64_t number) {
        const Bytes key = node_key(channel, list, number);
        return in_turn ? txn->get(Table::nodes, key) : store->get(Table::nodes, key);
      },
      keys_of(membership_));
}

// --- towards the outside ---------------------------------------------------------------------------------------------

void Channel::show() {
  lists_.end_turn();
  const bool readable = membership_ && membership_->readable();
  uint64_t nodes = 0;
  for (const auto& [id, state] : lists_.all())
    nodes += readable || state.record.name.control ? state.record.applied.number : state.applicable();
  view_->nodes = nodes;
  if (membership_) {
    const access::PublicKey& me = world_.me.key();
    view_->is_public = membership_->manifest().is_public;
    view_->readable = readable;
    view_->writable = readable && (membership_->is_admin(me) || membership_->write_grant(me));
    view_->type = types::find_type(membership_->manifest().type);
  }
}

void Channel::publish() {
  for (Bytes& block : fresh_) talk_.announce(std::move(block));
  fresh_.clear();
  talk_.flush(membership_.has_value());
}

bool Channel::peer_has(std::string_view peer, const list::At& at) const {
  const auto& peers = talk_.replicator().peers();
  return std::any_of(peers.begin(), peers.end(), [&](const auto& item) {
    return (peer == "any" || access::did_from(item.first) == peer) &&
           talk_.replicator().peer_number(item.first, at.list) >= at.position.number;
  });
}

Result<bool> Channel::reached(const list::At& at) const {
  const auto it = lists_.all().find(at.list);
  if (it == lists_.all().end()) return false;
  const ListRecord& record = it->second.record;
  const auto never = fail(Code::unreachable, "the position lies on a branch of a forked list that does not count");
  if (record.cut && at.position.number >= record.cut) return never;
  const bool readable = membership_ && membership_->readable();
  const uint64_t here = readable || record.name.control ? record.applied.number : record.held.number;
  if (here < at.position.number) return false;
  if (at.position.number == 0) return true;
  PTWOP_TRY(const list::Node node, lists_.node(at.list, at.position.number));
  if (node.cid.tag() != at.position.tag) return never;
  return true;
}

std::vector<list::At> Channel::clock() const {
  std::vector<list::At> out;
  for (const auto& [id, state] : lists_.all())
    if (state.record.applied.number > 0) out.push_back({id, state.record.applied});
  return out;
}

ChannelInfo Channel::info() const {
  ChannelInfo out;
  out.channel = view_;
  const bool readable = membership_ && membership_->readable();
  for (const bool control : {false, true})
    for (const auto& [id, state] : lists_.all()) {
      const ListRecord& r = state.record;
      const uint64_t count = readable || r.name.control ? r.applied.number : state.applicable();
      if (r.name.control != control || count == 0) continue;
      ipld::Cid head = r.head;
      if (count != r.held.number)
        if (const auto node = lists_.node(id, count)) head = node->cid;
      out.lists.push_back({hex(id.view()), access::did_from(r.name.writer), control, count, head.text(), r.cut ? "fork" : ""});
    }
  for (const auto& [key, peer] : talk_.replicator().peers())
    out.peers.push_back({access::did_from(key), peer.last_seen_wall_ms, peer.wall_lead_ms});
  if (membership_) out.epoch = membership_->generation();
  out.missing = talk_.replicator().missing();
  return out;
}

}  // namespace ptwop::engine
