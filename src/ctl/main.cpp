// ptwopctl
#include <fcntl.h>
#include <unistd.h>

#include <csignal>
#include <string>
#include <vector>

#include "ctl/run.h"

namespace {

/// A closed standard stream must not become the socket: its number is taken by something that
/// neither reads nor writes.
void keep_standard_streams() {
  for (int fd = 0; fd <= 2; ++fd)
    if (::fcntl(fd, F_GETFD) == -1 && ::open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY) != fd)
      ::_exit(1);
}

}  // namespace

int main(int argc, char** argv) {
  keep_standard_streams();
  std::signal(SIGPIPE, SIG_IGN);  // A reader that went away shows as EPIPE.
  return ptwop::ctl::run(std::vector<std::string>(argv + (argc > 0 ? 1 : 0), argv + argc));
}
