#include "store/rocks_store.h"

#include <thread>

#include "faulty_disk.h"

namespace ptwop::store {
namespace {

using engine::ReadMode;
using engine::Table;

std::string keys_of(const RocksStore& store, BytesView from, BytesView until, bool reverse,
                    size_t limit = 100) {
  std::string out;
  const auto done = store.scan(Table::state, from, until, reverse, [&](BytesView key, BytesView) {
    out += std::string(key) + " ";
    return --limit > 0;
  });
  REQUIRE(done.ok());
  return out;
}

TEST_CASE("changes apply in order and last over a restart") {
  Rig rig;
  REQUIRE(rig.store
              ->commit({put(Table::state, "a1", "1"), put(Table::state, "a2", "2"),
                        put(Table::state, "b1", "3"), put(Table::meta, "a1", "other table"),
                        erase_prefix(Table::state, "a"), put(Table::state, "a2", "again"),
                        erase(Table::state, "b1")},
                       true)
              .ok());
  for (int round = 0; round < 2; ++round) {
    CHECK(value_of(*rig.store, Table::state, "a1") == "-");
    CHECK(value_of(*rig.store, Table::state, "a2") == "again");
    CHECK(value_of(*rig.store, Table::state, "b1") == "-");
    CHECK(value_of(*rig.store, Table::meta, "a1") == "other table");
    CHECK(value_of(*rig.store, Table::nodes, "a2") == "-");
    rig.reopen();
  }
}

TEST_CASE("a synced commit syncs, an unsynced one does not, and sync() makes up for it") {
  Rig rig;
  REQUIRE(rig.store->commit({put(Table::meta, "k", "v")}, false).ok());
  const int before = rig.disk->syncs;
  REQUIRE(rig.store->commit({put(Table::meta, "k", "v")}, false).ok());
  CHECK(rig.disk->syncs == before);
  REQUIRE(rig.store->sync().ok());
  CHECK(rig.disk->syncs == before + 1);
  REQUIRE(rig.store->commit({put(Table::meta, "k", "w")}, true).ok());
  CHECK(rig.disk->syncs == before + 2);
}

TEST_CASE("scans stay within their bounds, both ways, and stop when told") {
  Rig rig;
  engine::Changes changes;
  for (const char* key : {"a", "b", "b1", "c", "d"}) changes.push_back(put(Table::state, key, key));
  REQUIRE(rig.store->commit(changes, false).ok());
  CHECK(keys_of(*rig.store, "", "", false) == "a b b1 c d ");
  CHECK(keys_of(*rig.store, "", "", true) == "d c b1 b a ");
  CHECK(keys_of(*rig.store, "b", "d", false) == "b b1 c ");
  CHECK(keys_of(*rig.store, "b", "d", true) == "c b1 b ");
  CHECK(keys_of(*rig.store, "b", "", true, 2) == "d c ");
  CHECK(keys_of(*rig.store, "d", "b", false).empty());
  CHECK(keys_of(*rig.store, "d", "b", true).empty());
}

TEST_CASE("a prefix of 0xff and an empty one reach to the end of their table") {
  Rig rig;
  const Bytes high(4, '\xff');
  const Bytes highest(4096, '\xff');
  REQUIRE(rig.store
              ->commit({put(Table::state, "a", "1"), put(Table::state, high, "2"),
                        put(Table::state, highest, "3"), put(Table::meta, "a", "kept")},
                       false)
              .ok());
  REQUIRE(rig.store->commit({erase_prefix(Table::state, "\xff\xff")}, false).ok());
  CHECK(keys_of(*rig.store, "", "", false) == "a ");
  REQUIRE(
      rig.store->commit({put(Table::state, highest, "3"), erase_prefix(Table::state, "")}, false)
          .ok());
  CHECK(keys_of(*rig.store, "", "", false).empty());
  CHECK(value_of(*rig.store, Table::meta, "a") == "kept");
  const auto refused = rig.store->commit({put(Table::state, Bytes(4097, 'x'), "")}, false);
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.error().code == Code::too_large);
}

TEST_CASE("a read in memory says when the answer is on disk") {
  Rig rig;
  REQUIRE(rig.store->commit({put(Table::state, "key", "value")}, false).ok());
  CHECK(**rig.store->get(Table::state, "key", ReadMode::memory) == "value");
  rig.reopen();  // opening writes the log out to a sorted file
  REQUIRE(rig.store->compact().ok());
  rig.reopen();
  // Nothing of ours has it now; whether the system does, only some file systems can tell.
  const auto cold = rig.store->get(Table::state, "key", ReadMode::memory);
  CHECK((cold.ok() ? **cold == "value" : cold.error().code == Code::overloaded));
  CHECK(value_of(*rig.store, Table::state, "key") == "value");
  CHECK(**rig.store->get(Table::state, "key", ReadMode::memory) == "value");
}

TEST_CASE("readers beside commits see whole batches") {
  Rig rig;
  std::atomic<bool> stop = false;
  std::atomic<int> torn = 0, seen = 0;
  REQUIRE(
      rig.store->commit({put(Table::state, "x", "0"), put(Table::state, "y", "0")}, false).ok());
  std::vector<std::thread> readers;
  for (int i = 0; i < 2; ++i)
    readers.emplace_back([&] {
      while (!stop) {
        std::vector<Bytes> values;
        if (!rig.store->scan(Table::state, "x", "", false, [&](BytesView, BytesView value) {
              values.emplace_back(value);
              return true;
            }))
          ++torn;
        if (values.size() != 2 || values[0] != values[1]) ++torn;
        ++seen;
      }
    });
  for (int i = 1; i <= 2000; ++i) {
    const auto text = std::to_string(i);
    REQUIRE(rig.store->commit({put(Table::state, "x", text), put(Table::state, "y", text)}, false)
                .ok());
  }
  stop = true;
  for (auto& reader : readers) reader.join();
  CHECK(torn == 0);
  CHECK(seen > 0);
}

TEST_CASE("statistics") {
  Rig rig;
  REQUIRE(rig.store->commit({put(Table::state, "key", Bytes(100000, 'v'))}, true).ok());
  const StoreStats stats = rig.store->stats();
  CHECK(stats.disk_bytes > 100000);
  CHECK(stats.memtable_bytes > 100000);
  CHECK(stats.free_bytes == rig.disk->free_bytes);
  CHECK(stats.writable);
}

TEST_CASE("nothing in the folder can be read without the key") {
  Rig rig;
  const std::string secret_key = "recognisable-key-", secret_value = "recognisable-value-";
  for (int i = 0; i < 3000; ++i) {
    const auto number = std::to_string(i);
    const Table table = static_cast<Table>(i % engine::kTables);
    REQUIRE(
        rig.store->commit({put(table, secret_key + number, secret_value + number)}, false).ok());
  }
  auto search = [&] {
    size_t files = 0;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(rig.temp.data())) {
      if (!entry.is_regular_file()) continue;
      const std::string text = slurp(entry.path());
      ++files;
      CHECK_MESSAGE(text.find("recognisable") == std::string::npos, entry.path().string());
      CHECK_MESSAGE(text.find("outbox") == std::string::npos, entry.path().string());
    }
    CHECK(files > 5);
  };
  search();  // the log
  rig.reopen();
  REQUIRE(rig.store->compact().ok());
  REQUIRE(rig.store->commit({erase_prefix(Table::nodes, secret_key)}, true).ok());
  REQUIRE(rig.store->compact().ok());
  CHECK(value_of(*rig.store, Table::state, secret_key + "1") == secret_value + "1");
  search();  // sorted files, the manifest
  rig.close();
  search();
}

TEST_CASE("the wrong key opens nothing") {
  Rig rig;
  REQUIRE(rig.store->commit({put(Table::state, "key", "value")}, true).ok());
  rig.store.reset();
  const auto wrong = open_store(*rig.folder, {Bytes(32, 'x')});
  REQUIRE_FALSE(wrong.ok());
  CHECK(wrong.error().code == Code::corrupt);
  rig.reopen();
  CHECK(value_of(*rig.store, Table::state, "key") == "value");
}

TEST_CASE("files torn inside their nonce are set aside before RocksDB sees them") {
  Rig rig;
  REQUIRE(rig.store->commit({put(Table::state, "key", "value")}, true).ok());
  rig.close();
  const std::filesystem::path data = rig.temp.data();
  spill(data / "rocksdb/900000.log", "torn");
  spill(data / "rocksdb/900001.log", "");
  spill(data / "rocksdb/900002.sst", "torn");
  rig.open();
  CHECK(value_of(*rig.store, Table::state, "key") == "value");
  CHECK(slurp(data / "aside/900000.log") == "torn");
  CHECK(std::filesystem::exists(data / "aside/900001.log"));
  CHECK(std::filesystem::exists(data / "aside/900002.sst"));
  rig.store.reset();

  const std::string current = slurp(data / "rocksdb/CURRENT");
  spill(data / "rocksdb/CURRENT", "torn");
  const auto refused = open_store(*rig.folder, {test_key()});
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.error().code == Code::corrupt);
  spill(data / "rocksdb/CURRENT", current);
  rig.reopen();
  CHECK(value_of(*rig.store, Table::state, "key") == "value");
}

TEST_CASE("a log torn anywhere loses only its tail") {
  Rig rig;
  REQUIRE(rig.store->commit({put(Table::state, "first", "1")}, true).ok());
  REQUIRE(rig.store->commit({put(Table::state, "second", "2")}, true).ok());
  rig.close();
  for (const auto& entry : std::filesystem::directory_iterator(rig.temp.data() + "/rocksdb"))
    if (entry.path().extension() == ".log") {
      REQUIRE(entry.file_size() > 60);
      std::filesystem::resize_file(entry.path(), entry.file_size() - 3);
    }
  rig.open();
  CHECK(value_of(*rig.store, Table::state, "first") == "1");
  CHECK(value_of(*rig.store, Table::state, "second") == "-");
}

}  // namespace
}  // namespace ptwop::store
