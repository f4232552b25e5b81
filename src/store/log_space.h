// Log files that are longer than what is in them: where the bytes were there before, as zeros, a
// sync has no new length and no new blocks to write down, nor a journal to wait for. Internal to
// this room.
#pragma once
#include <cstdint>
#include <string>

namespace ptwop::store {

/// Zeros ahead of the data of one log that is being written. They go when it is closed.
class LogSpace {
 public:
  /// `size`: of what is in the file already.
  LogSpace(const std::string& path, uint64_t size);
  ~LogSpace() { close(); }
  LogSpace(const LogSpace&) = delete;
  LogSpace& operator=(const LogSpace&) = delete;

  void appended(uint64_t bytes);
  /// After the file itself.
  void close();

 private:
  int fd_;  ///< Its own: RocksDB does not show its one.
  uint64_t size_ = 0, until_ = 0;
};

/// Takes the zeros off a log that was not closed. The data is ciphertext: that it ends in a few
/// zeros itself is provided for, that it ends in more does not happen.
void trim_log(const std::string& path);

}  // namespace ptwop::store
