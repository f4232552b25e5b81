#include "store/log_space.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <utility>

namespace ptwop::store {
namespace {

constexpr uint64_t kSpaceBytes = 256 << 10;
// Fewer than the 7 bytes of a record's header (rocksdb/db/log_format.h), and so no record.
constexpr uint64_t kZerosKept = 6;

}  // namespace

LogSpace::LogSpace(const std::string& path, uint64_t size)
    : fd_(::open(path.c_str(), O_WRONLY | O_CLOEXEC)) {
  appended(size);
}

void LogSpace::appended(uint64_t bytes) {
  size_ += bytes;
  if (fd_ < 0 || size_ < until_) return;
  static constexpr std::array<char, kSpaceBytes> zeros{};
  const ssize_t made = ::pwrite(fd_, zeros.data(), zeros.size(), static_cast<off_t>(size_));
  // Without it syncs are slower, that is all: a full disk is the next append's to tell.
  until_ = made > 0 ? size_ + static_cast<uint64_t>(made) : UINT64_MAX;
}

void LogSpace::close() {
  if (fd_ < 0) return;
  struct stat now {};
  // A log that was cut off meanwhile is not to grow again.
  if (::fstat(fd_, &now) == 0 && static_cast<uint64_t>(now.st_size) > size_ &&
      ::ftruncate(fd_, static_cast<off_t>(size_)) != 0) {
    // it is trimmed when it is opened
  }
  ::close(std::exchange(fd_, -1));
}

void trim_log(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
  if (fd < 0) return;
  struct stat info {};
  const uint64_t size = ::fstat(fd, &info) == 0 ? static_cast<uint64_t>(info.st_size) : 0;
  uint64_t end = size;  // after the last byte that is not zero
  std::array<char, 16 << 10> block;
  for (bool found = false; !found && end > 0;) {
    const uint64_t from = end - std::min<uint64_t>(end, block.size());
    const ssize_t got = ::pread(fd, block.data(), end - from, static_cast<off_t>(from));
    if (got < 0 || static_cast<uint64_t>(got) != end - from) return void(::close(fd));
    while (end > from && block[end - from - 1] == 0) --end;
    found = end > from;
  }
  const uint64_t kept = std::min(size, end + kZerosKept);
  if (kept < size && ::ftruncate(fd, static_cast<off_t>(kept)) != 0) {
    // RocksDB stops reading at zeros that are no record
  }
  ::close(fd);
}

}  // namespace ptwop::store
