// Errors as values. One table (error.cpp) drives the JSON-RPC code, the HTTP status and the CLI's
// exit code.
#pragma once
#include <string>
#include <string_view>

namespace ptwop {

/// Every way in which a call can fail. The number is the JSON-RPC error code (see rpc.md);
/// negative ones are the protocol's, positive ones the domain's; none is ever reused.
enum class Code : int {
  parse_error = -32700,
  invalid_request = -32600,
  method_not_found = -32601,
  invalid_params = -32602,
  internal = -32603,
  shutting_down = -32000,
  timed_out = -32001,
  starting = -32002,
  not_permitted = -32003,
  overloaded = -32004,
  no_channel = 101,
  not_found = 102,
  wrong_type = 103,
  exists = 104,
  too_large = 105,
  overflow = 106,
  kubo_offline = 201,
  kubo_refused = 202,
  no_manifest = 301,
  not_reached = 302,
  unreachable = 303,
  no_read_key = 401,
  no_write_role = 402,
  not_admin = 403,
  disk_full = 501,
  corrupt = 502,
};

struct Error {
  Code code = Code::internal;
  std::string
      message;  ///< One sentence for a person: what happened, what was kept, what to do next.
};

/// One row of the error table.
struct ErrorRow {
  Code code;
  std::string_view kind;  ///< Stable word shown as `error.data.kind`.
  bool retryable;         ///< The same call may succeed later without any change by the caller.
  int http_status;
  int exit_code;  ///< What ptwopctl exits with: 1, or 4 for `not_found`.
};

const ErrorRow& error_row(Code code);

/// All rows, in the table's order: for schemas, help and tests.
struct ErrorTable {
  const ErrorRow* begin() const;
  const ErrorRow* end() const;
};

}  // namespace ptwop
