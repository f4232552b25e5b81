#include "store/backup.h"

#include <thread>

#include "faulty_disk.h"

namespace ptwop::store {
namespace {

namespace fs = std::filesystem;
using engine::Table;

bool go_on(uint64_t, uint64_t) { return true; }

struct Backed : Rig {
  const std::string to = temp.path + "/backup";
  const std::string again = temp.path + "/again";
  Backed() {
    spill(folder->in("store.key"), "sealed");
    spill(folder->in("identity"), std::string(32, 'i'));
  }
  Result<BackupDone> back_up(const Progress& progress = go_on) {
    return store::back_up(*folder, *store, "did:key:me", to, 1'700'000'000'000, progress);
  }
  void fill(int from, int until, bool sync = true) {
    engine::Changes changes;
    for (int i = from; i < until; ++i)
      changes.push_back(
          put(Table::nodes, "k" + std::to_string(i), std::string(1000, 'v') + std::to_string(i)));
    REQUIRE(store->commit(changes, sync).ok());
  }
};

/// A folder that was restored, opened.
struct Opened {
  std::optional<DataFolder> folder;
  std::unique_ptr<RocksStore> store;
  explicit Opened(const std::string& path) {
    auto opened = DataFolder::open(path);
    REQUIRE_MESSAGE(opened.ok(), (opened.ok() ? "" : opened.error().message));
    folder.emplace(std::move(*opened));
    auto made = open_store(*folder, {test_key()});
    REQUIRE_MESSAGE(made.ok(), (made.ok() ? "" : made.error().message));
    store = std::move(*made);
  }
};

std::string message_of(const Result<RestoreDone>& outcome) {
  REQUIRE_FALSE(outcome.ok());
  return outcome.error().message;
}

uint64_t size_of(const std::string& folder) {
  uint64_t bytes = 0;
  for (const auto& entry : fs::recursive_directory_iterator(folder))
    if (entry.is_regular_file()) bytes += entry.file_size();
  return bytes;
}

TEST_CASE_FIXTURE(Backed, "a backup has all that was committed, and is private") {
  fill(0, 500);
  REQUIRE(store->commit({put(Table::meta, "late", "in memory only")}, false).ok());
  const auto done = back_up();
  REQUIRE_MESSAGE(done.ok(), (done.ok() ? "" : done.error().message));
  CHECK(done->identity);
  CHECK(done->copied_bytes == done->bytes);
  CHECK(done->bytes > 500'000);
  fill(500, 600);  // not in it
  const auto restored = restore(to, again);
  REQUIRE_MESSAGE(restored.ok(), (restored.ok() ? "" : restored.error().message));
  CHECK(restored->files == done->files);
  CHECK(restored->bytes == done->bytes);
  CHECK(restored->identity == "did:key:me");
  CHECK(restored->has_key);
  CHECK(restored->made_ms == 1'700'000'000'000);
  for (const std::string& made : {to, again})
    for (const auto& entry : fs::recursive_directory_iterator(made))
      CHECK((entry.status().permissions() & static_cast<fs::perms>(077)) == fs::perms::none);
  const Opened opened(again);
  CHECK(opened.folder->has(kRestored));
  CHECK(slurp(again + "/identity") == std::string(32, 'i'));
  CHECK(value_of(*opened.store, Table::nodes, "k499").ends_with("v499"));
  CHECK(value_of(*opened.store, Table::nodes, "k500") == "-");
  CHECK(value_of(*opened.store, Table::meta, "late") == "in memory only");
  REQUIRE(opened.store->commit({put(Table::meta, "on", "it goes")}, true).ok());
  CHECK_FALSE(fs::exists(folder->in("snapshot")));
}

TEST_CASE_FIXTURE(Backed, "the next one copies what is new only, and what is needed no more goes") {
  fill(0, 5000);
  const auto first = back_up();
  REQUIRE(first.ok());
  fill(5000, 5010);
  const auto second = back_up();
  REQUIRE(second.ok());
  CHECK(second->copied_bytes * 20 < first->copied_bytes);
  CHECK(second->bytes > first->bytes);
  for (int i = 0; i < 3; ++i) {
    REQUIRE(store->compact().ok());
    REQUIRE(back_up().ok());
  }
  CHECK(size_of(to) < 2 * first->bytes);
  REQUIRE(restore(to, again).ok());
  const Opened opened(again);
  CHECK(value_of(*opened.store, Table::nodes, "k5009").ends_with("v5009"));
  CHECK(value_of(*opened.store, Table::nodes, "k0").ends_with("v0"));
}

TEST_CASE_FIXTURE(Backed, "while others write: all that was acknowledged before is in it") {
  std::atomic<bool> stop = false;
  std::atomic<int> written = 0;
  std::thread writer([&] {
    for (int i = 0; !stop; ++i) {
      // Two tables that must agree.
      const std::string value = std::to_string(i);
      if (!store
               ->commit({put(Table::state, "a", value), put(Table::index, "b", value),
                         put(Table::nodes, "n" + value, value)},
                        i % 3 == 0)
               .ok())
        break;
      written = i + 1;
    }
  });
  while (written < 100) std::this_thread::yield();
  for (int round = 0; round < 5; ++round) {
    const int before = written;
    REQUIRE(back_up().ok());
    fs::remove_all(again);
    REQUIRE(restore(to, again).ok());
    const Opened opened(again);
    const std::string a = value_of(*opened.store, Table::state, "a");
    CHECK(a == value_of(*opened.store, Table::index, "b"));
    CHECK(std::stoi(a) >= before - 1);
    for (int i = 0; i <= std::stoi(a); ++i)
      REQUIRE(value_of(*opened.store, Table::nodes, "n" + std::to_string(i)) == std::to_string(i));
    REQUIRE(value_of(*opened.store, Table::nodes, "n" + std::to_string(std::stoi(a) + 1)) == "-");
  }
  stop = true;
  writer.join();
}

TEST_CASE_FIXTURE(Backed, "an interrupted backup leaves the one before as it was") {
  fill(0, 100);
  REQUIRE(back_up().ok());
  fill(100, 2000);
  const auto given_up = back_up([](uint64_t done, uint64_t all) { return done < all / 2; });
  REQUIRE_FALSE(given_up.ok());
  CHECK(given_up.error().code == Code::shutting_down);
  CHECK_FALSE(fs::exists(folder->in("snapshot")));
  spill(to + "/files/copy.new", "left by a crash");
  spill(to + "/BACKUP.new", "left by a crash");
  REQUIRE(restore(to, again).ok());
  {
    const Opened opened(again);
    CHECK(value_of(*opened.store, Table::nodes, "k99").ends_with("v99"));
    CHECK(value_of(*opened.store, Table::nodes, "k100") == "-");
  }
  const auto done = back_up();
  REQUIRE(done.ok());
  CHECK_FALSE(fs::exists(to + "/files/copy.new"));
  fs::remove_all(again);
  REQUIRE(restore(to, again).ok());
  CHECK(value_of(*Opened(again).store, Table::nodes, "k1999").ends_with("v1999"));
}

TEST_CASE_FIXTURE(Backed, "what is damaged is named, and nothing is restored") {
  fill(0, 500);
  REQUIRE(back_up().ok());
  std::string sst, list = slurp(to + "/BACKUP");
  for (size_t at = 0; (at = list.find("file ", at)) != std::string::npos; ++at)
    if (list.substr(at, list.find('\n', at) - at).ends_with(".sst")) sst = list.substr(at + 5, 64);
  REQUIRE(sst.size() == 64);
  const std::string path = to + "/files/" + sst, good = slurp(path);
  std::string flipped = good;
  flipped[good.size() / 2] = static_cast<char>(flipped[good.size() / 2] ^ 1);
  const auto broken = [&](const std::string& says) {
    const std::string message = message_of(restore(to, again));
    CAPTURE(message);
    CHECK(message.find(sst) != std::string::npos);
    CHECK(message.find(says) != std::string::npos);
    CHECK(message.find(".sst") != std::string::npos);
    // Only the lock file stays, and the same folder can be tried again.
    CHECK(std::distance(fs::directory_iterator(again), fs::directory_iterator{}) == 1);
  };
  spill(path, flipped);
  broken("changed");
  spill(path, good.substr(0, good.size() - 1));
  broken("bytes long instead of");
  fs::remove(path);
  broken("missing");
  fs::create_symlink("/etc/passwd", path);
  broken("missing");
  fs::remove(path);
  // A backup that lost a file is made whole by the next one.
  REQUIRE(back_up().ok());
  REQUIRE(restore(to, again).ok());
  CHECK(value_of(*Opened(again).store, Table::nodes, "k499").ends_with("v499"));
}

TEST_CASE_FIXTURE(Backed, "a list that is damaged, hostile or of another version is refused") {
  fill(0, 10);
  REQUIRE(back_up().ok());
  const std::string list = slurp(to + "/BACKUP");
  const auto refused = [&](const std::string& text) {
    spill(to + "/BACKUP", text);
    const std::string message = message_of(restore(to, again));
    CHECK_FALSE(fs::exists(again + "/rocksdb"));
    return message;
  };
  const auto rehashed = [](std::string text) {
    text.resize(text.rfind("sha256 "));
    return text + "sha256 " + hex(ipld::sha256(text)) + "\n";
  };
  for (size_t i = 0; i < list.size(); i += 7) {
    CAPTURE(i);
    CHECK(refused(list.substr(0, i)).find("BACKUP") != std::string::npos);
    std::string flipped = list;
    flipped[i] = static_cast<char>(flipped[i] ^ 1);
    refused(flipped);
  }
  const auto replaced = [&](const std::string& what, const std::string& by) {
    std::string text = list;
    REQUIRE(text.find(what) != std::string::npos);
    return refused(rehashed(text.replace(text.find(what), what.size(), by)));
  };
  for (const char* name : {"../outside", "/etc/outside", "rocksdb/../../outside", "rocksdb/.x",
                           "rocksdb/", "other", "LOCK", "rocksdb/a/b", "store.key"})
    CHECK(replaced("rocksdb/CURRENT", name).find("damaged") != std::string::npos);
  CHECK(replaced("did:key:me", "did:key:\x1b[2J").find("damaged") != std::string::npos);
  CHECK(replaced("backup 1", "backup 2").find("another version") != std::string::npos);
  CHECK(replaced(" store.key", " rocksdb/x").find("without store.key") != std::string::npos);
  fs::remove(to + "/BACKUP");
  CHECK(message_of(restore(to, again)).find("no backup") != std::string::npos);
  CHECK(message_of(restore(to + "/nowhere", again)).find("no backup") != std::string::npos);
}

TEST_CASE_FIXTURE(Backed, "only an empty folder is restored into, and one that was interrupted") {
  fill(0, 10);
  REQUIRE(back_up().ok());
  CHECK(message_of(restore(to, temp.data())).find("in use") != std::string::npos);
  fs::create_directory(again);
  spill(again + "/mine", "precious");
  CHECK(message_of(restore(to, again)).find("mine is in it") != std::string::npos);
  CHECK(slurp(again + "/mine") == "precious");
  fs::remove(again + "/mine");
  fs::create_directory(again + "/rocksdb");
  spill(again + "/rocksdb/000001.sst", "half");
  spill(again + "/RESTORING", "");
  const auto half = DataFolder::open(again);
  REQUIRE_FALSE(half.ok());
  CHECK(half.error().message.find("interrupted restore") != std::string::npos);
  REQUIRE(restore(to, again).ok());
  CHECK(value_of(*Opened(again).store, Table::nodes, "k9").ends_with("v9"));
}

TEST_CASE_FIXTURE(Backed, "places that are none for a backup") {
  fill(0, 10);
  const auto refused = [&](const std::string& place) {
    const auto done = store::back_up(*folder, *store, "did:key:me", place, 1, go_on);
    REQUIRE_FALSE(done.ok());
    return done.error().code;
  };
  CHECK(refused(temp.data()) == Code::invalid_params);
  CHECK(refused(temp.data() + "/rocksdb") == Code::invalid_params);
  CHECK(refused(temp.path + "/x/../data/new") == Code::invalid_params);
  CHECK(refused("relative") == Code::invalid_params);
  CHECK(refused(temp.path + "/no/such/folder") == Code::invalid_params);
  CHECK(refused(temp.path) == Code::exists);  // other things are in it
  REQUIRE(back_up().ok());
  const auto other = store::back_up(*folder, *store, "did:key:other", to, 1, go_on);
  REQUIRE_FALSE(other.ok());
  CHECK(other.error().code == Code::exists);
  CHECK(other.error().message.find("did:key:me") != std::string::npos);
}

TEST_CASE_FIXTURE(Backed, "a disk that fails tells so, and the store goes on") {
  fill(0, 10);
  disk->full_for = ".sst";
  const auto done = back_up();
  REQUIRE_FALSE(done.ok());
  CHECK(done.error().code == Code::disk_full);
  disk->full_for = nullptr;
}

}  // namespace
}  // namespace ptwop::store
