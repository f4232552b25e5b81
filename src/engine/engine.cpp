#include "engine/engine.h"

#include <algorithm>

#include "base/limits.h"
#include "base/log.h"
#include "engine/channel.h"
#include "engine/outbox.h"
#include "engine/pins.h"
#include "engine/records.h"
#include "engine/world.h"

namespace ptwop::engine {
namespace {

constexpr std::string_view kAddressPrefix = "/ptwop/";
constexpr uint64_t kManifestRetryMs = 10'000;
constexpr uint64_t kRequestSweepMs = 60'000;
constexpr size_t kRequestSweepMax = 10'000;
constexpr uint64_t kRefusalsLogMs = 60'000;
constexpr uint64_t kAskMs = 500;
constexpr uint64_t kIdleTickMs = 1'000;
constexpr uint64_t kWaitingTickMs = 250;

Error no_channel(std::string_view name) {
  return fail(Code::no_channel, fmt::format("no channel is named '{}' here: see channel.list, or join it by its address", name));
}
Error no_manifest() {
  return fail(Code::no_manifest, "the channel's manifest is not here yet: it comes from another replica or from Kubo; try again");
}

bool valid_name(std::string_view name) {
  return !name.empty() && name.size() <= limits::kNameBytesMax && name[0] != '/' && valid_utf8(name) &&
         std::none_of(name.begin(), name.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; }) &&
         name.find("\xc2\x80") == std::string_view::npos;
}

}  // namespace

struct Engine::Impl {
  struct Waiter {
    uint32_t channel = 0;
    std::vector<list::At> tokens;
    std::string peer;
    uint64_t deadline_ms = 0;
    uint64_t ask_at_ms = 0;  ///< When peers are asked (again) for their clocks.
    Done<bool> done;
  };
  World world;
  Directory directory;
  std::map<uint32_t, std::unique_ptr<Channel>> channels;
  std::map<std::string, Channel*, std::less<>> by_name;  ///< Names and addresses, as this turn has them.
  std::map<ipld::Cid, ChannelRef> shown;  ///< What the directory and the subscriptions hold: as committed.
  std::vector<Waiter> waiters;
  std::set<uint32_t> touched;  ///< Channels with something to settle in this turn.
  std::set<uint32_t> talking;  ///< Channels that may have something to send.
  uint32_t next_channel = 1;
  Outbox outbox;
  Pins pins;
  uint64_t manifest_at_ms = 0;
  uint64_t sweep_at_ms = 0;
  uint64_t refusals_at_ms = 0;
  std::map<std::string, uint64_t> refused_logged;
  Bytes sweep_from;
  bool channels_changed = false;
  bool unsynced = false;
  bool reload_due = false;

  Impl(Ports ports, access::Identity identity)
      : world(ports, std::move(identity)), outbox(world), pins(world) {}

  Channel* find(std::string_view name) {
    const auto it = by_name.find(name);
    return it == by_name.end() ? nullptr : it->second;
  }
  Channel* find(const ipld::Cid& cid) {
    return find("/ptwop/" + cid.text());
  }
  Channel& touch(Channel& channel) {
    touched.insert(channel.view()->number);
    return channel;
  }
  template <class T>
  void refuse(Done<T>& done, Error error) {
    world.reply<T>(std::move(done), Result<T>(std::move(error)));
  }

  Result<void> load();
  void index(Channel& channel);
  /// 101, 301, 103, 402, 401
  Result<Channel*> writable(const std::string& name, const types::Type& type);
  Channel& add_channel(ChannelRecord record);
  void show_channels();
  void check_waiters();
  void sweep_requests();
  void log_refusals();
  void fetch_manifests();
  Result<void> commit();
  void discard(const Error& error);
  void conclude(const std::set<uint32_t>& settled);
  void want_pin(Channel& channel);
  void answer(const Error* failed);
};

Engine::Engine(Ports ports, access::Identity identity) : impl_(std::make_unique<Impl>(ports, std::move(identity))) {}
Engine::~Engine() = default;

const access::Identity& Engine::identity() const { return impl_->world.me; }
Directory& Engine::directory() { return impl_->directory; }

Result<void> Engine::open() {
  World& world = impl_->world;
  PTWOP_TRY(const auto boot, world.ports.store.get(Table::meta, "b"));
  // Rises also when the folder is an older copy, as long as the clock does.
  world.boot = std::max(boot && boot->size() == 8 ? read_be64(*boot) + 1 : 1, world.wall_ms());
  Bytes next;
  append_be64(next, world.boot);
  PTWOP_CHECK(world.ports.store.commit({{Change::Kind::put, Table::meta, "b", next}}, true));
  world.put_large = [this](uint32_t channel, std::vector<Block> blocks, std::vector<sync::LargeNode> names) {
    impl_->outbox.put_large(channel, std::move(blocks), std::move(names));
  };
  PTWOP_CHECK(impl_->load());
  impl_->show_channels();
  return {};
}

// From the store alone: at the start, and after a commit failed, when nothing in memory can be trusted.
Result<void> Engine::Impl::load() {
  channels.clear();
  by_name.clear();
  PTWOP_TRY(const auto next, world.ports.store.get(Table::meta, "n"));
  next_channel = next && next->size() == 4 ? read_be32(*next) : 1;
  PTWOP_CHECK(outbox.open());
  Result<void> result;
  PTWOP_CHECK(world.ports.store.scan(Table::meta, "c", "d", false, [&](BytesView key, BytesView value) {
    auto record = decode_channel(value);
    if (key.size() != 5 || !record) {
      result = fail(Code::corrupt, "a channel record is damaged: nothing was changed; restore the data folder from a backup");
      return false;
    }
    const uint32_t number = read_be32(key.substr(1));
    channels[number] = std::make_unique<Channel>(world, number, std::move(*record));
    return true;
  }));
  PTWOP_CHECK(result);
  for (auto& [number, channel] : channels) {
    if (const auto known = shown.find(channel->cid()); known != shown.end() && known->second->number == number)
      channel->adopt(known->second);
    PTWOP_CHECK(channel->load());
    index(*channel);
    if (world.kubo.connected) channel->talk().on_connected();
  }
  channels_changed = true;
  return {};
}

void Engine::Impl::index(Channel& channel) {
  by_name[channel.view()->name] = &channel;
  by_name[channel.view()->address] = &channel;
}

// What others see of the set of channels: directory and subscriptions follow what is committed.
void Engine::Impl::show_channels() {
  if (!std::exchange(channels_changed, false)) return;
  auto gone = std::exchange(shown, {});
  for (const auto& [number, channel] : channels) {
    const ChannelRef& view = channel->view();
    shown[channel->cid()] = view;
    if (const auto it = gone.find(channel->cid()); it != gone.end()) {
      if (it->second != view) {  // left and joined again in one turn
        directory.remove(it->second);
        directory.add(view);
      }
      gone.erase(it);
      continue;
    }
    directory.add(view);
    world.ports.gossip.subscribe(channel->cid());
  }
  for (const auto& [cid, view] : gone) {
    directory.remove(view);
    world.ports.gossip.unsubscribe(cid);
  }
}

Channel& Engine::Impl::add_channel(ChannelRecord record) {
  const uint32_t number = next_channel++;
  Bytes next;
  append_be32(next, next_channel);
  world.txn.put(Table::meta, "n", next);
  world.must_sync = true;
  world.ports.entropy.fill(record.data.raw.data(), list::Incarnation::kSize);
  world.ports.entropy.fill(record.control.raw.data(), list::Incarnation::kSize);
  auto& channel = channels[number] = std::make_unique<Channel>(world, number, std::move(record));
  channel->save_record();
  index(*channel);
  channels_changed = true;
  return touch(*channel);
}

void Engine::create(std::string name, std::string type, bool is_public, Done<ChannelRef> done) {
  Impl& e = *impl_;
  World& world = e.world;
  if (!valid_name(name)) return e.refuse(done, fail(Code::invalid_params, "a channel's name has 1 to 64 bytes of UTF-8, no control characters, and does not start with '/'"));
  if (!types::find_type(type)) return e.refuse(done, fail(Code::invalid_params, fmt::format("'{}' is no type of this version", type)));
  if (e.find(name)) return e.refuse(done, fail(Code::exists, fmt::format("a channel named '{}' exists here already", name)));
  access::Manifest manifest;
  manifest.type = std::move(type);
  manifest.is_public = is_public;
  manifest.creator = world.me.key();
  manifest.salt = world.ports.entropy.bytes(16);
  manifest.created_ms = world.wall_ms();
  ChannelRecord record;
  record.name = std::move(name);
  record.manifest = access::seal_manifest(manifest, world.me);
  record.cid = manifest.cid;
  Channel& channel = e.add_channel(std::move(record));
  channel.start(std::move(manifest));
  if (!is_public) {
    auto epoch = access::make_epoch(channel.cid(), {world.me.key()}, world.ports.entropy);
    if (!epoch) return e.refuse(done, epoch.error());
    (void)channel.write_control({epoch->op});
  }
  world.reply<ChannelRef>(std::move(done), channel.view());
}

void Engine::join(std::string address, std::string name, Done<ChannelRef> done) {
  Impl& e = *impl_;
  if (!valid_name(name)) return e.refuse(done, fail(Code::invalid_params, "a channel's name has 1 to 64 bytes of UTF-8, no control characters, and does not start with '/'"));
  const auto cid = address.starts_with(kAddressPrefix) ? ipld::Cid::from_text(std::string_view(address).substr(kAddressPrefix.size()))
                                                       : Result<ipld::Cid>(fail(Code::invalid_params, ""));
  if (!cid || std::string(kAddressPrefix) + cid->text() != address)
    return e.refuse(done, fail(Code::invalid_params, "an address looks like /ptwop/bafyrei…: channel.info shows it where the channel was created"));
  if (const Channel* here = e.find(address))
    return e.refuse(done, fail(Code::exists, fmt::format("that channel is here already, as '{}'", here->view()->name)));
  if (e.find(name)) return e.refuse(done, fail(Code::exists, fmt::format("a channel named '{}' exists here already", name)));
  ChannelRecord record;
  record.name = std::move(name);
  record.cid = *cid;
  Channel& channel = e.add_channel(std::move(record));
  if (e.world.kubo.connected) e.world.ports.blocks.get(channel.cid());
  e.world.reply<ChannelRef>(std::move(done), channel.view());
}

void Engine::leave(const std::string& name, Done<bool> done) {
  Impl& e = *impl_;
  Channel* channel = e.find(name);
  if (!channel) return e.refuse(done, no_channel(name));
  channel->settle();  // what is open belongs to writes that will be answered
  const uint32_t number = channel->view()->number;
  World& world = e.world;
  for (const Table table : {Table::nodes, Table::state, Table::index, Table::outbox})
    world.txn.erase_prefix(table, channel_prefix(number));
  for (const char kind : {'l', 'f', 'r'}) world.txn.erase_prefix(Table::meta, meta_key(kind, number));
  world.txn.erase(Table::meta, meta_key('c', number));
  world.must_sync = true;
  e.pins.release(number, channel->cid());
  e.outbox.forget(number);
  for (auto& waiter : e.waiters)
    if (waiter.channel == number) {
      e.refuse(waiter.done, no_channel(name));
      waiter.done = nullptr;
    }
  std::erase_if(e.waiters, [](const auto& w) { return !w.done; });
  e.touched.erase(number);
  e.by_name.erase(channel->view()->name);
  e.by_name.erase(channel->view()->address);
  e.channels.erase(number);
  e.channels_changed = true;
  world.reply<bool>(std::move(done), true);
}

void Engine::grant(const std::string& name, const std::string& id, const std::string& role_text, Done<std::string> done) {
  Impl& e = *impl_;
  Channel* channel = e.find(name);
  const auto key = access::key_from_did(id);
  const auto role = access::role_from(role_text);
  if (!key) return e.refuse(done, key.error());
  if (!role) return e.refuse(done, fail(Code::invalid_params, "a role is one of read, write"));
  if (!channel) return e.refuse(done, no_channel(name));
  const access::Membership* membership = channel->membership();
  if (!membership) return e.refuse(done, no_manifest());
  if (!membership->is_admin(e.world.me.key())) return e.refuse(done, fail(Code::not_admin, "only the channel's creator may grant"));
  if (*role != access::Role::read && *role != access::Role::write)
    return e.refuse(done, fail(Code::invalid_params, "this version grants the roles read and write; send and admin come later"));
  if (const access::Grant* same = membership->find_grant(*key, *role))
    return e.world.reply<std::string>(std::move(done), same->at.token());
  const auto op = access::make_grant(*membership, *key, *role);
  if (!op) return e.refuse(done, op.error());
  const auto at = e.touch(*channel).write_control({*op});
  if (!at) return e.refuse(done, at.error());
  e.world.reply<std::string>(std::move(done), at->token());
}

void Engine::members(const std::string& name, Done<std::vector<Member>> done) {
  Impl& e = *impl_;
  Channel* channel = e.find(name);
  if (!channel) return e.refuse(done, no_channel(name));
  if (!channel->membership()) return e.refuse(done, no_manifest());
  std::vector<Member> out;
  for (const access::Member& m : channel->membership()->members())
    out.push_back({access::did_from(m.id), std::string(access::role_name(m.role)), m.since_ms});
  e.world.reply<std::vector<Member>>(std::move(done), std::move(out));
}

void Engine::info(const std::string& name, Done<ChannelInfo> done) {
  Impl& e = *impl_;
  Channel* channel = e.find(name);
  if (!channel) return e.refuse(done, no_channel(name));
  e.world.reply<ChannelInfo>(std::move(done), channel->info());
}

Result<Channel*> Engine::Impl::writable(const std::string& name, const types::Type& type) {
  Channel* channel = find(name);
  if (!channel) return no_channel(name);
  const access::Membership* membership = channel->membership();
  if (!membership) return no_manifest();
  if (membership->manifest().type != type.name())
    return fail(Code::wrong_type, fmt::format("the channel is of type {}, not {}", membership->manifest().type, type.name()));
  if (!membership->is_admin(world.me.key()) && !membership->write_grant(world.me.key()))
    return fail(Code::no_write_role, "this replica may not write here: the creator must grant it the role write");
  if (!membership->readable()) return fail(Code::no_read_key, "the channel's key is not here yet: it comes with the grant");
  return channel;
}

void Engine::write(const std::string& name, const types::Type& type, std::vector<Bytes> ops, std::string request, Done<Written> done) {
  const auto channel = impl_->writable(name, type);
  if (!channel) return impl_->refuse(done, channel.error());
  impl_->touch(**channel).write(type, ops, request, std::move(done));
}

Result<std::unique_ptr<types::StateReader>> Engine::state_to_write(const std::string& name, const types::Type& type) {
  PTWOP_TRY(const Channel* channel, impl_->writable(name, type));
  return std::unique_ptr<types::StateReader>(std::make_unique<ChannelState>(impl_->world.txn, channel->view()->number));
}

void Engine::wait(const std::string& name, std::vector<std::string> tokens, uint64_t timeout_ms, std::string peer, Done<bool> done) {
  Impl& e = *impl_;
  std::vector<list::At> ats;
  for (const std::string& token : tokens) {
    const auto at = list::At::from_token(token);
    if (!at) return e.refuse(done, fail(Code::invalid_params, "not a token: pass what a write returned as `at`"));
    ats.push_back(*at);
  }
  Channel* channel = e.find(name);
  if (!channel) return e.refuse(done, no_channel(name));
  e.waiters.push_back({channel->view()->number, std::move(ats), std::move(peer), e.world.now_ms() + timeout_ms, 0, std::move(done)});
}

void Engine::clock(const std::string& name, Done<std::vector<std::string>> done) {
  Impl& e = *impl_;
  Channel* channel = e.find(name);
  if (!channel) return e.refuse(done, no_channel(name));
  std::vector<std::string> tokens;
  for (const list::At& at : channel->clock()) tokens.push_back(at.token());
  e.world.reply<std::vector<std::string>>(std::move(done), std::move(tokens));
}

std::unique_ptr<types::NodeSource> Engine::source(const ChannelRef& ref) const {
  const auto it = impl_->channels.find(ref->number);
  return it == impl_->channels.end() ? nullptr : it->second->make_source(false);
}

EngineStats Engine::stats() const {
  EngineStats stats = impl_->world.stats;
  stats.outbox = impl_->outbox.count();
  stats.waiters = impl_->waiters.size();
  for (const auto& [number, channel] : impl_->channels) {
    stats.waiting_nodes += channel->lists().waiting();
    stats.outgoing += channel->talk().queued();
  }
  return stats;
}

// --- what comes in ---------------------------------------------------------------------------------------------------

void Engine::on_message(const ipld::Cid& cid, std::string_view from, BytesView message) {
  if (Channel* channel = impl_->find(cid)) impl_->touch(*channel).on_message(from, message);
}

void Engine::on_published(const ipld::Cid& cid, bool ok) {
  Channel* channel = impl_->find(cid);
  if (!channel) return;
  channel->talk().on_published(ok);
  impl_->talking.insert(channel->view()->number);
}

void Engine::on_block(const ipld::Cid& cid, Result<Bytes> block) {
  if (block) ++impl_->world.stats.blocks_fetched;
  for (auto& [number, channel] : impl_->channels)
    if (channel->cid() == cid || channel->talk().is_fetching(cid)) impl_->touch(*channel).on_block(cid, block);
}

void Engine::on_stored(uint64_t ticket, bool ok) {
  impl_->pins.on_stored(ticket, ok);
  for (auto& [number, large] : impl_->outbox.on_stored(ticket, ok)) {
    const auto it = impl_->channels.find(number);
    if (it != impl_->channels.end()) it->second->on_stored(large);
    impl_->touched.insert(number);
  }
}

void Engine::on_kubo(KuboState state) {
  World& world = impl_->world;
  const KuboState last = std::exchange(world.kubo, state);
  if (!state.connected) return impl_->outbox.on_offline();
  if (!last.connected) {
    impl_->outbox.on_online();
    impl_->pins.on_online();
    impl_->manifest_at_ms = 0;
  }
  for (auto& [number, channel] : impl_->channels) impl_->want_pin(*channel);
  if (state.pubsub && !(last.connected && last.pubsub))
    for (auto& [number, channel] : impl_->channels) channel->talk().on_connected();
}

void Engine::tick() {
  for (auto& [number, channel] : impl_->channels) {
    channel->tick();
    impl_->talking.insert(number);
    if (channel->lists().waiting() > 0 || !channel->lists().unapplied().empty()) impl_->touched.insert(number);
  }
  impl_->fetch_manifests();
  impl_->sweep_requests();
  impl_->log_refusals();
}

void Engine::Impl::fetch_manifests() {
  const uint64_t now = world.now_ms();
  if (!world.kubo.connected || now < manifest_at_ms) return;
  manifest_at_ms = now + kManifestRetryMs;
  for (auto& [number, channel] : channels)
    if (!channel->membership()) world.ports.blocks.get(channel->cid());
}

void Engine::Impl::sweep_requests() {
  const uint64_t now = world.now_ms();
  if (now < sweep_at_ms) return;
  sweep_at_ms = now + kRequestSweepMs;
  const uint64_t wall = world.wall_ms();
  size_t seen = 0;
  Bytes last;
  const auto ok = world.ports.store.scan(Table::meta, sweep_from.empty() ? "r" : sweep_from, "s", false, [&](BytesView key, BytesView value) {
    const auto record = decode_request(value);
    if (!record || record->wall_ms + limits::kRequestKeptMs < wall) world.txn.erase(Table::meta, key);
    last = Bytes(key);
    return ++seen < kRequestSweepMax;
  });
  sweep_from = ok && seen == kRequestSweepMax ? last : Bytes{};
}

// One line a minute at most, whatever comes in.
void Engine::Impl::log_refusals() {
  const uint64_t now = world.now_ms();
  if (now < refusals_at_ms || world.stats.refused == refused_logged) return;
  refusals_at_ms = now + kRefusalsLogMs;
  std::string kinds;
  for (const auto& [kind, count] : world.stats.refused)
    if (const uint64_t fresh = count - refused_logged[kind]; fresh > 0) kinds += fmt::format("{}{}={}", kinds.empty() ? "" : " ", kind, fresh);
  refused_logged = world.stats.refused;
  log::warn("engine", "refused what others sent", {{"kinds", kinds}});
}

// --- the turn --------------------------------------------------------------------------------------------------------

void Engine::Impl::check_waiters() {
  const uint64_t now = world.now_ms();
  for (Waiter& waiter : waiters) {
    const auto it = channels.find(waiter.channel);
    Result<bool> all = it != channels.end();
    for (const list::At& at : waiter.tokens) {
      if (!all || !*all) break;
      all = it->second->reached(at);
      if (all && *all && !waiter.peer.empty()) all = it->second->peer_has(waiter.peer, at);
    }
    if (all && !*all && now < waiter.deadline_ms) {
      if (!waiter.peer.empty() && now >= waiter.ask_at_ms) {
        waiter.ask_at_ms = now + kAskMs;
        it->second->talk().replicator().ask(now);
      }
      continue;
    }
    if (all && !*all) all = fail(Code::not_reached, "not reached in time: it may still come; see channel.info (missing, peers)");
    std::exchange(waiter.done, nullptr)(std::move(all));
  }
  std::erase_if(waiters, [](const Waiter& w) { return !w.done; });
}

void Engine::Impl::answer(const Error* failed) {
  auto replies = std::exchange(world.replies, {});
  for (auto& reply : replies) reply(failed);
}

Result<void> Engine::Impl::commit() {
  if (world.broken) return *world.broken;
  if (world.txn.empty()) return {};
  // What came from others is shown at once, and made durable before anything that promises it leaves.
  PTWOP_CHECK(world.ports.store.commit(world.txn.changes(), world.must_sync));
  unsynced = !world.must_sync;
  return {};
}

void Engine::Impl::discard(const Error& error) {
  log::error("engine", "a commit failed: nothing of it was kept", {{"why", error.message}});
  if (const auto loaded = load(); !loaded) {
    log::error("engine", "the store cannot be read: trying again", {{"why", loaded.error().message}});
    reload_due = true;
  }
  show_channels();
  answer(&error);
}

// After the commit: show it, make it durable, then answer and send.
void Engine::Impl::conclude(const std::set<uint32_t>& settled) {
  const auto each = [this](const std::set<uint32_t>& numbers, auto&& use) {
    for (const uint32_t number : numbers)
      if (const auto it = channels.find(number); it != channels.end()) use(*it->second);
  };
  show_channels();
  each(settled, [](Channel& channel) { channel.show(); });
  if (unsynced) {
    if (const auto synced = world.ports.store.sync(); !synced) return discard(synced.error());
    unsynced = false;
  }
  answer(nullptr);
  talking.insert(settled.begin(), settled.end());
  each(std::exchange(talking, {}), [](Channel& channel) { channel.publish(); });
  check_waiters();
  each(settled, [this](Channel& channel) { want_pin(channel); });
  outbox.drain();
}

void Engine::Impl::want_pin(Channel& channel) {
  if (channel.membership()) pins.want(channel.view()->number, channel.cid(), channel.record().manifest);
}

uint64_t Engine::turn() {
  Impl& e = *impl_;
  World& world = e.world;
  ++world.stats.turns;
  if (std::exchange(e.reload_due, false)) world.broken = fail(Code::corrupt, "the store could not be read");
  const auto touched = std::exchange(e.touched, {});
  for (const uint32_t number : touched)
    if (const auto it = e.channels.find(number); it != e.channels.end()) it->second->settle();
  e.outbox.save();
  const auto committed = e.commit();
  world.txn.clear();
  world.broken.reset();
  world.must_sync = false;
  if (committed) e.conclude(touched);
  else e.discard(committed.error());

  uint64_t next = world.now_ms() + kIdleTickMs;
  for (const auto& [number, channel] : e.channels) {
    if (world.kubo.connected && world.kubo.pubsub) next = std::min(next, channel->talk().replicator().next_tick_ms());
    if (!channel->lists().unapplied().empty() || channel->lists().waiting() > 0) next = std::min(next, world.now_ms() + kWaitingTickMs);
  }
  for (const auto& waiter : e.waiters) next = std::min(next, waiter.peer.empty() ? waiter.deadline_ms : std::min(waiter.deadline_ms, waiter.ask_at_ms));
  return next;
}

}  // namespace ptwop::engine
