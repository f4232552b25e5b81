#include "store/rocks_store.h"

#include <fmt/format.h>
#include <rocksdb/cache.h>
#include <rocksdb/convenience.h>
#include <rocksdb/write_batch.h>
#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <mutex>
#include <shared_mutex>
#include <thread>

#include "base/log.h"
#include "store/encryption.h"
#include "store/file_system.h"
#include "store/log_space.h"
#include "store/memory_reads.h"
#include "store/open_on.h"
#include "store/rocks_options.h"
#include "store/store_key.h"
#include "store/value_cache.h"

namespace ptwop::store {
namespace {

namespace fs = std::filesystem;
using engine::Change;
using engine::Table;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr size_t kKeyBytesMax = 4096;
constexpr milliseconds kSpaceCheckEvery{100};
constexpr uint64_t kSpaceCheckBytes = 1 << 20;
constexpr milliseconds kHealEvery{100};
constexpr milliseconds kReadersWaitMax{2000};

rocksdb::Slice slice(BytesView bytes) { return {bytes.data(), bytes.size()}; }
BytesView view(const rocksdb::Slice& bytes) { return {bytes.data(), bytes.size()}; }

/// The first key after all keys with that prefix.
Bytes prefix_end(BytesView prefix) {
  Bytes end(prefix);
  while (!end.empty() && end.back() == '\xff') end.pop_back();
  if (end.empty()) return Bytes(kKeyBytesMax + 1, '\xff');
  end.back() = static_cast<char>(end.back() + 1);
  return end;
}

/// An open database; closed when destroyed.
struct Database {
  std::unique_ptr<rocksdb::DB> db;
  std::vector<rocksdb::ColumnFamilyHandle*> families;
  rocksdb::ColumnFamilyHandle* family(Table table) const {
    return families[1 + static_cast<size_t>(table)];
  }
  ~Database() {
    if (!db) return;
    rocksdb::CancelAllBackgroundWork(db.get(), true);
    for (auto* handle : families) db->DestroyColumnFamilyHandle(handle).PermitUncheckedError();
  }
};

/// Files torn inside their nonce hold nothing that was ever acknowledged; RocksDB cannot read them
/// (formats.md).
Result<void> set_torn_aside(const fs::path& database, const fs::path& aside) {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(database, error)) {
    const std::string name = entry.path().filename();
    if (!entry.is_regular_file(error)) continue;
    if (name.ends_with(".log")) trim_log(entry.path());
    if (fs::file_size(entry.path(), error) >= kNonceBytes) continue;
    if (name == "LOCK") continue;
    if (name == "CURRENT")  // without it RocksDB would begin a new database in this folder
      return fail(Code::corrupt,
                  fmt::format("{} is damaged: restore the data folder from a backup; "
                              "nothing was changed",
                              entry.path().string()));
    fs::rename(entry.path(), aside / name, error);
    if (error)
      return fail(Code::internal, fmt::format("cannot set {} aside: {}", name, error.message()));
    log::warn("store", "set a torn file aside", {{"file", name}});
  }
  return {};
}

Result<rocksdb::WriteBatch> batch_of(const engine::Changes& changes,
                                     const std::unique_ptr<Database>& database) {
  rocksdb::WriteBatch batch;
  for (const Change& change : changes) {
    if (change.key.size() > kKeyBytesMax)
      return fail(Code::too_large, fmt::format("a stored key is at most {} bytes", kKeyBytesMax));
    auto* family = database->family(change.table);
    rocksdb::Status status;
    switch (change.kind) {
      case Change::Kind::put:
        status = batch.Put(family, slice(change.key), slice(change.value));
        break;
      case Change::Kind::erase:
        status = batch.Delete(family, slice(change.key));
        break;
      case Change::Kind::erase_prefix:
        status = batch.DeleteRange(family, slice(change.key), slice(prefix_end(change.key)));
        break;
    }
    if (!status.ok()) return error_from(status, "collect the changes");
  }
  return batch;
}

}  // namespace

class RocksStore::Impl {
 public:
  Impl(const std::shared_ptr<rocksdb::FileSystem>& disk, const DataFolder& folder,
       const StoreOptions& options)
      : folder_(folder.path()),
        path_(folder.in("rocksdb")),
        free_bytes_min_(options.free_bytes_min),
        files_(std::make_shared<FileSystem>(with_memory_reads(disk), options.key)),
        env_(rocksdb::NewCompositeEnv(files_)),
        cache_(rocksdb::NewLRUCache(kMemoryBytesMax, 4)) {}

  ~Impl() { close(); }

  Result<void> open() {
    PTWOP_TRY(database_, open_database(false));
    return {};
  }

  Result<std::optional<Bytes>> get(Table table, BytesView key, engine::ReadMode mode) const {
    const bool memory = mode == engine::ReadMode::memory;
    const bool cached = table == Table::state;  // what clients ask for
    uint64_t version = 0;
    if (cached)
      if (auto found = values_.find(key, version)) return found;
    std::shared_lock lock(database_mutex_, std::defer_lock);
    if (memory && !lock.try_lock()) return fail(Code::overloaded, "the database is being reopened");
    if (!memory) lock.lock();
    if (!database_) return closed();
    std::optional<MemoryOnly> no_disk;
    if (memory) no_disk.emplace();
    rocksdb::PinnableSlice value;
    const auto status =
        database_->db->Get(rocksdb::ReadOptions(), database_->family(table), slice(key), &value);
    if (status.IsNotFound()) return std::optional<Bytes>();
    if (memory && status.IsAborted()) return fail(Code::overloaded, "the answer is on disk");
    if (!status.ok()) return error_from(status, "read");
    if (cached && memory) values_.insert(key, view(value), version);
    return std::optional<Bytes>(view(value));
  }

  Result<void> scan(Table table, BytesView from, BytesView until, bool reverse,
                    const Visit& visit) const {
    if (!until.empty() && from >= until) return {};
    const std::shared_lock lock(database_mutex_);
    if (!database_) return closed();
    const rocksdb::Slice lower = slice(from), upper = slice(until);
    rocksdb::ReadOptions options;
    options.iterate_lower_bound = &lower;
    if (!until.empty()) options.iterate_upper_bound = &upper;
    const std::unique_ptr<rocksdb::Iterator> at(
        database_->db->NewIterator(options, database_->family(table)));
    for (reverse ? at->SeekToLast() : at->SeekToFirst(); at->Valid();
         reverse ? at->Prev() : at->Next())
      if (!visit(view(at->key()), view(at->value()))) return {};
    if (!at->status().ok()) return error_from(at->status(), "read");
    return {};
  }

  Result<void> commit(const engine::Changes& changes, bool sync) {
    const std::lock_guard lock(commit_mutex_);
    PTWOP_CHECK(heal());
    PTWOP_TRY(auto batch, batch_of(changes, database_));
    PTWOP_CHECK(check_space(batch.GetDataSize()));
    mark_ = files_->log_mark();
    rocksdb::WriteOptions options;
    options.sync = sync;
    const auto status = database_->db->Write(options, &batch);
    show(changes, status.ok());
    if (status.ok()) return {};
    return give_up(error_from(status, "write"));
  }

  Result<void> sync() {
    const std::lock_guard lock(commit_mutex_);
    if (failed_) return *failed_;
    mark_ = files_->log_mark();
    const auto status = database_->db->FlushWAL(true);
    if (status.ok()) return {};
    return give_up(error_from(status, "sync"));
  }

  Result<void> compact() {
    const std::shared_lock lock(database_mutex_);
    if (!database_) return closed();
    for (auto* family : database_->families) {
      rocksdb::CompactRangeOptions options;
      options.bottommost_level_compaction = rocksdb::BottommostLevelCompaction::kForceOptimized;
      const auto status = database_->db->CompactRange(options, family, nullptr, nullptr);
      if (!status.ok()) return error_from(status, "compact");
    }
    return {};
  }

  Result<std::vector<SnapshotFile>> snapshot(const std::string& to) {
    if (writable_) {  // the most of it while commits go on
      const std::shared_lock reading(database_mutex_);
      if (!database_) return closed();
      PTWOP_CHECK(flush());
    }
    const std::lock_guard lock(commit_mutex_);
    if (failed_) return *failed_;
    const std::shared_lock reading(database_mutex_);
    // With all of it in sorted files the log is not needed.
    PTWOP_CHECK(flush());
    rocksdb::DB& db = *database_->db;
    const auto status = db.DisableFileDeletions();
    if (!status.ok()) return error_from(status, "keep the database's files");
    auto files = link_files(to);
    db.EnableFileDeletions(false).PermitUncheckedError();
    return files;
  }

  bool writing() const { return !std::unique_lock(commit_mutex_, std::try_to_lock).owns_lock(); }

  StoreStats stats() const {
    StoreStats out;
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(path_, error)) {
      const uint64_t size = entry.file_size(error);
      if (!error) out.disk_bytes += size;  // else it was deleted meanwhile
    }
    out.free_bytes = free_bytes();
    out.cache_bytes = cache_->GetUsage();
    out.writable = writable_;
    const std::shared_lock lock(database_mutex_);
    if (database_)
      database_->db->GetAggregatedIntProperty(rocksdb::DB::Properties::kSizeAllMemTables,
                                              &out.memtable_bytes);
    return out;
  }

 private:
  Result<void> flush() {
    rocksdb::FlushOptions options;
    options.allow_write_stall = true;
    const auto status = database_->db->Flush(options, database_->families);
    if (!status.ok()) return error_from(status, "write out what is in memory");
    return {};
  }

  // GetLiveFilesStorageInfo and Checkpoint look into the log, whose zeros are none to them.
  Result<std::vector<SnapshotFile>> link_files(const std::string& to) {
    std::vector<std::string> names;
    uint64_t manifest_bytes = 0;
    const auto status = database_->db->GetLiveFiles(names, &manifest_bytes, false);
    if (!status.ok()) return error_from(status, "list the database's files");
    std::vector<SnapshotFile> files;
    for (std::string& name : names) {  // each starts with a slash
      const std::string path = to + name;
      std::error_code error;
      if (name == "/CURRENT") {
        const auto manifest = std::find_if(names.begin(), names.end(), [](const std::string& n) {
          return n.starts_with("/MANIFEST-");
        });
        if (manifest == names.end()) return fail(Code::internal, "the database has no manifest");
        const auto written =
            rocksdb::WriteStringToFile(files_.get(), manifest->substr(1) + '\n', path, true);
        if (!written.ok()) return error_from(written, "write " + path);
      } else {
        fs::create_hard_link(path_ + name, path, error);
      }
      uint64_t size = error ? 0 : fs::file_size(path, error);
      if (error)
        return fail(Code::internal, fmt::format("cannot make {}: {}", path, error.message()));
      if (name.starts_with("/MANIFEST-")) size = std::min(size, manifest_bytes + kNonceBytes);
      files.push_back({name.substr(1), size});
    }
    return files;
  }

  Result<std::unique_ptr<Database>> open_database(bool read_only) {
    PTWOP_CHECK(set_torn_aside(path_, folder_ + "/aside"));
    auto database = std::make_unique<Database>();
    const auto options = database_options(env_.get(), cache_);
    const auto families = column_families(cache_);
    rocksdb::DB* db = nullptr;
    const auto status =
        read_only ? rocksdb::DB::OpenForReadOnly(options, path_, families, &database->families, &db)
                  : rocksdb::DB::Open(options, path_, families, &database->families, &db);
    if (!status.ok()) return error_from(status, fmt::format("open the database in {}", path_));
    database->db.reset(db);
    return database;
  }

  /// True once nothing of a failed write can come back at the next open.
  bool close() {
    database_.reset();
    // Closing pads a log whose last write failed with zeros, up to the length it would have had.
    return !failed_ || files_->cut_log(mark_);
  }

  /// Before the commit returns: what was read earlier is not read again.
  void show(const engine::Changes& changes, bool written) {
    std::vector<ValueCache::Changed> changed;
    for (const Change& change : changes) {
      if (change.table != Table::state) continue;
      if (change.kind == Change::Kind::erase_prefix) return values_.clear();
      const bool there = written && change.kind == Change::Kind::put;
      changed.push_back(
          {change.key, there ? std::optional<BytesView>(change.value) : std::nullopt});
    }
    if (!changed.empty()) values_.update(changed);
  }

  Error closed() const { return fail(Code::internal, "the database could not be reopened"); }

  uint64_t free_bytes() const {
    uint64_t bytes = 0;
    const auto status = files_->GetFreeSpace(path_, rocksdb::IOOptions(), &bytes, nullptr);
    return status.ok() ? bytes : UINT64_MAX;  // a disk that does not tell is asked by writing
  }

  /// Refuses before RocksDB touches a disk that is nearly full: its own log and sorted files need
  /// room as well.
  Result<void> check_space(uint64_t batch_bytes) {
    unchecked_bytes_ += batch_bytes;
    const auto now = steady_clock::now();
    if (space_ && now - space_checked_ < kSpaceCheckEvery && unchecked_bytes_ < kSpaceCheckBytes)
      return {};
    const uint64_t free = free_bytes();
    // A batch is written to the log, and soon again to a sorted file.
    space_ = free >= free_bytes_min_ && (free - free_bytes_min_) / 2 >= batch_bytes;
    space_checked_ = now;
    unchecked_bytes_ = 0;
    if (space_) return {};
    return fail(Code::disk_full,
                fmt::format("the disk of {} has {} MiB left: writing stops at {} MiB; reading goes "
                            "on, and writing when there is space again",
                            folder_, free >> 20, free_bytes_min_ >> 20));
  }

  /// After a write that failed: nothing of it may come back, and RocksDB is not trusted with
  /// another one.
  Error give_up(Error error) {
    error.message += files_->cut_log(mark_)
                         ? "; nothing of it was kept; reading goes on, writing is tried again"
                         : "; it could not be taken back yet, and writing stays off until it is";
    log::error("store", "writing stopped", {{"cause", error.message}});
    failed_ = std::move(error);
    writable_ = false;
    healed_last_ = steady_clock::now();
    return *failed_;
  }

  /// Not held if a reader does not come to an end: it may be the very one whose `visit` commits.
  std::unique_lock<std::shared_mutex> without_readers() {
    const auto until = steady_clock::now() + kReadersWaitMax;
    std::unique_lock lock(database_mutex_, std::try_to_lock);
    while (!lock.owns_lock() && steady_clock::now() < until) {
      std::this_thread::sleep_for(milliseconds(1));
      lock.try_lock();
    }
    return lock;
  }

  /// Nothing to do unless an earlier write failed; then reopens the database once that can work.
  Result<void> heal() {
    if (!failed_) return {};
    const auto now = steady_clock::now();
    if (now - healed_last_ < kHealEvery) return *failed_;
    healed_last_ = now;
    space_ = false;
    PTWOP_CHECK(check_space(kMemtablesBytesMax));  // reopening writes out what is in the log
    const auto lock = without_readers();
    if (!lock.owns_lock() || !files_->cut_log(mark_)) return *failed_;
    if (!close()) return *failed_;
    auto opened = open_database(false);
    if (!opened) {
      failed_ = opened.error();
      auto reading = open_database(true);
      if (reading)
        database_ = std::move(*reading);
      else
        log::error("store", "reading stopped", {{"cause", reading.error().message}});
      return *failed_;
    }
    database_ = std::move(*opened);
    values_.clear();
    failed_.reset();
    writable_ = true;
    log::info("store", "writing again");
    return {};
  }

  const std::string folder_;
  const std::string path_;
  const uint64_t free_bytes_min_;
  const std::shared_ptr<FileSystem> files_;
  const std::unique_ptr<rocksdb::Env> env_;
  const std::shared_ptr<rocksdb::Cache> cache_;
  mutable ValueCache values_{kValuesBytesMax};

  /// Held by readers; exclusively only while heal() swaps the database, under commit_mutex_ as
  /// well.
  mutable std::shared_mutex database_mutex_;
  std::unique_ptr<Database> database_;

  /// Guards what follows.
  mutable std::mutex commit_mutex_;
  std::optional<Error> failed_;
  FileSystem::LogMark mark_;  ///< Where the log ended before the newest commit, or the failed one.
  steady_clock::time_point healed_last_;
  steady_clock::time_point space_checked_;
  uint64_t unchecked_bytes_ = 0;
  bool space_ = false;
  std::atomic<bool> writable_ = true;
};

RocksStore::RocksStore(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
RocksStore::~RocksStore() = default;

Result<std::optional<Bytes>> RocksStore::get(Table table, BytesView key,
                                             engine::ReadMode mode) const {
  return impl_->get(table, key, mode);
}
Result<void> RocksStore::scan(Table table, BytesView from, BytesView until, bool reverse,
                              const Visit& visit) const {
  return impl_->scan(table, from, until, reverse, visit);
}
Result<void> RocksStore::commit(const engine::Changes& changes, bool sync) {
  return impl_->commit(changes, sync);
}
Result<void> RocksStore::sync() { return impl_->sync(); }
Result<void> RocksStore::compact() { return impl_->compact(); }
Result<std::vector<SnapshotFile>> RocksStore::snapshot(const std::string& folder) {
  return impl_->snapshot(folder);
}
bool RocksStore::writing() const { return impl_->writing(); }
StoreStats RocksStore::stats() const { return impl_->stats(); }

Result<std::unique_ptr<RocksStore>> open_store_on(const std::shared_ptr<rocksdb::FileSystem>& disk,
                                                  const DataFolder& folder,
                                                  const StoreOptions& options) {
  if (options.key.size() != kStoreKeyBytes)
    return fail(Code::internal, "the store's key is 32 bytes");
  for (const char* name : {"rocksdb", "aside"}) {
    const std::string path = folder.in(name);
    if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST)
      return fail(errno == ENOSPC ? Code::disk_full : Code::internal,
                  fmt::format("cannot make {}: {}", path, std::strerror(errno)));
  }
  std::error_code ignored;
  fs::remove_all(folder.in(kSnapshot), ignored);  // it would keep files that are needed no more
  auto impl = std::make_unique<RocksStore::Impl>(disk, folder, options);
  PTWOP_CHECK(impl->open());
  return std::make_unique<RocksStore>(std::move(impl));
}

Result<std::unique_ptr<RocksStore>> open_store(const DataFolder& folder,
                                               const StoreOptions& options) {
  return open_store_on(rocksdb::FileSystem::Default(), folder, options);
}

}  // namespace ptwop::store
