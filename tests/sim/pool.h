// Runs each seed in a process of its own, several at a time: a seed that aborts or hangs is a
// result, not the end.
#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

namespace ptwop::sim {

/// What comes back from the process of one seed.
struct SeedResult {
  uint64_t seed = 0;
  bool failed = false;
  uint64_t virtual_ms = 0, settle_ms = 0, acknowledged = 0, messages = 0, fetched = 0;
  std::string text;  ///< What to print: empty if all is well.
};

class Pool {
 public:
  explicit Pool(size_t jobs, unsigned seconds_max) : jobs_(jobs), seconds_max_(seconds_max) {}
  /// Runs `work` for each seed that `next` gives (false: no more), and hands over each result as it
  /// comes.
  void run(const std::function<bool(uint64_t& seed)>& next,
           const std::function<SeedResult(uint64_t seed)>& work,
           const std::function<void(const SeedResult&)>& done);

 private:
  size_t jobs_;
  unsigned seconds_max_;
};

}  // namespace ptwop::sim
