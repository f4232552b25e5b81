// A folder that is gone after the test.
#pragma once
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>

namespace ptwop::test {

struct TempFolder {
  TempFolder() : path((std::filesystem::temp_directory_path() / "ptwop-XXXXXX").string()) {
    if (!::mkdtemp(path.data())) throw std::runtime_error("no temporary folder");
  }
  ~TempFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;

  /// Writes a file with these rights; its path.
  std::string file(const std::string& name, const std::string& text, int mode = 0600) const {
    const std::string at = path + "/" + name;
    std::ofstream(at, std::ios::binary | std::ios::trunc) << text;
    std::filesystem::permissions(at, static_cast<std::filesystem::perms>(mode));
    return at;
  }
  std::string path;
};

}  // namespace ptwop::test
