// Nodes of a forked list that are written again, built by hand: what counts depends on what is
// held, not on its order.
#include "access/again.h"

#include "access/membership.h"
#include "alone.h"
#include "types/count.h"
#include "types/kv.h"

using namespace ptwop;
using test::Alone;

namespace {

Bytes kv_put(const std::string& key, uint64_t value) {
  ipld::CborWriter w;
  w.unsigned_integer(value);
  return types::kv_put_op(key, w.out(), std::nullopt);
}

struct Kv : Alone {
  engine::ChannelRef ref = join("kv");

  list::Node again(const std::vector<list::Node>& nodes, const list::Node* last = nullptr,
                   uint8_t incarnation = 9) {
    std::vector<Bytes> ops;
    for (const list::Node& n : nodes) ops.push_back(access::again_op(list::encode(n)));
    return node(ops, last, incarnation);
  }
  list::Node at_time(list::Node n, uint64_t time) {
    n.time = time;
    return signed_(n);
  }
  std::optional<uint64_t> value(const std::string& key) {
    engine->turn();
    const auto entry = *types::kv_get(engine::StateView(disk, ref->number), key);
    if (!entry) return std::nullopt;
    ipld::CborReader r(entry->value);
    return r.unsigned_integer();
  }
  auto state() {
    engine->turn();
    return std::pair(disk.dump(engine::Table::state, ref->number),
                     disk.dump(engine::Table::index, ref->number));
  }
};

}  // namespace

TEST_CASE_FIXTURE(Kv, "both branches of a fork count once they are written again, each once") {
  const list::Node one = node({kv_put("a", 1)});
  ++wall;
  const list::Node two = node({kv_put("a", 2), kv_put("b", 2)}, &one),
                   three = node({kv_put("c", 3)}, &two);
  ++wall;
  const list::Node other = node({kv_put("a", 7), kv_put("d", 7)}, &one);
  deliver({one, two, three, other});
  CHECK(value("a") == 1);
  CHECK_FALSE(value("c"));
  wall += 10;
  const list::Node repeat = again({two, three});
  deliver({repeat});
  CHECK(value("a") == 2);
  CHECK(value("b") == 2);
  CHECK(value("c") == 3);
  deliver({again({three, other, two}, &repeat)});
  CHECK(value("a") == 7);
  CHECK(value("d") == 7);
  CHECK(refused("void") == 0);
  start();
  CHECK(value("a") == 7);
  CHECK(info().lists.size() == 2);
}

TEST_CASE_FIXTURE(Kv, "what may not be written again makes its node void") {
  const list::Node one = node({kv_put("a", 1)});
  deliver({one});
  wall += 10;
  const auto refused_of = [&](const list::Node& inner, uint8_t incarnation) {
    const uint64_t before = refused("void");
    deliver({again({inner}, nullptr, incarnation)});
    CHECK(value("a") == 1);
    CHECK_FALSE(value("b"));
    return refused("void") - before;
  };
  const list::Node good = node({kv_put("b", 2)}, &one);
  SUBCASE("another's node") {
    const access::Identity other = std::move(*access::Identity::from_seed(Bytes(32, 'y')));
    list::Node n = good;
    n.list.writer = other.key();
    n.signature = other.sign("node", list::encode_unsigned(n));
    CHECK(refused_of(n, 9) == 1);
  }
  SUBCASE("a forged one") {
    list::Node n = good;
    n.signature = {};
    CHECK(refused_of(n, 9) == 1);
  }
  SUBCASE("another channel's") {
    list::Node n = good;
    n.channel = ipld::Cid::of("x");
    CHECK(refused_of(signed_(n), 9) == 1);
  }
  SUBCASE("a newer one") { CHECK(refused_of(at_time(good, (wall << 16) + (1 << 20)), 9) == 1); }
  SUBCASE("one of the same list") {
    wall += 10;
    deliver({again({good}, &one, 0)});
    CHECK_FALSE(value("b"));
    CHECK(refused("void") == 1);
  }
  SUBCASE("one that itself writes again counts for nothing") {
    const list::Node inner = again({good}, nullptr, 8);
    wall += 10;
    deliver({again({inner}, nullptr, 9)});
    CHECK_FALSE(value("b"));
  }
  SUBCASE("mixed with operations of the type") {
    wall += 10;
    deliver({node({access::again_op(list::encode(good)), kv_put("b", 1)}, nullptr, 9)});
    CHECK_FALSE(value("b"));
    deliver({node({kv_put("b", 1), access::again_op(list::encode(good))}, nullptr, 10)});
    CHECK_FALSE(value("b"));
    CHECK(refused("void") == 2);
  }
}

TEST_CASE_FIXTURE(Kv,
                  "control nodes that are written again count beside the branch accepted here") {
  const auto control = [&](list::Node n) {
    n.list.control = true;
    return signed_(n);
  };
  const auto grant = [&](char who) {
    const auto key = access::Identity::from_seed(Bytes(32, who))->key();
    return *access::make_grant(access::Membership(manifest), key, access::Role::write);
  };
  const auto members = [&] {
    size_t count = 0;
    engine->turn();
    engine->members("c", [&](const auto& all) { count = all->size(); });
    engine->turn();
    return count;
  };
  const list::Node left = control(node({grant('l')}));
  ++wall;
  const list::Node right = control(node({grant('r')}));
  wall += 10;
  const list::Node both = control(again({left, right}));
  SUBCASE("neither branch is here") { deliver({both}); }
  SUBCASE("one is") { deliver({left, both}); }
  SUBCASE("…and comes later") { deliver({both, right}); }
  CHECK(members() == 3);
  start();
  CHECK(members() == 3);
}

TEST_CASE_FIXTURE(Kv, "a hash-successor's signature covers a node that is written again") {
  const list::Node one = node({kv_put("a", 1)});
  list::Node two = node({kv_put("b", 2)}, &one);
  two.signature = {};
  two.cid = ipld::Cid::of(list::encode(two));
  const list::Node three = node({kv_put("c", 3)}, &two);
  wall += 10;
  deliver({again({two, three})});
  CHECK(value("b") == 2);
  CHECK(value("c") == 3);
}

TEST_CASE(
    "any order of arrival gives the same state: forks, nodes written again, also twice and by "
    "forked lists, and one stamp twice") {
  for (uint64_t seed = 1; seed <= 60; ++seed) {
    CAPTURE(seed);
    std::mt19937_64 random(seed);
    Kv maker;
    std::vector<list::Node> all;
    const auto op = [&] {
      return kv_put(std::string(1, static_cast<char>('a' + random() % 4)), random() % 1000);
    };
    const auto ops = [&] {
      std::vector<Bytes> out;
      for (size_t i = 1 + random() % 3; i > 0; --i) out.push_back(op());
      return out;
    };
    // Lists that fork now and then, at times that collide now and then.
    std::vector<std::vector<list::Node>> branches;
    for (uint8_t incarnation = 0; incarnation < 2; ++incarnation) {
      std::vector<list::Node> branch;
      for (int i = 0; i < 4; ++i) {
        maker.wall += random() % 2;
        branch.push_back(maker.node(ops(), branch.empty() ? nullptr : &branch.back(), incarnation));
      }
      branches.push_back(branch);
      if (random() % 3) {
        std::vector<list::Node> fork(branch.begin(),
                                     branch.begin() + static_cast<long>(1 + random() % 3));
        const size_t from = fork.size();
        for (int i = 0; i < 3; ++i) {
          list::Node n = maker.node(ops(), &fork.back(), incarnation);
          if (from + i < branch.size() && random() % 2)
            n = maker.at_time(n, std::max(branch[from + i].time, fork.back().time + 1));
          fork.push_back(n);
        }
        branches.push_back(fork);
      }
    }
    for (const auto& branch : branches) all.insert(all.end(), branch.begin(), branch.end());
    const std::vector<list::Node> plain = all;
    maker.wall += 10;
    for (uint8_t incarnation = 10; incarnation < 13; ++incarnation) {
      std::optional<list::Node> last;
      for (int i = 0; i < 2; ++i) {
        std::vector<list::Node> some;
        for (size_t n = 1 + random() % 4; n > 0; --n)
          some.push_back(plain[random() % plain.size()]);
        const list::Node next = maker.again(some, last ? &*last : nullptr, incarnation);
        all.push_back(next);
        ++maker.wall;
        if (random() % 4 == 0)
          all.push_back(
              maker.again({plain[random() % plain.size()]}, last ? &*last : nullptr, incarnation));
        last = next;
      }
    }
    std::optional<decltype(maker.state())> expected;
    for (int order = 0; order < 8; ++order) {
      CAPTURE(order);
      Kv replica;
      replica.wall = maker.wall;
      std::shuffle(all.begin(), all.end(), random);
      for (int round = 0; round < 3;
           ++round)  // what was dropped as a branch at first comes again, as it would be asked for
        for (const list::Node& n : all) {
          replica.deliver({n});
          if (random() % 3 != 0) continue;
          replica.engine->turn();
          if (random() % 15 == 0) replica.start();
        }
      replica.run_ms(1'000);
      if (!expected) expected = replica.state();
      REQUIRE(replica.state() == *expected);
    }
  }
}
