// Everything wired together: the only place that constructs.
#pragma once
#include "app/config.h"

namespace ptwop::app {

/// Serves until it is asked to stop. Returns the exit code.
int serve(const Config& config);

/// Makes the data folder from the backup `config.restore` and says so, or what is wrong. Returns
/// the exit code.
int restore(const Config& config);

}  // namespace ptwop::app
