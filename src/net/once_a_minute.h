// Keeps one cause from filling the log.
#pragma once
#include <chrono>
#include <cstdint>
#include <optional>
#include <utility>

namespace ptwop::net {

class OnceAMinute {
 public:
  /// Counts an event; when a line is due (the first time, then once a minute at most), how many
  /// there were since the last.
  std::optional<uint64_t> due() {
    ++events_;
    const auto now = std::chrono::steady_clock::now();
    if (last_ && now - *last_ < std::chrono::minutes(1)) return std::nullopt;
    last_ = now;
    return std::exchange(events_, 0);
  }

 private:
  std::optional<std::chrono::steady_clock::time_point> last_;
  uint64_t events_ = 0;
};

}  // namespace ptwop::net
