// A disk that hangs: reads go on, writes wait, and nothing that was acknowledged is lost whenever
// it ends.
#include "faulty_disk.h"

namespace ptwop::store {
namespace {

using engine::Table;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

/// Far less than what a hanging call takes (FaultyDisk), far more than a read.
constexpr milliseconds kQuick{2000};

template <typename Condition>
bool within_quick(const Condition& condition) {
  for (const auto until = steady_clock::now() + kQuick; steady_clock::now() < until;) {
    if (condition()) return true;
    std::this_thread::sleep_for(milliseconds(1));
  }
  return false;
}

/// Everything that does not write.
void check_reads(const RocksStore& store) {
  const auto began = steady_clock::now();
  for (int i = 0; i < 20; ++i) {
    CHECK(value_of(store, Table::state, "old") == "1");
    CHECK(value_of(store, Table::meta, "old") == "2");
    CHECK(store.get(Table::meta, "old", engine::ReadMode::memory).ok());
    int seen = 0;
    CHECK(
        store
            .scan(Table::meta, "", "", i % 2 == 0, [&](BytesView, BytesView) { return ++seen > 0; })
            .ok());
    CHECK(seen > 0);
    CHECK(store.stats().writable);
  }
  CHECK(steady_clock::now() - began < kQuick);
}

void a_commit_hangs(std::atomic<const char*> FaultyDisk::*calls, const char* file) {
  Rig rig;
  REQUIRE(
      rig.store->commit({put(Table::state, "old", "1"), put(Table::meta, "old", "2")}, true).ok());
  (*rig.disk).*calls = file;
  std::atomic<int> done = 0;
  const auto write = [&](const char* key) {
    if (rig.store->commit({put(Table::state, key, "new")}, true)) ++done;
  };
  std::thread first([&] { write("first"); });
  CHECK(within_quick([&] { return rig.disk->hanging > 0; }));
  std::thread second([&] { write("second"); });
  check_reads(*rig.store);
  CHECK(done == 0);
  {
    const CrashCopy lost_power(rig);
    CHECK(value_of(*lost_power.store, Table::state, "old") == "1");
    CHECK(value_of(*lost_power.store, Table::state, "second") == "-");
  }
  (*rig.disk).*calls = nullptr;
  first.join();
  second.join();
  CHECK(done == 2);
  CHECK(value_of(*CrashCopy(rig).store, Table::state, "first") == "new");
  rig.reopen();
  CHECK(value_of(*rig.store, Table::state, "first") == "new");
  CHECK(value_of(*rig.store, Table::state, "second") == "new");
}

TEST_CASE("a commit's sync hangs") { a_commit_hangs(&FaultyDisk::syncs_hang_for, ".log"); }

TEST_CASE("writing a commit to the log hangs") {
  a_commit_hangs(&FaultyDisk::appends_hang_for, ".log");
}

TEST_CASE("every file's syncs hang") { a_commit_hangs(&FaultyDisk::syncs_hang_for, ""); }

TEST_CASE("sorted files hang: writes go on while there is memory, then wait") {
  Rig rig;
  REQUIRE(
      rig.store->commit({put(Table::state, "old", "1"), put(Table::meta, "old", "2")}, true).ok());
  rig.disk->appends_hang_for = ".sst";
  const Bytes value(50000, 'v');
  const auto key = [](int i) { return "key" + std::to_string(i); };
  std::atomic<int> taken = 0;
  std::atomic<bool> stop = false;
  std::thread writer([&] {
    while (!stop && rig.store->commit({put(Table::state, key(taken), value)}, false)) ++taken;
  });
  CHECK(within_quick([&] { return rig.disk->hanging > 0; }));
  int last = -1;
  CHECK(within_quick([&] {
    std::this_thread::sleep_for(milliseconds(200));
    return last == std::exchange(last, taken);
  }));
  CHECK(taken > 10);
  check_reads(*rig.store);
  CHECK(value_of(*rig.store, Table::state, key(taken - 1)) == value);
  rig.disk->appends_hang_for = nullptr;
  CHECK(within_quick([&] { return taken > last; }));
  stop = true;
  writer.join();
  rig.reopen();
  for (int i = 0; i < taken; ++i) REQUIRE(value_of(*rig.store, Table::state, key(i)) == value);
}

}  // namespace
}  // namespace ptwop::store
