#include "store/file_system.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>

#include "store/encryption.h"
#include "store/log_space.h"

namespace ptwop::store {
namespace {

using rocksdb::IODebugContext;
using rocksdb::IOOptions;
using rocksdb::IOStatus;
using rocksdb::Slice;

uint64_t without_nonce(uint64_t size) { return size < kNonceBytes ? 0 : size - kNonceBytes; }

/// True once the file is at most `size` bytes long, durably, or gone.
bool cut(const std::string& path, uint64_t size) {
  const int fd = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
  if (fd < 0) return errno == ENOENT;
  struct stat now {};
  bool done = ::fstat(fd, &now) == 0;
  if (done && static_cast<uint64_t>(now.st_size) > size)
    done = ::ftruncate(fd, static_cast<off_t>(size)) == 0;
  done = done && ::fsync(fd) == 0;
  ::close(fd);
  return done;
}

}  // namespace

/// After a failed append the length on disk is unknown, and with it the place in the cipher's
/// stream: such a file takes nothing more. RocksDB goes on in a new one.
class FileSystem::OnceFile : public rocksdb::FSWritableFileOwnerWrapper {
 public:
  using FSWritableFileOwnerWrapper::FSWritableFileOwnerWrapper;

  IOStatus Append(const Slice& data, const IOOptions& options, IODebugContext* debug) override {
    if (failed_) return IOStatus::IOError("an earlier write to this file failed");
    IOStatus status = target()->Append(data, options, debug);
    if (status.ok())
      appended(data.size());
    else
      failed_ = true;
    return status;
  }
  IOStatus Append(const Slice& data, const IOOptions& options, const rocksdb::DataVerificationInfo&,
                  IODebugContext* debug) override {
    return Append(data, options, debug);
  }
  IOStatus PositionedAppend(const Slice&, uint64_t, const IOOptions&, IODebugContext*) override {
    return IOStatus::NotSupported("files are only appended to");
  }
  IOStatus PositionedAppend(const Slice&, uint64_t, const IOOptions&,
                            const rocksdb::DataVerificationInfo&, IODebugContext*) override {
    return IOStatus::NotSupported("files are only appended to");
  }
  IOStatus Sync(const IOOptions& options, IODebugContext* debug) override {
    return noted(target()->Sync(options, debug));
  }
  IOStatus Fsync(const IOOptions& options, IODebugContext* debug) override {
    return noted(target()->Fsync(options, debug));
  }

 protected:
  virtual void appended(size_t) {}

 private:
  IOStatus noted(IOStatus status) {
    if (!status.ok()) failed_ = true;
    return status;
  }
  std::atomic<bool> failed_ = false;  // a log may be synced on another thread than it is written on
};

class FileSystem::LogFile final : public OnceFile {
 public:
  LogFile(std::unique_ptr<rocksdb::FSWritableFile>&& file, std::string path,
          std::shared_ptr<LogEnd> end)
      : OnceFile(std::move(file)), path_(std::move(path)), end_(std::move(end)) {
    const std::lock_guard lock(end_->mutex);
    end_->mark = {path_, kNonceBytes};
  }
  IOStatus Close(const IOOptions& options, IODebugContext* debug) override {
    IOStatus status = target()->Close(options, debug);
    space_.close();
    return status;
  }

 protected:
  void appended(size_t size) override {
    space_.appended(size);
    const std::lock_guard lock(end_->mutex);
    if (end_->mark.path == path_) end_->mark.size += size;
  }

 private:
  std::string path_;
  LogSpace space_{path_, kNonceBytes};
  std::shared_ptr<LogEnd> end_;
};

FileSystem::FileSystem(const Base& base, BytesView key)
    : FileSystemWrapper(rocksdb::NewEncryptedFS(base, make_encryption(key))), base_(base) {}

FileSystem::LogMark FileSystem::log_mark() const {
  const std::lock_guard lock(log_end_->mutex);
  return log_end_->mark;
}

bool FileSystem::cut_log(const LogMark& mark) const {
  const LogMark now = log_mark();
  // RocksDB may have begun a new log for the failed batch: that one holds nothing else.
  if (now.path != mark.path && !now.path.empty() && !cut(now.path, kNonceBytes)) return false;
  return mark.path.empty() || cut(mark.path, mark.size);
}

IOStatus FileSystem::NewWritableFile(const std::string& name, const rocksdb::FileOptions& options,
                                     std::unique_ptr<rocksdb::FSWritableFile>* result,
                                     IODebugContext* debug) {
  std::unique_ptr<rocksdb::FSWritableFile> file;
  IOStatus status = target()->NewWritableFile(name, options, &file, debug);
  if (!status.ok()) return status;
  if (name.ends_with(".log"))
    *result = std::make_unique<LogFile>(std::move(file), name, log_end_);
  else
    *result = std::make_unique<OnceFile>(std::move(file));
  return status;
}

IOStatus FileSystem::ReopenWritableFile(const std::string&, const rocksdb::FileOptions&,
                                        std::unique_ptr<rocksdb::FSWritableFile>*,
                                        IODebugContext*) {
  return IOStatus::NotSupported("no file is written twice");
}

IOStatus FileSystem::ReuseWritableFile(const std::string&, const std::string&,
                                       const rocksdb::FileOptions&,
                                       std::unique_ptr<rocksdb::FSWritableFile>*, IODebugContext*) {
  return IOStatus::NotSupported("no file is written twice");
}

IOStatus FileSystem::NewRandomRWFile(const std::string&, const rocksdb::FileOptions&,
                                     std::unique_ptr<rocksdb::FSRandomRWFile>*, IODebugContext*) {
  return IOStatus::NotSupported("no file is written twice");
}

// RocksDB's own two subtract the nonce unchecked, and abort on a file that was torn inside it
// (env_encryption.cc).
IOStatus FileSystem::GetFileSize(const std::string& name, const IOOptions& options, uint64_t* size,
                                 IODebugContext* debug) {
  IOStatus status = base_->GetFileSize(name, options, size, debug);
  if (status.ok()) *size = without_nonce(*size);
  return status;
}

IOStatus FileSystem::GetChildrenFileAttributes(const std::string& folder, const IOOptions& options,
                                               std::vector<rocksdb::FileAttributes>* result,
                                               IODebugContext* debug) {
  IOStatus status = base_->GetChildrenFileAttributes(folder, options, result, debug);
  if (status.ok())
    for (auto& child : *result) child.size_bytes = without_nonce(child.size_bytes);
  return status;
}

}  // namespace ptwop::store
