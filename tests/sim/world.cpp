#include "world.h"

#include <fmt/format.h>
#include <sodium.h>

#include <algorithm>

#include "base/limits.h"

namespace ptwop::sim {
namespace {

// After the faults all connected replicas are equal within this, and as long as a message may still
// be on its way: wants go out less and less often, to 32 s.
constexpr uint64_t kSettleMs = 150'000;
constexpr uint64_t kFutureMs = 5 * 60 * 1000;
constexpr uint64_t kQuietMs = 10'000;
constexpr uint64_t kLookMs = 250;
constexpr uint64_t kBoundsMs = 1'000;
constexpr uint64_t kGivenUpMs =
    400'000;  ///< Until what nobody has is not asked for any more: now and then we look that long.
constexpr uint64_t kPatientEvery = 4;
constexpr uint64_t kFaultMs = 150'000;  ///< So long a disk that failed may show itself.

// What no queue may exceed: the limits in src, with some room.
constexpr uint64_t kWaitingNodesMax = 64 * 2048;
constexpr uint64_t kOutgoingMax = 4096 + 64 + 64;
constexpr uint64_t kAnswersMax = 64 + 16;  // the last one comes in parts
constexpr uint64_t kUnknownListsMax = 64, kFetchingMax = 64, kAwaitedMax = 4096, kStraysMax = 4096,
                   kWantedMax = 4096, kToldMax = 256, kBulkJobsMax = 16, kBulkBlocksMax = 24;
constexpr uint64_t kQuietMessagesMax = 40;  ///< In kQuietMs, for each channel.

// libsodium's own randomness, for sealed boxes.
Random sodium_random(0);  // NOLINT: libsodium's interface is global
uint32_t sodium_next() { return static_cast<uint32_t>(sodium_random.next()); }
void sodium_fill(void* out, size_t size) {
  sodium_random.fill(static_cast<unsigned char*>(out), size);
}
const char* sodium_name() { return "simulated"; }
randombytes_implementation sodium_implementation = {sodium_name, sodium_next, nullptr,
                                                    nullptr,     sodium_fill, nullptr};

Bytes identity_seed(uint64_t seed) {
  Random random(seed);
  Bytes out(32, '\0');
  random.fill(u8(out), out.size());
  return out;
}

}  // namespace

// --- a replica -----------------------------------------------------------------------------------

Replica::Replica(World& world, size_t index, uint64_t seed)
    : world_(world),
      index_(index),
      entropy_(mix(seed, 1)),
      kubo_(mix(seed, 2)),
      identity_(std::move(*access::Identity::from_seed(identity_seed(mix(seed, 3))))),
      disk_(mix(seed, 4)),
      mono_base_ms_(mix(seed, 5) % 1'000'000) {}

Replica::~Replica() = default;

void Replica::open(Reopened how, bool first) {
  ++generation;
  topics.clear();
  touched = false;
  kubo_state_ = {};
  mono_base_ms_ = entropy_.below(1'000'000);
  if (!first) world_.checker_->on_opened(index_, how);
  engine_ =
      std::make_unique<engine::Engine>(engine::Ports{disk_, *this, *this, *this, *this, this},
                                       std::move(*access::Identity::from_seed(identity_.seed())));
  if (const auto opened = engine_->open(from_backup); !opened) {
    if (!disk_.faulted() && !disk_.dead())
      world_.checker_->fail(
          "open", fmt::format("replica {} does not start: {}", index_, opened.error().message));
    end(false);
    back_at_ms = world_.now_ms_ + 700;
    return;
  }
  from_backup = false;
  busy_until_ms = world_.now_ms_;
  due_ms = world_.now_ms_;
  look_at_kubo();
  touch();
}

void Replica::end(bool machine_stops) {
  if (engine_) fetched += engine_->stats().nodes_fetched;
  world_.streams_->end(index_, false);
  engine_.reset();
  topics.clear();
  ++generation;
  disk_.restart(!machine_stops);
}

void Replica::turn() {
  touched = false;
  const uint64_t due = engine_->turn();
  if (disk_.faulted()) {
    world_.checker_->on_fault(index_);
    faulted_ms = world_.now_ms_;
  }
  world_.checker_->on_turn_ended(index_);
  disk_.forget_faults();
  due_ms = std::max(due > mono_base_ms_ ? due - mono_base_ms_ : 0, world_.now_ms_ + 1);
  busy_until_ms = std::max(busy_until_ms, world_.now_ms_ + world_.plan_.turn_ms[index_]);
}

void Replica::look_at_kubo(bool reset) {
  if (!engine_) return;
  const bool down = world_.condition(Act::kubo_down, index_).has_value();
  const engine::KuboState state{!down, !down && !world_.condition(Act::pubsub_off, index_) &&
                                           !world_.streams_->pubsub_off(index_)};
  if (!reset && state.connected == kubo_state_.connected && state.pubsub == kubo_state_.pubsub)
    return;
  if (!reset && state.connected != kubo_state_.connected && world_.streams_->on(index_)) {
    if (!state.connected) world_.streams_->end(index_, true);
    engine_->on_streams(state.connected, state.connected ? fmt::format("kubo{}", index_) : "");
  }
  if (reset) engine_->on_kubo({});
  engine_->on_kubo(state);
  kubo_state_ = state;
  touch();
}

void Replica::deliver(const ipld::Cid& channel, const std::string& from, const Bytes& message) {
  if (!kubo_state_.pubsub || !topics.contains(channel)) return;
  const bool restored = world_.checker_->was_restored(index_);
  const auto refused =
      restored ? engine_->stats().refused : decltype(engine::EngineStats::refused){};
  engine_->on_message(channel, from, message);
  if (restored && engine_->stats().refused == refused)
    world_.checker_->on_heard(index_, channel, message);
  touch();
}

void Replica::on_peer(const list::PublicKey& peer, bool is_up, const Bytes& binding) {
  engine_->on_peer(peer, is_up, binding);
  touch();
}

void Replica::on_sent(const list::PublicKey& peer, uint64_t ticket, bool ok) {
  engine_->on_sent(peer, ticket, ok);
  touch();
}

void Replica::hear(const list::PublicKey& peer, const Bytes& bytes) {
  const bool restored = world_.checker_->was_restored(index_);
  const auto refused =
      restored ? engine_->stats().refused : decltype(engine::EngineStats::refused){};
  engine_->on_peer_message(peer, bytes);
  Bytes covered;
  const BytesView message = bytes.starts_with('c') ? BytesView(bytes).substr(17) : BytesView();
  if (restored && engine_->stats().refused == refused)
    if (const auto read = sync::decode(message, covered))
      world_.checker_->on_heard(index_, read->channel, message);
  touch();
}

void Replica::want(std::vector<engine::PeerAddress> peers) {
  if (!disk_.dead()) world_.streams_->want(index_, std::move(peers));
}

void Replica::meet(std::vector<ipld::Cid> channels, std::vector<ipld::Cid> sought) {
  if (!disk_.dead()) world_.streams_->meet(index_, std::move(channels), std::move(sought));
}

void Replica::send(const list::PublicKey& to, uint64_t ticket, Bytes bytes, bool) {
  if (disk_.dead()) return;
  if (bytes.starts_with('c')) {
    const BytesView message = BytesView(bytes).substr(17);
    Bytes covered;
    const auto read = sync::decode(message, covered);
    if (!read) return world_.checker_->fail("messages", "what goes over a stream is no message");
    world_.checker_->on_published(index_, read->channel, message);
    const uint64_t hash = std::hash<std::string_view>()(message);
    if (std::exchange(last_said_, hash) != hash) ++sent;  // one to many counts once
    ++world_.messages_;
    world_.stir(hash);
    world_.trace([&] {
      return fmt::format("{} {} says over a stream {}", world_.stamp(), index_,
                         world_.shown(message));
    });
  }
  world_.streams_->send(index_, to, ticket, std::move(bytes));
}

void Replica::drop(const list::PublicKey& peer) {
  if (!disk_.dead()) world_.streams_->drop(index_, peer);
}

uint64_t Replica::mono_ms() const { return mono_base_ms_ + world_.now_ms_; }

uint64_t Replica::wall_ms() const {
  const int64_t drifted =
      static_cast<int64_t>(world_.now_ms_ - drift_since_ms_) * drift_ppm_ / 1'000'000;
  return static_cast<uint64_t>(static_cast<int64_t>(kWallStartMs + world_.now_ms_) + offset_ms_ +
                               drifted);
}

void Replica::jump_clock(int64_t ms) { offset_ms_ += ms; }

void Replica::drift_clock(int64_t ppm) {
  offset_ms_ =
      static_cast<int64_t>(wall_ms()) - static_cast<int64_t>(kWallStartMs + world_.now_ms_);
  drift_ppm_ = ppm;
  drift_since_ms_ = world_.now_ms_;
}

void Replica::set_clock_right() { offset_ms_ = drift_ppm_ = 0; }

void Replica::subscribe(const ipld::Cid& channel) {
  if (!disk_.dead()) topics.insert(channel);
}
void Replica::unsubscribe(const ipld::Cid& channel) {
  if (!disk_.dead()) topics.erase(channel);
}

void Replica::answer(uint64_t delay_ms, std::function<void(engine::Engine&)> good,
                     std::function<void(engine::Engine&)> bad) {
  const auto level = [&](Act act) { return world_.level(act, index_); };
  auto outcome = std::move(good);
  if (!kubo_state_.connected || kubo_.percent(static_cast<uint64_t>(level(Act::kubo_errors))))
    outcome = std::move(bad);
  else if (const auto hangs = world_.condition(Act::kubo_hangs, index_)) {
    outcome = std::move(bad);
    delay_ms = hangs->until_ms + 1 - world_.now_ms_;
  }
  if (const int64_t slow = level(Act::kubo_slow))
    delay_ms += kubo_.below(static_cast<uint64_t>(slow) + 1);
  const int copies = kubo_.percent(static_cast<uint64_t>(level(Act::kubo_twice))) ? 2 : 1;
  for (int i = 0; i < copies; ++i)
    world_.at(world_.now_ms_ + delay_ms + kubo_.below(20), index_, [this, outcome] {
      outcome(*engine_);
      touch();
    });
}

void Replica::publish(const ipld::Cid& channel, Bytes message) {
  if (disk_.dead()) return;
  world_.checker_->on_published(index_, channel, message);
  Bytes covered;
  if (const auto decoded = sync::decode(message, covered); decoded.ok())
    if (const auto* clock = std::get_if<sync::ClockMessage>(&decoded->body))
      for (const sync::ClockEntry& entry : clock->entries)
        if (entry.root && !taken.contains(entry.root))
          world_.checker_->fail(
              "root", fmt::format("replica {} names a root that its Kubo has not got", index_));
  ++sent;
  ++world_.messages_;
  world_.stir(std::hash<std::string_view>()(message));
  world_.trace(
      [&] { return fmt::format("{} {} says {}", world_.stamp(), index_, world_.shown(message)); });
  if (kubo_state_.pubsub && (!world_.condition(Act::kubo_hangs, index_) || kubo_.percent(50)))
    world_.broadcast(index_, fmt::format("peer{}", index_), channel, message);
  const bool ok = kubo_state_.pubsub;
  answer(
      1, [channel, ok](engine::Engine& e) { e.on_published(channel, ok); },
      [channel](engine::Engine& e) { e.on_published(channel, false); });
}

void Replica::put(uint64_t ticket, std::vector<engine::Block> blocks_put) {
  if (disk_.dead()) return;
  const bool arrives = kubo_state_.connected && !world_.condition(Act::kubo_hangs, index_);
  std::vector<ipld::Cid> cids;
  for (engine::Block& block : blocks_put) {
    world_.checker_->on_put(index_, block);
    cids.push_back(block.cid);
    if (arrives) blocks[block.cid] = std::move(block.bytes);
  }
  answer(
      2,
      [this, ticket, cids](engine::Engine& e) {
        taken.insert(cids.begin(), cids.end());
        e.on_stored(ticket, true);
      },
      [ticket](engine::Engine& e) { e.on_stored(ticket, false); });
}

void Replica::pin(const ipld::Cid& last, const ipld::Cid& next) {
  if (disk_.dead() || !kubo_state_.connected) return;
  const bool ok = pins.pin(blocks, last, next);
  answer(
      3, [next, ok](engine::Engine& e) { e.on_pinned(next, ok); },
      [next](engine::Engine& e) { e.on_pinned(next, false); });
}

Bytes Replica::as_told(const Bytes& block) {
  if (!kubo_.percent(static_cast<uint64_t>(world_.level(Act::kubo_lies, index_)))) return block;
  Bytes other = block;
  switch (kubo_.below(4)) {
    case 0:
      return {};
    case 1:
      other.resize(kubo_.below(block.size()));
      return other;
    case 2:
      other[kubo_.below(other.size())] ^= static_cast<char>(1 << kubo_.below(8));
      return other;
    default:
      return world_.any_block(kubo_);
  }
}

void Replica::get(const ipld::Cid& cid) {
  if (disk_.dead()) return;
  const auto found = world_.find_block(index_, cid);
  const auto lost = [cid](engine::Engine& e) {
    e.on_block(cid, ptwop::fail(Code::timed_out, "nobody has it"));
  };
  if (found)
    answer(
        5, [this, cid, bytes = *found](engine::Engine& e) { e.on_block(cid, as_told(bytes)); },
        lost);
  else
    answer(3'000, lost, lost);
}

// --- the world -----------------------------------------------------------------------------------

World::World(const Plan& plan, bool tracing)
    : plan_(plan),
      tracing_(tracing),
      with_enemies_(std::any_of(plan.actions.begin(), plan.actions.end(),
                                [](const Action& a) { return a.act == Act::hostile; })) {
  sodium_random = Random(mix(plan.seed, 0x736f6469));
  randombytes_set_implementation(&sodium_implementation);
  std::vector<Subject> subjects;
  for (size_t i = 0; i < plan.replicas; ++i) {
    replicas_.push_back(std::make_unique<Replica>(*this, i, mix(plan.seed, 100 + i)));
    Replica* replica = replicas_.back().get();
    subjects.push_back({&replica->disk(), &replica->identity(), replica->identity().key(),
                        [replica] { return replica->mono_ms(); },
                        [replica] { return replica->wall_ms(); }});
    replica->disk().committed = [this, i](const engine::Changes& changes) {
      stir(mix(i, changes.size()));
      checker_->on_commit(i, changes);
    };
  }
  checker_ = std::make_unique<Checker>(std::move(subjects));
  hostile_ = std::make_unique<Hostile>(*this, mix(plan.seed, 99));
  streams_ = std::make_unique<Streams>(*this, plan.replicas, mix(plan.seed, 98));
}

World::~World() = default;

std::string World::stamp() const {
  return fmt::format("{:10.3f}", static_cast<double>(now_ms_) / 1000);
}

void World::at(uint64_t at_ms, size_t replica, std::function<void()> run) {
  events_.push({at_ms, ++order_, replica, replica == kNobody ? 0 : replicas_[replica]->generation,
                std::move(run)});
}

// One moment: all that is due, and then a turn of each replica that something happened to.
void World::step(uint64_t to_ms) {
  now_ms_ = to_ms;
  while (!events_.empty() && events_.top().at_ms <= now_ms_ && !failed()) {
    Event event = std::move(const_cast<Event&>(events_.top()));
    events_.pop();
    if (event.replica != kNobody) {
      Replica& replica = *replicas_[event.replica];
      if (!replica.up() || replica.generation != event.generation) continue;
      if (now_ms_ < replica.busy_until_ms) {
        event.at_ms = replica.busy_until_ms;
        event.order = ++order_;
        events_.push(std::move(event));
        continue;
      }
    }
    event.run();
  }
  for (size_t i = 0; i < replicas_.size() && !failed(); ++i) {
    Replica& replica = *replicas_[i];
    if (!replica.up()) {
      if (!replica.dead_for_good && replica.back_at_ms <= now_ms_)
        start(i, Reopened::after_a_crash);
      continue;
    }
    if (now_ms_ < replica.busy_until_ms) continue;
    if (now_ms_ >= replica.due_ms) {
      replica.engine()->tick();
      replica.touch();
    }
    if (replica.touched) replica.turn();
    if (replica.disk().dead()) died(i);
  }
}

void World::run_until(uint64_t until_ms) {
  while (!failed()) {
    uint64_t next = events_.empty() ? UINT64_MAX : events_.top().at_ms;
    for (const auto& replica : replicas_) {
      if (replica->up())
        next = std::min(
            next, std::max(replica->busy_until_ms, replica->touched ? now_ms_ : replica->due_ms));
      else if (!replica->dead_for_good)
        next = std::min(next, replica->back_at_ms);
    }
    if (next > until_ms) break;
    step(std::max(next, now_ms_));
    if (now_ms_ >= next_bounds_ms_) check_bounds();
  }
  if (!failed()) now_ms_ = std::max(now_ms_, until_ms);
}

void World::check_bounds() {
  next_bounds_ms_ = now_ms_ + kBoundsMs;
  for (size_t i = 0; i < replicas_.size(); ++i) {
    if (!replicas_[i]->up()) continue;
    const engine::EngineStats stats = replicas_[i]->engine()->stats();
    const uint64_t channels = plan_.channels.size(), lists = checker_->known_lists(i);
    const auto most = [&](const char* what, uint64_t count, uint64_t max) {
      if (count > max)
        checker_->fail("growth",
                       fmt::format("replica {} has {} {}, and {} are the most that it may have", i,
                                   count, what, max));
    };
    most("nodes waiting", stats.waiting_nodes, kWaitingNodesMax);
    most("lists waiting", stats.waiting_lists, lists + kUnknownListsMax * channels);
    most("messages to send", stats.outgoing, kOutgoingMax * channels);
    most("answers to send", stats.answers, kAnswersMax * channels);
    most("blocks on their way", stats.fetching, kFetchingMax * channels);
    most("lists fetched by roots", stats.bulk_jobs, kBulkJobsMax * channels);
    most("blocks of such lists", stats.bulk_blocks,
         stats.bulk_jobs ? kBulkBlocksMax + stats.bulk_jobs : 0);
    most("lists awaited", stats.awaited, kAwaitedMax * channels);
    most("strays", stats.strays, kStraysMax * channels);
    most("lists asked for", stats.wanted, kWantedMax * channels);
    // Two enemies; and each peer speaks for itself, through its Kubo, and over its stream.
    most("peers", stats.peers, (replicas_.size() + 2) * channels);
    most("accounts", stats.accounts, 3 * (replicas_.size() + 2) * channels);
    most("positions of peers", stats.told, lists + stats.wanted + kToldMax);
  }
  Random random(mix(plan_.seed, now_ms_));
  const size_t who = random.below(replicas_.size()), channel = random.below(channels_.size());
  Replica& replica = *replicas_[who];
  const bool sound = replica.disk().read_error_percent == 0 &&
                     (replica.faulted_ms == 0 || now_ms_ - replica.faulted_ms > kFaultMs);
  if (replica.up() && !replica.touched && !replica.disk().dead() && sound)
    look(who, channel, &random);
}

// A client looks at what this replica shows of a channel: at some of it, or at everything. Between
// two turns that is what it committed.
void World::look(size_t who, size_t channel, Random* random) {
  Replica& replica = *replicas_[who];
  engine::Engine& engine = *replica.engine();
  const ipld::Cid& cid = channels_[channel];
  const engine::ChannelRef ref = engine.directory().find("/ptwop/" + cid.text());
  if (!ref || !ref->type) return;
  const auto wrong = [this, who, channel](const std::string& what) {
    checker_->fail("shown", fmt::format("replica {}, channel {}: {}", who, channel, what));
  };
  if (const auto source = engine.source(ref))
    if (const std::string text = checker_->look(who, cid, *source, random); !text.empty())
      wrong(text);
  engine.members(ref->name, [wrong, expected = checker_->members(who, cid)](const auto& members) {
    if (!members) return;
    const auto shown = [](const std::vector<engine::Member>& all) {
      std::string out;
      for (const engine::Member& m : all)
        out += fmt::format(" {} {} {};", m.id.substr(m.id.size() - 6), m.role, m.since_ms);
      return out;
    };
    if (shown(*members) != shown(expected))
      wrong(fmt::format("its members are{} they have to be{}", shown(*members), shown(expected)));
  });
  engine.info(ref->name, [wrong, expected = checker_->lists(who, cid)](const auto& info) {
    if (!info) return;
    std::map<std::string, std::tuple<uint64_t, std::string, bool>> lists;
    for (const engine::ListInfo& list : info->lists)
      lists[list.list] = {list.count, list.head, !list.cut.empty()};
    const auto shown = [](const auto& all) {
      std::string out;
      for (const auto& [id, list] : all)
        out += fmt::format(" {} {} {}{};", id.substr(0, 8), std::get<0>(list), std::get<1>(list),
                           std::get<2>(list) ? " cut" : "");
      return out;
    };
    if (lists != expected)
      wrong(fmt::format("its lists are{} they have to be{}", shown(lists), shown(expected)));
  });
  replica.touch();
}

void World::set_up() {
  for (size_t i = 0; i < replicas_.size(); ++i) replicas_[i]->open(Reopened::after_a_crash, true);
  for (size_t c = 0; c < plan_.channels.size(); ++c) {
    const ChannelPlan& channel = plan_.channels[c];
    engine::Engine& creator = *replicas_[channel.creator]->engine();
    creator.create(fmt::format("c{}", c), channel.type, channel.is_public,
                   [this](Result<engine::ChannelRef> ref) { channels_.push_back((*ref)->cid); });
    creator.turn();
    if (channel.hostile_member)
      creator.grant(fmt::format("c{}", c), hostile_->member().did(), "write", [](const auto&) {});
  }
  for (const Action& action : plan_.actions) at(action.at_ms, [this, &action] { act(action); });
  streams_->look();
}

// The faults end: everybody who will ever come back is back, and hears everybody.
void World::heal() {
  trace([&] { return stamp() + " -- the faults end"; });
  healed_ = true;
  conditions_.clear();
  for (size_t i = 0; i < replicas_.size(); ++i) {
    Replica& replica = *replicas_[i];
    replica.set_clock_right();
    replica.disk().full = false;
    replica.disk().write_error_percent = replica.disk().read_error_percent = 0;
    replica.disk().crash_after(0);
    if (replica.dead_for_good) continue;
    if (!replica.up()) start(i, Reopened::after_a_crash);
    replica.busy_until_ms = now_ms_;
    replica.look_at_kubo();
  }
}

void World::settle() {
  std::vector<size_t> connected;
  for (size_t i = 0; i < replicas_.size(); ++i)
    if (!replicas_[i]->dead_for_good) connected.push_back(i);
  const uint64_t started = now_ms_;
  // Nodes whose writer's clock ran ahead count when their time has come.
  const uint64_t future = checker_->time_max_ms() > kWallStartMs + now_ms_ + kFutureMs
                              ? checker_->time_max_ms() - kWallStartMs - now_ms_ - kFutureMs
                              : 0;
  const auto until_equal = [&](uint64_t bound_ms) {
    std::string difference;
    const uint64_t from = now_ms_;
    do {
      run_until(now_ms_ + kLookMs);
      difference = checker_->difference(connected);
      for (const size_t i : connected)
        if (const engine::EngineStats stats = replicas_[i]->engine()->stats();
            difference.empty() && (stats.outbox > 0 || stats.pins > 0))
          difference = fmt::format(
              "replica {} has {} nodes that are not in its Kubo and {} pins to "
              "change",
              i, stats.outbox, stats.pins);
    } while (!failed() && !difference.empty() && now_ms_ < from + bound_ms);
    if (!difference.empty())
      checker_->fail("convergence", fmt::format("{} s after the faults: {}",
                                                (now_ms_ - started) / 1000, difference));
  };
  uint64_t latest = 0;
  for (const Action& a : plan_.actions)
    if (a.act == Act::delay || a.act == Act::kubo_slow)
      latest = std::max(latest, static_cast<uint64_t>(a.a));
  until_equal(future + kSettleMs + latest);
  settle_ms_ = now_ms_ - started;
  if (failed()) return;

  std::vector<uint64_t> sent;
  for (const auto& replica : replicas_) sent.push_back(replica->sent);
  run_until(now_ms_ + (plan_.seed % kPatientEvery ? kQuietMs : kGivenUpMs));
  // Even now a node's time may come, or somebody may have asked for an enemy's other branch.
  until_equal(kSettleMs);
  if (failed()) return;
  checker_->check_all(connected);
  for (const size_t i : connected)
    for (size_t c = 0; c < channels_.size(); ++c)
      if (!failed() && !replicas_[i]->touched) look(i, c, nullptr);
  run_until(now_ms_ + 1);
  for (const size_t i : connected) {
    Replica& replica = *replicas_[i];
    // What an enemy claimed is asked for until nobody had it twelve times.
    const bool claims = hostile();
    if (!claims && plan_.seed % kPatientEvery &&
        replica.sent - sent[i] > kQuietMessagesMax * plan_.channels.size())
      checker_->fail("growth", fmt::format("replica {} sent {} messages in {} quiet seconds", i,
                                           replica.sent - sent[i], kQuietMs / 1000));
    const engine::EngineStats stats = replica.engine()->stats();
    // What only one had who lost it may be waited for until a restart.
    const bool loses = std::any_of(plan_.actions.begin(), plan_.actions.end(), [](const Action& a) {
      return a.act == Act::leave || a.act == Act::die || a.act == Act::restore;
    });
    const bool late = now_ms_ > plan_.length_ms + kWaitMsMax + kQuietMs;
    // Nor is what a clock stamped that ran ahead written again before its time.
    const bool ahead = checker_->time_max_ms() > replica.wall_ms() + limits::kOwnLeadMs;
    if ((stats.strays && !ahead) || stats.awaited > checker_->unmet(i) || (late && stats.waiters) ||
        (!claims && (stats.fetching || stats.bulk_jobs)) ||
        (!claims && !loses && stats.waiting_nodes))
      checker_->fail(
          "growth",
          fmt::format("when all is quiet replica {} still has {} strays, {} waiters, {} blocks on "
                      "their way, {} lists fetched by roots, {} nodes waiting and {} lists awaited",
                      i, stats.strays, stats.waiters, stats.fetching, stats.bulk_jobs,
                      stats.waiting_nodes, stats.awaited));
    // A pin of a channel that was restored over may be one that nobody knows of any more.
    if (const size_t pinned = replica.pins.all().size(), most = checker_->known_channels(i);
        pinned != most && !(checker_->was_restored(i) && pinned > most))
      checker_->fail("pins", fmt::format("replica {} has {} pins in its Kubo for {} channels", i,
                                         pinned, most));
    replica.pins.collect_garbage(replica.blocks);
    for (const auto& [root, what] : checker_->roots(i))
      if (std::set<ipld::Cid> below; !test::collect(replica.blocks, root, below))
        checker_->fail("outbox",
                       fmt::format("replica {} has not got the root of {} and all below it pinned "
                                   "in its Kubo",
                                   i, what));
  }
}

Outcome World::run() {
  set_up();
  run_until(plan_.length_ms);
  if (!failed()) heal();
  if (!failed()) settle();
  if (failed())
    for (size_t i = 0; i < replicas_.size(); ++i)
      trace([&] {
        if (!replicas_[i]->up()) return fmt::format("{} {} is down", stamp(), i);
        std::string refused;
        const engine::EngineStats stats = replicas_[i]->engine()->stats();
        for (const auto& [kind, count] : stats.refused)
          refused += fmt::format(" {}={}", kind, count);
        return fmt::format("{} {} has {} nodes waiting; since it started it refused{}", stamp(), i,
                           stats.waiting_nodes, refused);
      });
  Outcome out;
  out.failure = checker_->failure();
  out.failed_at_ms = now_ms_;
  out.virtual_ms = now_ms_;
  out.digest = digest_;
  out.settle_ms = settle_ms_;
  out.acknowledged = checker_->acknowledged();
  out.messages = messages_;
  for (const auto& replica : replicas_)
    out.fetched +=
        replica->fetched + (replica->up() ? replica->engine()->stats().nodes_fetched : 0);
  out.trace.assign(trace_.begin(), trace_.end());
  return out;
}

// What a message says, for the trace.
std::string World::shown(BytesView bytes) const {
  Bytes covered;
  const auto message = sync::decode(bytes, covered);
  if (!message) return "noise";
  std::string out;
  if (const auto* nodes = std::get_if<sync::Nodes>(&message->body)) {
    for (const Bytes& block : nodes->nodes)
      out += (out.empty() ? "" : ", ") + checker_->shown(ipld::Cid::of(block));
    for (const auto& large : nodes->large)
      out += (out.empty() ? "large " : ", large ") + checker_->shown(large.cid);
    if (!nodes->manifest.empty()) out += out.empty() ? "the manifest" : ", the manifest";
  } else if (const auto* clock = std::get_if<sync::ClockMessage>(&message->body)) {
    out = clock->ask ? "its clock, asking:" : "its clock:";
    for (const auto& entry : clock->entries)
      out +=
          fmt::format(" {}:{}{}{}", hex(entry.at.list.view()).substr(0, 8),
                      entry.at.position.number, entry.cut ? fmt::format(" cut {}", entry.cut) : "",
                      entry.root ? fmt::format(" root {}", entry.root_number) : "");
  } else if (const auto* want = std::get_if<sync::Want>(&message->body)) {
    out = "it wants";
    for (const auto& range : want->ranges)
      out += fmt::format(" {}:{}-{}", hex(range.list.view()).substr(0, 8), range.from, range.to);
    for (size_t i = 0; i < replicas_.size(); ++i)
      if (replicas_[i]->identity().key() == want->to) out += fmt::format(" of {}", i);
  }
  return out;
}

// --- the network ---------------------------------------------------------------------------------

bool World::cut(size_t from, size_t to) const {
  if (from >= replicas_.size() || from == to) return false;
  return std::any_of(conditions_.begin(), conditions_.end(), [&](const Condition& c) {
    if (c.act != Act::partition || c.until_ms <= now_ms_) return false;
    const bool from_in = c.a >> from & 1, to_in = c.a >> to & 1;
    return from_in != to_in && (c.salt & 1 || to_in);
  });
}

void World::broadcast(size_t from, const std::string& name, const ipld::Cid& channel,
                      const Bytes& message) {
  const auto shared = std::make_shared<const Bytes>(message);
  for (size_t to = 0; to < replicas_.size(); ++to) send(from, to, name, channel, shared);
  if (from != kNobody) hostile_->overhear(channel, message);
}

void World::send(size_t from, size_t to, const std::string& name, const ipld::Cid& channel,
                 std::shared_ptr<const Bytes> message) {
  const auto link = links_.try_emplace({from, to}, mix(plan_.seed, mix(from + 1, to + 1000))).first;
  Random& random = link->second;
  const uint64_t chance = random.next(), chances = random.next();
  if (from == to) {
    at(now_ms_ + 1, to,
       [this, to, name, channel, message] { replicas_[to]->deliver(channel, name, *message); });
    return;
  }
  if (cut(from, to) || chance % 100 < static_cast<uint64_t>(level(Act::loss, to))) return;
  const int copies = chances % 100 < static_cast<uint64_t>(level(Act::duplicate, to)) ? 2 : 1;
  const uint64_t most =
      std::max<uint64_t>(plan_.latency_ms_max, static_cast<uint64_t>(level(Act::delay, to)));
  for (int i = 0; i < copies; ++i)
    at(now_ms_ + 1 + random.below(most), to,
       [this, to, name, channel, message] { replicas_[to]->deliver(channel, name, *message); });
}

// A manifest or a node, of whatever channel.
const Bytes& World::any_block(Random& random) const {
  const auto& replica = *replicas_[plan_.channels[random.below(channels_.size())].creator];
  const auto& manifest = replica.blocks.find(random.pick(channels_));
  if (replica.blocks.empty()) {
    static const Bytes none;
    return none;
  }
  if (manifest != replica.blocks.end() && random.percent(30)) return manifest->second;
  return std::next(replica.blocks.begin(),
                   static_cast<ptrdiff_t>(random.below(replica.blocks.size())))
      ->second;
}

std::optional<Bytes> World::find_block(size_t asking, const ipld::Cid& cid) const {
  if (const Bytes* block = hostile_->block(cid)) return *block;
  for (size_t i = 0; i < replicas_.size(); ++i) {
    if (replicas_[i]->dead_for_good || condition(Act::kubo_down, i) || cut(i, asking) ||
        cut(asking, i))
      continue;
    if (const auto holds = condition(Act::kubo_withholds, i);
        holds && i != asking && mix(cid.tag(), holds->salt) % 100 < static_cast<uint64_t>(holds->a))
      continue;
    if (const auto it = replicas_[i]->blocks.find(cid); it != replicas_[i]->blocks.end())
      return it->second;
  }
  return std::nullopt;
}

}  // namespace ptwop::sim
