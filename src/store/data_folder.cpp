#include "store/data_folder.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <utility>

namespace ptwop::store {
namespace {

constexpr size_t kFileBytesMax = 1 << 20;
constexpr std::string_view kFormatLine = "ptwopdb data ";

Error system_error(std::string_view what, const std::string& path) {
  const int number = errno;
  const Code code = number == ENOSPC || number == EDQUOT ? Code::disk_full : Code::internal;
  return fail(code, fmt::format("cannot {} {}: {}", what, path, std::strerror(number)));
}

/// Closes on every way out.
struct Fd {
  int fd;
  explicit Fd(int number) : fd(number) {}
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  ~Fd() {
    if (fd >= 0) ::close(fd);
  }
};

bool write_all(int fd, BytesView bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return false;
    bytes.remove_prefix(static_cast<size_t>(n));
  }
  return true;
}

bool sync_folder(const std::string& path) {
  const Fd folder(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  return folder.fd >= 0 && ::fsync(folder.fd) == 0;
}

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
  std::error_code error;
  const std::filesystem::path parent = std::filesystem::path(path).parent_path();
  if (!parent.empty()) std::filesystem::create_directories(parent, error);
  if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) return system_error("make", path);

  const std::string lock = path + "/LOCK";
  const int fd = ::open(lock.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) return system_error("open", lock);
  if (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
    const int number = errno;
    ::close(fd);
    if (number == EWOULDBLOCK)
      return fail(Code::exists,
                  fmt::format("the data folder {} is in use by another ptwopd: stop that one, or "
                              "name another folder with --data",
                              path));
    errno = number;
    return system_error("lock", lock);
  }
  DataFolder folder(std::move(path), fd);
  PTWOP_CHECK(folder.check_format());
  return folder;
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
  const std::string path = in(name);
  const Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.fd < 0) {
    if (errno == ENOENT) return std::optional<Bytes>();
    return system_error("open", path);
  }
  Bytes bytes;
  char part[4096];
  for (;;) {
    const ssize_t n = ::read(file.fd, part, sizeof part);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return system_error("read", path);
    if (n == 0) return std::optional<Bytes>(std::move(bytes));
    bytes.append(part, static_cast<size_t>(n));
    if (bytes.size() > kFileBytesMax)
      return fail(Code::corrupt, fmt::format("{} is larger than it can be", path));
  }
}

Result<void> DataFolder::write(std::string_view name, BytesView bytes) const {
  const std::string path = in(name);
  const std::string fresh = path + ".new";
  ::unlink(
      fresh.c_str());  // left by a crash; the folder's lock says that nobody else is writing it
  {
    const Fd file(::open(fresh.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    if (file.fd < 0) return system_error("make", fresh);
    if (!write_all(file.fd, bytes) || ::fsync(file.fd) != 0) {
      const Error error = system_error("write", fresh);
      ::unlink(fresh.c_str());
      return error;
    }
  }
  if (::rename(fresh.c_str(), path.c_str()) != 0) return system_error("rename", fresh);
  if (!sync_folder(path_)) return system_error("sync", path_);
  return {};
}

}  // namespace ptwop::store
