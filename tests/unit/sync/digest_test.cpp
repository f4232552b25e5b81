// Clocks of channels with many lists: a digest of all, and the entries that somebody lacks.
#include <doctest/doctest.h>

#include "sync/replicator.h"

using namespace ptwop;
using sync::Message;

namespace {

list::PublicKey key(uint8_t n) {
  list::PublicKey k;
  k.raw[0] = n;
  return k;
}

list::ListId id(size_t n) {
  return list::ListId::from(BytesView(ipld::sha256(std::to_string(n))).substr(0, 16));
}

bool no_root(const list::ListId&, const list::PublicKey&, const ipld::Cid&, uint64_t) {
  return false;
}

/// Two replicas that hear each other at once. What one is asked for it gives.
struct Pair {
  struct Side {
    sync::Holdings holdings;
    sync::Replicator r{holdings, 1};
    uint64_t counts = 0, clocks = 0, entries = 0, bytes = 0, nodes = 0;
  };
  Side sides[2];
  uint64_t now = 1'000;

  void hold(int who, size_t list, uint64_t number) {
    sync::Held& held = sides[who].holdings[id(list)];
    held.position = {number, number};
    sides[who].r.on_held(id(list), true, now);
  }
  void run(uint64_t ms) {
    for (const uint64_t end = now + ms; now < end; now += 5)
      for (int who : {0, 1}) {
        Side& from = sides[who];
        if (now < from.r.next_tick_ms()) continue;
        const auto out = from.r.tick(now, false, no_root);
        if (out.send_clock) say(who);
        for (const sync::Want& want : out.wants)
          for (const sync::Range& range : want.ranges) {
            from.nodes += range.to - range.from + 1;
            from.holdings[range.list].position = {range.to, range.to};
            from.r.on_held(range.list, false, now);
          }
      }
  }
  void say(int who) {
    Side &from = sides[who], &to = sides[1 - who];
    Message m;
    m.channel = ipld::Cid::of("c");
    m.sender = key(static_cast<uint8_t>(who + 1));
    m.boot = 1;
    m.count = ++from.counts;
    sync::ClockMessage clock;
    clock.wall_ms = now;
    from.r.fill(clock, now);
    ++from.clocks;
    from.entries += clock.entries.size();
    m.body = clock;
    Bytes covered;
    const auto read = sync::decode(sync::encode_signed(m), covered);
    REQUIRE(read.ok());
    from.bytes += sync::encode_signed(m).size();
    REQUIRE(to.r.admit(*read, true, now, now));
    to.r.on_clock(*read, true, now, now);
  }
  bool equal() const {
    return sync::digest_of(sides[0].holdings) == sync::digest_of(sides[1].holdings);
  }
};

}  // namespace

TEST_CASE(
    "two replicas with a thousand lists each find what differs, and say little when none does") {
  Pair pair;
  for (size_t n = 0; n < 1'000; ++n)
    for (int who : {0, 1}) pair.hold(who, n, 5);
  pair.run(40'000);
  REQUIRE(pair.equal());
  for (auto& side : pair.sides) side.bytes = side.entries = side.clocks = side.nodes = 0;
  pair.run(120'000);
  for (const auto& side : pair.sides) {
    CHECK(side.clocks > 4);
    CHECK(side.entries == 0);
    CHECK(side.bytes < 1'000 * side.clocks);
    CHECK(side.nodes == 0);
  }
  // Each wrote without the other's hearing of it.
  for (size_t n = 0; n < 3; ++n) pair.sides[0].holdings[id(n)].position = {9, 9};
  pair.sides[1].holdings[id(500)].position = {7, 7};
  pair.sides[1].holdings[id(5'000)].position = {2, 2};
  pair.run(30'000);
  CHECK(pair.equal());
  CHECK(pair.sides[0].nodes == 4);
  CHECK(pair.sides[1].nodes == 12);
  CHECK(pair.sides[0].entries + pair.sides[1].entries < 400);
  CHECK(pair.sides[0].r.peer_has(key(2), {id(0), {9, 9}}));
  CHECK(pair.sides[1].r.peer_has(key(1), {id(5'000), {2, 2}}));
}

TEST_CASE("a newcomer hears of all of ten thousand lists") {
  Pair pair;
  for (size_t n = 0; n < 10'000; ++n) pair.hold(0, n, 1);
  pair.run(60'000);
  CHECK(pair.equal());
  CHECK(pair.sides[1].nodes == 10'000);
}

TEST_CASE("an equal digest is no word on what came since") {
  Pair pair;
  for (size_t n = 0; n < 100; ++n)
    for (int who : {0, 1}) pair.hold(who, n, 5);
  pair.run(40'000);
  pair.hold(0, 1, 6);
  CHECK_FALSE(pair.sides[0].r.peer_has(key(2), {id(1), {6, 6}}));
  CHECK(pair.sides[0].r.peer_has(key(2), {id(1), {5, 5}}));
}

TEST_CASE("with many channels each says less when all is quiet") {
  const auto clocks = [](uint64_t channels) {
    sync::Holdings holdings;
    sync::Replicator r(holdings, 1);
    r.set_channels(channels);
    uint64_t count = 0;
    for (uint64_t now = 1'000; now < 3'600'000; now += 50)
      if (now >= r.next_tick_ms()) count += r.tick(now, false, no_root).send_clock;
    return count;
  };
  const uint64_t one = clocks(1);
  CHECK(one > 240);
  CHECK(clocks(16) == one);
  CHECK(clocks(160) < one / 8);
  CHECK(clocks(1'000) < one / 40);
  CHECK(clocks(1'000'000) > 2);  // but it never falls silent
}
