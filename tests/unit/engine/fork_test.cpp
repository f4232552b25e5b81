#include <doctest/doctest.h>

#include <algorithm>

#include "access/membership.h"
#include "alone.h"
#include "replicas.h"
#include "types/count.h"
#include "types/kv.h"
#include "types/log.h"

using namespace ptwop;
using test::Network;

namespace {

int64_t value(Network& net, size_t i, const std::string& address) {
  const auto channel = net[i]->directory().find(address);
  return types::count_get(engine::StateView(net[i].store(), channel->number), "k")->value;
}

bool add(Network& net, size_t i, int64_t by) {
  return net[i].write("c", types::count_type(), {types::count_add_op("k", by)}).ok();
}

}  // namespace

TEST_CASE(
    "an old copy of a folder that writes before it hears of its past is a fork: what both branches "
    "hold counts, once") {
  Network net(3, 21);
  const auto a = net[0].create("c", "count", true);
  for (size_t i = 1; i < 3; ++i) {
    net[i].join(a->address, "c");
    REQUIRE(net[0].grant("c", net[i].did(), "write").ok());
  }
  REQUIRE(net.run_until(20'000, [&] {
    return net[1]->directory().find("c")->writable && net[2]->directory().find("c")->writable;
  }));
  REQUIRE(add(net, 1, 1));
  REQUIRE(net.run_until(
      20'000, [&] { return value(net, 0, a->address) == 1 && value(net, 2, a->address) == 1; }));
  test::MemoryStore old;
  old.copy_from(net[1].store());
  net[2].set_online(false);
  REQUIRE(add(net, 1, 10));
  REQUIRE(add(net, 1, 100));
  REQUIRE(net.run_until(20'000, [&] { return value(net, 0, a->address) == 111; }));
  // The copy writes in the place of the node with 10; replica 2 hears of that branch first.
  net[0].set_online(false);
  net[1].restart_from(old);
  REQUIRE(add(net, 1, 1000));
  net[2].set_online(true);
  REQUIRE(net.run_until(30'000, [&] { return value(net, 2, a->address) == 1001; }));
  net[0].set_online(true);
  const auto forked = [&](size_t i) {
    const auto lists = net[i].info("c").lists;
    return std::any_of(lists.begin(), lists.end(),
                       [&](const auto& l) { return l.cut == "fork" && l.writer == net[1].did(); });
  };
  for (size_t i = 0; i < 3; ++i) {
    CHECK(net.run_until(60'000, [&] { return value(net, i, a->address) == 1111; }));
    CHECK(net.run_until(60'000, [&] { return forked(i); }));
    CHECK(value(net, i, a->address) == 1111);
  }
  SUBCASE("its owner goes on in a new list") {
    REQUIRE(add(net, 1, 5));
    for (size_t i = 0; i < 3; ++i)
      CHECK(net.run_until(30'000, [&] { return value(net, i, a->address) == 1116; }));
  }
  SUBCASE("a token beyond the cut cannot be reached") {
    std::optional<Result<bool>> answer;
    const auto& lists = net[0]->directory();
    (void)lists;
    for (const auto& list : net[0].info("c").lists)
      if (list.cut == "fork") {
        const list::At at{list::ListId::from(*from_hex(list.list)), {2, 7}};
        net[0]->wait("c", {at.token()}, 1'000, "",
                     [&](Result<bool> r) { answer.emplace(std::move(r)); });
      }
    REQUIRE(net.run_until(3'000, [&] { return answer.has_value(); }));
    CHECK(answer->error().code == Code::unreachable);
  }
}

TEST_CASE("an old copy that hears of its past first goes on in a new list: nothing is cut") {
  Network net(2, 22);
  const auto a = net[0].create("c", "count", true);
  net[1].join(a->address, "c");
  REQUIRE(net[0].grant("c", net[1].did(), "write").ok());
  REQUIRE(net.run_until(20'000, [&] { return net[1]->directory().find("c")->writable.load(); }));
  REQUIRE(add(net, 1, 1));
  test::MemoryStore old;
  old.copy_from(net[1].store());
  REQUIRE(add(net, 1, 10));
  REQUIRE(net.run_until(20'000, [&] { return value(net, 0, a->address) == 11; }));
  net[1].restart_from(old);
  REQUIRE(net.run_until(20'000, [&] { return value(net, 1, a->address) == 11; }));
  REQUIRE(add(net, 1, 100));
  REQUIRE(net.run_until(20'000, [&] { return value(net, 0, a->address) == 111; }));
  for (const auto& list : net[0].info("c").lists) CHECK(list.cut.empty());
}

TEST_CASE(
    "two copies of one folder that run side by side: what each wrote counts once everywhere, also "
    "after restarts") {
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    CAPTURE(seed);
    Network net(4, seed, {.loss = 0.1, .duplicate = 0.1, .delay_ms_max = 50});
    const auto a = net[0].create("c", "count");
    net[1].join(a->address, "c");
    net[2].join(a->address, "c");
    REQUIRE(net[0].grant("c", net[1].did(), "write").ok());
    REQUIRE(net[0].grant("c", net[2].did(), "write").ok());
    REQUIRE(net.run_until(60'000, [&] { return net[1]->directory().find("c")->writable.load(); }));
    REQUIRE(add(net, 1, 1));
    net[3].restart_as(net[1]);
    int64_t sum = 1;
    for (int round = 0; round < 12; ++round) {
      const size_t i = round % 2 ? 1 : 3;
      if (net.random() % 4 == 0) net[i].set_online(!net[i].online());
      const auto by = static_cast<int64_t>(1 + net.random() % 1000);
      REQUIRE(add(net, i, by));
      sum += by;
      net.run_ms(net.random() % 1'500);
      if (net.random() % 4 == 0) net[net.random() % 4].restart();
    }
    for (size_t i = 0; i < 4; ++i) net[i].set_online(true);
    for (size_t i = 0; i < 4; ++i)
      CHECK(net.run_until(120'000, [&] { return value(net, i, a->address) == sum; }));
    net.run_ms(60'000);
    for (size_t i = 0; i < 4; ++i) CHECK(value(net, i, a->address) == sum);
  }
}

TEST_CASE(
    "the creator's folder is copied: grants of both branches count, and so do the lists that were "
    "opened under them") {
  Network net(4, 31);
  const auto a = net[0].create("c", "count");
  net[3].restart_as(net[0]);
  net[3].set_online(false);
  REQUIRE(net[0].grant("c", net[1].did(), "write").ok());
  net[1].join(a->address, "c");
  REQUIRE(net.run_until(60'000, [&] { return net[1]->directory().find("c")->writable.load(); }));
  REQUIRE(add(net, 1, 10));
  REQUIRE(net.run_until(60'000, [&] { return value(net, 0, a->address) == 10; }));
  // The copy, which knows nothing of that, grants another one.
  net[0].set_online(false);
  net[1].set_online(false);
  REQUIRE(net[3].grant("c", net[2].did(), "write").ok());
  net[3].set_online(true);
  net[2].join(a->address, "c");
  REQUIRE(net.run_until(60'000, [&] { return net[2]->directory().find("c")->writable.load(); }));
  REQUIRE(add(net, 2, 100));
  REQUIRE(net.run_until(60'000, [&] { return value(net, 3, a->address) == 100; }));
  net[0].set_online(true);
  net[1].set_online(true);
  for (size_t i = 0; i < 4; ++i)
    CHECK(net.run_until(120'000, [&] { return value(net, i, a->address) == 110; }));
  REQUIRE(add(net, 1, 1));
  REQUIRE(add(net, 2, 1));
  REQUIRE(add(net, 0, 1'000));
  for (size_t i = 0; i < 4; ++i) {
    CHECK(net.run_until(120'000, [&] { return value(net, i, a->address) == 1'112; }));
    net[i].restart();
    CHECK(value(net, i, a->address) == 1'112);
    CHECK(net[i]->directory().find("c")->writable.load());
  }
}

TEST_CASE(
    "a key that came with a grant stays, though a fork cut the grant off, over a restart too") {
  Network net(3, 32);
  const auto a = net[0].create("c", "count");
  test::MemoryStore old;
  old.copy_from(net[0].store());
  REQUIRE(net[0].grant("c", net[1].did(), "write").ok());
  net[1].join(a->address, "c");
  REQUIRE(net.run_until(60'000, [&] { return net[1]->directory().find("c")->writable.load(); }));
  REQUIRE(add(net, 1, 10));
  net[1].set_online(false);
  net[0].restart_from(old);  // and forgets the grant
  REQUIRE(net[0].grant("c", net[2].did(), "write").ok());
  net[2].join(a->address, "c");
  REQUIRE(net.run_until(60'000, [&] { return net[2]->directory().find("c")->writable.load(); }));
  net[0].set_online(false);  // so that nobody writes the grant again
  net[1].set_online(true);
  REQUIRE(net.run_until(60'000, [&] {
    const auto lists = net[1].info("c").lists;
    return std::any_of(lists.begin(), lists.end(), [](const auto& l) { return l.cut == "fork"; });
  }));
  CHECK(net[1]->directory().find("c")->readable.load());
  net[1].restart();
  CHECK(net[1]->directory().find("c")->readable.load());
  CHECK_FALSE(net[1]->directory().find("c")->writable.load());
  net[0].set_online(true);
  for (size_t i = 0; i < 3; ++i)
    CHECK(net.run_until(120'000, [&] { return value(net, i, a->address) == 10; }));
}

TEST_CASE_FIXTURE(test::Alone, "a key is given by a node that comes together with its fork, too") {
  const auto me = access::Identity::from_seed(Bytes(32, 'm'));
  const auto control = [&](std::vector<Bytes> ops, const list::Node* last) {
    list::Node n = node(std::move(ops), last);
    n.list.control = true;
    return signed_(n);
  };
  const auto ref = join("count", false);
  access::Membership membership(manifest);
  struct Chance final : ptwop::Entropy {
    void fill(unsigned char* out, size_t size) override { std::fill_n(out, size, 7); }
  } chance;
  const list::Node one =
      control({access::make_epoch(manifest.cid, {creator.key()}, chance)->op}, nullptr);
  REQUIRE(membership.apply(one, *access::unframe_ops(one.body), creator).ok());
  const list::Node left =
      control({*access::make_grant(membership, me->key(), access::Role::read)}, &one);
  ++wall;
  const list::Node right =
      control({*access::make_grant(membership, creator.key(), access::Role::read)}, &one);
  SUBCASE("before it") { deliver({one, left, right}); }
  SUBCASE("and a node later") {
    deliver({one, right, left});
    engine->turn();
    CHECK_FALSE(ref->readable.load());
    const list::Node next =
        control({*access::make_grant(membership, me->key(), access::Role::read)}, &right);
    deliver({next});
  }
  engine->turn();
  CHECK(ref->readable.load());
  start();
  CHECK(engine->directory().find("c")->readable.load());
}

TEST_CASE("what is written again keeps its time and its ids") {
  Network net(2, 41);
  const auto log = net[0].create("l", "log"), kv = net[0].create("k", "kv");
  const auto put = [&](const char* value) {
    return net[0].write("k", types::kv_type(), {types::kv_put_op("key", value, std::nullopt)});
  };
  test::MemoryStore old;
  old.copy_from(net[0].store());
  const auto entry = net[0].write("l", types::log_type(), {types::log_add_op("\x01")});
  REQUIRE(put("\x01").ok());
  REQUIRE(net[0].grant("l", net[1].did(), "read").ok());
  REQUIRE(net[0].grant("k", net[1].did(), "read").ok());
  net[1].join(log->address, "l");
  net[1].join(kv->address, "k");
  const auto entry_of = [&](size_t i) {
    return types::log_get(engine::StateView(net[i].store(), net[i]->directory().find("l")->number),
                          *types::log_id_from(*entry->result.id));
  };
  const auto key_of = [&](size_t i) {
    return *types::kv_get(engine::StateView(net[i].store(), net[i]->directory().find("k")->number),
                          "key");
  };
  REQUIRE(net.run_until(60'000, [&] { return entry_of(1).ok() && key_of(1); }));
  const auto before = *key_of(1);
  net[0].restart_from(old);
  CHECK_FALSE(entry_of(0).ok());
  net.now_ms += 5;
  const auto other = net[0].write("l", types::log_type(), {types::log_add_op("\x02")});
  REQUIRE(other.ok());
  REQUIRE(
      net[0].write("k", types::kv_type(), {types::kv_put_op("other", "\x02", std::nullopt)}).ok());
  for (size_t i = 0; i < 2; ++i) {
    CHECK(net.run_until(120'000, [&] { return entry_of(i).ok() && key_of(i); }));
    CHECK(key_of(i)->id == before.id);
    CHECK(key_of(i)->value == "\x01");
    const auto page =
        types::log_list(engine::StateView(net[i].store(), net[i]->directory().find("l")->number),
                        std::nullopt, 10, false);
    CHECK(page->entries.size() == 2);
  }
  // What was answered before the fork is still true.
  std::optional<Result<bool>> reached;
  net[1]->wait("l", {entry->at, other->at}, 60'000, "",
               [&](Result<bool> r) { reached.emplace(std::move(r)); });
  REQUIRE(net.run_until(61'000, [&] { return reached.has_value(); }));
  CHECK(reached->ok());
}
