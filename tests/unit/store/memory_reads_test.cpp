#include "store/memory_reads.h"

#include "faulty_disk.h"

namespace ptwop::store {

TEST_CASE("under MemoryOnly a read gives what is in memory or is aborted, and opens nothing") {
  const TempFolder temp;
  const std::string path = temp.path + "/file";
  spill(path, "0123456789");
  const auto files = with_memory_reads(rocksdb::FileSystem::Default());
  std::unique_ptr<rocksdb::FSRandomAccessFile> file;
  REQUIRE(files->NewRandomAccessFile(path, {}, &file, nullptr).ok());
  char scratch[16];
  rocksdb::Slice read;
  const auto get = [&](uint64_t offset, size_t size) {
    return file->Read(offset, size, {}, &read, scratch, nullptr);
  };
  {
    const MemoryOnly no_disk;
    const auto status = get(2, 4);
    CHECK((status.ok() ? read == "2345" : status.IsAborted()));
    CHECK(get(8, 4).IsAborted());  // the end of the file is not a reason to answer with less
    std::unique_ptr<rocksdb::FSRandomAccessFile> another;
    CHECK(files->NewRandomAccessFile(path, {}, &another, nullptr).IsAborted());
  }
  REQUIRE(get(2, 4).ok());
  CHECK(read == "2345");
}

}  // namespace ptwop::store
