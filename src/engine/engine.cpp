#include "engine/engine.h"

#include <fmt/format.h>

#include <algorithm>

#include "access/manifest.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/mutant.h"
#include "engine/impl.h"
#include "engine/records.h"

namespace ptwop::engine {
namespace {

constexpr std::string_view kAddressPrefix = "/ptwop/";

Error no_channel(std::string_view name) {
  return fail(
      Code::no_channel,
      fmt::format("no channel is named '{}' here: see channel.list, or join it by its address",
                  name));
}
Error no_manifest() {
  return fail(Code::no_manifest,
              "the channel's manifest is not here yet: it comes from another replica or from Kubo; "
              "try again");
}

// U+0080 to U+009F
bool has_c1_control(std::string_view text) {
  for (size_t i = 0; i + 1 < text.size(); ++i)
    if (text[i] == '\xc2' && static_cast<unsigned char>(text[i + 1]) < 0xa0) return true;
  return false;
}

bool valid_name(std::string_view name) {
  return !name.empty() && name.size() <= limits::kNameBytesMax && name[0] != '/' &&
         valid_utf8(name) &&
         std::none_of(name.begin(), name.end(),
                      [](unsigned char c) { return c < 0x20 || c == 0x7f; }) &&
         !has_c1_control(name);
}

}  // namespace

Engine::Engine(Ports ports, access::Identity identity)
    : impl_(std::make_unique<Impl>(ports, std::move(identity))) {}
Engine::~Engine() = default;

const access::Identity& Engine::identity() const { return impl_->world.me; }
Directory& Engine::directory() { return impl_->directory; }

Channel& Engine::Impl::add_channel(ChannelRecord record) {
  const uint32_t number = next_channel++;
  Bytes next;
  append_be32(next, next_channel);
  world.txn.put(Table::meta, "n", next);
  world.must_sync = true;
  if (!PTWOP_MUTANT(same_incarnation))
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
  if (!valid_name(name))
    return e.refuse(done, fail(Code::invalid_params,
                               "a channel's name has 1 to 64 bytes of UTF-8, no control "
                               "characters, and does not start with '/'"));
  if (!types::find_type(type))
    return e.refuse(
        done, fail(Code::invalid_params, fmt::format("'{}' is no type of this version", type)));
  if (e.find(name))
    return e.refuse(
        done, fail(Code::exists, fmt::format("a channel named '{}' exists here already", name)));
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
  if (!valid_name(name))
    return e.refuse(done, fail(Code::invalid_params,
                               "a channel's name has 1 to 64 bytes of UTF-8, no control "
                               "characters, and does not start with '/'"));
  const auto cid =
      address.starts_with(kAddressPrefix)
          ? ipld::Cid::from_text(std::string_view(address).substr(kAddressPrefix.size()))
          : Result<ipld::Cid>(fail(Code::invalid_params, ""));
  if (!cid || std::string(kAddressPrefix) + cid->text() != address)
    return e.refuse(done, fail(Code::invalid_params,
                               "an address looks like /ptwop/bafyrei…: channel.info shows it where "
                               "the channel was created"));
  if (const Channel* here = e.find(address))
    return e.refuse(done, fail(Code::exists, fmt::format("that channel is here already, as '{}'",
                                                         here->view()->name)));
  if (e.find(name))
    return e.refuse(
        done, fail(Code::exists, fmt::format("a channel named '{}' exists here already", name)));
  Channel& channel = e.add_channel({.name = std::move(name), .cid = *cid});
  if (e.world.kubo.connected) e.world.ports.blocks.get(channel.cid());
  e.world.reply<ChannelRef>(std::move(done), channel.view());
}

void Engine::import_channel(Bytes manifest, std::string name, Done<ChannelRef> done) {
  Impl& e = *impl_;
  const auto read = access::read_manifest(manifest);
  if (!read) return e.refuse(done, read.error());
  Channel* channel = e.find(read->cid);
  if (!channel) {
    if (!valid_name(name))
      return e.refuse(done, fail(Code::invalid_params,
                                 fmt::format("{}{} is not here yet: give a name for it, of 1 to 64 "
                                             "bytes, that does not start with '/'",
                                             kAddressPrefix, read->cid.text())));
    if (e.find(name))
      return e.refuse(
          done, fail(Code::exists, fmt::format("a channel named '{}' exists here already", name)));
    channel = &e.add_channel({.name = std::move(name), .cid = read->cid});
  }
  e.touch(*channel).take_manifest(manifest);
  e.world.reply<ChannelRef>(std::move(done), channel->view());
}

void Engine::import_blocks(const ipld::Cid& cid, std::vector<Bytes> blocks, Done<Imported> done) {
  Impl& e = *impl_;
  Channel* channel = e.find(cid);
  if (!channel) return e.refuse(done, no_channel(cid.text()));
  if (channel->aside()) return e.refuse(done, *channel->aside());
  if (!channel->membership()) return e.refuse(done, no_manifest());
  const Imported imported = e.touch(*channel).import_blocks(std::move(blocks));
  e.world.reply<Imported>(std::move(done), imported);
}

void Engine::leave(const std::string& name, Done<bool> done) {
  Impl& e = *impl_;
  Channel* channel = e.find(name);
  if (!channel) return e.refuse(done, no_channel(name));
  channel->settle();  // what is open belongs to writes that will be answered
  const uint32_t number = channel->view()->number;
  World& world = e.world;
  for (const Table table : {Table::nodes, Table::state, Table::index, Table::outbox})
    if (!PTWOP_MUTANT(leave_keeps_nodes) || table != Table::nodes)
      world.txn.erase_prefix(table, channel_prefix(number));
  for (const char kind : {'a', 'l', 'f', 'r'})
    world.txn.erase_prefix(Table::meta, meta_key(kind, number));
  world.txn.erase(Table::meta, meta_key('c', number));
  world.must_sync = true;
  e.left.push_back(number);
  e.outbox.forget(number);
  for (auto& waiter : e.waiters)
    if (waiter.channel == number) {
      e.refuse(waiter.done, no_channel(name));
      waiter.done = nullptr;
    }
  std::erase_if(e.waiters, [](const auto& w) { return !w.done; });
  e.touched.erase(number);
  e.damage.erase(number);
  e.by_name.erase(channel->view()->name);
  e.by_name.erase(channel->view()->address);
  e.by_cid.erase(channel->cid());
  e.unschedule(number);
  e.channels.erase(number);
  e.channels_changed = true;
  world.reply<bool>(std::move(done), true);
}

void Engine::grant(const std::string& name, const std::string& id, const std::string& role_text,
                   Done<std::string> done) {
  Impl& e = *impl_;
  Channel* channel = e.find(name);
  const auto key = access::key_from_did(id);
  const auto role = access::role_from(role_text);
  if (!key) return e.refuse(done, key.error());
  if (!role) return e.refuse(done, fail(Code::invalid_params, "a role is one of read, write"));
  if (!channel) return e.refuse(done, no_channel(name));
  if (channel->aside()) return e.refuse(done, *channel->aside());
  const access::Membership* membership = channel->membership();
  if (!membership) return e.refuse(done, no_manifest());
  if (!membership->is_admin(e.world.me.key()))
    return e.refuse(done, fail(Code::not_admin, "only the channel's creator may grant"));
  if (*role != access::Role::read && *role != access::Role::write)
    return e.refuse(
        done, fail(Code::invalid_params,
                   "this version grants the roles read and write; send and admin come later"));
  if (!membership->readable())
    return e.refuse(done, fail(Code::no_read_key,
                               "the channel's key is not here yet, so it cannot be passed on: try "
                               "again when the channel is readable"));
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
  if (channel->aside()) return *channel->aside();
  const access::Membership* membership = channel->membership();
  if (!membership) return no_manifest();
  if (membership->manifest().type != type.name())
    return fail(Code::wrong_type, fmt::format("the channel is of type {}, not {}",
                                              membership->manifest().type, type.name()));
  if (!membership->may_write(world.me.key()))
    return fail(Code::no_write_role,
                "this replica may not write here: the creator must grant it the role write");
  if (!membership->readable())
    return fail(Code::no_read_key, "the channel's key is not here yet: it comes with the grant");
  return channel;
}

void Engine::write(const std::string& name, const types::Type& type, std::vector<Bytes> ops,
                   std::string request, Done<Written> done, const Admit& admit) {
  const auto channel = impl_->writable(name, type);
  if (!channel) return impl_->refuse(done, channel.error());
  impl_->touch(**channel).write(type, std::move(ops), request, std::move(done), admit);
}

void Engine::wait(const std::string& name, std::vector<std::string> tokens, uint64_t timeout_ms,
                  std::string peer, Done<bool> done) {
  Impl& e = *impl_;
  std::vector<list::At> ats;
  for (const std::string& token : tokens) {
    const auto at = list::At::from_token(token);
    if (!at)
      return e.refuse(
          done, fail(Code::invalid_params, "not a token: pass what a write returned as `at`"));
    ats.push_back(*at);
  }
  Channel* channel = e.find(name);
  if (!channel) return e.refuse(done, no_channel(name));
  // Usually a token's node is on its way already; who waits for a peer's word has to ask for it.
  const uint64_t now = e.world.now_ms();
  const uint64_t ask_at = peer.empty() ? now + kAskMs : now;
  e.waiters.push_back({.channel = channel->view()->number,
                       .tokens = std::move(ats),
                       .peer = std::move(peer),
                       .deadline_ms = now + timeout_ms,
                       .ask_at_ms = ask_at,
                       .done = std::move(done)});
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
  stats.pins = impl_->pins.count();
  stats.bulk_blocks = impl_->world.bulk_blocks;
  stats.waiters = impl_->waiters.size();
  for (const auto& [number, channel] : impl_->channels) {
    channel->add_to(stats);
  }
  return stats;
}

// --- what comes in -------------------------------------------------------------------------------

void Engine::on_message(const ipld::Cid& cid, std::string_view from, BytesView message) {
  if (Channel* channel = impl_->find(cid)) impl_->touch(*channel).on_message(from, message);
}

void Engine::on_streams(bool on, const std::string& peer_id) {
  impl_->lane.on_streams(on, peer_id);
}

void Engine::on_peer(const list::PublicKey& peer, bool up, BytesView binding) {
  impl_->lane.on_peer(peer, up, binding);
}

void Engine::on_peer_address(const list::PublicKey& peer, const std::string& id,
                             const std::string& address) {
  impl_->lane.on_address(peer, id, address);
}

void Engine::on_peer_message(const list::PublicKey& peer, BytesView message) {
  const Lane::Heard heard = impl_->lane.receive(peer, message);
  for (const Lane::Incoming& in : heard.messages)
    if (Channel* channel = impl_->find(in.channel))
      impl_->touch(*channel).on_message(peer, in.message);
  for (const ipld::Cid& cid : heard.met)
    if (Channel* channel = impl_->find(cid); channel && !impl_->lane.listeners(cid).empty()) {
      channel->talk().replicator().on_connected(impl_->world.now_ms());
      impl_->talking.insert(channel->view()->number);
    }
}

void Engine::on_sent(const list::PublicKey& peer, uint64_t ticket, bool) {
  for (const ipld::Cid& cid : impl_->lane.on_sent(peer, ticket))
    if (Channel* channel = impl_->find(cid)) impl_->talking.insert(channel->view()->number);
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
    if (channel->cid() == cid || channel->talk().is_fetching(cid) || channel->bulk().wants(cid))
      impl_->touch(*channel).on_block(cid, block);
}

void Engine::on_stored(uint64_t ticket, bool ok) {
  impl_->pins.on_stored(ticket, ok);
  const Outbox::Stored stored = impl_->outbox.on_stored(ticket, ok);
  for (const auto& [number, large] : stored.large) {
    const auto it = impl_->channels.find(number);
    if (it != impl_->channels.end()) it->second->on_stored(large);
    impl_->touched.insert(number);
  }
  impl_->show_roots(stored.roots);
}

void Engine::on_pinned(const ipld::Cid& cid, bool ok) {
  const auto lacking = impl_->pins.on_pinned(cid, ok);
  if (!lacking) return;
  log::warn("engine", "Kubo could not pin a channel: what it lost is put once more",
            {{"channel", *lacking}});
  if (!PTWOP_MUTANT(lost_blocks_stay_lost)) impl_->outbox.start_over(*lacking);
}

void Engine::on_kubo(KuboState state) {
  World& world = impl_->world;
  const KuboState last = std::exchange(world.kubo, state);
  impl_->lane.refresh();
  if (!state.connected) {
    for (auto& [number, channel] : impl_->channels) channel->bulk().stop();
    return impl_->outbox.on_offline();
  }
  if (!last.connected) {
    impl_->outbox.on_online();
    impl_->pins.on_online();
    impl_->manifest_at_ms = 0;
  }
  for (auto& [number, channel] : impl_->channels) impl_->pins.wish(number);
  if (state.pubsub != (last.connected && last.pubsub))
    for (auto& [number, channel] : impl_->channels) {
      if (!channel->talk().online()) continue;
      channel->talk().on_connected();
      impl_->talking.insert(number);  // and so its next tick is set anew
    }
}

}  // namespace ptwop::engine
