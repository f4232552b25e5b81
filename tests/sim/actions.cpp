// What the actions of a plan do to the world.
#include <fmt/format.h>

#include <algorithm>

#include "engine/archive.h"
#include "ipld/dag_cbor.h"
#include "types/count.h"
#include "types/kv.h"
#include "types/log.h"
#include "world.h"

namespace ptwop::sim {
namespace {

constexpr size_t kLargeBytes = 70 << 10;  // does not ride inline

std::string channel_name(size_t channel) { return fmt::format("c{}", channel); }

}  // namespace

// --- conditions ----------------------------------------------------------------------------------

void World::condition(const Action& action, size_t who) {
  std::erase_if(conditions_, [this](const Condition& c) { return c.until_ms <= now_ms_; });
  conditions_.push_back({action.act, who, action.a, now_ms_ + action.b, action.salt});
}

std::optional<World::Condition> World::condition(Act act, size_t who) const {
  for (const Condition& c : conditions_)
    if (c.act == act && c.until_ms > now_ms_ && (c.who == who || c.who == kReplicasMax)) return c;
  return std::nullopt;
}

int64_t World::level(Act act, size_t who) const {
  int64_t most = 0;
  for (const Condition& c : conditions_)
    if (c.act == act && c.until_ms > now_ms_ && (c.who == who || c.who == kReplicasMax))
      most = std::max(most, c.a);
  return most;
}

// --- processes -----------------------------------------------------------------------------------

void World::died(size_t who) {
  Replica& replica = *replicas_[who];
  trace([&] {
    return fmt::format("{} {} died{}", stamp(), who, replica.power ? " with its machine" : "");
  });
  replica.end(replica.power);
  replica.back_at_ms = now_ms_ + replica.down_ms;
}

void World::stop(size_t who, uint64_t down_ms, bool power) {
  Replica& replica = *replicas_[who];
  replica.back_at_ms = now_ms_ + down_ms;
  if (replica.up()) replica.end(power);
}

void World::start(size_t who, Reopened how) {
  trace([&] { return fmt::format("{} {} starts", stamp(), who); });
  Replica& replica = *replicas_[who];
  replica.back_at_ms = UINT64_MAX;
  if (std::exchange(replica.from_copy, false))
    how = replica.from_backup ? Reopened::from_a_backup : Reopened::from_an_old_copy;
  replica.open(how, false);
  if (replica.up()) retry_requests(who);
}

// A client that got no answer asks again, with the same request id.
void World::retry_requests(size_t who) {
  for (size_t i = 0; i < writes_.size(); ++i) {
    Write& write = writes_[i];
    if (write.replica != who || write.answered || !write.submitted || write.request.empty())
      continue;
    at(now_ms_ + 1 + mix(plan_.seed, i) % 1'000, who, [this, i] { submit(i); });
  }
}

// --- clients -------------------------------------------------------------------------------------

Bytes World::make_operation(const ChannelPlan& channel, size_t number, Random& random, bool hot,
                            std::optional<size_t> bytes) {
  const uint64_t value = next_value_++;
  const std::string key =
      hot ? fmt::format("k{}", random.below(4)) : fmt::format("key {}", random.below(200));
  ipld::CborWriter encoded;
  const size_t padding = random.percent(1) ? kLargeBytes : bytes ? *bytes : random.below(120);
  encoded.array(2).unsigned_integer(value).bytes(Bytes(padding, 'x'));
  if (channel.type == "count")
    return types::count_add_op(
        key, random.percent(50) ? static_cast<int64_t>(value) : -static_cast<int64_t>(value));
  if (channel.type == "log") {
    std::vector<std::string> ids;
    for (const auto& [c, id] : entry_ids_)
      if (c == number) ids.push_back(id);
    if (!ids.empty() && random.percent(20)) return *types::log_del_op(random.pick(ids));
    return types::log_add_op(encoded.out());
  }
  if (random.percent(15)) return types::kv_del_op(key);
  return types::kv_put_op(key, encoded.out(),
                          random.percent(8)
                              ? std::optional<uint64_t>(kWallStartMs + random.below(600'000))
                              : std::nullopt);
}

void World::write(const Action& action) {
  Random random(action.salt);
  const ChannelPlan& channel = plan_.channels[action.channel];
  for (int64_t i = 0; i < action.a; ++i) {
    Write write;
    write.replica = action.who;
    write.channel = action.channel;
    for (size_t n = random.percent(80) ? 1 : random.between(2, 6); n > 0; --n)
      write.operations.push_back(
          make_operation(channel, action.channel, random, random.percent(70)));
    if (random.percent(50)) write.request = fmt::format("request {}", writes_.size());
    writes_.push_back(std::move(write));
    const size_t number = writes_.size() - 1;
    at(now_ms_, action.who, [this, number] { submit(number); });
    if (random.percent(5))
      at(now_ms_ + random.below(5'000), action.who, [this, number] { submit(number); });
  }
}

void World::burst(const Action& action) {
  Random random(action.salt);
  const ChannelPlan& channel = plan_.channels[action.channel];
  const uint64_t gap_ms = plan_.turn_ms[action.who] + 4;
  for (int64_t i = 0; i < action.a; ++i) {
    Write write;
    write.replica = action.who;
    write.channel = action.channel;
    write.operations.push_back(make_operation(channel, action.channel, random, random.percent(70),
                                              random.below(action.b)));
    writes_.push_back(std::move(write));
    at(now_ms_ + static_cast<uint64_t>(i) * gap_ms, action.who,
       [this, number = writes_.size() - 1] { submit(number); });
  }
}

void World::twins(const Action& action) {
  for (size_t i = 0; i < replicas_.size(); ++i) {
    Write write;
    write.replica = i;
    write.channel = action.channel;
    ipld::CborWriter value;
    value.unsigned_integer(next_value_);
    const std::string& type = plan_.channels[action.channel].type;
    write.operations.push_back(
        type == "kv"    ? types::kv_put_op("twin", value.out(), {})
        : type == "log" ? types::log_add_op(value.out())
                        : types::count_add_op("twin", static_cast<int64_t>(next_value_)));
    ++next_value_;
    writes_.push_back(std::move(write));
    at(now_ms_, i, [this, number = writes_.size() - 1] { submit(number); });
  }
}

void World::submit(size_t number) {
  Write& write = writes_[number];
  if (write.submitted && write.request.empty())
    return;  // without a request id a client cannot ask again
  if (write.answered && write.token.empty()) return;  // it was refused: that is an answer
  if (write.submitted && write.left) return;          // requests are forgotten with the channel
  const bool first = !write.submitted;
  write.submitted = true;
  ++write.pending;
  Replica& replica = *replicas_[write.replica];
  const auto done = [this, number, first](Result<engine::Written> result) {
    on_answer(number, first, std::move(result));
  };
  replica.engine()->write(channel_name(write.channel),
                          *types::find_type(plan_.channels[write.channel].type), write.operations,
                          write.request, done);
  replica.touch();
}

void World::on_answer(size_t number, bool first, Result<engine::Written> result) {
  Write& write = writes_[number];
  Replica& replica = *replicas_[write.replica];
  if (replica.disk().dead()) return;  // nobody is there to hear it
  --write.pending;
  const ipld::Cid& channel = channels_[write.channel];
  if (!result) {
    const Code code = result.error().code;
    trace([&] {
      return fmt::format("{} {} refuses write {}: {}", stamp(), write.replica, number,
                         result.error().message);
    });
    const bool by_disk = code == Code::disk_full || code == Code::internal || code == Code::corrupt;
    if (by_disk && !replica.disk().faulted())
      checker_->fail("available", fmt::format("replica {} refuses a write without cause: {}",
                                              write.replica, result.error().message));
    // One that was asked before may have been carried out then, and one that was asked again may be
    // now.
    if (!first || write.pending > 0) return;
    checker_->on_refused(write.replica, write.operations);
    write.answered = true;
    return;
  }
  trace([&] {
    return fmt::format("{} {} acknowledges write {} in channel {}", stamp(), write.replica, number,
                       write.channel);
  });
  stir(std::hash<std::string>()(result->at));
  if (write.answered && write.token.empty())
    return checker_->fail("refused",
                          fmt::format("replica {} carries out write {}, which it had refused",
                                      write.replica, number));
  if (!write.token.empty()) {
    if (write.token != result->at && !checker_->was_restored(write.replica) && !write.left)
      checker_->fail("once",
                     fmt::format("replica {} answers one request with two tokens", write.replica));
    return;
  }
  write.answered = true;
  write.token = result->at;
  if (write.left) return;  // its channel was left in the same turn
  checker_->on_acknowledged(write.replica, channel, result->at, write.operations);
  tokens_.emplace_back(write.channel, result->at);
  if (result->result.id) entry_ids_.emplace_back(write.channel, *result->result.id);
}

void World::wait(const Action& action) {
  std::vector<std::string> tokens;
  for (const auto& [channel, token] : tokens_)
    if (channel == action.channel) tokens.push_back(token);
  if (tokens.empty()) return;
  Random random(action.salt);
  const size_t latest = tokens.size() - random.below(std::min<size_t>(tokens.size(), 8)) - 1;
  const std::string token = random.percent(50) ? tokens[latest] : random.pick(tokens);
  const size_t peer = random.percent(40)
                          ? random.below(replicas_.size())
                          : kNobody;  // an honest one: enemies lie for themselves only
  at(now_ms_, action.who,
     [this, action, token, peer, timeout_ms = random.between(100, kWaitMsMax)] {
       Replica& replica = *replicas_[action.who];
       const auto done = [this, action, token, peer](Result<bool> result) {
         if (!result || !*result || replicas_[action.who]->disk().dead()) return;
         trace([&] {
           return fmt::format("{} {} has reached a position of channel {}", stamp(), action.who,
                              action.channel);
         });
         checker_->on_reached(action.who, channels_[action.channel], token,
                              peer == kNobody ? std::nullopt : std::optional(peer));
       };
       replica.engine()->wait(channel_name(action.channel), {token}, timeout_ms,
                              peer == kNobody ? "" : replicas_[peer]->identity().did(), done);
       replica.touch();
     });
}

void World::join(size_t who, size_t channel) {
  at(now_ms_, who, [this, who, channel] {
    replicas_[who]->engine()->join("/ptwop/" + channels_[channel].text(), channel_name(channel),
                                   [](const auto&) {});
    replicas_[who]->touch();
  });
}

void World::leave(size_t who, size_t channel) {
  at(now_ms_, who, [this, who, channel] {
    checker_->on_left(who, channels_[channel]);
    for (Write& write : writes_)
      if (write.replica == who && write.channel == channel) write.left = true;
    replicas_[who]->engine()->leave(channel_name(channel), [](const auto&) {});
    replicas_[who]->touch();
  });
}

void World::grant(size_t who, size_t channel) {
  const ChannelPlan& plan = plan_.channels[channel];
  if (plan.members[who] == Membership::none) return;
  at(now_ms_, plan.creator,
     [this, who, channel, creator = plan.creator,
      role = plan.members[who] == Membership::writes ? "write" : "read"] {
       replicas_[creator]->engine()->grant(channel_name(channel), replicas_[who]->identity().did(),
                                           role, [](const auto&) {});
       replicas_[creator]->touch();
     });
}

void World::carry(const Action& action) {
  Replica& from = *replicas_[action.who];
  const auto view =
      from.up() ? from.engine()->directory().find(channel_name(action.channel)) : nullptr;
  if (!view) return;
  Random random(action.salt);
  std::vector<Bytes> blocks;
  const auto read = engine::read_archive(from.disk(), *view, {}, [&](BytesView block) {
    blocks.emplace_back(block);
    return Result<void>();
  });
  if (!read) return;
  if (random.percent(30)) blocks.resize(1 + random.below(blocks.size()));
  const auto to = static_cast<size_t>(action.a);
  at(now_ms_ + random.below(20'000), to, [this, to, cid = view->cid, blocks] {
    engine::Engine& engine = *replicas_[to]->engine();
    engine.import_channel(blocks.front(), "", [](const auto&) {});
    engine.import_blocks(cid, {blocks.begin() + 1, blocks.end()}, [](const auto&) {});
    replicas_[to]->touch();
  });
}

// --- actions -------------------------------------------------------------------------------------

void World::act(const Action& action) {
  if (healed_) return;
  trace([&] { return fmt::format("{} * {}", stamp(), describe(action)); });
  const size_t who = action.who;
  Replica* replica = who < replicas_.size() ? replicas_[who].get() : nullptr;
  const auto for_a_while = [&](auto set) {
    condition(action, who);
    set(true);
    at(now_ms_ + action.b, [this, set, act = action.act, who] {
      if (!condition(act, who)) set(false);
    });
  };
  switch (action.act) {
    case Act::write:
      return write(action);
    case Act::burst:
      return burst(action);
    case Act::twins:
      return twins(action);
    case Act::wait:
      return wait(action);
    case Act::join:
      return join(who, action.channel);
    case Act::leave:
      return leave(who, action.channel);
    case Act::grant:
      return grant(who, action.channel);
    case Act::crash:
      if (!replica->up()) return;
      replica->disk().crash_after(static_cast<uint64_t>(action.a));
      replica->down_ms = action.b;
      replica->power = action.salt & 1;
      return;
    case Act::stop:
      return stop(who, action.b, action.salt & 1);
    case Act::die:
      stop(who, 0, false);
      replica->dead_for_good = true;
      return;
    case Act::pause:
      replica->busy_until_ms = std::max(replica->busy_until_ms, now_ms_ + action.b);
      return;
    case Act::copy:
      if (!replica->disk().dead()) replica->backup = replica->disk().copy();
      return;
    case Act::restore:
      if (!replica->backup || replica->dead_for_good) return;
      stop(who, action.b, false);
      replica->disk().replace(*replica->backup);
      replica->from_copy = true;
      replica->from_backup = action.salt % 4 == 0;
      return;
    case Act::carry:
      return carry(action);
    case Act::disk_full:
      return for_a_while([replica](bool on) { replica->disk().full = on; });
    case Act::write_errors:
      return for_a_while([replica, a = action.a](bool on) {
        replica->disk().write_error_percent = on ? static_cast<unsigned>(a) : 0;
      });
    case Act::read_errors:
      return for_a_while([replica, a = action.a](bool on) {
        replica->disk().read_error_percent = on ? static_cast<unsigned>(a) : 0;
      });
    case Act::clock_jump:
      return replica->jump_clock(action.a);
    case Act::clock_drift:
      return replica->drift_clock(action.a);
    case Act::loss:
    case Act::duplicate:
    case Act::delay:
    case Act::partition:
    case Act::kubo_errors:
    case Act::kubo_slow:
    case Act::kubo_twice:
    case Act::kubo_lies:
    case Act::kubo_withholds:
      return condition(action, who);
    case Act::kubo_garbage:
      return replica->pins.collect_garbage(replica->blocks);
    case Act::kubo_loses: {
      Random random(action.salt);
      std::vector<ipld::Cid> all;  // in an order that is the same everywhere
      for (const auto& [cid, block] : replica->blocks) all.push_back(cid);
      std::sort(all.begin(), all.end());
      for (const ipld::Cid& cid : all)
        if (random.percent(static_cast<uint64_t>(action.a))) {
          replica->blocks.erase(cid);
          replica->pins.unpin(cid);
        }
      return replica->look_at_kubo(true);
    }
    case Act::kubo_down:
    case Act::pubsub_off:
      return for_a_while([replica](bool) { replica->look_at_kubo(); });
    case Act::kubo_hangs:
      condition(action, who);
      at(now_ms_ + action.b, [replica] { replica->look_at_kubo(true); });
      return;
    case Act::hostile:
      return hostile_->act(action);
  }
}

}  // namespace ptwop::sim
