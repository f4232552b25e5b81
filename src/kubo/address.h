// Where Kubo's RPC API is, and the secret that opens it.
#pragma once
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace ptwop::kubo {

struct ApiAddress {
  std::string
      url;  ///< "http://127.0.0.1:5001", without a path; "http://localhost" for a unix socket.
  std::string unix_path;  ///< Empty for TCP.
  std::string text;       ///< As it was given, for people.
  bool operator==(const ApiAddress&) const = default;
};

/// Reads `http://host[:port][/]`, or a multiaddr:
/// `/ip4|ip6|dns|dns4|dns6/<host>/tcp/<port>[/http]`, `/unix/<path>[/http]`. Errors:
/// invalid_params, with a sentence that says what is accepted.
Result<ApiAddress> parse_api_address(std::string_view text);

/// What a running Kubo wrote down: `$IPFS_PATH/api`, else `~/.ipfs/api`. Errors: kubo_offline when
/// there is no such file, invalid_params when it holds no address.
Result<ApiAddress> discover_api_address();

/// The value of the Authorization header for a file that holds, as Kubo's API.Authorizations,
/// `bearer:TOKEN` or `basic:USER:PASS`. Refused with not_permitted: a file that is not the reader's
/// own (or root's) or that others can read. Other errors: not_found, invalid_params. No message
/// repeats the secret.
Result<std::string> read_authorization(const std::string& path);

}  // namespace ptwop::kubo
