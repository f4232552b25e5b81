// A commit that fails leaves nothing behind, now or after a restart; reads go on; writing comes
// back by itself.
#include <chrono>
#include <thread>

#include "faulty_disk.h"

namespace ptwop::store {
namespace {

using engine::Table;

/// Bytes of all log files.
uint64_t log_bytes(const Rig& rig) {
  uint64_t size = 0;
  for (const auto& entry : std::filesystem::directory_iterator(rig.temp.data() + "/rocksdb"))
    if (entry.path().extension() == ".log") size += entry.file_size();
  return size;
}

Code refusal(RocksStore& store, const engine::Changes& changes) {
  const auto done = store.commit(changes, true);
  REQUIRE_FALSE(done.ok());
  return done.error().code;
}

void commit_within_two_seconds(RocksStore& store, const engine::Changes& changes) {
  for (int i = 0; i < 200; ++i) {
    if (store.commit(changes, true)) return;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  const auto last = store.commit(changes, true);
  REQUIRE_MESSAGE(last.ok(), (last.ok() ? "" : last.error().message));
}

TEST_CASE("a nearly full disk refuses commits before RocksDB sees them") {
  Rig rig;
  REQUIRE(rig.store->commit({put(Table::state, "kept", "1")}, true).ok());
  std::this_thread::sleep_for(std::chrono::milliseconds(110));
  rig.disk->free_bytes = 15 << 20;
  rig.disk->full_for = ".log";
  CHECK(refusal(*rig.store, {put(Table::state, "lost", "1")}) == Code::disk_full);
  CHECK(rig.disk->appends_failed == 0);
  CHECK(value_of(*rig.store, Table::state, "kept") == "1");
  CHECK(value_of(*rig.store, Table::state, "lost") == "-");
  CHECK(rig.store->stats().writable);
  rig.disk->full_for = nullptr;
  rig.disk->free_bytes = 1 << 30;
  CHECK(rig.store->commit({put(Table::state, "after", "1")}, true).ok());

  // A big batch is measured at once, however recently there was space for a small one.
  rig.disk->free_bytes = 20 << 20;
  CHECK(refusal(*rig.store, {put(Table::state, "lost", Bytes(4 << 20, 'x'))}) == Code::disk_full);
}

using BreakDisk = void (*)(FaultyDisk&);
enum class Next { disk_comes_back, restart, stays_broken_a_while };

void failing_commit(BreakDisk break_disk, Code code, bool something_before, Next next) {
  CAPTURE(something_before);
  CAPTURE(static_cast<int>(next));
  Rig rig;
  if (something_before) {
    REQUIRE(rig.store->commit({put(Table::state, "synced", "1")}, true).ok());
    REQUIRE(rig.store->commit({put(Table::meta, "unsynced", "1")}, false).ok());
  }
  auto check = [&](const RocksStore& store) {
    CHECK(value_of(store, Table::state, "synced") == (something_before ? "1" : "-"));
    CHECK(value_of(store, Table::meta, "unsynced") == (something_before ? "1" : "-"));
    CHECK(value_of(store, Table::state, "failed") == "-");
    CHECK(value_of(store, Table::nodes, "failed") == "-");
  };
  const uint64_t log_bytes_before = log_bytes(rig);
  break_disk(*rig.disk);
  CHECK(refusal(*rig.store, {put(Table::state, "failed", "1"),
                             put(Table::nodes, "failed", Bytes(3000, 'x'))}) == code);
  check(*rig.store);
  check(*CrashCopy(rig).store);
  CHECK(refusal(*rig.store, {put(Table::state, "later", "1")}) == code);
  CHECK_FALSE(rig.store->stats().writable);

  if (next == Next::stays_broken_a_while) {
    std::this_thread::sleep_for(std::chrono::milliseconds(110));
    CHECK_FALSE(rig.store->commit({put(Table::state, "failed", "1")}, true).ok());
    check(*rig.store);
    check(*CrashCopy(rig).store);
  }
  if (next == Next::restart) {
    rig.close();
    CHECK(log_bytes(rig) < log_bytes_before + 24);  // a further log may be torn in its nonce
  }
  rig.disk->full_for = rig.disk->sync_fails_for = nullptr;
  if (next == Next::restart) {
    rig.open();
    check(*rig.store);
  }
  commit_within_two_seconds(*rig.store, {put(Table::state, "later", "1")});
  CHECK(rig.store->stats().writable);
  check(*rig.store);
  check(*CrashCopy(rig).store);
  rig.reopen();
  check(*rig.store);
  CHECK(value_of(*rig.store, Table::state, "later") == "1");
}

void failing_commits(BreakDisk break_disk, Code code) {
  for (const Next next : {Next::disk_comes_back, Next::restart, Next::stays_broken_a_while})
    failing_commit(break_disk, code, true, next);
  failing_commit(break_disk, code, false, Next::disk_comes_back);
}

TEST_CASE("the log runs out of space in the middle of a commit") {
  failing_commits([](FaultyDisk& disk) { disk.full_for = ".log"; }, Code::disk_full);
}

TEST_CASE("a commit is in the log when its sync fails") {
  failing_commits([](FaultyDisk& disk) { disk.sync_fails_for = ".log"; }, Code::internal);
}

TEST_CASE("every file fails at once") {
  failing_commits([](FaultyDisk& disk) { disk.full_for = ""; }, Code::disk_full);
}

TEST_CASE("sorted files cannot be written") {
  Rig rig;
  rig.disk->full_for = ".sst";
  int taken = 0;
  const Bytes value(50000, 'v');
  while (taken < 1000 &&
         rig.store->commit({put(Table::state, "key" + std::to_string(taken), value)}, false))
    ++taken;
  REQUIRE(rig.disk->appends_failed > 0);
  REQUIRE(taken < 1000);
  auto all_there = [&] {
    for (int i = 0; i < taken; ++i)
      if (value_of(*rig.store, Table::state, "key" + std::to_string(i)) != value) return false;
    return value_of(*rig.store, Table::state, "key" + std::to_string(taken)) == "-";
  };
  CHECK(all_there());
  rig.disk->full_for = nullptr;
  commit_within_two_seconds(*rig.store, {put(Table::state, "later", "1")});
  CHECK(all_there());
  rig.reopen();
  CHECK(all_there());
  CHECK(value_of(*rig.store, Table::state, "later") == "1");
}

TEST_CASE("readers go on while writing fails and comes back") {
  Rig rig;
  REQUIRE(rig.store->commit({put(Table::state, "key", "value")}, true).ok());
  std::atomic<bool> stop = false;
  std::atomic<int> wrong = 0, right = 0;
  std::thread reader([&] {
    while (!stop) {
      const auto got = rig.store->get(Table::state, "key");
      const auto memory = rig.store->get(Table::state, "key", engine::ReadMode::memory);
      got.ok() && *got == "value" ? ++right : ++wrong;
      if (memory.ok() ? **memory != "value" : memory.error().code != Code::overloaded) ++wrong;
    }
  });
  for (int round = 0; round < 2; ++round) {
    rig.disk->full_for = ".log";
    CHECK_FALSE(rig.store->commit({put(Table::state, "failed", "1")}, true).ok());
    rig.disk->full_for = nullptr;
    commit_within_two_seconds(*rig.store, {put(Table::state, "later", "1")});
  }
  stop = true;
  reader.join();
  CHECK(wrong == 0);
  CHECK(right > 100);
}

}  // namespace
}  // namespace ptwop::store
