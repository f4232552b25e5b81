// Everything wired together: the only place that constructs.
#pragma once
#include "app/config.h"

namespace ptwop::app {

/// Serves until it is asked to stop. Returns the exit code.
int serve(const Config& config);

}  // namespace ptwop::app
