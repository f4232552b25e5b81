// Files as values with errors: what several rooms do with POSIX's calls.
#pragma once
#include <cstdint>
#include <string>
#include <utility>

#include "base/bytes.h"
#include "base/result.h"

namespace ptwop::files {

/// What errno says of an attempt: "cannot <what> <path>: …". `disk_full` where it is that.
Error system_error(std::string_view what, const std::string& path);

/// An open file; closed on every way out.
class Fd {
 public:
  explicit Fd(int number = -1) : number_(number) {}
  Fd(Fd&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    std::swap(number_, other.number_);
    return *this;
  }
  ~Fd() { close(); }
  void close();
  int get() const { return number_; }
  explicit operator bool() const { return number_ >= 0; }

 private:
  int number_;
};

/// False: errno says why.
bool write_all(int fd, BytesView bytes);
/// What was made, renamed or removed in the folder is durable then. False: errno says why.
bool sync_folder(const std::string& path);

/// Reads a regular file from its start on, piece by piece.
class Input {
 public:
  /// Errors: not_found; invalid_params where it is no regular file; internal. A symbolic link is
  /// refused unless `follow`.
  static Result<Input> open(const std::string& path, bool follow = true);
  /// Fills `to` as far as there is something; fewer only at the end.
  Result<size_t> read(char* to, size_t size);
  uint64_t size() const { return size_; }

 private:
  Input(Fd fd, std::string path, uint64_t size)
      : fd_(std::move(fd)), path_(std::move(path)), size_(size) {}
  Fd fd_;
  std::string path_;
  uint64_t size_;
};

/// A file (0600) that is there whole and durable, or not at all: written beside its place, then
/// renamed.
class NewFile {
 public:
  /// Until then its name ends in `suffix`; a file of that name that is there is taken for what a
  /// crash left. Errors: not_found where its folder is not there; disk_full; internal.
  static Result<NewFile> make(std::string path, std::string_view suffix = ".new");
  NewFile(NewFile&& other) noexcept = default;
  ~NewFile();  ///< Nothing stays of it unless `finish` succeeded.
  Result<void> write(BytesView bytes);
  uint64_t written() const { return written_; }
  /// Syncs it and puts it in its place, in that of a file too that is there.
  Result<void> finish();
  /// Another place than the one it was made for.
  Result<void> finish(std::string path) {
    path_ = std::move(path);
    return finish();
  }

 private:
  NewFile(Fd fd, std::string path, std::string fresh)
      : fd_(std::move(fd)), path_(std::move(path)), fresh_(std::move(fresh)) {}
  Fd fd_;
  std::string path_, fresh_;
  uint64_t written_ = 0, synced_ = 0;
};

}  // namespace ptwop::files
