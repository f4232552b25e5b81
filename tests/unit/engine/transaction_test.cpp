#include "engine/transaction.h"

#include <doctest/doctest.h>

#include <random>

#include "memory_store.h"

using namespace ptwop;
using engine::Table;

TEST_CASE(
    "a scan shows what is pending in place of what is stored, in both directions, for any bounds") {
  std::mt19937 random(7);
  for (int round = 0; round < 300; ++round) {
    test::MemoryStore store;
    engine::Transaction txn(store);
    std::map<Bytes, Bytes> expect;
    for (int i = 0; i < 12; ++i) {
      const Bytes key = std::to_string(random() % 20);
      (void)store.commit({{engine::Change::Kind::put, Table::state, key, "s"}}, true);
      expect[key] = "s";
    }
    for (int i = 0; i < 12; ++i) {
      const Bytes key = std::to_string(random() % 20);
      if (random() % 2) {
        txn.put(Table::state, key, "p");
        expect[key] = "p";
      } else {
        txn.erase(Table::state, key);
        expect.erase(key);
      }
    }
    Bytes from = std::to_string(random() % 20), until = std::to_string(random() % 20);
    if (until < from) std::swap(from, until);
    for (const bool reverse : {false, true}) {
      const size_t limit = 1 + random() % 8;
      std::vector<std::pair<Bytes, Bytes>> want(expect.lower_bound(from),
                                                expect.lower_bound(until)),
          got;
      if (reverse) std::reverse(want.begin(), want.end());
      if (want.size() > limit) want.resize(limit);
      (void)txn.scan(Table::state, from, until, reverse, [&](BytesView key, BytesView value) {
        got.emplace_back(key, value);
        return got.size() < limit;
      });
      CHECK(got == want);
    }
    (void)store.commit(txn.take(), true);
    for (const auto& [key, value] : expect) CHECK(*store.get(Table::state, key) == value);
    CHECK(store.size(Table::state) == expect.size());
  }
}
