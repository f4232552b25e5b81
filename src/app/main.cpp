#include "app/config.h"
#include "app/daemon.h"

#include <sys/resource.h>

#include <cstdio>

#ifdef PTWOP_JEMALLOC
// A handful of threads needs no more arenas, and each costs memory; what is freed goes back to the
// system soon, also when nobody calls any more.
extern "C" const char* malloc_conf;
const char* malloc_conf =
    "narenas:2,dirty_decay_ms:500,muzzy_decay_ms:0,background_thread:true,max_background_threads:1";
#endif

// Kubo holds one response open for each channel's topic: the usual 1,024 open files are few.
static void raise_file_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  (void)::setrlimit(RLIMIT_NOFILE, &limit);
}

int main(int argc, char** argv) {
  int exit_code = ptwop::app::kExitOther;
  const auto config = ptwop::app::read_config(argc, argv, exit_code);
  if (!config) return exit_code;
  if (config->check) {
    std::fputs(ptwop::app::describe(*config).c_str(), stdout);
    return ptwop::app::kExitStopped;
  }
  raise_file_limit();
  if (!config->restore.empty()) return ptwop::app::restore(*config);
  return ptwop::app::serve(*config);
}
