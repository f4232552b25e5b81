#include "engine/channel.h"

#include <algorithm>

#include "base/limits.h"
#include "base/log.h"
#include "base/mutant.h"
#include "engine/lane.h"
#include "ipld/dag_cbor.h"

namespace ptwop::engine {
namespace {

constexpr uint64_t kWaitingTickMs = 250;

/// The accepted nodes of a channel as the engine's turn (or the committed store) has them.
class Source : public types::NodeSource {
 public:
  using Load = std::function<Result<std::optional<list::Node>>(const Place&)>;
  Source(Load load, std::map<ipld::Cid, access::BodyKey> keys)
      : load_(std::move(load)), keys_(std::move(keys)) {}

  Result<types::SourceNode> node(const types::OpId& id) const override {
    PTWOP_TRY(const auto found, load_(Place(id)));
    if (!found) return fail(Code::corrupt, "a node that should be here is missing from the store");
    const list::Node& node = *found;
    types::SourceNode out{node.list.writer, node.time, {}, {}};
    for (const list::At& at : node.seen) out.seen[at.list] = at.position;
    Bytes framed = node.body;
    if (node.epoch) {
      const auto key = keys_.find(node.epoch);
      if (key == keys_.end())
        return fail(Code::no_read_key, "the key of an older node is not here");
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
      again_(world, number),
      talk_(world, record_.cid, lists_.holdings(), read_be64(world.ports.entropy.bytes(8))),
      bulk_(world, record_.cid, lists_) {
  view_->number = number;
  view_->name = record_.name;
  view_->address = "/ptwop/" + record_.cid.text();
  view_->cid = record_.cid;
  for (const bool control : {false, true})
    own_[control].id = list::list_id(record_.cid, own_list(control));
}

Result<void> Channel::load() {
  if (!record_.manifest.empty()) {
    PTWOP_TRY(auto manifest, access::read_manifest(record_.manifest));
    membership_.emplace(std::move(manifest));
  }
  PTWOP_CHECK(lists_.load());
  PTWOP_CHECK(again_.load());
  for (const auto& [id, state] : lists_.all()) {
    time_max_ = std::max(time_max_, state.record.time);
    note_cut(id, state);
  }
  PTWOP_CHECK(evaluate_membership());
  show();
  return {};
}

uint64_t Channel::due_ms() const {
  if (aside_) return UINT64_MAX;
  const uint64_t now = world_.now_ms();
  const uint64_t bulk_due_ms = membership_ ? bulk_.due_ms() : UINT64_MAX;
  if (behind_) return now;
  const bool waits = lists_.waiting() > 0 ||
                     std::any_of(awaited_.begin(), awaited_.end(), [now](const auto& item) {
                       return now - item.second.since_ms < limits::kSeenWaitMs + kWaitingTickMs;
                     });
  const uint64_t soon =
      std::min(waits || repeating() ? now + kWaitingTickMs : UINT64_MAX, bulk_due_ms);
  if (!talk_.online()) return soon;
  return std::min(soon, talk_.replicator().next_tick_ms());
}

void Channel::start(access::Manifest manifest) { membership_.emplace(std::move(manifest)); }

void Channel::save_record() {
  world_.txn.put(Table::meta, meta_key('c', number_), encode(record_));
}

void Channel::take_manifest(BytesView block) {
  if (membership_) return;
  if (ipld::Cid::of(block) != record_.cid && !PTWOP_MUTANT(any_manifest))
    return world_.refuse("manifest");
  auto manifest = access::read_manifest(block);
  if (!manifest) return world_.refuse("manifest");
  record_.manifest = Bytes(block);
  membership_.emplace(std::move(*manifest));
  save_record();
  log::info("engine", "the manifest is here",
            {{"channel", view_->address}, {"type", membership_->manifest().type}});
}

void Channel::break_turn(const Error& error) {
  if (world_.broken) return;
  world_.broken = error;
  if (error.code == Code::corrupt) world_.damaged = number_;
}

// --- local writes --------------------------------------------------------------------------------

list::ListName Channel::own_list(bool control) const {
  return {world_.me.key(), control ? record_.control : record_.data, control};
}

// Below the millisecond a start has its own stamps: two copies of one folder must not stamp two
// nodes alike.
uint64_t Channel::next_time(uint64_t last) const {
  const uint64_t wall = world_.wall_ms() << 16 | world_.stamp_tail;
  const uint64_t follow = time_max_ > last ? time_max_ + world_.stamp_tail : 0;
  if (PTWOP_MUTANT(time_by_clock)) return wall;
  return std::max(
      {last + world_.stamp_tail, wall, std::min(follow, wall + (limits::kOwnLeadMs << 16))});
}

// The newest first, as far as they fit.
std::vector<list::At> Channel::seen_by(const list::ListId& own) const {
  std::vector<std::pair<uint64_t, list::At>> all;
  for (const auto& [id, state] : lists_.all())
    if (id != own && state.record.applied.number > 0 && !PTWOP_MUTANT(seen_nothing))
      all.push_back({state.record.time, {id, state.record.applied}});
  const size_t count = std::min(all.size(), limits::kSeenMax);
  std::partial_sort(all.begin(), all.begin() + static_cast<ptrdiff_t>(count), all.end(),
                    [](const auto& a, const auto& b) { return a > b; });
  std::vector<list::At> seen;
  for (size_t i = 0; i < count; ++i) seen.push_back(all[i].second);
  return seen;
}

list::Node Channel::next_node(bool control) const {
  list::Node node;
  node.channel = record_.cid;
  node.list = own_list(control);
  node.id = own_[control].id;
  const auto& lists = lists_.all();
  const auto it = lists.find(node.id);
  const ListRecord last = it == lists.end() ? ListRecord{} : it->second.record;
  node.number = last.held.number + 1;
  node.prev = last.head;
  node.time = next_time(last.time);
  node.seen = seen_by(node.id);
  return node;
}

// A new list: the old one ends where it is.
void Channel::renew_own(bool control) {
  list::Incarnation& incarnation = control ? record_.control : record_.data;
  world_.ports.entropy.fill(incarnation.raw.data(), list::Incarnation::kSize);
  own_[control] = {list::list_id(record_.cid, own_list(control)), true};
  save_record();
}

void Channel::begin_anew() {
  for (const bool control : {false, true}) renew_own(control);
}

// Never continue a list that was cut, whose tail is elsewhere (this folder is an older copy), or
// whose stamps lie so far ahead (the clock was wrong once) that others would let every new node
// wait.
void Channel::check_own(bool control) {
  const Own& own = own_[control];
  const ListState* state = lists_.find(own.id);
  if (lists_.waits(own.id) || again_.any(own.id)) return renew_own(control);
  if (!state || PTWOP_MUTANT(continue_cut_list)) return;
  const ListRecord& record = state->record;
  if (record.cut || record.applied.number < record.held.number ||
      (record.time >> 16) > world_.wall_ms() + limits::kFutureMs)
    renew_own(control);
}

void Channel::open_node() {
  if (open_) return;
  check_own(false);
  open_ = OpenNode{};
  open_->node = next_node(false);
  if (open_->node.number == 1 && !membership_->is_admin(world_.me.key()))
    if (const access::Grant* grant = membership_->write_grant(world_.me.key()))
      open_->node.grant = grant->at;
  if (!membership_->manifest().is_public) {
    open_->node.epoch = membership_->current_epoch()->cid;
    open_->node.nonce = world_.ports.entropy.bytes(access::kNonceBytes);
  }
}

void Channel::finish_node(list::Node& node, const std::vector<Bytes>& ops, bool one_client) {
  node.body = access::frame_ops(ops, one_client);
  if (node.epoch)
    node.body = access::seal_body(node, node.body,
                                  access::body_key(membership_->epoch(node.epoch)->secret));
  node.signature = world_.me.sign("node", list::encode_unsigned(node));
  const Bytes block = list::encode(node);
  node.cid = ipld::Cid::of(block);
  time_max_ = std::max(time_max_, node.time);
  if (PTWOP_MUTANT(begun_by_first_node) && node.number == 1) own_[node.list.control].begun = true;
  lists_.append_own(node, block);
  forget_awaited(node.id, lists_.find(node.id)->record);
  ++world_.stats.nodes_written;
  world_.must_sync = true;
  if (block.size() <= limits::kInlineNodeBytesMax)
    fresh_.push_back(block);
  else
    world_.put_large(number_, {{node.cid, block}}, {{node.id, node.number, node.cid}});
}

void Channel::close_node() {
  if (!open_) return;
  OpenNode open = std::move(*open_);
  open_.reset();
  finish_node(open.node, open.ops, open.pending.size() == 1);
  std::string at = open.node.at().token();
  for (const Pending& pending : open.pending)
    if (!pending.request.empty() && !PTWOP_MUTANT(forget_requests))
      world_.txn.put(Table::meta, pending.request,
                     encode(RequestRecord{world_.wall_ms(), {at, pending.result}}));
  world_.replies.push_back(
      [at = std::move(at), all = std::move(open.pending)](const Error* failed) {
        for (const Pending& pending : all) {
          const Result<Written> outcome =
              failed ? Result<Written>(*failed) : Written{at, pending.result};
          pending.done(outcome);
          for (const auto& done : pending.again) done(outcome);
        }
      });
}

// True if this request was carried out before, or is being carried out in this turn.
bool Channel::replay(const std::string& key, Done<Written>& done) {
  if (open_)
    for (Pending& pending : open_->pending)
      if (pending.request == key) {
        pending.again.push_back(std::move(done));
        return true;
      }
  const auto stored = world_.txn.get(Table::meta, key);
  if (!stored) break_turn(stored.error());
  if (!stored || !*stored) return false;
  const auto record = decode_request(**stored);
  if (!record)
    break_turn(
        record.error());  // whether it was carried out is not known: it must not be done again
  if (!record || record->wall_ms + limits::kRequestKeptMs < world_.wall_ms()) return false;
  world_.reply<Written>(std::move(done), record->written);
  return true;
}

void Channel::write(const types::Type& type, std::vector<Bytes> ops, const std::string& request,
                    Done<Written> done, const Engine::Admit& admit) {
  std::string request_key;
  if (!request.empty()) {
    request_key = meta_key('r', number_, BytesView(ipld::sha256(request)).substr(0, 16));
    if (replay(request_key, done)) return;
  }
  const auto refuse = [&](const Error& error) { world_.reply<Written>(std::move(done), error); };
  ChannelState state(world_.txn, number_);
  if (admit)
    if (const auto ok = admit(state); !ok) return refuse(ok.error());
  size_t bytes = 0;
  for (const Bytes& op : ops) {
    if (const auto ok = type.check(op); !ok) return refuse(ok.error());
    bytes += op.size();
  }
  if (bytes > limits::kBatchBytesMax)
    return refuse(fail(Code::too_large, "a write of more than 940 KiB: split it"));
  if (!admit && ops.size() == 1)
    if (const auto ok = type.admit(state, ops[0]); !ok) return refuse(ok.error());
  if (open_ && open_->bytes + bytes > kOpsBytesTarget) close_node();
  open_node();
  Pending pending;
  pending.request = std::move(request_key);
  for (Bytes& op : ops) {
    const types::OpContext at{{open_->node.time, open_->node.id, open_->node.number,
                               static_cast<uint32_t>(open_->ops.size())},
                              world_.me.key()};
    if (const auto ok = type.apply(state, at, op); !ok) break_turn(ok.error());
    if (&op == &ops.front()) {
      auto result = type.result(state, at, op);
      if (result)
        pending.result = std::move(*result);
      else
        break_turn(result.error());
    }
    open_->ops.push_back(std::move(op));
  }
  open_->bytes += bytes;
  pending.done = std::move(done);
  open_->pending.push_back(std::move(pending));
  ++world_.stats.writes;
}

Result<list::At> Channel::write_control(const std::vector<Bytes>& ops) {
  close_node();
  check_own(true);
  list::Node node = next_node(true);
  finish_node(node, ops, true);
  if (access::is_again(ops))
    apply_again(node, ops);
  else
    apply_ops(node, ops);
  refresh_membership();
  return node.at();
}

std::unique_ptr<types::NodeSource> Channel::make_source(bool in_turn) const {
  Source::Load load = [this](const Place& place) -> Result<std::optional<list::Node>> {
    if (undoing_ && place == Place(*undoing_)) return std::optional(*undoing_);
    return counted(place);
  };
  // Readers have the store alone, and may be on another thread.
  if (!in_turn)
    load = [channel = number_,
            store = &world_.ports.store](const Place& place) -> Result<std::optional<list::Node>> {
      PTWOP_TRY(const auto record,
                store->get(Table::meta, meta_key('l', channel, place.list.view())));
      PTWOP_TRY(const auto block,
                store->get(Table::nodes, node_key(channel, place.list, place.number)));
      if (record && block) {
        PTWOP_TRY(const ListRecord list, decode_list(*record));
        PTWOP_TRY(list::Node node, list::decode(*block));
        if (list.applied.number >= place.number && node.time == place.time)
          return std::optional(std::move(node));
      }
      if (PTWOP_MUTANT(readers_miss_again)) return std::optional<list::Node>();
      return Again::at(*store, channel, place);
    };
  return std::make_unique<Source>(std::move(load), keys_of(membership_));
}

// --- towards the outside -------------------------------------------------------------------------

void Channel::show() {
  lists_.end_turn();
  const bool readable = membership_ && membership_->readable();
  uint64_t nodes = 0;
  for (const auto& [id, state] : lists_.all())
    nodes +=
        readable || state.record.name.control ? state.record.applied.number : state.applicable();
  view_->nodes = nodes;
  if (membership_) {
    const access::PublicKey& me = world_.me.key();
    view_->is_public = membership_->manifest().is_public;
    view_->readable = readable;
    view_->writable = readable && !aside_ && membership_->may_write(me);
    view_->type = types::find_type(membership_->manifest().type);
  }
}

void Channel::publish() {
  for (Bytes& block : fresh_) talk_.announce(std::move(block));
  fresh_.clear();
  talk_.flush(membership_.has_value());
}

bool Channel::peer_has(std::string_view peer, const list::At& at) const {
  std::vector<list::At> places{at};
  // Beyond a cut a number may stand for another branch: a peer has the node if it has one that
  // writes it again.
  if (const auto it = lists_.all().find(at.list); it != lists_.all().end() &&
                                                  it->second.record.cut &&
                                                  at.position.number >= it->second.record.cut) {
    auto writers = again_.writers(at);
    places = writers ? std::move(*writers) : std::vector<list::At>{};
  }
  const auto& peers = talk_.replicator().peers();
  const bool is_public = membership_ && membership_->manifest().is_public;
  return std::any_of(peers.begin(), peers.end(), [&](const auto& item) {
    const bool counts =
        peer == "any" ? is_public || item.second.member : access::did_from(item.first) == peer;
    return counts && std::any_of(places.begin(), places.end(), [&](const list::At& place) {
             return talk_.replicator().peer_has(item.first, place);
           });
  });
}

Result<bool> Channel::reached(const list::At& at) const {
  const auto it = lists_.all().find(at.list);
  if (it == lists_.all().end()) return false;
  const ListRecord& record = it->second.record;
  const auto never =
      fail(Code::unreachable, "the position lies on a branch of a forked list that does not count");
  if (record.cut && at.position.number >= record.cut) {
    PTWOP_TRY(const bool counts, again_.has(at));
    if (counts || PTWOP_MUTANT(cut_is_reached)) return true;
    return never;
  }
  const bool readable = membership_ && membership_->readable();
  const uint64_t here =
      readable || record.name.control ? record.applied.number : record.held.number;
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

void Channel::add_to(EngineStats& stats) const {
  const sync::Replicator& replicator = talk_.replicator();
  stats.waiting_nodes += lists_.waiting();
  stats.waiting_lists += lists_.waiting_lists();
  stats.outgoing += talk_.queued();
  stats.answers += talk_.answers();
  stats.awaited += awaited_.size();
  stats.strays += strays_.size();
  stats.fetching += talk_.fetching();
  stats.bulk_jobs += bulk_.jobs();
  stats.accounts += talk_.accounts();
  stats.wanted += replicator.wanted();
  stats.peers += replicator.peers().size();
  for (const auto& [key, peer] : replicator.peers())
    stats.told = std::max<uint64_t>(stats.told, peer.clock.size());
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
      const ipld::Cid& root = lists_.holdings().at(id).root;
      out.lists.push_back({hex(id.view()), access::did_from(r.name.writer), control, count,
                           head.text(), r.cut ? "fork" : "", root ? root.text() : ""});
    }
  for (const auto& [key, peer] : talk_.replicator().peers())
    out.peers.push_back({access::did_from(key), peer.last_seen_wall_ms, peer.wall_lead_ms,
                         world_.lane->reaches(key, record_.cid)});
  if (membership_) out.epoch = membership_->generation();
  out.missing = talk_.replicator().missing();
  const sync::Holdings& holdings = lists_.holdings();
  if (const auto own = holdings.find(own_[false].id); own != holdings.end() && own->second.root)
    out.root = own->second.root.text();
  if (aside_) out.damaged = aside_->message;
  return out;
}

}  // namespace ptwop::engine
