// A disk that fills up, breaks and hangs when a test says so, and folders that go away with it.
#pragma once
#include <doctest/doctest.h>
#include <rocksdb/file_system.h>
#include <stdlib.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>
#include <string>
#include <thread>

#include "store/open_on.h"

namespace ptwop::store {

struct TempFolder {
  std::string path;
  TempFolder() {
    // In memory where that is possible: these tests sync a lot.
    const bool memory =
        std::filesystem::is_directory("/dev/shm") && ::access("/dev/shm", W_OK) == 0;
    const std::filesystem::path parent =
        memory ? "/dev/shm" : std::filesystem::temp_directory_path();
    std::string name = (parent / "ptwop-store-XXXXXX").string();
    REQUIRE(::mkdtemp(name.data()) != nullptr);
    path = name;
  }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;
  ~TempFolder() { std::filesystem::remove_all(path); }
  std::string data() const { return path + "/data"; }
};

inline std::string slurp(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

inline void spill(const std::filesystem::path& path, std::string_view text) {
  std::ofstream(path, std::ios::binary) << text;
}

/// Of a folder that is in use: files may change and go meanwhile.
inline void copy_files(const std::filesystem::path& from, const std::filesystem::path& to) {
  std::filesystem::create_directory(to);
  std::filesystem::permissions(to, std::filesystem::status(from).permissions());
  for (const auto& entry : std::filesystem::directory_iterator(from))
    if (entry.is_directory())
      copy_files(entry.path(), to / entry.path().filename());
    else if (std::ifstream(entry.path()))
      spill(to / entry.path().filename(), slurp(entry.path()));
}

/// Names, sizes and times of change.
inline std::string listing(const std::filesystem::path& folder) {
  std::set<std::string> out;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    std::error_code gone;
    const auto changed = entry.last_write_time(gone).time_since_epoch().count();
    const uint64_t size = entry.is_regular_file(gone) ? entry.file_size(gone) : 0;
    out.insert(entry.path().string() + ' ' + std::to_string(size) + ' ' + std::to_string(changed));
  }
  std::string text;
  for (const std::string& line : out) text += line + '\n';
  return text;
}

/// What a machine that stops now leaves behind, also of a folder in use: it is copied again if
/// RocksDB wrote meanwhile.
inline void copy_folder(const std::filesystem::path& from, const std::filesystem::path& to) {
  for (std::string before, after = "-"; before != after; after = listing(from)) {
    before = listing(from);
    std::filesystem::remove_all(to);
    copy_files(from, to);
  }
}

/// What fails is named by the end of a file's name.
class FaultyDisk final : public rocksdb::FileSystemWrapper {
 public:
  FaultyDisk() : FileSystemWrapper(rocksdb::FileSystem::Default()) {}
  const char* Name() const override { return "faulty-disk"; }

  std::atomic<uint64_t> free_bytes = 1ull << 40;
  std::atomic<const char*> full_for =
      nullptr;  ///< Appends write half of their bytes, then: no space.
  std::atomic<const char*> sync_fails_for =
      nullptr;  ///< The bytes are in the file, and yet: an I/O error.
  /// Appends, and syncs, wait until it is nullptr again; for ten seconds at most, so that a test
  /// that waits for them in vain ends.
  std::atomic<const char*> appends_hang_for = nullptr;
  std::atomic<const char*> syncs_hang_for = nullptr;
  std::atomic<int> hanging = 0;
  std::atomic<int> appends_failed = 0;
  std::atomic<int> syncs_failed = 0;
  std::atomic<int> syncs = 0;

  rocksdb::IOStatus GetFreeSpace(const std::string&, const rocksdb::IOOptions&, uint64_t* bytes,
                                 rocksdb::IODebugContext*) override {
    *bytes = free_bytes;
    return rocksdb::IOStatus::OK();
  }

  rocksdb::IOStatus NewWritableFile(const std::string& name, const rocksdb::FileOptions& options,
                                    std::unique_ptr<rocksdb::FSWritableFile>* result,
                                    rocksdb::IODebugContext* debug) override {
    std::unique_ptr<rocksdb::FSWritableFile> file;
    auto status = target()->NewWritableFile(name, options, &file, debug);
    if (status.ok()) *result = std::make_unique<File>(*this, name, std::move(file));
    return status;
  }

 private:
  class File final : public rocksdb::FSWritableFileOwnerWrapper {
   public:
    File(FaultyDisk& disk, std::string name, std::unique_ptr<rocksdb::FSWritableFile>&& file)
        : FSWritableFileOwnerWrapper(std::move(file)), disk_(disk), name_(std::move(name)) {}
    rocksdb::IOStatus Append(const rocksdb::Slice& data, const rocksdb::IOOptions& options,
                             rocksdb::IODebugContext* debug) override {
      hang(disk_.appends_hang_for);
      if (!hit(disk_.full_for)) return target()->Append(data, options, debug);
      ++disk_.appends_failed;
      const rocksdb::Slice half(data.data(), data.size() / 2);
      auto status = target()->Append(half, options, debug);
      return status.ok() ? rocksdb::IOStatus::NoSpace("No space left on device") : status;
    }
    rocksdb::IOStatus Sync(const rocksdb::IOOptions& options,
                           rocksdb::IODebugContext* debug) override {
      ++disk_.syncs;
      hang(disk_.syncs_hang_for);
      if (!hit(disk_.sync_fails_for)) return target()->Sync(options, debug);
      ++disk_.syncs_failed;
      return rocksdb::IOStatus::IOError("Input/output error");
    }
    rocksdb::IOStatus Fsync(const rocksdb::IOOptions& options,
                            rocksdb::IODebugContext* debug) override {
      return Sync(options, debug);
    }

   private:
    bool hit(const char* ending) const { return ending != nullptr && name_.ends_with(ending); }
    void hang(const std::atomic<const char*>& ending) const {
      if (!hit(ending)) return;
      ++disk_.hanging;
      for (int i = 0; i < 10'000 && hit(ending); ++i)
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      --disk_.hanging;
    }
    FaultyDisk& disk_;
    std::string name_;
  };
};

inline Bytes test_key() { return Bytes(32, 'k'); }

/// A store and what it stands on; `reopen` is a clean restart.
struct Rig {
  TempFolder temp;
  std::shared_ptr<FaultyDisk> disk = std::make_shared<FaultyDisk>();
  std::optional<DataFolder> folder;
  std::unique_ptr<RocksStore> store;

  Rig() { open(); }
  void open() {
    auto opened = DataFolder::open(temp.data());
    REQUIRE(opened.ok());
    folder.emplace(std::move(*opened));
    auto made = open_store_on(disk, *folder, {test_key()});
    REQUIRE_MESSAGE(made.ok(), (made.ok() ? "" : made.error().message));
    store = std::move(*made);
  }
  void close() {
    store.reset();
    folder.reset();
  }
  void reopen() {
    close();
    open();
  }
};

/// What a machine that lost its power now would find: the files as they are, nothing closed.
struct CrashCopy {
  TempFolder temp;
  std::optional<DataFolder> folder;
  std::unique_ptr<RocksStore> store;
  explicit CrashCopy(const Rig& rig) {
    copy_folder(rig.temp.data(), temp.data());
    auto opened = DataFolder::open(temp.data());
    REQUIRE(opened.ok());
    folder.emplace(std::move(*opened));
    auto made = open_store(*folder, {test_key()});
    REQUIRE_MESSAGE(made.ok(), (made.ok() ? "" : made.error().message));
    store = std::move(*made);
  }
};

inline engine::Change put(engine::Table table, BytesView key, BytesView value) {
  return {engine::Change::Kind::put, table, Bytes(key), Bytes(value)};
}
inline engine::Change erase(engine::Table table, BytesView key) {
  return {engine::Change::Kind::erase, table, Bytes(key), {}};
}
inline engine::Change erase_prefix(engine::Table table, BytesView prefix) {
  return {engine::Change::Kind::erase_prefix, table, Bytes(prefix), {}};
}
/// The value, or "-" if there is none.
inline std::string value_of(const RocksStore& store, engine::Table table, BytesView key) {
  const auto got = store.get(table, key);
  REQUIRE_MESSAGE(got.ok(), (got.ok() ? "" : got.error().message));
  return got->value_or("-");
}

}  // namespace ptwop::store
