#include "app/config.h"
#include "app/daemon.h"

#include <cstdio>

int main(int argc, char** argv) {
  int exit_code = ptwop::app::kExitOther;
  const auto config = ptwop::app::read_config(argc, argv, exit_code);
  if (!config) return exit_code;
  if (config->check) {
    std::fputs(ptwop::app::describe(*config).c_str(), stdout);
    return ptwop::app::kExitStopped;
  }
  return ptwop::app::serve(*config);
}
