#include "store/data_folder.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <utility>

#include "base/files.h"

namespace ptwop::store {
namespace {

constexpr size_t kFileBytesMax = 1 << 20;
constexpr std::string_view kFormatLine = "ptwopdb data ";

/// The version of a `FORMAT` file; nothing if it is not one.
std::optional<int> format_from(std::string_view text) {
  if (!text.starts_with(kFormatLine)) return std::nullopt;
  text.remove_prefix(kFormatLine.size());
  int version = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), version);
  const bool whole_line = end != text.data() + text.size() && *end == '\n';
  if (error != std::errc() || !whole_line) return std::nullopt;
  return version;
}

/// The line after the version: which program made the folder.
std::string_view maker_from(std::string_view text) {
  text.remove_prefix(text.find('\n') + 1);
  return text.substr(0, text.find('\n'));
}

}  // namespace

Result<DataFolder> DataFolder::open(std::string path) {
  PTWOP_TRY(DataFolder folder, lock(std::move(path)));
  PTWOP_CHECK(folder.check_format());
  return folder;
}

Result<DataFolder> DataFolder::lock(std::string path) {
  std::error_code error;
  const std::filesystem::path parent = std::filesystem::path(path).parent_path();
  if (!parent.empty()) std::filesystem::create_directories(parent, error);
  if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) return files::system_error("make", path);

  const std::string lock = path + "/LOCK";
  const int fd = ::open(lock.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) return files::system_error("open", lock);
  if (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
    const int number = errno;
    ::close(fd);
    if (number == EWOULDBLOCK)
      return fail(Code::exists,
                  fmt::format("the data folder {} is in use by another ptwopd: stop that one, or "
                              "name another folder with --data",
                              path));
    errno = number;
    return files::system_error("lock", lock);
  }
  return DataFolder(std::move(path), fd);
}

DataFolder::DataFolder(DataFolder&& other) noexcept
    : path_(std::move(other.path_)), lock_fd_(std::exchange(other.lock_fd_, -1)) {}

DataFolder& DataFolder::operator=(DataFolder&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(lock_fd_, other.lock_fd_);
  return *this;
}

DataFolder::~DataFolder() {
  if (lock_fd_ >= 0) ::close(lock_fd_);
}

Result<void> DataFolder::check_format() const {
  if (has(kRestoring))
    return fail(Code::corrupt,
                fmt::format("the data folder {} is what an interrupted restore left: "
                            "run ptwopctl restore again",
                            path_));
  PTWOP_TRY(const auto text, read("FORMAT"));
  if (!text) {
    for (const char* name : {"rocksdb", "store.key"})
      if (std::filesystem::exists(in(name)))
        return fail(Code::corrupt,
                    fmt::format("the data folder {} holds {} but no FORMAT file: restore the "
                                "folder whole from a backup; nothing was changed",
                                path_, name));
    return write("FORMAT", fmt::format("{}{}\nmade by ptwopd {}\n", kFormatLine, kFormatVersion,
                                       PTWOP_VERSION));
  }
  const auto version = format_from(*text);
  if (!version)
    return fail(Code::corrupt, fmt::format("{} is damaged: restore the folder whole from a "
                                           "backup; nothing was changed",
                                           in("FORMAT")));
  if (*version != kFormatVersion)
    return fail(Code::corrupt,
                fmt::format("the data folder {} has format {} ({}), and this ptwopd {} reads "
                            "format {}: run the version that made it, or name another folder with "
                            "--data; nothing was changed",
                            path_, *version, maker_from(*text), PTWOP_VERSION, kFormatVersion));
  return {};
}

Result<std::optional<Bytes>> DataFolder::read(std::string_view name) const {
  auto file = files::Input::open(in(name));
  if (!file && file.error().code == Code::not_found) return std::optional<Bytes>();
  if (!file) return fail(Code::internal, file.error().message);
  Bytes bytes(std::min<uint64_t>(file->size(), kFileBytesMax) + 1, '\0');
  PTWOP_TRY(const size_t size, file->read(bytes.data(), bytes.size()));
  if (size > kFileBytesMax)
    return fail(Code::corrupt, fmt::format("{} is larger than it can be", in(name)));
  bytes.resize(size);
  return std::optional<Bytes>(std::move(bytes));
}

bool DataFolder::has(std::string_view name) const {
  struct stat info {};
  return ::lstat(in(name).c_str(), &info) == 0;
}

Result<void> DataFolder::remove(std::string_view name) const {
  if (::unlink(in(name).c_str()) != 0 && errno != ENOENT)
    return files::system_error("remove", in(name));
  if (!files::sync_folder(path_)) return files::system_error("sync", path_);
  return {};
}

Result<void> DataFolder::write(std::string_view name, BytesView bytes) const {
  PTWOP_TRY(auto file, files::NewFile::make(in(name)));
  PTWOP_CHECK(file.write(bytes));
  return file.finish();
}

}  // namespace ptwop::store
