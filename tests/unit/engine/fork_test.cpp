#include <doctest/doctest.h>

#include "replicas.h"
#include "types/count.h"

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

TEST_CASE("an old copy of a folder that writes before it hears of its past is a fork: all replicas agree on the cut") {
  Network net(3, 21);
  const auto a = net[0].create("c", "count", true);
  for (size_t i = 1; i < 3; ++i) {
    net[i].join(a->address, "c");
    REQUIRE(net[0].grant("c", net[i].did(), "write").ok());
  }
  REQUIRE(net.run_until(20'000, [&] { return net[1]->directory().find("c")->writable && net[2]->directory().find("c")->writable; }));
  REQUIRE(add(net, 1, 1));
  REQUIRE(net.run_until(20'000, [&] { return value(net, 0, a->address) == 1 && value(net, 2, a->address) == 1; }));
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
  const bool agreed = net.run_until(60'000, [&] {
    return value(net, 0, a->address) == 1 && value(net, 1, a->address) == 1 && value(net, 2, a->address) == 1;
  });
  CHECK(agreed);
  for (size_t i = 0; i < 3; ++i) {
    bool shown = false;
    for (const auto& list : net[i].info("c").lists) shown |= list.cut == "fork" && list.writer == net[1].did();
    CHECK(shown);
  }
  SUBCASE("its owner goes on in a new list") {
    REQUIRE(add(net, 1, 5));
    for (size_t i = 0; i < 3; ++i) CHECK(net.run_until(30'000, [&] { return value(net, i, a->address) == 6; }));
  }
  SUBCASE("a token beyond the cut cannot be reached") {
    std::optional<Result<bool>> answer;
    const auto& lists = net[0]->directory();
    (void)lists;
    for (const auto& list : net[0].info("c").lists)
      if (list.cut == "fork") {
        const list::At at{list::ListId::from(*from_hex(list.list)), {2, 7}};
        net[0]->wait("c", {at.token()}, 1'000, "", [&](Result<bool> r) { answer.emplace(std::move(r)); });
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
