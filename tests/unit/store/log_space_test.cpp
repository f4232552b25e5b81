#include "store/log_space.h"

#include "faulty_disk.h"

namespace ptwop::store {
namespace {

using engine::Table;

std::filesystem::path log_of(const std::string& data) {
  for (const auto& entry : std::filesystem::directory_iterator(data + "/rocksdb"))
    if (entry.path().extension() == ".log") return entry.path();
  FAIL("there is no log");
  return {};
}

size_t zeros_at_end(const Bytes& text) {
  const size_t last = text.find_last_not_of('\0');
  return last == Bytes::npos ? text.size() : text.size() - last - 1;
}

TEST_CASE("a log has space ahead while it is written, and none when it is closed") {
  Rig rig;
  REQUIRE(rig.store->commit({put(Table::meta, "k", "v")}, true).ok());
  const auto path = log_of(rig.temp.data());
  const uint64_t size = std::filesystem::file_size(path);
  CHECK(zeros_at_end(slurp(path)) > 100'000);
  for (int i = 0; i < 100; ++i) REQUIRE(rig.store->commit({put(Table::meta, "k", "w")}, true).ok());
  CHECK(std::filesystem::file_size(path) == size);  // so the file system had nothing to note
  for (int i = 0; i < 100; ++i)
    REQUIRE(rig.store->commit({put(Table::meta, "k", Bytes(5'000, 'x'))}, true).ok());
  CHECK(std::filesystem::file_size(path) > 500'000);
  rig.close();
  CHECK(zeros_at_end(slurp(path)) < 5);
}

TEST_CASE("what was synced is read again, whatever became of what was not") {
  TempFolder copy;
  size_t damage = 0;
  {
    Rig rig;
    for (int i = 0; i < 20; ++i)
      REQUIRE(
          rig.store->commit({put(Table::state, std::to_string(i), Bytes(900, 's'))}, true).ok());
    const Bytes synced = slurp(log_of(rig.temp.data()));
    damage = synced.size() - zeros_at_end(synced);
    for (int i = 0; i < 20; ++i)
      REQUIRE(rig.store->commit({put(Table::state, "u", Bytes(900, 'u'))}, false).ok());
    copy_folder(rig.temp.data(), copy.data());
  }
  const auto path = log_of(copy.data());
  Bytes log = slurp(path);
  SUBCASE("all of it is there") {}
  SUBCASE("none of it is") { log.replace(damage, log.size() - damage, log.size() - damage, '\0'); }
  SUBCASE("its first page is not") { log.replace(damage, 4096, 4096, '\0'); }
  SUBCASE("a page in its middle is not") { log.replace(damage + 5000, 4096, 4096, '\0'); }
  SUBCASE("it ends in the middle of a page") { log.resize(damage + 5000); }
  spill(path, log);
  auto folder = DataFolder::open(copy.data());
  REQUIRE(folder.ok());
  auto store = open_store(*folder, {test_key()});
  REQUIRE_MESSAGE(store.ok(), (store.ok() ? "" : store.error().message));
  for (int i = 0; i < 20; ++i)
    CHECK(value_of(**store, Table::state, std::to_string(i)) == Bytes(900, 's'));
  const std::string last = value_of(**store, Table::state, "u");
  CHECK((last == "-" || last == Bytes(900, 'u')));
}

TEST_CASE("several logs of a daemon that was killed are read to their ends") {
  TempFolder copy;
  {
    Rig rig;
    REQUIRE(rig.store->commit({put(Table::meta, "first", "1")}, true).ok());
    for (int i = 0; i < 100; ++i)  // more than a memtable: RocksDB begins another log
      REQUIRE(
          rig.store->commit({put(Table::state, std::to_string(i), Bytes(50'000, 's'))}, true).ok());
    REQUIRE(rig.store->commit({put(Table::meta, "last", "1")}, true).ok());
    copy_folder(rig.temp.data(), copy.data());
  }
  size_t logs = 0;
  for (const auto& entry : std::filesystem::directory_iterator(copy.data() + "/rocksdb"))
    logs += entry.path().extension() == ".log";
  CHECK(logs > 1);
  auto folder = DataFolder::open(copy.data());
  REQUIRE(folder.ok());
  auto store = open_store(*folder, {test_key()});
  REQUIRE_MESSAGE(store.ok(), (store.ok() ? "" : store.error().message));
  CHECK(value_of(**store, Table::meta, "first") == "1");
  CHECK(value_of(**store, Table::meta, "last") == "1");
  for (int i = 0; i < 100; ++i)
    CHECK(value_of(**store, Table::state, std::to_string(i)) == Bytes(50'000, 's'));
}

TEST_CASE("trimming takes zeros alone, and leaves a few of them to the data") {
  TempFolder temp;
  std::filesystem::create_directory(temp.data());
  const std::string path = temp.data() + "/1.log";
  const auto trimmed = [&](const Bytes& text) {
    spill(path, text);
    trim_log(path);
    return slurp(path);
  };
  const Bytes zeros(50'000, '\0'), few(6, '\0'), data(20'000, 'x');
  CHECK(trimmed("") == "");
  CHECK(trimmed(data) == data);
  CHECK(trimmed(data + few) == data + few);
  CHECK(trimmed(data + zeros) == data + few);
  CHECK(trimmed(zeros) == few);
  CHECK(trimmed(zeros + "x" + zeros) == zeros + "x" + few);
  trim_log(temp.data() + "/none.log");
}

}  // namespace
}  // namespace ptwop::store
