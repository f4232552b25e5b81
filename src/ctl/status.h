// `ptwopctl status`: one screen.
#pragma once
#include <string>
#include <vector>

#include "ctl/session.h"

namespace ptwop::ctl {

/// What the daemon says of itself and its channels. Parts that it did not answer are null.
struct Overview {
  json::Value ready, info, stats;
  std::vector<json::Value> channels;  ///< channel.info of each, at most `kChannelsShown`.
  size_t channels_left = 0;           ///< Those beyond.
};
inline constexpr size_t kChannelsShown = 1000;

/// The error says that the daemon cannot be talked to. An answer that is an error leaves its part
/// null.
Result<Overview> read_overview(Session& session);
std::string status_text(const Overview& overview, int64_t now_ms, size_t columns);
std::string status_json(const Overview& overview);

/// "just now", "40 s", "3 min", "2 h", "5 days"
std::string duration(int64_t ms);
int64_t unix_now_ms();

}  // namespace ptwop::ctl
