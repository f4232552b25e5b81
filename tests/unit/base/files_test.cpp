#include "base/files.h"

#include <doctest/doctest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>

using namespace ptwop;
namespace fs = std::filesystem;

namespace {

struct Folder {
  std::string path = (fs::temp_directory_path() / "ptwop-files-XXXXXX").string();
  Folder() { REQUIRE(::mkdtemp(path.data())); }
  ~Folder() { fs::remove_all(path); }
  std::string in(const std::string& name) const { return path + "/" + name; }
  size_t count() const {
    return static_cast<size_t>(
        std::distance(fs::directory_iterator(path), fs::directory_iterator{}));
  }
};

std::string slurp(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

}  // namespace

TEST_CASE("a new file is there whole or not at all, and private") {
  const Folder folder;
  const std::string path = folder.in("a");
  {
    auto file = files::NewFile::make(path);
    REQUIRE(file.ok());
    REQUIRE(file->write("half").ok());
    CHECK_FALSE(fs::exists(path));
  }
  CHECK(folder.count() == 0);
  for (const std::string text : {"first", "second"}) {
    auto file = files::NewFile::make(path, ".part");
    REQUIRE(file.ok());
    REQUIRE(file->write(text).ok());
    REQUIRE(file->write("!").ok());
    CHECK(file->written() == text.size() + 1);
    REQUIRE(file->finish().ok());
    CHECK(slurp(path) == text + "!");
  }
  struct stat info {};
  REQUIRE(::stat(path.c_str(), &info) == 0);
  CHECK((info.st_mode & 0777) == 0600);
  CHECK(folder.count() == 1);
  // A name that is known late.
  auto file = files::NewFile::make(path);
  REQUIRE(file.ok());
  REQUIRE(file->finish(folder.in("b")).ok());
  CHECK(slurp(folder.in("b")).empty());
  CHECK(slurp(path) == "second!");
}

TEST_CASE("places where no file can be") {
  const Folder folder;
  const auto nowhere = files::NewFile::make(folder.in("no/such"));
  REQUIRE_FALSE(nowhere.ok());
  CHECK(nowhere.error().code == Code::not_found);
  fs::create_directory(folder.in("taken"));
  auto taken = files::NewFile::make(folder.in("taken"));
  REQUIRE(taken.ok());
  CHECK_FALSE(taken->finish().ok());
  CHECK(fs::is_directory(folder.in("taken")));
}

TEST_CASE("input is a regular file, read to its end") {
  const Folder folder;
  std::ofstream(folder.in("a"), std::ios::binary) << "0123456789";
  auto input = files::Input::open(folder.in("a"));
  REQUIRE(input.ok());
  CHECK(input->size() == 10);
  char bytes[8];
  CHECK(*input->read(bytes, 8) == 8);
  CHECK(*input->read(bytes, 8) == 2);
  CHECK(bytes[1] == '9');
  CHECK(*input->read(bytes, 8) == 0);
  const auto refused = [](const Result<files::Input>& result) {
    REQUIRE_FALSE(result.ok());
    return result.error().code;
  };
  CHECK(refused(files::Input::open(folder.in("b"))) == Code::not_found);
  CHECK(refused(files::Input::open(folder.path)) == Code::invalid_params);
  CHECK(refused(files::Input::open("/dev/zero")) == Code::invalid_params);
  REQUIRE(::mkfifo(folder.in("pipe").c_str(), 0600) == 0);
  CHECK(refused(files::Input::open(folder.in("pipe"))) == Code::invalid_params);
  fs::create_symlink(folder.in("a"), folder.in("link"));
  CHECK(files::Input::open(folder.in("link")).ok());
  CHECK_FALSE(files::Input::open(folder.in("link"), false).ok());
}
