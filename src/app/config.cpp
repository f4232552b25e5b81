#include "app/config.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdlib>
#include <filesystem>

#include "kubo/address.h"
#include "net/unix_server.h"

namespace ptwop::app {
namespace {

namespace fs = std::filesystem;

std::string env(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

bool system_service() {
  return ::geteuid() == 0 && env("XDG_RUNTIME_DIR").empty() && !env("STATE_DIRECTORY").empty();
}

std::string default_data() {
  if (const std::string dir = env("STATE_DIRECTORY"); !dir.empty())
    return dir.substr(0, dir.find(':'));
  if (const std::string dir = env("XDG_STATE_HOME"); !dir.empty()) return dir + "/ptwop";
  if (const std::string home = env("HOME"); !home.empty() && !system_service())
    return home + "/.local/state/ptwop";
  return "/var/lib/ptwop";
}

std::string default_socket(const std::string& data) {
  if (const std::string dir = env("RUNTIME_DIRECTORY"); !dir.empty())
    return dir.substr(0, dir.find(':')) + "/rpc.sock";
  if (const std::string dir = env("XDG_RUNTIME_DIR"); !dir.empty()) return dir + "/ptwop/rpc.sock";
  return data + "/rpc.sock";
}

// CLI11 reads the file before it looks at the environment, so this variable is ours to read.
std::string default_file() {
  if (const std::string path = env("PTWOP_CONFIG"); !path.empty()) return path;
  std::string home = env("XDG_CONFIG_HOME");
  if (home.empty() && !env("HOME").empty()) home = env("HOME") + "/.config";
  std::error_code ignored;
  for (const std::string& path :
       {home.empty() ? "" : home + "/ptwop/ptwopd.toml", std::string("/etc/ptwop/ptwopd.toml")})
    if (!path.empty() && fs::is_regular_file(path, ignored)) return path;
  return "";
}

std::string absolute(const std::string& path) {
  std::error_code ignored;
  const auto result = fs::absolute(path, ignored).lexically_normal();
  return path.empty() || ignored ? path : result.string();
}

// What the types of the flags cannot say.
std::string wrong_with(const Config& config) {
  for (const std::string& path : {config.data, config.socket, config.kubo_auth_file})
    if (std::any_of(path.begin(), path.end(), [](unsigned char c) { return c < 0x20; }))
      return "a path has no control characters: is a quote or a bracket missing in the file?";
  if (config.data.empty()) return "the data folder is an empty path: give --data DIR";
  if (config.socket.size() > net::kSocketPathBytesMax)
    return fmt::format("the socket's path is longer than {} bytes: give a shorter --socket",
                       net::kSocketPathBytesMax);
  if (!config.kubo.empty() && config.kubo != "none")
    if (const auto address = kubo::parse_api_address(config.kubo); !address)
      return "--kubo: " + address.error().message;
  return "";
}

// CLI11 lets the configuration file win over the environment; rpc.md wants it the other way round.
// So what the environment says is read as if it were said by flags, unless the flag itself is
// there.
std::vector<std::string> with_environment(std::vector<std::string> arguments) {
  constexpr std::pair<std::string_view, const char*> kVariables[] = {
      {"--data", "PTWOP_DATA"},
      {"--socket", "PTWOP_SOCKET"},
      {"--kubo", "PTWOP_KUBO"},
      {"--kubo-auth-file", "PTWOP_KUBO_AUTH_FILE"},
      {"--log-level", "PTWOP_LOG_LEVEL"}};
  const size_t given = arguments.size();
  for (const auto& [flag, variable] : kVariables) {
    const std::string assigned = std::string(flag) + '=';
    const bool there =
        std::any_of(arguments.begin(), arguments.begin() + static_cast<ptrdiff_t>(given),
                    [&](const std::string& a) { return a == flag || a.starts_with(assigned); });
    if (const std::string value = env(variable); !there && !value.empty())
      arguments.push_back(assigned + value);
  }
  return arguments;
}

struct Failure {
  int exit_code;
  std::string why;  ///< Empty: nothing is wrong.
};

Failure wrong_file(std::string_view why) {
  return {kExitConfig,
          fmt::format("the configuration file is wrong: {} (its settings are data, socket, kubo, "
                      "kubo-auth-file and log-level, as in: log-level = \"info\")",
                      why)};
}

Config parse(const std::vector<std::string>& arguments, bool with_file);

bool right_without_file(const std::vector<std::string>& arguments) {
  try {
    parse(arguments, false);
  } catch (const Failure& failure) {
    return failure.exit_code != kExitUsage;
  }
  return true;
}

// Throws Failure; CLI11's own errors are turned into it here.
Config parse(const std::vector<std::string>& arguments, bool with_file) {
  Config config;
  config.arguments = arguments;
  std::string level = "info";
  CLI::App app("PtwopDB's daemon: a database beside your Kubo (IPFS) node.", "ptwopd");
  app.set_version_flag("--version", std::string("ptwopd ") + PTWOP_VERSION);
  app.add_option("--data", config.data, "Data folder: one identity, one daemon (env PTWOP_DATA)")
      ->type_name("DIR");
  app.add_option("--socket", config.socket, "Unix socket for JSON-RPC (env PTWOP_SOCKET)")
      ->type_name("PATH");
  app.add_option(
         "--kubo", config.kubo,
         "Kubo's API: URL or multiaddr, or 'none'; default: where Kubo says it is (env PTWOP_KUBO)")
      ->type_name("ADDRESS");
  app.add_option("--kubo-auth-file", config.kubo_auth_file,
                 "File with 'bearer:TOKEN' or 'basic:USER:PASSWORD' (env PTWOP_KUBO_AUTH_FILE)")
      ->type_name("FILE");
  app.add_option("--log-level", level, "debug, info, warn or error (env PTWOP_LOG_LEVEL)")
      ->type_name("L");
  app.add_option("--restore", config.restore,
                 "Make the data folder, which must be empty, from a backup, and exit")
      ->type_name("FROM")
      ->configurable(false);
  app.add_flag("--check-config", config.check, "Say what would apply, and exit")
      ->configurable(false);
  const std::string file = default_file();
  std::string unread;
  if (with_file)
    app.set_config("--config", file, "Configuration file (TOML) (env PTWOP_CONFIG)",
                   !env("PTWOP_CONFIG").empty())
        ->type_name("FILE");
  else
    app.add_option("--config", unread);
  app.allow_config_extras(CLI::config_extras_mode::error);
  try {
    const std::vector<std::string> all = with_environment(arguments);
    std::vector<std::string> reversed(all.rbegin(), all.rend());
    app.parse(reversed);
    const auto* option = with_file ? app.get_config_ptr() : nullptr;
    config.file = option && option->count() > 0 ? option->as<std::string>() : file;
  } catch (const CLI::FileError& e) {
    throw Failure{kExitConfig, fmt::format("the configuration file cannot be read: {}", e.what())};
  } catch (const CLI::ConfigError& e) {
    throw wrong_file(e.what());
  } catch (const CLI::Success& e) {
    app.exit(e);
    throw Failure{kExitStopped, ""};
  } catch (const CLI::ParseError& e) {
    if (with_file && right_without_file(arguments)) throw wrong_file(e.what());
    throw Failure{kExitUsage, fmt::format("{}\nRun with --help for more information.", e.what())};
  }
  const auto parsed = log::level_from(level);
  if (!parsed) throw Failure{kExitConfig, "the log level is one of debug, info, warn, error"};
  config.log_level = *parsed;
  if (config.data.empty()) config.data = default_data();
  if (config.socket.empty()) config.socket = default_socket(config.data);
  config.data = absolute(config.data);
  config.socket = absolute(config.socket);
  config.restore = absolute(config.restore);
  if (const std::string wrong = wrong_with(config); !wrong.empty())
    throw Failure{kExitConfig, wrong};
  return config;
}

}  // namespace

std::optional<Config> read_config(int argc, const char* const* argv, int& exit_code) {
  try {
    return parse({argv + 1, argv + argc}, true);
  } catch (const Failure& failure) {
    if (!failure.why.empty()) fmt::print(stderr, "ptwopd: {}\n", failure.why);
    exit_code = failure.exit_code;
    return std::nullopt;
  }
}

std::optional<Config> reread_config(const Config& running, std::string& why) {
  try {
    return parse(running.arguments, true);
  } catch (const Failure& failure) {
    why = failure.why;
    return std::nullopt;
  }
}

std::string describe(const Config& config) {
  constexpr std::string_view kLevels[] = {"debug", "info", "warn", "error"};
  std::string out = fmt::format(
      "# from {}\n", config.file.empty() ? "flags, environment and defaults" : config.file);
  out += fmt::format("data = \"{}\"\nsocket = \"{}\"\n", config.data, config.socket);
  out += config.kubo.empty() ? "# kubo: where Kubo says it is ($IPFS_PATH/api, ~/.ipfs/api)\n"
                             : fmt::format("kubo = \"{}\"\n", config.kubo);
  if (!config.kubo_auth_file.empty())
    out += fmt::format("kubo-auth-file = \"{}\"\n", config.kubo_auth_file);
  return out + fmt::format("log-level = \"{}\"\n", kLevels[static_cast<size_t>(config.log_level)]);
}

}  // namespace ptwop::app
