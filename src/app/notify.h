// What the daemon tells systemd (sd_notify), and what systemd hands it. Without libsystemd all of
// it does nothing.
#pragma once
#include <cstdint>
#include <optional>
#include <string>

namespace ptwop::app {

void notify_ready(const std::string& status);
void notify_status(const std::string& status);
void notify_stopping();
void notify_reloading();
void notify_watchdog();
/// How often the watchdog wants to hear from us: half of what it allows; 0 when there is none.
uint64_t watchdog_interval_ms();
/// The listening socket that was passed (socket activation); nothing if none was.
std::optional<int> passed_socket();

}  // namespace ptwop::app
