#include "store/file_system.h"

#include "faulty_disk.h"
#include "store/encryption.h"

namespace ptwop::store {
namespace {

struct Files {
  TempFolder temp;
  std::shared_ptr<FaultyDisk> disk = std::make_shared<FaultyDisk>();
  FileSystem files{disk, test_key()};
  std::string in(const std::string& name) const { return temp.path + "/" + name; }
  std::unique_ptr<rocksdb::FSWritableFile> make(const std::string& name) {
    std::unique_ptr<rocksdb::FSWritableFile> file;
    REQUIRE(files.NewWritableFile(in(name), {}, &file, nullptr).ok());
    return file;
  }
  uint64_t size(const std::string& name) {
    uint64_t bytes = 99;
    REQUIRE(files.GetFileSize(in(name), {}, &bytes, nullptr).ok());
    return bytes;
  }
};

TEST_CASE("sizes do not count the nonce, and a file torn inside it is empty") {
  Files on;
  spill(on.in("torn"), "x");
  spill(on.in("whole"), Bytes(kNonceBytes + 5, 'x'));
  CHECK(on.size("torn") == 0);
  CHECK(on.size("whole") == 5);
  std::vector<rocksdb::FileAttributes> children;
  REQUIRE(on.files.GetChildrenFileAttributes(on.temp.path, {}, &children, nullptr).ok());
  for (const auto& child : children)
    if (child.name == "torn" || child.name == "whole")
      CHECK(child.size_bytes == (child.name == "torn" ? 0 : 5));
}

TEST_CASE("no place in a file is written twice") {
  Files on;
  auto file = on.make("1.log");
  REQUIRE(file->Append("12345", {}, nullptr).ok());
  std::unique_ptr<rocksdb::FSWritableFile> again;
  CHECK_FALSE(on.files.ReopenWritableFile(on.in("1.log"), {}, &again, nullptr).ok());
  CHECK_FALSE(on.files.ReuseWritableFile(on.in("2.log"), on.in("1.log"), {}, &again, nullptr).ok());
  std::unique_ptr<rocksdb::FSRandomRWFile> random;
  CHECK_FALSE(on.files.NewRandomRWFile(on.in("1.log"), {}, &random, nullptr).ok());
  CHECK_FALSE(file->PositionedAppend("x", 0, {}, nullptr).ok());

  on.disk->full_for = ".log";
  CHECK_FALSE(file->Append("67890", {}, nullptr).ok());
  on.disk->full_for = nullptr;
  CHECK_FALSE(file->Append("67890", {}, nullptr).ok());
  CHECK(on.disk->appends_failed == 1);
}

TEST_CASE("the log is cut back to its mark, into an older file too") {
  Files on;
  CHECK(on.files.cut_log(on.files.log_mark()));
  auto first = on.make("1.log");
  REQUIRE(first->Append("12345", {}, nullptr).ok());
  const auto mark = on.files.log_mark();
  CHECK(mark.size == kNonceBytes + 5);
  REQUIRE(first->Append("67890", {}, nullptr).ok());
  on.make("3.sst");
  CHECK(on.files.cut_log(mark));
  CHECK(on.size("1.log") == 5);

  REQUIRE(on.make("2.log")->Append("abc", {}, nullptr).ok());
  CHECK(on.files.cut_log(mark));
  CHECK(on.size("2.log") == 0);
  CHECK(on.size("1.log") == 5);
  std::filesystem::remove(on.in("1.log"));
  CHECK(on.files.cut_log(mark));
}

}  // namespace
}  // namespace ptwop::store
