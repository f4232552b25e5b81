#include "store/memory_reads.h"

#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

namespace ptwop::store {
namespace {

using rocksdb::IODebugContext;
using rocksdb::IOOptions;
using rocksdb::IOStatus;

thread_local bool memory_only = false;

IOStatus not_in_memory() { return IOStatus::Aborted("not in memory"); }

class ReadFile final : public rocksdb::FSRandomAccessFileOwnerWrapper {
 public:
  /// Takes the descriptor, the file's own: RocksDB does not show its one.
  ReadFile(std::unique_ptr<rocksdb::FSRandomAccessFile>&& file, int fd)
      : FSRandomAccessFileOwnerWrapper(std::move(file)), fd_(fd) {}
  ~ReadFile() override { ::close(fd_); }

  IOStatus Read(uint64_t offset, size_t size, const IOOptions& options, rocksdb::Slice* result,
                char* scratch, IODebugContext* debug) const override {
    if (!memory_only) return target()->Read(offset, size, options, result, scratch, debug);
    const iovec part{scratch, size};
    const ssize_t got = ::preadv2(fd_, &part, 1, static_cast<off_t>(offset), RWF_NOWAIT);
    if (got < 0 || static_cast<size_t>(got) < size) return not_in_memory();
    *result = rocksdb::Slice(scratch, size);
    return IOStatus::OK();
  }

 private:
  int fd_;
};

class Files final : public rocksdb::FileSystemWrapper {
 public:
  using FileSystemWrapper::FileSystemWrapper;
  const char* Name() const override { return "ptwop-memory-reads"; }

  IOStatus NewRandomAccessFile(const std::string& name, const rocksdb::FileOptions& options,
                               std::unique_ptr<rocksdb::FSRandomAccessFile>* result,
                               IODebugContext* debug) override {
    if (memory_only) return not_in_memory();  // opening may touch the disk
    IOStatus status = target()->NewRandomAccessFile(name, options, result, debug);
    if (!status.ok()) return status;
    if (const int fd = ::open(name.c_str(), O_RDONLY | O_CLOEXEC); fd >= 0)
      *result = std::make_unique<ReadFile>(std::move(*result), fd);
    return status;
  }
};

}  // namespace

MemoryOnly::MemoryOnly() { memory_only = true; }
MemoryOnly::~MemoryOnly() { memory_only = false; }

std::shared_ptr<rocksdb::FileSystem> with_memory_reads(
    const std::shared_ptr<rocksdb::FileSystem>& base) {
  return std::make_shared<Files>(base);
}

}  // namespace ptwop::store
