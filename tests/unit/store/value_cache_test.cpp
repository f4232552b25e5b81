#include "store/value_cache.h"

#include <atomic>
#include <map>
#include <random>
#include <thread>

#include "faulty_disk.h"

namespace ptwop::store {
namespace {

using engine::ReadMode;
using engine::Table;

TEST_CASE("what the cache gives is what was put last, whatever it has thrown away") {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    CAPTURE(seed);
    std::mt19937_64 random(seed);
    // Small enough that the ring goes round often, and with few slots, that keys push each other
    // on.
    ValueCache cache(seed % 2 ? 4096 : 64 << 10, seed % 3 ? 64 : 1024);
    std::map<Bytes, Bytes> truth;
    size_t found = 0;
    for (int i = 0; i < 20'000; ++i) {
      const Bytes key = "key" + std::to_string(random() % 200);
      const Bytes value(random() % 120, static_cast<char>('a' + random() % 26));
      switch (random() % 8) {
        case 0:
          truth.erase(key);
          cache.update({{key, std::nullopt}});
          break;
        case 1:
          truth[key] = value;
          cache.update({{key, "before"}, {key, value}});  // in order
          break;
        case 2:
          if (random() % 200 == 0) cache.clear();
          break;
        default: {
          uint64_t version = 0;
          if (const auto hit = cache.find(key, version)) {
            ++found;
            REQUIRE(truth.contains(key));
            REQUIRE(*hit == truth[key]);
          } else if (truth.contains(key)) {
            cache.insert(key, truth[key], version);
          }
        }
      }
    }
    CHECK(found > 500);
  }
}

TEST_CASE("the newest stay, as many as fit") {
  ValueCache cache(16 * 1024, 1024);
  uint64_t version = 0;
  const auto key = [](int i) { return "k" + std::to_string(1000 + i); };
  for (int i = 0; i < 1000; ++i) cache.update({{key(i), Bytes(107, 'v')}});  // 120 bytes each
  int here = 0;
  for (int i = 999; i >= 0 && cache.find(key(i), version); --i) ++here;
  CHECK(here >= 130);
  CHECK(here <= 136);
  CHECK_FALSE(cache.find(key(0), version));
}

TEST_CASE("what was read before a change is not taken after it; what is too large is not kept") {
  ValueCache cache(64 << 10);
  uint64_t before = 0, now = 0;
  CHECK_FALSE(cache.find("k", before));
  cache.update({{"other", "1"}});
  cache.insert("k", "old", before);
  CHECK_FALSE(cache.find("k", now));
  cache.insert("k", "new", now);
  CHECK(cache.find("k", now) == "new");
  cache.update({{"k", Bytes(ValueCache::kValueBytesMax + 1, 'x')}});
  CHECK_FALSE(cache.find("k", now));
  cache.update({{"k", ""}});
  CHECK(cache.find("k", now) == "");
  cache.clear();
  cache.insert("k", "old", now);
  CHECK_FALSE(cache.find("k", now));
}

TEST_CASE("a read from memory is never behind a commit that returned") {
  Rig rig;
  constexpr int kKeys = 50;
  std::array<std::atomic<uint64_t>, kKeys> committed{};
  std::atomic<bool> stop = false;
  std::atomic<uint64_t> reads = 0, behind = 0;
  std::vector<std::thread> readers;
  for (unsigned seed = 0; seed < 2; ++seed)
    readers.emplace_back([&, seed] {
      std::minstd_rand random(seed + 1);
      while (!stop) {
        const size_t i = random() % kKeys;
        const uint64_t least = committed[i];
        const auto got = rig.store->get(Table::state, "key" + std::to_string(i), ReadMode::memory);
        if (!got.ok()) continue;
        const uint64_t value = *got ? std::stoull(**got) : 0;
        if (value < least) ++behind;
        ++reads;
      }
    });
  std::minstd_rand random(9);
  for (uint64_t n = 1; n <= 3000; ++n) {
    const size_t i = random() % kKeys;
    REQUIRE(
        rig.store->commit({put(Table::state, "key" + std::to_string(i), std::to_string(n))}, false)
            .ok());
    committed[i] = n;
  }
  while (reads < 1000) std::this_thread::yield();
  stop = true;
  for (auto& reader : readers) reader.join();
  CHECK(behind == 0);
}

TEST_CASE("reads from memory follow every kind of change") {
  Rig rig;
  const auto read = [&](BytesView key) {
    const auto got = rig.store->get(Table::state, key, ReadMode::memory);
    REQUIRE(got.ok());
    return *got ? **got : Bytes("-");
  };
  REQUIRE(rig.store
              ->commit({put(Table::state, "a", "1"), put(Table::state, "b", "1"),
                        put(Table::index, "a", "x")},
                       true)
              .ok());
  CHECK(read("a") == "1");
  REQUIRE(rig.store->commit({put(Table::state, "a", "2"), erase(Table::state, "b")}, true).ok());
  CHECK(read("a") == "2");
  CHECK(read("b") == "-");
  REQUIRE(rig.store
              ->commit({put(Table::state, "a", "3"), erase_prefix(Table::state, "a"),
                        put(Table::state, "ab", "4")},
                       true)
              .ok());
  CHECK(read("a") == "-");
  CHECK(read("ab") == "4");
}

}  // namespace
}  // namespace ptwop::store
