#include "base/files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace ptwop::files {

Error system_error(std::string_view what, const std::string& path) {
  const int number = errno;
  const Code code = number == ENOSPC || number == EDQUOT ? Code::disk_full
                    : number == ENOENT                   ? Code::not_found
                                                         : Code::internal;
  return fail(code, fmt::format("cannot {} {}: {}", what, path, std::strerror(number)));
}

void Fd::close() {
  if (number_ >= 0) ::close(std::exchange(number_, -1));
}

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
  return folder && ::fsync(folder.get()) == 0;
}

Result<Input> Input::open(const std::string& path, bool follow) {
  // Not to hang on a pipe that nobody writes to.
  Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | (follow ? 0 : O_NOFOLLOW)));
  if (!fd) return system_error("open", path);
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0) return system_error("look at", path);
  if (!S_ISREG(info.st_mode))
    return fail(Code::invalid_params, fmt::format("{} is no regular file", path));
  return Input(std::move(fd), path, static_cast<uint64_t>(info.st_size));
}

Result<size_t> Input::read(char* to, size_t size) {
  size_t got = 0;
  while (got < size) {
    const ssize_t n = ::read(fd_.get(), to + got, size - got);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return system_error("read", path_);
    if (n == 0) break;
    got += static_cast<size_t>(n);
  }
  return got;
}

Result<NewFile> NewFile::make(std::string path, std::string_view suffix) {
  std::string fresh = path;
  fresh += suffix;
  ::unlink(fresh.c_str());  // left by a crash
  Fd fd(::open(fresh.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!fd) return system_error("make", fresh);
  return NewFile(std::move(fd), std::move(path), std::move(fresh));
}

NewFile::~NewFile() {
  if (fd_) ::unlink(fresh_.c_str());
}

Result<void> NewFile::write(BytesView bytes) {
  if (!write_all(fd_.get(), bytes)) return system_error("write", fresh_);
  written_ += bytes.size();
  // Else the last sync of a large file would take as long as all of it.
  constexpr uint64_t kSyncBytes = 64 << 20;
  if (written_ - synced_ < kSyncBytes) return {};
  synced_ = written_;
  if (::fdatasync(fd_.get()) != 0) return system_error("write", fresh_);
  return {};
}

Result<void> NewFile::finish() {
  if (::fsync(fd_.get()) != 0) return system_error("write", fresh_);
  if (::rename(fresh_.c_str(), path_.c_str()) != 0) return system_error("rename", fresh_);
  fd_.close();
  const std::string folder = path_.substr(0, path_.rfind('/'));
  if (!sync_folder(folder.empty() ? "/" : folder)) return system_error("sync", folder);
  return {};
}

}  // namespace ptwop::files
