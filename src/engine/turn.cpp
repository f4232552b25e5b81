// How an engine opens, and how a turn ends.
#include <fmt/format.h>

#include <algorithm>

#include "base/limits.h"
#include "base/log.h"
#include "base/mutant.h"
#include "engine/impl.h"
#include "engine/records.h"

namespace ptwop::engine {
namespace {

constexpr uint64_t kManifestRetryMs = 10'000;
constexpr uint64_t kRequestSweepMs = 60'000;
constexpr size_t kRequestSweepMax = 10'000;
constexpr uint64_t kRefusalsLogMs = 60'000;
constexpr uint64_t kFailureLogMs = 60'000;
constexpr uint64_t kAskMsMax = 4'000;
constexpr uint64_t kIdleTickMs = 1'000;
constexpr uint64_t kNever = UINT64_MAX;
constexpr uint64_t kDamagedMs = 1'000, kDamagedMsMax = 60'000;

}  // namespace

Result<void> Engine::open(bool restored) {
  World& world = impl_->world;
  PTWOP_TRY(const auto boot, world.ports.store.get(Table::meta, "b"));
  // Rises also when the folder is an older copy, as long as the clock does.
  world.boot = std::max(boot && boot->size() == 8 ? read_be64(*boot) + 1 : 1, world.wall_ms());
  if (PTWOP_MUTANT(same_boot)) world.boot = 1;
  world.stamp_tail = 1 + (read_be64(world.ports.entropy.bytes(8)) & 0x3fff);
  Bytes next;
  append_be64(next, world.boot);
  PTWOP_CHECK(world.ports.store.commit({{Change::Kind::put, Table::meta, "b", next}}, true));
  world.put_large = [this](uint32_t channel, std::vector<Block> blocks,
                           std::vector<sync::LargeNode> names) {
    impl_->outbox.put_large(channel, std::move(blocks), std::move(names));
  };
  PTWOP_CHECK(impl_->lane.open());
  PTWOP_CHECK(impl_->load());
  if (restored && !PTWOP_MUTANT(restored_goes_on)) {
    for (auto& [number, channel] : impl_->channels) channel->begin_anew();
    PTWOP_CHECK(world.ports.store.commit(world.txn.take(), true));
  }
  impl_->show_channels();
  return {};
}

// From the store alone: at the start, and after a commit failed, when nothing in memory can be
// trusted.
Result<void> Engine::Impl::load() {
  channels.clear();
  by_name.clear();
  by_cid.clear();
  due_of.clear();
  due.clear();
  PTWOP_TRY(const auto next, world.ports.store.get(Table::meta, "n"));
  next_channel = next && next->size() == 4 ? read_be32(*next) : 1;
  PTWOP_TRY(const auto roots, outbox.open());
  PTWOP_CHECK(pins.open());
  Result<void> result;
  PTWOP_CHECK(
      world.ports.store.scan(Table::meta, "c", "d", false, [&](BytesView key, BytesView value) {
        auto record = decode_channel(value);
        if (key.size() != 5 || !record) {
          result = fail(Code::corrupt,
                        "a channel record is damaged: nothing was changed; restore the data folder "
                        "from a backup");
          return false;
        }
        const uint32_t number = read_be32(key.substr(1));
        channels[number] = std::make_unique<Channel>(world, number, std::move(*record));
        return true;
      }));
  PTWOP_CHECK(result);
  for (auto& [number, channel] : channels) {
    if (const auto known = shown.find(channel->cid());
        known != shown.end() && known->second->number == number)
      channel->adopt(known->second);
    if (const auto loaded = channel->load(); !loaded) {
      if (loaded.error().code != Code::corrupt) return loaded.error();
      set_aside(*channel, loaded.error());
    }
    if (const auto known = damage.find(number);
        known != damage.end() && known->second.again_at_ms != kNever)
      channel->set_aside(known->second.error);
    index(*channel);
    if (world.kubo.connected) channel->talk().on_connected();
    if (!PTWOP_MUTANT(drop_outbox_at_start)) pack(*channel);
  }
  show_roots(roots);
  pins.release_others(channels);
  channels_changed = true;
  return {};
}

// One damaged channel must not stop the others. It is tried again now and then: it may have been
// the disk.
void Engine::Impl::set_aside(Channel& channel, const Error& why) {
  Damage& d = damage[channel.view()->number];
  d.error =
      fail(Code::corrupt,
           fmt::format("the data of '{}' is damaged here ({}): reads may be incomplete, nothing is "
                       "written; if it stays so, "
                       "channel.leave and channel.join fetch it again from the other replicas",
                       channel.view()->name, why.message));
  d.after_ms = std::clamp(2 * d.after_ms, kDamagedMs, kDamagedMsMax);
  d.again_at_ms = world.now_ms() + d.after_ms;
  channel.set_aside(d.error);
  log::error(
      "engine", "a channel is set aside: its data could not be read",
      {{"channel", channel.view()->address}, {"why", why.message}, {"again_ms", d.after_ms}});
}

void Engine::Impl::try_damaged_again() {
  for (auto& [number, d] : damage) {
    if (world.now_ms() < d.again_at_ms) continue;
    d.again_at_ms = kNever;
    const auto it = channels.find(number);
    if (it == channels.end()) continue;
    it->second->set_aside({});
    if (const auto loaded = it->second->load(); !loaded) set_aside(*it->second, loaded.error());
    touched.insert(number);
  }
}

void Engine::Impl::index(Channel& channel) {
  by_name[channel.view()->name] = &channel;
  by_name[channel.view()->address] = &channel;
  by_cid[channel.cid()] = &channel;
  schedule(channel);
}

void Engine::Impl::schedule(Channel& channel) {
  const uint32_t number = channel.view()->number;
  unschedule(number);
  const uint64_t at = channel.due_ms();
  due_of[number] = at;
  due.emplace(at, number);
}

void Engine::Impl::unschedule(uint32_t number) {
  const auto it = due_of.find(number);
  if (it == due_of.end()) return;
  due.erase({it->second, number});
  due_of.erase(it);
}

// What others see of the set of channels: directory and subscriptions follow what is committed.
void Engine::Impl::show_channels() {
  if (!std::exchange(channels_changed, false)) return;
  lane.refresh();
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

void Engine::tick() {
  const uint64_t now = impl_->world.now_ms();
  while (!impl_->due.empty() && impl_->due.begin()->first <= now) {
    const uint32_t number = impl_->due.begin()->second;
    impl_->unschedule(number);  // the end of the turn sets the next time
    impl_->channels.at(number)->tick();
    impl_->touched.insert(number);
  }
  impl_->try_damaged_again();
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
  const auto ok = world.ports.store.scan(
      Table::meta, sweep_from.empty() ? "r" : sweep_from, "s", false,
      [&](BytesView key, BytesView value) {
        const auto expired = [wall](BytesView bytes) {
          const auto record = decode_request(bytes);
          return !record || record->wall_ms + limits::kRequestKeptMs < wall;
        };
        const auto now_there =
            world.txn.get(Table::meta, key);  // it may have been written anew in this turn
        if (expired(value) && now_there && *now_there && expired(**now_there))
          world.txn.erase(Table::meta, key);
        last = Bytes(key);
        return ++seen < kRequestSweepMax;
      });
  const bool more = ok && seen == kRequestSweepMax;
  sweep_from = more ? last : Bytes{};
  if (more) sweep_at_ms = now;
}

// One line a minute at most, whatever comes in.
void Engine::Impl::log_refusals() {
  const uint64_t now = world.now_ms();
  if (now < refusals_at_ms || world.stats.refused == refused_logged) return;
  refusals_at_ms = now + kRefusalsLogMs;
  std::string kinds;
  for (const auto& [kind, count] : world.stats.refused)
    if (const uint64_t fresh = count - refused_logged[kind]; fresh > 0)
      kinds += fmt::format("{}{}={}", kinds.empty() ? "" : " ", kind, fresh);
  refused_logged = world.stats.refused;
  log::warn("engine", "refused what others sent", {{"kinds", kinds}});
}

// --- the turn ------------------------------------------------------------------------------------

void Engine::Impl::check_waiters(const std::set<uint32_t>& settled) {
  const uint64_t now = world.now_ms();
  for (Waiter& waiter : waiters) {
    if (!std::exchange(waiter.fresh, false) && !settled.contains(waiter.channel) &&
        now < waiter.deadline_ms && now < waiter.ask_at_ms)
      continue;
    const auto it = channels.find(waiter.channel);
    Result<bool> all = it != channels.end();
    while (all && *all && !waiter.tokens.empty()) {  // what is reached stays reached
      const list::At& at = waiter.tokens.back();
      all = it->second->reached(at);
      if (all && *all && !waiter.peer.empty() && !PTWOP_MUTANT(wait_for_no_peer))
        all = it->second->peer_has(waiter.peer, at);
      if (all && *all) waiter.tokens.pop_back();
    }
    if (all && !*all && now < waiter.deadline_ms) {
      if (now >= waiter.ask_at_ms) {
        waiter.ask_at_ms = now + waiter.ask_again_ms;
        waiter.ask_again_ms = std::min(2 * waiter.ask_again_ms, kAskMsMax);
        it->second->talk().replicator().ask(now);
        schedule(*it->second);
      }
      continue;
    }
    if (all && !*all)
      all = fail(Code::not_reached,
                 "not reached in time: it may still come; see channel.info (missing, peers)");
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
  // What came from others is shown at once, and made durable before anything that promises it
  // leaves.
  PTWOP_CHECK(world.ports.store.commit(world.txn.take(),
                                       world.must_sync && !PTWOP_MUTANT(acknowledge_unsynced)));
  if (world.must_sync)
    unsynced = false;
  else if (world.must_keep)
    unsynced = true;
  return {};
}

void Engine::Impl::discard(Error error) {
  left.clear();
  pins.cancel();
  ++failed_commits;
  if (const uint64_t now = world.now_ms(); now >= failure_log_at_ms) {
    failure_log_at_ms = now + kFailureLogMs;
    log::error("engine", "a commit failed: nothing of it was kept",
               {{"why", error.message}, {"times", std::exchange(failed_commits, 0)}});
  }
  if (const auto number = std::exchange(world.damaged, {}); number && channels.contains(*number)) {
    set_aside(*channels.at(*number), error);
    error = fail(Code::overloaded,
                 "nothing was written: one channel's data was just found damaged and it is set "
                 "aside; try again");
  }
  if (PTWOP_MUTANT(keep_failed_turn)) return answer(&error);
  if (const auto loaded = load(); !loaded) {
    log::error("engine", "the store cannot be read: trying again",
               {{"why", loaded.error().message}});
    reload_due = true;
  } else {
    show_channels();
  }
  answer(PTWOP_MUTANT(acknowledge_failed) ? nullptr : &error);
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
  for (const uint32_t number : std::exchange(left, {})) pins.release(number);
  answer(nullptr);
  talking.insert(settled.begin(), settled.end());
  each(std::exchange(talking, {}), [this](Channel& channel) {
    channel.publish();
    schedule(channel);
  });
  check_waiters(settled);
  each(settled, [this](Channel& channel) { pack(channel); });
  outbox.drain();
  pins.send();
}

void Engine::Impl::pack(Channel& channel) {
  if (channel.membership() && !pins.knows(channel.view()->number))
    pins.wish(channel.view()->number);
  const auto later = [&](const list::ListId& list) { return channel.bulk().fetches(list); };
  for (const auto& [list, number] : channel.lists().take_packable(later))
    outbox.held(channel.view()->number, channel.cid(), list, number);
}

// What Kubo took is named in clocks and pinned.
void Engine::Impl::show_roots(const std::vector<Rooted>& roots) {
  for (const Rooted& rooted : roots)
    if (const auto it = channels.find(rooted.channel); it != channels.end()) {
      it->second->lists().set_root(rooted.list, rooted.position.number, rooted.root);
      pins.wish(rooted.channel);
    }
}

void Engine::Impl::prepare_pins() {
  pins.release_left();
  for (const uint32_t number : pins.due()) {
    const auto it = channels.find(number);
    if (it == channels.end() || !it->second->membership() || it->second->aside())
      pins.drop_wish(number);  // it comes again with the manifest, or with the next root
    else
      pins.prepare(number, it->second->cid(), it->second->record().manifest,
                   it->second->lists().roots());
  }
}

void Engine::Impl::settle_lane() {
  if (world.now_ms() < lane.due_ms()) return;
  std::vector<ipld::Cid> all;
  for (const auto& [cid, view] : shown) all.push_back(cid);
  lane.settle(all);
}

uint64_t Engine::turn() {
  Impl& e = *impl_;
  World& world = e.world;
  ++world.stats.turns;
  if (std::exchange(e.reload_due, false))
    world.broken = fail(Code::corrupt, "the store could not be read");
  const auto touched = std::exchange(e.touched, {});
  world.channels = e.channels.size();
  for (const uint32_t number : touched)
    if (const auto it = e.channels.find(number); it != e.channels.end()) it->second->settle();
  e.outbox.save();
  e.prepare_pins();
  e.settle_lane();
  if (PTWOP_MUTANT(publish_first))
    for (const uint32_t number : touched)
      if (const auto it = e.channels.find(number); it != e.channels.end()) it->second->publish();
  const auto committed = e.commit();
  world.txn.clear();
  world.broken.reset();
  world.must_sync = world.must_keep = false;
  if (committed)
    e.conclude(touched);
  else
    e.discard(committed.error());

  uint64_t next = world.now_ms() + kIdleTickMs;
  next = std::min({next, e.outbox.due_ms(), e.pins.due_ms(), e.lane.due_ms()});
  if (!e.due.empty()) next = std::min(next, e.due.begin()->first);
  for (const auto& waiter : e.waiters)
    next = std::min(next, std::min(waiter.deadline_ms, waiter.ask_at_ms));
  return next;
}

}  // namespace ptwop::engine
