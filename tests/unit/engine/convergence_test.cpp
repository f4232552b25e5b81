// Two and five replicas, every type, loss, duplication, reordering, absence and restarts, from
// seeds: when the faults end, all are equal, and equal to what was acknowledged.
#include <doctest/doctest.h>

#include <cstdlib>

#include "replicas.h"
#include "types/count.h"
#include "types/kv.h"
#include "types/log.h"

using namespace ptwop;
using test::Network;

namespace {

struct Channels {
  std::string addresses[3];
  int64_t added = 0;
  size_t logged = 0;
};

Bytes number(uint64_t n) {
  ipld::CborWriter w;
  w.unsigned_integer(n);
  return w.take();
}

void random_write(Network& net, size_t i, Channels& expect) {
  const uint64_t r = net.random();
  switch (r % 4) {
    case 0:
      if (net[i].write(expect.addresses[0], types::log_type(), {types::log_add_op(number(r))}).ok())
        ++expect.logged;
      break;
    case 1: {
      const auto by = static_cast<int64_t>(r >> 40) % 1000 - 500;
      if (net[i]
              .write(expect.addresses[1], types::count_type(),
                     {types::count_add_op("k" + std::to_string(r / 8 % 3), by)})
              .ok())
        expect.added += by;
      break;
    }
    case 2:
      (void)net[i].write(expect.addresses[2], types::kv_type(),
                         {types::kv_put_op("k" + std::to_string(r / 8 % 10), number(r), {})});
      break;
    default:
      (void)net[i].write(expect.addresses[2], types::kv_type(),
                         {types::kv_del_op("k" + std::to_string(r / 8 % 10))});
  }
}

bool equal(Network& net, const Channels& channels) {
  for (const std::string& address : channels.addresses) {
    const auto first = net[0]->directory().find(address);
    for (size_t i = 1; i < net.size(); ++i) {
      const auto other = net[i]->directory().find(address);
      if (first->nodes != other->nodes) return false;
      for (const auto table : {engine::Table::state, engine::Table::index, engine::Table::nodes})
        if (net[0].store().dump(table, first->number) != net[i].store().dump(table, other->number))
          return false;
    }
  }
  return true;
}

void run(size_t replicas, uint64_t seed) {
  CAPTURE(seed);
  CAPTURE(replicas);
  Network net(replicas, seed, {.loss = 0.3, .duplicate = 0.1, .delay_ms_max = 200});
  Channels channels;
  const char* const types[] = {"log", "count", "kv"};
  for (size_t t = 0; t < 3; ++t) {
    channels.addresses[t] = net[0].create(types[t], types[t], seed % 2 == 0)->address;
    for (size_t i = 1; i < replicas; ++i) {
      net[i].join(channels.addresses[t], types[t]);
      REQUIRE(net[0].grant(types[t], net[i].did(), "write").ok());
    }
  }
  for (int step = 0; step < 150; ++step) {
    const size_t i = net.random() % replicas;
    random_write(net, i, channels);
    if (net.random() % 30 == 0) net[i].set_online(!net[i].online());
    if (net.random() % 40 == 0) net[net.random() % replicas].restart();
    net.run_ms(net.random() % 100);
  }
  net.faults = {};
  for (size_t i = 0; i < replicas; ++i) net[i].set_online(true);
  const bool converged = net.run_until(90'000, [&] { return equal(net, channels); });
  CHECK(converged);
  for (size_t i = 0; i < replicas; ++i) {
    const auto log = net[i]->directory().find("log");
    const auto entries =
        types::log_list(engine::StateView(net[i].store(), log->number), {}, 1000, false);
    CHECK(entries->entries.size() == channels.logged);
    int64_t sum = 0;
    const auto count = net[i]->directory().find("count");
    for (int k = 0; k < 3; ++k)
      sum += types::count_get(engine::StateView(net[i].store(), count->number),
                              "k" + std::to_string(k))
                 ->value;
    CHECK(sum == channels.added);
    CHECK(net[i].info("log").missing == 0);
  }
}

}  // namespace

TEST_CASE("replicas converge under loss, duplication, reordering, absence and restarts") {
  const char* env = std::getenv("PTWOP_SEEDS");
  const uint64_t seeds = env ? std::strtoull(env, nullptr, 10) : 100;
  for (uint64_t seed = 1; seed <= seeds; ++seed) {
    run(2, seed);
    if (seed % 4 == 0) run(5, seed);
  }
}
