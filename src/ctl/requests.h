// One request and what is shown of its answer.
#pragma once
#include "ctl/options.h"
#include "ctl/output.h"

namespace ptwop::ctl {

/// `<noun> <verb> …` and `call`, with --raw, --json, --all, --sync and --default. Returns the exit
/// code.
int run_request(const Options& options, Output& out);

}  // namespace ptwop::ctl
