// engine::StateStore on RocksDB, encrypted on disk. RocksDB's own headers stay inside this room.
#pragma once
#include <memory>
#include <vector>

#include "engine/ports.h"
#include "store/data_folder.h"

namespace ptwop::store {

struct StoreOptions {
  Bytes key;  ///< 32 bytes: load_store_key.
  /// Commits are refused before the disk has less than this left.
  uint64_t free_bytes_min = 16 << 20;
};

/// A file of a snapshot.
struct SnapshotFile {
  std::string name;
  /// Of the file on disk what belongs to the snapshot: it may have grown since.
  uint64_t size = 0;
};

struct StoreStats {
  uint64_t disk_bytes = 0;      ///< All files of the database.
  uint64_t free_bytes = 0;      ///< What the disk has left.
  uint64_t memtable_bytes = 0;  ///< Written, not yet in sorted files.
  uint64_t cache_bytes = 0;     ///< Blocks of sorted files in memory.
  bool writable = true;         ///< False while commits are refused after a failure.
};

/// Reads from any thread; commits one after another, whatever thread they come from.
///
/// A commit that fails (disk full, I/O error) is cut off the log before `commit` returns. Commits
/// are then refused with the cause, while reads go on, until a later one finds space, reopens the
/// database (tens of ms, readers wait) and goes through. If the cut itself fails, commits stay
/// refused until it succeeds.
class RocksStore final : public engine::StateStore {
 public:
  ~RocksStore() override;
  Result<std::optional<Bytes>> get(engine::Table table, BytesView key,
                                   engine::ReadMode mode = engine::ReadMode::any) const override;
  Result<void> scan(engine::Table table, BytesView from, BytesView until, bool reverse,
                    const Visit& visit) const override;
  /// Keys are at most 4 KiB (else too_large).
  Result<void> commit(const engine::Changes& changes, bool sync) override;
  Result<void> sync() override;

  /// Writes everything out and rewrites the sorted files without what was erased. Slow; from any
  /// thread.
  Result<void> compact();
  /// Links the database's files, as they are on disk, into a folder of the same file system, which
  /// must be empty: all that was committed until then, and nothing of what comes after. Commits
  /// wait meanwhile (some ms: what is in memory is written out before). From any thread.
  Result<std::vector<SnapshotFile>> snapshot(const std::string& folder);
  /// A commit or a sync is under way now: whoever waits for it waits for the disk.
  bool writing() const;
  /// Walks the database's folder: some 100 µs.
  StoreStats stats() const;

  class Impl;
  explicit RocksStore(std::unique_ptr<Impl> impl);

 private:
  std::unique_ptr<Impl> impl_;
};

/// Opens the database in the folder, making it if there is none. The folder's lock must outlive the
/// store. Errors: `corrupt` (also for a wrong key), `disk_full`, `internal`.
Result<std::unique_ptr<RocksStore>> open_store(const DataFolder& folder,
                                               const StoreOptions& options);

}  // namespace ptwop::store
