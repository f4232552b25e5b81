// What the daemon is told at its start: flag over environment over configuration file (rpc.md,
// "Starting the daemon").
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "base/log.h"

namespace ptwop::app {

/// sysexits.h has the numbers.
enum Exit : int {
  kExitStopped = 0,
  kExitOther = 1,
  kExitUsage = 64,
  kExitInUse = 73,
  kExitConfig = 78
};

struct Config {
  std::string data;    ///< Folder; absolute.
  std::string socket;  ///< Path; absolute.
  std::string kubo;    ///< "", "none", or an address as kubo/address.h reads it.
  std::string kubo_auth_file;
  std::string file;  ///< The configuration file that was read; empty: none.
  log::Level log_level = log::Level::info;
  bool check = false;                  ///< --check-config
  std::string restore;                 ///< --restore: a backup's folder; absolute. Empty: serve.
  std::vector<std::string> arguments;  ///< As given, for reading again.
};

/// Reads it all. Nothing: the program is to exit with `exit_code` (help and version were asked for,
/// or something is wrong and was said on stderr).
std::optional<Config> read_config(int argc, const char* const* argv, int& exit_code);

/// The same flags and environment over the configuration file as it is now. Nothing: it is wrong,
/// and `why` says how.
std::optional<Config> reread_config(const Config& running, std::string& why);

/// What applies, as a configuration file would say it.
std::string describe(const Config& config);

}  // namespace ptwop::app
