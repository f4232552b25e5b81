#include "app/notify.h"

#ifdef PTWOP_SYSTEMD
#include <sys/socket.h>
#include <systemd/sd-daemon.h>
#include <time.h>
#endif

#include <fmt/format.h>

namespace ptwop::app {

#ifdef PTWOP_SYSTEMD

void notify_ready(const std::string& status) {
  sd_notify(0, fmt::format("READY=1\nSTATUS={}", status).c_str());
}
void notify_status(const std::string& status) {
  sd_notify(0, fmt::format("STATUS={}", status).c_str());
}
void notify_stopping() { sd_notify(0, "STOPPING=1\nSTATUS=stopping"); }
void notify_watchdog() { sd_notify(0, "WATCHDOG=1"); }

void notify_reloading() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  const auto usec =
      static_cast<uint64_t>(now.tv_sec) * 1'000'000 + static_cast<uint64_t>(now.tv_nsec) / 1'000;
  sd_notify(0, fmt::format("RELOADING=1\nMONOTONIC_USEC={}", usec).c_str());
}

uint64_t watchdog_interval_ms() {
  uint64_t usec = 0;
  return sd_watchdog_enabled(0, &usec) > 0 ? usec / 2'000 : 0;
}

std::optional<int> passed_socket() {
  if (sd_listen_fds(0) < 1) return std::nullopt;
  const int fd = SD_LISTEN_FDS_START;
  if (sd_is_socket_unix(fd, SOCK_STREAM, 1, nullptr, 0) <= 0) return std::nullopt;
  return fd;
}

#else

void notify_ready(const std::string&) {}
void notify_status(const std::string&) {}
void notify_stopping() {}
void notify_reloading() {}
void notify_watchdog() {}
uint64_t watchdog_interval_ms() { return 0; }
std::optional<int> passed_socket() { return std::nullopt; }

#endif

}  // namespace ptwop::app
