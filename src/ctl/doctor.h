// `ptwopctl doctor`: gathers the facts for checks.h.
#pragma once
#include "ctl/options.h"
#include "ctl/output.h"

namespace ptwop::ctl {

/// Returns the exit code: 0 where all is well, 1 where something was found.
int run_doctor(const Options& options, Output& out);

}  // namespace ptwop::ctl
