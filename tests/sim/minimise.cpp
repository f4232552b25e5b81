#include "minimise.h"

#include <algorithm>
#include <chrono>

namespace ptwop::sim {

Plan only(const Plan& plan, const std::vector<size_t>& kept) {
  Plan out = plan;
  out.actions.clear();
  for (const size_t i : kept) out.actions.push_back(plan.actions.at(i));
  return out;
}

// Delta debugging (Zeller, "Simplifying and isolating failure-inducing input"), by complements
// only.
Smaller minimise(const Plan& plan, const Outcome& outcome, size_t runs_max, double seconds_max) {
  Smaller out;
  for (size_t i = 0; i < plan.actions.size(); ++i)
    if (plan.actions[i].at_ms <= outcome.failed_at_ms) out.kept.push_back(i);
  const auto started = std::chrono::steady_clock::now();
  const auto over = [&] {
    return out.runs >= runs_max ||
           std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count() >
               seconds_max;
  };
  const auto still_fails = [&](const std::vector<size_t>& kept) {
    ++out.runs;
    const Outcome again = World(only(plan, kept), false).run();
    return again.failure && again.failure->kind == outcome.failure->kind;
  };
  for (size_t size = std::max<size_t>(1, out.kept.size() / 2); !over();) {
    bool smaller = false;
    for (size_t from = 0; from < out.kept.size() && !over();) {
      std::vector<size_t> fewer = out.kept;
      fewer.erase(fewer.begin() + static_cast<ptrdiff_t>(from),
                  fewer.begin() + static_cast<ptrdiff_t>(std::min(from + size, fewer.size())));
      if (still_fails(fewer)) {
        out.kept = std::move(fewer);
        smaller = true;
      } else {
        from += size;
      }
    }
    if (size > 1)
      size = (size + 1) / 2;
    else if (!smaller)
      break;
  }
  out.plan = only(plan, out.kept);
  return out;
}

}  // namespace ptwop::sim
