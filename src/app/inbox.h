// Others' messages on their way to the engine's thread.
#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace ptwop::app {

/// Bounds what waits: pubsub may lose, memory may not grow without end. One thread enters, another
/// leaves.
class Inbox {
 public:
  static constexpr size_t kBytesMax = 16 << 20;

  /// False, and counted, where a message of this size is one too many.
  bool enter(size_t bytes) {
    if (bytes_ + bytes > kBytesMax) {
      ++dropped_;
      return false;
    }
    bytes_ += bytes;
    return true;
  }
  void leave(size_t bytes) { bytes_ -= bytes; }
  uint64_t dropped() const { return dropped_; }

 private:
  std::atomic<size_t> bytes_{0};
  std::atomic<uint64_t> dropped_{0};
};

}  // namespace ptwop::app
