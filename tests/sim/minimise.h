// Makes a failing schedule smaller: leaves actions out as long as the same promise is broken.
#pragma once
#include "plan.h"
#include "world.h"

namespace ptwop::sim {

struct Smaller {
  Plan plan;
  std::vector<size_t> kept;  ///< Which actions of the first plan.
  size_t runs = 0;
};

/// At most so many runs and about so long.
Smaller minimise(const Plan& plan, const Outcome& outcome, size_t runs_max, double seconds_max);

/// The plan with only these of its actions.
Plan only(const Plan& plan, const std::vector<size_t>& kept);

}  // namespace ptwop::sim
