// ptwopctl, without its main program.
#pragma once
#include <span>
#include <string>

namespace ptwop::ctl {

/// Runs one command line (without the program's name) and returns the exit code.
int run(std::span<const std::string> arguments);

}  // namespace ptwop::ctl
