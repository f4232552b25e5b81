// Where the daemon's socket is looked for.
#pragma once
#include <string>
#include <vector>

#include "base/result.h"

namespace ptwop::ctl {

/// A unix socket's path has room for this many bytes (sockaddr_un).
inline constexpr size_t kSocketPathBytesMax = 107;

/// Looks up an environment variable; "" where there is none.
using Environment = std::string (*)(const char* name);
std::string system_environment(const char* name);

/// `flag` (--socket), else PTWOP_SOCKET, alone; else, in this order:
/// $XDG_RUNTIME_DIR/ptwop/rpc.sock, /run/ptwop/rpc.sock, and rpc.sock in the data folders. Refused:
/// a given path that is too long.
Result<std::vector<std::string>> socket_candidates(const std::string& flag,
                                                   Environment environment);
/// Where a daemon started without --data keeps its data: PTWOP_DATA, $XDG_STATE_HOME/ptwop,
/// ~/.local/state/ptwop, /var/lib/ptwop.
std::vector<std::string> data_candidates(Environment environment);

}  // namespace ptwop::ctl
