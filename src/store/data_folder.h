// The daemon's data folder: one process at a time, one format version, small files written whole.
// `LOCK` (flock), `FORMAT` (text), `store.key`, `rocksdb/`, `aside/`, `snapshot/` (while a backup
// is made), `RESTORED` (from a backup, not started since); other rooms may keep their own small
// files in it.
#pragma once
#include <optional>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/result.h"

namespace ptwop::store {

/// What this program reads and writes below the data folder. A change of any stored structure
/// raises it.
inline constexpr int kFormatVersion = 2;
/// A folder with links to the database's files, while a backup is made.
inline constexpr const char* kSnapshot = "snapshot";
/// There while a restore is under way, or was when it ended.
inline constexpr const char* kRestoring = "RESTORING";
/// The folder was made from a backup: at its first start every list of its own must begin anew.
inline constexpr const char* kRestored = "RESTORED";

/// Holds the folder's lock until destroyed.
class DataFolder {
 public:
  /// Makes the folder (0700) if it is missing, locks it, then checks its format; a fresh folder
  /// gets `FORMAT`. Errors: `exists`: another process holds it (the daemon exits 73); `corrupt`:
  /// another format version, or a folder with data and no `FORMAT`: nothing was changed;
  /// `disk_full`; `internal`.
  static Result<DataFolder> open(std::string path);
  /// The same without a look at what is in it.
  static Result<DataFolder> lock(std::string path);
  DataFolder(DataFolder&& other) noexcept;
  DataFolder& operator=(DataFolder&& other) noexcept;
  ~DataFolder();

  const std::string& path() const { return path_; }
  std::string in(std::string_view name) const { return path_ + '/' + std::string(name); }

  /// The whole file; nothing if there is none. Refuses more than 1 MiB.
  Result<std::optional<Bytes>> read(std::string_view name) const;
  /// Replaces the file durably or not at all: a temporary file (0600), fsync, rename, fsync of the
  /// folder.
  Result<void> write(std::string_view name, BytesView bytes) const;
  bool has(std::string_view name) const;
  /// Durably; fine if there is none.
  Result<void> remove(std::string_view name) const;

 private:
  DataFolder(std::string path, int lock_fd) : path_(std::move(path)), lock_fd_(lock_fd) {}
  Result<void> check_format() const;
  std::string path_;
  int lock_fd_ = -1;
};

}  // namespace ptwop::store
