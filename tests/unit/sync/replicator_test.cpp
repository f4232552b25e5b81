#include "sync/replicator.h"

#include <doctest/doctest.h>

#include <algorithm>

using namespace ptwop;
using sync::Message;
using sync::Replicator;

namespace {

bool no_root(const list::ListId&, const list::PublicKey&, const ipld::Cid&, uint64_t) {
  return false;
}

list::ListId id(uint8_t with) {
  list::ListId out;
  out.raw.fill(with);
  return out;
}
list::PublicKey key(uint8_t with) {
  list::PublicKey out;
  out.raw.fill(with);
  return out;
}

struct Stage {
  sync::Holdings holdings;
  Replicator r{holdings, 1};
  uint64_t now = 1'000;
  uint64_t counts = 0;
  std::vector<std::pair<uint64_t, sync::Want>> wants;
  std::vector<uint64_t> clocks;

  Message message(uint8_t sender, decltype(Message::body) body, uint64_t boot = 7) {
    Message m;
    m.sender = key(sender);
    m.boot = boot;
    m.count = ++counts;
    m.body = std::move(body);
    return m;
  }
  void clock(uint8_t sender, std::vector<sync::ClockEntry> entries, bool member = true) {
    sync::ClockMessage body;
    body.entries = std::move(entries);
    body.wall_ms = now;
    const Message m = message(sender, body);
    REQUIRE(r.admit(m, member, now, now));
    r.on_clock(m, member, now, now);
  }
  void answer(uint8_t sender, bool last, std::map<list::ListId, list::At> there = {}) {
    REQUIRE(r.admit(message(sender, sync::Nodes{}), true, now, now));
    r.on_nodes(key(sender), there, last, now);
  }
  // `on_want` sees each as it goes out.
  template <class OnWant>
  void run(uint64_t ms, OnWant on_want) {
    for (const uint64_t end = now + ms; now < end; ++now) {
      if (now < r.next_tick_ms()) continue;
      auto out = r.tick(now, false, no_root);
      if (out.send_clock) clocks.push_back(now);
      for (sync::Want& want : out.wants) {
        wants.emplace_back(now, want);
        on_want(want);
      }
    }
  }
  void run(uint64_t ms) {
    run(ms, [](const sync::Want&) {});
  }
  void quiet() {  // the first clock is out, nothing is due soon
    run(50);
    clocks.clear();
  }
};

}  // namespace

TEST_CASE_FIXTURE(Stage, "clocks go out at once, then at random intervals while all is quiet") {
  run(1);
  CHECK(clocks == std::vector<uint64_t>{1'000});
  run(120'000);
  REQUIRE(clocks.size() > 8);
  CHECK(clocks.size() < 26);
  for (size_t i = 1; i < clocks.size(); ++i) {
    CHECK(clocks[i] - clocks[i - 1] >= 5'000);
    CHECK(clocks[i] - clocks[i - 1] <= 15'000);
  }
}

TEST_CASE_FIXTURE(Stage,
                  "a clock follows a change soon, an own one sooner, and never two at once") {
  quiet();
  const uint64_t changed = now;
  holdings[id(1)] = {{1, 1}, 0};
  r.on_held(id(1), true, now);
  run(20);
  r.on_held(id(1), true, now);
  run(1'500);
  REQUIRE(clocks.size() == 1);
  CHECK(clocks[0] >= changed);
  CHECK(clocks[0] <= changed + 1'000);
  clocks.clear();
  r.on_held(id(1), false, now);
  run(3'100);
  CHECK(clocks.size() == 1);
  clocks.clear();
  r.on_lost(now);
  run(1'100);
  CHECK(clocks.size() == 1);
}

TEST_CASE_FIXTURE(Stage, "only an equal clock from a member suppresses one's own, twice running") {
  holdings[id(1)] = {{3, 30}, 0};
  quiet();
  const sync::ClockEntry same{{id(1), {3, 30}}, 0};
  const auto heard = [&](std::vector<sync::ClockEntry> entries, bool member) {
    run(4'000);
    clock(2, std::move(entries), member);
  };
  clock(2, {same});  // its start alone is answered
  run(300);
  clocks.clear();
  for (int i = 0; i < 20; ++i) heard({same}, true);
  const size_t with_member = clocks.size();
  clocks.clear();
  for (int i = 0; i < 20; ++i) heard({same}, false);
  const size_t with_stranger = clocks.size();
  CHECK(with_member >= 3);
  CHECK(with_member < with_stranger);
  clocks.clear();
  for (int i = 0; i < 5; ++i) heard({{{id(1), {3, 31}}, 0}}, true);
  CHECK(clocks.size() >= 1);
}

TEST_CASE_FIXTURE(Stage, "who lacks something, and who has just started, is told") {
  holdings[id(1)] = {{3, 30}, 0};
  quiet();
  answer(2, false);
  run(500);
  CHECK(clocks.size() == 1);  // it just started
  clocks.clear();
  clock(2, {{{id(1), {2, 20}}, 0}});
  run(500);
  CHECK(clocks.size() == 1);
  clocks.clear();
  holdings[id(1)] = {{4, 40}, 0};
  r.on_held(id(1), false, now);
  clock(2, {});
  run(500);
  CHECK(clocks.size() == 1);
}

TEST_CASE("two replicas that cannot give each other anything fall quiet") {
  struct Side {
    sync::Holdings holdings;
    Replicator r;
    explicit Side(uint64_t seed) : r(holdings, seed) {}
  } a(1), b(2);
  SUBCASE("different tails beyond a cut that both know") {
    a.holdings = {{id(1), {{5, 1}, 3}}, {id(2), {{7, 2}, 3}}};
    b.holdings = {{id(1), {{7, 3}, 3}}, {id(2), {{5, 4}, 3}}};
  }
  SUBCASE("a list each that the other does not take") {
    a.holdings = {{id(1), {{5, 1}, 0}}};
    b.holdings = {{id(2), {{5, 1}, 0}}};
  }
  uint64_t counts = 0, clocks = 0;
  const auto step = [&](Side& from, Side& to, uint8_t sender, uint64_t now) {
    if (now < from.r.next_tick_ms() || !from.r.tick(now, false, no_root).send_clock) return;
    ++clocks;
    Message m;
    m.sender = key(sender);
    m.boot = 1;
    m.count = ++counts;
    sync::ClockMessage body;
    for (const auto& [list, held] : from.holdings)
      body.entries.push_back({{list, held.position}, held.cut});
    m.body = body;
    REQUIRE(to.r.admit(m, true, now, now));
    to.r.on_clock(m, true, now, now);
  };
  for (uint64_t now = 1'000; now < 61'000; ++now) {
    step(a, b, 1, now);
    step(b, a, 2, now);
  }
  CHECK(clocks <= 60);  // not one a second from both
}

TEST_CASE_FIXTURE(Stage,
                  "what a clock names and is not here is asked of its sender, after a moment") {
  holdings[id(1)] = {{3, 30}, 0};
  quiet();
  const uint64_t heard = now;
  clock(2, {{{id(1), {9, 90}}, 0}, {{id(2), {4, 40}}, 0}});
  CHECK(r.missing() == 10);
  run(200);
  REQUIRE(wants.size() == 1);
  CHECK(wants[0].first >= heard + 40);
  const sync::Want& want = wants[0].second;
  CHECK(want.to == key(2));
  CHECK(want.to_boot == 7);
  REQUIRE(want.ranges.size() == 2);
  CHECK(want.ranges[0].list == id(1));
  CHECK(want.ranges[0].from == 4);
  CHECK(want.ranges[0].to == 9);
  CHECK(want.ranges[1].from == 1);
  CHECK(want.ranges[1].to == 4);
}

TEST_CASE_FIXTURE(Stage, "what arrives by itself in that moment is not asked for") {
  holdings[id(1)] = {{3, 30}, 0};
  quiet();
  clock(2, {{{id(1), {4, 40}}, 0}});
  run(20);
  holdings[id(1)] = {{4, 40}, 0};
  r.on_held(id(1), false, now);
  run(5'000);
  CHECK(wants.empty());
  CHECK(r.missing() == 0);
}

TEST_CASE_FIXTURE(Stage,
                  "without an answer another is asked, less and less often, and at last nobody") {
  quiet();
  clock(2, {{{id(1), {4, 40}}, 0}});
  clock(3, {{{id(1), {4, 40}}, 0}});
  run(5'000);
  REQUIRE(wants.size() >= 3);
  CHECK(wants[0].second.to != wants[1].second.to);
  // Both stay within hearing, but say nothing of that list any more.
  for (int i = 0; i < 100; ++i) {
    answer(2, false);
    answer(3, false);
    run(10'000);
  }
  CHECK(wants.size() <= 14);
  CHECK(r.missing() == 0);
  clock(2, {{{id(1), {4, 40}}, 0}});
  run(1'000);
  CHECK(r.missing() == 4);
  CHECK(wants.back().first > now - 1'000);
}

TEST_CASE_FIXTURE(
    Stage, "an answer that ends and brought something is followed by the next want at once") {
  quiet();
  clock(2, {{{id(1), {100, 1}}, 0}});
  uint64_t held = 0;
  run(2'000, [&](const sync::Want& want) {
    CHECK(want.ranges[0].from == held + 1);
    held = std::min<uint64_t>(held + 10, 100);
    holdings[id(1)] = {{held, 1}, 0};
    r.on_held(id(1), false, now);
    answer(2, true, {{id(1), {id(1), {held, 1}}}});
  });
  CHECK(held == 100);
  CHECK(wants.size() == 10);
}

TEST_CASE_FIXTURE(Stage, "answers that end without what was wanted do not make a storm") {
  quiet();
  clock(2, {{{id(1), {UINT64_MAX, 1}}, 0}});
  run(3'000, [&](const sync::Want&) { answer(2, true); });
  CHECK(wants.size() <= 4);
}

TEST_CASE_FIXTURE(
    Stage, "a fork that another knows, or a branch beside ours, is asked for by its number") {
  holdings[id(1)] = {{5, 50}, 0};
  holdings[id(2)] = {{5, 50}, 0};
  quiet();
  clock(2, {{{id(1), {5, 50}}, 3}, {{id(2), {5, 51}}, 0}});
  run(200);
  REQUIRE(wants.size() == 1);
  const auto& ranges = wants[0].second.ranges;
  REQUIRE(ranges.size() == 2);
  CHECK(ranges[0].from == 1);  // or below: the last 64 of them
  CHECK(ranges[0].to == 3);
  CHECK(ranges[1].from == 1);
  CHECK(ranges[1].to == 5);
  // With the proof here nothing more is wanted of that list, however long it is elsewhere.
  wants.clear();
  holdings[id(1)].cut = 3;
  holdings[id(2)].cut = 5;
  clock(2, {{{id(1), {9, 90}}, 3}, {{id(2), {9, 90}}, 5}});
  run(5'000);
  CHECK(wants.empty());
  CHECK(r.missing() == 0);
}

TEST_CASE_FIXTURE(Stage, "claims of strangers do not crowd out what members say") {
  quiet();
  const auto claim_much = [&](bool member) {
    for (uint8_t sender = 10; sender < 60; ++sender) {
      std::vector<sync::ClockEntry> entries;
      for (int i = 0; i < 200; ++i) {
        list::ListId list = id(sender);
        list.raw[0] = static_cast<uint8_t>(i);
        entries.push_back({{list, {UINT64_MAX, 1}}, 0});
      }
      clock(sender, entries, member);
    }
  };
  claim_much(false);
  CHECK(r.wanted() == 256);
  clock(2, {{{id(1), {4, 40}}, 0}});
  CHECK(r.missing() == 4);
  run(500);
  CHECK(
      std::any_of(wants.begin(), wants.end(), [](const auto& w) { return w.second.to == key(2); }));
  claim_much(true);
  CHECK(r.wanted() == 4096);
}

TEST_CASE_FIXTURE(Stage, "a claim by what is held here is asked of somebody") {
  holdings[id(1)] = {{3, 30}, 0};
  quiet();
  clock(2, {{{id(1), {3, 30}}, 0}});
  r.on_claim({id(1), {3, 30}}, now);
  run(200);
  CHECK(wants.empty());
  r.on_claim({id(1), {5, 50}}, now);
  run(200);
  REQUIRE(wants.size() == 1);
  CHECK(wants[0].second.ranges[0].from == 4);
  CHECK(wants[0].second.ranges[0].to == 5);
}

TEST_CASE_FIXTURE(
    Stage, "a message counts once, out of order too, and not when it is of an earlier boot") {
  const auto admitted = [&](uint64_t boot, uint64_t count) {
    Message m = message(2, sync::ClockMessage{}, boot);
    m.count = count;
    return r.admit(m, true, now, now);
  };
  CHECK(admitted(5, 100));
  CHECK_FALSE(admitted(5, 100));
  CHECK(admitted(5, 98));
  CHECK_FALSE(admitted(5, 98));
  CHECK(admitted(5, 99));
  CHECK(admitted(5, 163));
  CHECK_FALSE(admitted(5, 100));
  CHECK_FALSE(admitted(5, 99));
  CHECK(admitted(5, 101));
  CHECK(admitted(5, 1'000));
  CHECK_FALSE(admitted(5, 163));
  CHECK(admitted(5, 937));
  CHECK_FALSE(admitted(5, 936));
  CHECK(admitted(6, 1));
  CHECK_FALSE(admitted(6, 1));
  CHECK(admitted(7, 1));
  CHECK_FALSE(admitted(5, 1'001));
}

TEST_CASE_FIXTURE(Stage, "the manifest is asked of one that has it") {
  sync::ClockMessage body;
  body.has_manifest = true;
  const Message m = message(2, body);
  REQUIRE(r.admit(m, false, now, now));
  r.on_clock(m, false, now, now);
  size_t asked = 0;
  for (int i = 0; i < 50; ++i, now += 100)
    for (const sync::Want& want : r.tick(now, true, no_root).wants)
      asked += want.manifest && want.to == key(2);
  CHECK(asked >= 3);
  CHECK(asked <= 6);
}

TEST_CASE_FIXTURE(Stage, "what a peer said it holds is remembered, and only grows") {
  holdings[id(1)] = {{9, 9}, 0};
  clock(2, {{{id(1), {5, 5}}, 0}});
  CHECK(r.peer_has(key(2), {id(1), {5, 0}}));
  CHECK_FALSE(r.peer_has(key(2), {id(1), {6, 0}}));
  clock(2, {{{id(1), {4, 4}}, 0}});
  CHECK(r.peer_has(key(2), {id(1), {5, 0}}));
  CHECK_FALSE(r.peer_has(key(2), {id(1), {6, 0}}));
  answer(2, true, {{id(1), {id(1), {7, 7}}}});
  CHECK(r.peer_has(key(2), {id(1), {7, 0}}));
  CHECK_FALSE(r.peer_has(key(3), {id(1), {1, 0}}));
  CHECK_FALSE(r.peer_has(key(2), {id(1), {7, 8}}));  // another branch
  clock(2, {{{id(1), {8, 8}}, 5}});
  CHECK_FALSE(r.peer_has(key(2), {id(1), {5, 5}}));  // beyond its cut
  CHECK(r.peer_has(key(2), {id(1), {4, 4}}));
}

TEST_CASE_FIXTURE(
    Stage, "of many peers the silent strangers are forgotten first, members only for members") {
  holdings[id(1)] = {{9, 9}, 0};
  const auto sender = [](uint32_t number, bool member) {
    list::PublicKey out = key(member ? 1 : 0);
    for (size_t i = 0; i < 4; ++i) out.raw[i] = static_cast<uint8_t>(number >> 8 * i);
    return out;
  };
  const auto heard = [&](uint32_t number, bool member) {
    ++now;
    sync::ClockMessage body;
    body.entries = {{{id(1), {5, 5}}, 0}};
    Message m = message(0, body);
    m.sender = sender(number, member);
    if (!r.admit(m, member, now, now)) return false;
    r.on_clock(m, member, now, now);
    return true;
  };
  const auto known = [&](uint32_t number, bool member) {
    return r.peer_has(sender(number, member), {id(1), {5, 0}});
  };
  for (uint32_t i = 0; i < 100; ++i) CHECK(heard(i, true));
  for (uint32_t i = 0; i < 1000; ++i) CHECK(heard(i, false));
  CHECK(known(0, true));
  CHECK(known(999, false));
  CHECK_FALSE(known(0, false));
  for (uint32_t i = 100; i < 600; ++i) CHECK(heard(i, true));
  CHECK_FALSE(known(999, false));
  CHECK_FALSE(heard(1000, false));
  CHECK(known(599, true));
  CHECK_FALSE(known(0, true));  // heard of longest ago
}

TEST_CASE_FIXTURE(Stage,
                  "what is remembered of a stranger's clock is bounded, of a member's it is not") {
  std::vector<sync::ClockEntry> entries;
  for (uint8_t i = 0; i < 150; ++i)
    for (const uint8_t kind : {1, 2}) {
      list::ListId list = id(i);
      list.raw[0] = kind;
      holdings[list] = {{9, 9}, 0};
      entries.push_back({{list, {5, 5}}, 0});
    }
  clock(2, entries, false);
  clock(3, entries, true);
  const auto remembered = [&](uint8_t sender) {
    return std::count_if(entries.begin(), entries.end(), [&](const auto& e) {
      return r.peer_has(key(sender), {e.at.list, {5, 5}});
    });
  };
  CHECK(remembered(2) == 256);
  CHECK(remembered(3) == 300);
}

TEST_CASE_FIXTURE(Stage, "clocks of any number and time do no harm") {
  holdings[id(1)] = {{1, 1}, 0};
  for (const uint64_t n : {uint64_t{0}, uint64_t{1} << 63, UINT64_MAX}) {
    sync::ClockMessage body;
    body.wall_ms = n;
    body.entries = {{{id(1), {n, n}}, n}, {{id(2), {n, n}}, n}};
    const Message m = message(2, body);
    REQUIRE(r.admit(m, true, now, now));
    r.on_clock(m, true, now, 1'700'000'000'000);
    run(100);
  }
  for (const auto& [at, want] : wants)
    for (const sync::Range& range : want.ranges) {
      CHECK(range.from >= 1);
      CHECK(range.from <= range.to);
    }
}

TEST_CASE_FIXTURE(Stage,
                  "a replica that starts below its own past is heard once that has been silent") {
  CHECK(r.admit(message(2, sync::ClockMessage{}, 9), true, now, now));
  CHECK(r.admit(message(2, sync::ClockMessage{}, 8), true, now, now));
  now += 1'000;
  CHECK_FALSE(r.admit(message(2, sync::ClockMessage{}, 5), true, now, now));
  now += 60'000;
  CHECK(r.admit(message(2, sync::ClockMessage{}, 5), true, now, now));
}

TEST_CASE_FIXTURE(Stage,
                  "a fork that is only claimed does not keep a real one from being asked for") {
  holdings[id(1)].position = {9, 1};
  quiet();
  clock(2, {{{id(1), {9, 1}}, 2}});  // a lie
  clock(3, {{{id(1), {9, 1}}, 6}});
  run(3'000);
  const auto asks_for = [&](uint64_t number) {
    return std::any_of(wants.begin(), wants.end(), [&](const auto& want) {
      return std::any_of(
          want.second.ranges.begin(), want.second.ranges.end(),
          [&](const sync::Range& range) { return range.from == 1 && range.to == number; });
    });
  };
  CHECK(asks_for(2));
  CHECK(asks_for(6));
}

TEST_CASE_FIXTURE(Stage, "a fork is looked for 64 numbers at a time") {
  holdings[id(1)] = {{500, 1}, 0};
  quiet();
  clock(2, {{{id(1), {500, 2}}, 0}});
  run(200);
  REQUIRE(wants.size() == 1);
  REQUIRE(wants[0].second.ranges.size() == 1);
  CHECK(wants[0].second.ranges[0].from == 437);
  CHECK(wants[0].second.ranges[0].to == 500);
}
