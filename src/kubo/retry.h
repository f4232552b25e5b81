// A timer with exponential backoff and jitter.
#pragma once
#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <random>
#include <utility>

namespace ptwop::kubo {

/// One thing to do later; on the loop's thread. Nothing runs after it is destroyed.
class Retry {
 public:
  Retry(boost::asio::io_context& loop, uint64_t ms_min, uint64_t ms_max)
      : timer_(loop),
        ms_min_(ms_min),
        ms_max_(ms_max),
        next_ms_(ms_min),
        turn_(std::make_shared<uint64_t>(0)) {}

  /// Runs `what` after the next pause, each twice as long as the one before, less up to half of it
  /// by chance, so that many who lost Kubo at once do not come back at once. Replaces what was to
  /// run.
  void again(std::function<void()> what) {
    const uint64_t pause_ms =
        std::uniform_int_distribution<uint64_t>(next_ms_ / 2, next_ms_)(chance());
    next_ms_ = std::min(next_ms_ * 2, ms_max_);
    after(pause_ms, std::move(what));
  }
  void after(uint64_t ms, std::function<void()> what) {
    timer_.expires_after(std::chrono::milliseconds(ms));
    timer_.async_wait(
        [what = std::move(what), weak = std::weak_ptr(turn_), turn = ++*turn_](auto error) {
          const auto alive = weak.lock();
          if (!error && alive && *alive == turn) what();
        });
  }
  void cancel() {
    ++*turn_;
    timer_.cancel();
  }
  /// The next pause is the shortest again.
  void reset() { next_ms_ = ms_min_; }

 private:
  static std::minstd_rand& chance() {
    static thread_local std::minstd_rand source{std::random_device{}()};
    return source;
  }
  boost::asio::steady_timer timer_;
  uint64_t ms_min_, ms_max_, next_ms_;
  std::shared_ptr<uint64_t>
      turn_;  ///< Tells a handler that was already queued when it was replaced.
};

}  // namespace ptwop::kubo
