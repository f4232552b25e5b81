#include "ctl/socket_path.h"

#include <fmt/format.h>

#include <cstdlib>

namespace ptwop::ctl {

std::string system_environment(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

std::vector<std::string> data_candidates(Environment environment) {
  std::vector<std::string> out;
  if (const std::string data = environment("PTWOP_DATA"); !data.empty()) out.push_back(data);
  const std::string state = environment("XDG_STATE_HOME"), home = environment("HOME");
  if (!state.empty())
    out.push_back(state + "/ptwop");
  else if (!home.empty())
    out.push_back(home + "/.local/state/ptwop");
  out.emplace_back("/var/lib/ptwop");
  return out;
}

Result<std::vector<std::string>> socket_candidates(const std::string& flag,
                                                   Environment environment) {
  const std::string given = flag.empty() ? environment("PTWOP_SOCKET") : flag;
  if (given.size() > kSocketPathBytesMax)
    return fail(
        Code::invalid_params,
        fmt::format(
            "The socket's path has {} bytes, and {} is the most that a unix socket may have.",
            given.size(), kSocketPathBytesMax));
  if (!given.empty()) return std::vector{given};
  std::vector<std::string> out;
  if (const std::string runtime = environment("XDG_RUNTIME_DIR"); !runtime.empty())
    out.push_back(runtime + "/ptwop/rpc.sock");
  out.emplace_back("/run/ptwop/rpc.sock");
  for (const std::string& data : data_candidates(environment)) out.push_back(data + "/rpc.sock");
  std::erase_if(out, [](const std::string& path) { return path.size() > kSocketPathBytesMax; });
  return out;
}

}  // namespace ptwop::ctl
