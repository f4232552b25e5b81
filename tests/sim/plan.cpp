#include "plan.h"

#include <fmt/format.h>

#include <algorithm>

namespace ptwop::sim {
namespace {

constexpr const char* kNames[] = {
    "write",       "burst",       "twins",        "wait",         "join",        "leave",
    "grant",       "crash",       "stop",         "die",          "pause",       "copy",
    "restore",     "carry",       "disk full",    "write errors", "read errors", "clock jump",
    "clock drift", "loss",        "duplicate",    "delay",        "partition",   "kubo down",
    "pubsub off",  "kubo errors", "kubo slow",    "kubo twice",   "kubo lies",   "kubo hangs",
    "withholds",   "garbage",     "loses blocks", "hostile"};

constexpr uint64_t kSetUpMs = 300;
constexpr int64_t kMinuteMs = 60'000;

// Draws the actions of one plan. Each seed has some kinds of faults and not others, often or
// rarely: what is everywhere at once hides what one alone would show.
class Planner {
 public:
  Planner(uint64_t seed, uint64_t length_ms) : random_(mix(seed, 0x706c616e)) {
    plan_.seed = seed;
    plan_.length_ms = length_ms;
  }

  Plan make() {
    plan_.replicas = 2 + std::min(random_.below(kReplicasMax - 1), random_.below(kReplicasMax - 1));
    plan_.latency_ms_max = random_.percent(50) ? 5 : random_.between(10, 400);
    for (size_t i = 0; i < plan_.replicas; ++i)
      plan_.turn_ms.push_back(random_.percent(70) ? 0 : random_.between(1, 60));
    busy_ = random_.below(plan_.replicas);
    restores_ = random_.percent(25);
    hostile_ = random_.percent(40);
    channels();
    work();
    processes();
    disks();
    clocks();
    network();
    kubo();
    enemies();
    random_ = Random(mix(plan_.seed, 0x62756c6b));
    bulk();
    files();
    std::stable_sort(plan_.actions.begin(), plan_.actions.end(),
                     [](const Action& a, const Action& b) { return a.at_ms < b.at_ms; });
    return std::move(plan_);
  }

 private:
  uint8_t anyone() {
    return static_cast<uint8_t>(random_.percent(50) ? busy_ : random_.below(plan_.replicas));
  }
  uint8_t any_channel() { return static_cast<uint8_t>(random_.below(plan_.channels.size())); }
  uint64_t any_time() { return random_.between(kSetUpMs, plan_.length_ms); }
  uint64_t duration() {
    return random_.percent(70) ? random_.between(100, 5'000) : random_.between(5'000, 40'000);
  }
  Action& add(uint64_t at_ms, Act act, uint8_t who) {
    plan_.actions.push_back({at_ms, act, who, any_channel(), 0, 0, random_.next()});
    return plan_.actions.back();
  }
  /// So many of them, at random times, each family being there in `percent` of all plans.
  template <class Each>
  void family(unsigned percent, uint64_t mean_ms, Each each) {
    if (!random_.percent(percent)) return;
    mean_ms = random_.between(mean_ms / 2, 2 * mean_ms);
    for (uint64_t at = kSetUpMs + random_.below(2 * mean_ms); at < plan_.length_ms;
         at += 1 + random_.below(2 * mean_ms))
      each(at);
  }

  void channels() {
    const size_t count = 1 + random_.below(3);
    for (size_t c = 0; c < count; ++c) {
      ChannelPlan channel;
      channel.type = random_.pick(std::vector<std::string>{"kv", "count", "log"});
      channel.is_public = random_.percent(50);
      channel.creator = random_.percent(50) ? busy_ : random_.below(plan_.replicas);
      channel.hostile_member = hostile_ && random_.percent(60);
      for (size_t i = 0; i < plan_.replicas; ++i)
        channel.members.push_back(random_.percent(85)   ? Membership::writes
                                  : random_.percent(50) ? Membership::reads
                                                        : Membership::none);
      plan_.channels.push_back(channel);
    }
    for (uint8_t c = 0; c < count; ++c)
      for (uint8_t i = 0; i < plan_.replicas; ++i) {
        if (i == plan_.channels[c].creator) continue;
        const bool late_grant = random_.percent(restores_ ? 50 : 25);
        if (late_grant) late_.emplace_back(c, i);
        add(late_grant ? any_time() : 0, Act::grant, i).channel = c;
        add(random_.percent(80) ? random_.below(kSetUpMs) : any_time(), Act::join, i).channel = c;
      }
  }

  void work() {
    const uint64_t gap_ms = random_.pick(std::vector<uint64_t>{300, 700, 1'500, 3'000});
    const bool crashes = random_.percent(50);
    for (uint64_t at = kSetUpMs + random_.below(gap_ms); at < plan_.length_ms;
         at += 1 + random_.below(2 * gap_ms)) {
      const uint8_t who = anyone();
      // Faults are aimed at the replica that is about to have something to lose.
      if (crashes && random_.percent(6)) {
        Action& crash = add(at, Act::crash, who);
        crash.a = static_cast<int64_t>(random_.between(1, 4));
        crash.b = duration();
      }
      add(at, Act::write, who).a = static_cast<int64_t>(
          random_.percent(85) ? random_.between(1, 3) : random_.between(4, 20));
      if (random_.percent(5)) add(at + random_.below(2'000), Act::wait, anyone());
    }
    family(40, 4'000, [&](uint64_t at) { add(at, Act::twins, anyone()); });
    family(15, 30'000, [&](uint64_t at) {
      const uint8_t who = anyone();
      Action& leave = add(at, Act::leave, who);
      const uint8_t channel = leave.channel;
      if (random_.percent(80)) add(at + random_.below(5'000), Act::join, who).channel = channel;
    });
  }

  void processes() {
    family(35, 15'000, [&](uint64_t at) {
      Action& crash = add(at, Act::crash, anyone());
      crash.a = static_cast<int64_t>(random_.between(1, 12));
      crash.b = duration();
    });
    family(30, 20'000, [&](uint64_t at) { add(at, Act::stop, anyone()).b = duration(); });
    family(5, 60'000, [&](uint64_t at) { add(at, Act::die, anyone()); });
    family(20, 15'000, [&](uint64_t at) { add(at, Act::pause, anyone()).b = duration(); });
    if (restores_) {
      const uint8_t who = anyone();
      uint64_t at = random_.percent(50) ? kSetUpMs + random_.below(2'000)
                                        : any_time();  // perhaps from before its first write
      for (uint64_t left = 1 + random_.below(3); left > 0; --left, at = any_time()) {
        add(at, Act::copy, who);
        const uint64_t again = at + random_.between(100, 15'000),
                       away_ms = random_.between(10, 5'000);
        add(again, Act::restore, who).b = away_ms;
        if (again > at + 1'000 &&
            random_.percent(40)) {  // it also started once while its clock was ahead
          const auto ahead_ms = static_cast<int64_t>(random_.between(20'000, 290'000));
          add(at + 50, Act::clock_jump, who).a = ahead_ms;
          add(at + 100, Act::stop, who).b = 50;
          add(at + 500, Act::stop, who).b = 50;  // twice: two boots are remembered
          add(again - 1, Act::clock_jump, who).a = -ahead_ms;
        }
        // Its control lists are forked as well.
        for (const auto& [c, i] : late_) {
          if (plan_.channels[c].creator != who || random_.percent(30)) continue;
          const uint64_t granted = random_.percent(50) ? random_.between(at, again)
                                                       : again + away_ms + random_.below(3'000);
          add(granted, Act::grant, i).channel = c;
          Action& write = add(granted + random_.between(20, 1'500), Act::write, i);
          write.channel = c;
          write.a = 1;
        }
        if (random_.percent(20)) deep_fork(who, again, away_ms);
        // Somebody waits for what is about to be cut off.
        for (int i = 0; i < 10; ++i)
          add(again + random_.below(away_ms + 3'000), Act::wait,
              static_cast<uint8_t>(random_.below(plan_.replicas)));
        // It goes on writing, perhaps before it hears of its past, and after.
        const uint8_t channel = any_channel();
        for (const uint64_t after_ms : {random_.below(300), random_.between(500, 3'000)}) {
          Action& write = add(again + away_ms + after_ms, Act::write, who);
          write.a = 1;
          write.channel = channel;
        }
      }
    }
  }

  // Both branches are longer than what is looked through at once for the place where they part.
  void deep_fork(uint8_t who, uint64_t again, uint64_t away_ms) {
    const uint8_t channel = any_channel();
    const uint64_t back = again + away_ms;
    Action& cut = add(back, Act::partition, kReplicasMax);
    cut.a = int64_t{1} << who;
    cut.b = 2'500;
    cut.salt |= 1;
    for (uint64_t i = 0; i < 80; ++i)
      for (const uint64_t from : {again - 1'000, back + 200}) {
        Action& write = add(std::max(from, kSetUpMs) + i * 10, Act::write, who);
        write.channel = channel;
        write.a = 1;
      }
  }

  void disks() {
    family(20, 20'000, [&](uint64_t at) { add(at, Act::disk_full, anyone()).b = duration(); });
    family(15, 20'000, [&](uint64_t at) {
      Action& errors = add(at, Act::write_errors, anyone());
      errors.a = static_cast<int64_t>(random_.between(2, 60));
      errors.b = duration();
    });
    family(10, 20'000, [&](uint64_t at) {
      Action& errors = add(at, Act::read_errors, anyone());
      errors.a = static_cast<int64_t>(random_.between(1, 10));
      errors.b = duration();
    });
  }

  void clocks() {
    family(25, 20'000, [&](uint64_t at) {
      Action& jump = add(at, Act::clock_jump, anyone());
      const int64_t most = random_.percent(70) ? 4 * kMinuteMs : 9 * kMinuteMs;
      jump.a = static_cast<int64_t>(random_.between(0, static_cast<uint64_t>(2 * most))) - most;
    });
    family(20, 20'000, [&](uint64_t at) {
      add(at, Act::clock_drift, anyone()).a =
          static_cast<int64_t>(random_.between(0, 40'000)) - 20'000;
    });
  }

  void network() {
    if (random_.percent(50)) {
      Action& loss = add(0, Act::loss, kReplicasMax);
      loss.a = static_cast<int64_t>(random_.between(1, 60));
      loss.b = plan_.length_ms;
    }
    if (random_.percent(50)) {
      Action& twice = add(0, Act::duplicate, kReplicasMax);
      twice.a = static_cast<int64_t>(random_.between(1, 50));
      twice.b = plan_.length_ms;
    }
    family(25, 10'000, [&](uint64_t at) {
      Action& loss = add(at, Act::loss, anyone());
      loss.a = static_cast<int64_t>(random_.between(30, 100));
      loss.b = duration();
    });
    family(35, 15'000, [&](uint64_t at) {
      Action& delay = add(at, Act::delay, kReplicasMax);
      delay.a = static_cast<int64_t>(random_.percent(70) ? random_.between(50, 3'000)
                                                         : random_.between(3'000, 180'000));
      delay.b = duration();
    });
    family(40, 15'000, [&](uint64_t at) {
      Action& cut = add(at, Act::partition, kReplicasMax);
      cut.a = static_cast<int64_t>(random_.between(1, (1u << plan_.replicas) - 1));
      cut.b = duration();
    });
  }

  void kubo() {
    family(25, 20'000, [&](uint64_t at) { add(at, Act::kubo_down, anyone()).b = duration(); });
    family(15, 20'000, [&](uint64_t at) { add(at, Act::pubsub_off, anyone()).b = duration(); });
    family(15, 20'000, [&](uint64_t at) { add(at, Act::kubo_hangs, anyone()).b = duration(); });
    const auto level = [&](unsigned percent, Act act, int64_t most) {
      family(percent, 20'000, [&](uint64_t at) {
        Action& action = add(at, act, anyone());
        action.a = static_cast<int64_t>(random_.between(1, static_cast<uint64_t>(most)));
        action.b = duration();
      });
    };
    level(20, Act::kubo_errors, 100);
    level(20, Act::kubo_slow, 30'000);
    level(20, Act::kubo_twice, 100);
    level(20, Act::kubo_lies, 100);
  }

  // More at once than is fetched node by node, and somebody who has not got it.
  void bulk() {
    if (random_.percent(40)) {
      for (uint64_t left = random_.between(1, 2); left > 0; --left) {
        const auto from = static_cast<uint8_t>(random_.below(plan_.replicas));
        const uint64_t at = random_.between(kSetUpMs, plan_.length_ms * 3 / 4);
        Action& burst = add(at, Act::burst, from);
        const uint8_t channel = burst.channel;
        burst.a = static_cast<int64_t>(random_.percent(50) ? random_.between(20, 60)
                                                           : random_.between(130, 220));
        burst.b = random_.pick(std::vector<uint64_t>{200, 4'000, 14'000});
        if (burst.b > 4'000) burst.a = std::min<int64_t>(burst.a, 60);
        const auto who = static_cast<uint8_t>(random_.below(plan_.replicas));
        if (who == from) continue;
        if (who != plan_.channels[channel].creator && random_.percent(60)) {
          for (Action& join : plan_.actions)
            if (join.act == Act::join && join.who == who && join.channel == channel)
              join.at_ms = at + random_.between(1'000, 15'000);
        } else {
          add(at - std::min<uint64_t>(at, 1'000), Act::stop, who).b =
              random_.between(5'000, 20'000);
        }
      }
    }
    family(35, 12'000, [&](uint64_t at) { add(at, Act::kubo_garbage, anyone()); });
    family(20, 20'000, [&](uint64_t at) {
      Action& holds = add(at, Act::kubo_withholds, anyone());
      holds.a = static_cast<int64_t>(random_.between(5, 100));
      holds.b = duration();
    });
    family(10, 30'000, [&](uint64_t at) {
      add(at, Act::kubo_loses, anyone()).a = static_cast<int64_t>(random_.between(5, 100));
    });
    if (!hostile_) return;
    for (uint64_t left = random_.below(6); left > 0; --left) {
      Action& roots = add(any_time(), Act::hostile, 0);
      roots.a = 64 + static_cast<int64_t>(random_.below(8));
    }
  }

  void enemies() {
    if (!hostile_) return;
    const uint64_t gap_ms = random_.pick(std::vector<uint64_t>{500, 1'500, 4'000});
    for (uint64_t at = kSetUpMs + random_.below(gap_ms); at < plan_.length_ms;
         at += 1 + random_.below(2 * gap_ms))
      add(at, Act::hostile, 0).a = static_cast<int64_t>(random_.below(64));
  }

  void files() {
    family(20, 15'000, [&](uint64_t at) {
      add(at, Act::carry, anyone()).a = static_cast<int64_t>(random_.below(plan_.replicas));
    });
  }

  Random random_;
  Plan plan_;
  size_t busy_ = 0;
  bool restores_ = false, hostile_ = false;
  std::vector<std::pair<uint8_t, uint8_t>> late_;  ///< Who is granted something late, by channel.
};

}  // namespace

std::string describe(const Action& action) {
  std::string line = fmt::format("{:9.3f} s  {:<12}", static_cast<double>(action.at_ms) / 1000,
                                 kNames[static_cast<size_t>(action.act)]);
  line += action.who == kReplicasMax ? " all" : fmt::format(" {:>3}", action.who);
  return line + fmt::format("  channel {}  a={} b={} ms", action.channel, action.a, action.b);
}

Plan make_plan(uint64_t seed, uint64_t length_ms) { return Planner(seed, length_ms).make(); }

}  // namespace ptwop::sim
