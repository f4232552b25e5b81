// The files as RocksDB sees them: encrypted, never opened for writing twice, and with a log whose
// tail can be cut off again when a commit fails. Internal to this room.
#pragma once
#include <rocksdb/file_system.h>

#include <memory>
#include <mutex>
#include <string>

#include "base/bytes.h"

namespace ptwop::store {

class FileSystem final : public rocksdb::FileSystemWrapper {
 public:
  using Base = std::shared_ptr<rocksdb::FileSystem>;
  /// `base` holds the files as they are on disk; `key`: 32 bytes.
  FileSystem(const Base& base, BytesView key);

  /// A place in the write-ahead log: the newest log file and its length on disk.
  struct LogMark {
    std::string path;
    uint64_t size = 0;
  };
  LogMark log_mark() const;
  /// Cuts off what was appended to the log after the mark and syncs that; idempotent. True once
  /// nothing written after the mark can come back at the next open. One writer at a time.
  bool cut_log(const LogMark& mark) const;

  const char* Name() const override { return "ptwop-files"; }
  rocksdb::IOStatus NewWritableFile(const std::string& name, const rocksdb::FileOptions& options,
                                    std::unique_ptr<rocksdb::FSWritableFile>* result,
                                    rocksdb::IODebugContext* debug) override;
  // A second writer of one file could encrypt two texts with one piece of the stream: there is
  // none.
  rocksdb::IOStatus ReopenWritableFile(const std::string&, const rocksdb::FileOptions&,
                                       std::unique_ptr<rocksdb::FSWritableFile>*,
                                       rocksdb::IODebugContext*) override;
  rocksdb::IOStatus ReuseWritableFile(const std::string&, const std::string&,
                                      const rocksdb::FileOptions&,
                                      std::unique_ptr<rocksdb::FSWritableFile>*,
                                      rocksdb::IODebugContext*) override;
  rocksdb::IOStatus NewRandomRWFile(const std::string&, const rocksdb::FileOptions&,
                                    std::unique_ptr<rocksdb::FSRandomRWFile>*,
                                    rocksdb::IODebugContext*) override;
  rocksdb::IOStatus GetFileSize(const std::string& name, const rocksdb::IOOptions& options,
                                uint64_t* size, rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus GetChildrenFileAttributes(const std::string& folder,
                                              const rocksdb::IOOptions& options,
                                              std::vector<rocksdb::FileAttributes>* result,
                                              rocksdb::IODebugContext* debug) override;

 private:
  /// Shared with the open log file, which may outlive a call.
  struct LogEnd {
    mutable std::mutex mutex;
    LogMark mark;
  };
  class LogFile;
  class OnceFile;

  Base base_;
  std::shared_ptr<LogEnd> log_end_ = std::make_shared<LogEnd>();
};

}  // namespace ptwop::store
