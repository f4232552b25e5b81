// Reads that take what the system has in memory and never wait for a disk. Internal to this room.
#pragma once
#include <rocksdb/file_system.h>

#include <memory>

namespace ptwop::store {

/// While one lives, what this thread reads from files of with_memory_reads() is Aborted instead of
/// waiting for a disk.
class MemoryOnly {
 public:
  MemoryOnly();
  ~MemoryOnly();
  MemoryOnly(const MemoryOnly&) = delete;
  MemoryOnly& operator=(const MemoryOnly&) = delete;
};

/// The files of `base`, heeding MemoryOnly. Where the file system cannot tell (preadv2's
/// RWF_NOWAIT), nothing counts as in memory.
std::shared_ptr<rocksdb::FileSystem> with_memory_reads(
    const std::shared_ptr<rocksdb::FileSystem>& base);

}  // namespace ptwop::store
