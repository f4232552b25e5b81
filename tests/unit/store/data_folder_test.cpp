#include "store/data_folder.h"

#include <sys/stat.h>

#include "faulty_disk.h"

namespace ptwop::store {
namespace {

unsigned mode_of(const std::string& path) {
  struct stat info {};
  REQUIRE(::stat(path.c_str(), &info) == 0);
  return info.st_mode & 0777;
}

TEST_CASE("a fresh folder is private and says its format") {
  const TempFolder temp;
  const auto folder = DataFolder::open(temp.path + "/deep/data");
  REQUIRE(folder.ok());
  CHECK(mode_of(folder->path()) == 0700);
  CHECK(mode_of(folder->in("FORMAT")) == 0600);
  CHECK(slurp(folder->in("FORMAT")).starts_with("ptwopdb data 2\nmade by ptwopd "));
}

TEST_CASE("one process at a time") {
  const TempFolder temp;
  {
    const auto first = DataFolder::open(temp.data());
    REQUIRE(first.ok());
    const auto second = DataFolder::open(temp.data());
    REQUIRE_FALSE(second.ok());
    CHECK(second.error().code == Code::exists);
  }
  CHECK(DataFolder::open(temp.data()).ok());
}

TEST_CASE("another format, a damaged or a missing one is refused and nothing is changed") {
  const TempFolder temp;
  REQUIRE(DataFolder::open(temp.data()).ok());
  const std::string format = temp.data() + "/FORMAT";
  for (const std::string text :
       {"ptwopdb data 3\nmade by ptwopd 7.7.7\n", "ptwopdb data 0\n", "ptwopdb data 2", "", "x"}) {
    CAPTURE(text);
    spill(format, text);
    const auto refused = DataFolder::open(temp.data());
    REQUIRE_FALSE(refused.ok());
    CHECK(refused.error().code == Code::corrupt);
    CHECK(slurp(format) == text);
    if (text.starts_with("ptwopdb data 3")) {
      CHECK(refused.error().message.find("format 3 (made by ptwopd 7.7.7)") != std::string::npos);
      CHECK(refused.error().message.find("reads format 2") != std::string::npos);
    }
  }
  std::filesystem::remove(format);
  CHECK(DataFolder::open(temp.data()).ok());
  std::filesystem::remove(format);
  std::filesystem::create_directory(temp.data() + "/rocksdb");
  const auto refused = DataFolder::open(temp.data());
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.error().code == Code::corrupt);
  CHECK_FALSE(std::filesystem::exists(format));
}

TEST_CASE("small files are replaced whole") {
  const TempFolder temp;
  const auto folder = DataFolder::open(temp.data());
  REQUIRE(folder.ok());
  CHECK_FALSE(folder->read("thing")->has_value());
  spill(folder->in("thing.new"), "left by a crash");
  REQUIRE(folder->write("thing", "one").ok());
  REQUIRE(folder->write("thing", Bytes("t\0o", 3)).ok());
  CHECK(**folder->read("thing") == Bytes("t\0o", 3));
  CHECK(mode_of(folder->in("thing")) == 0600);
  CHECK_FALSE(std::filesystem::exists(folder->in("thing.new")));
  CHECK_FALSE(folder->write("no/such/folder", "x").ok());
  spill(folder->in("large"), std::string((1 << 20) + 1, 'x'));
  CHECK_FALSE(folder->read("large").ok());
}

}  // namespace
}  // namespace ptwop::store
