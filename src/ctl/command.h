// From words to a request.
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "ctl/input.h"
#include "ctl/options.h"

namespace ptwop::ctl {

struct Call {
  std::string method;
  json::Value params;   ///< An object; for `call` perhaps a list.
  bool direct = false;  ///< It came by `call`: what goes out and what comes back is JSON.
};

/// Reads `<noun> <verb> …` or `call METHOD [JSON]`. The error is wrong usage.
Result<Call> read_call(const Options& options, Input& input);

/// Splits a line as a shell does: blanks separate, '…' and "…" quote, a backslash quotes one
/// character. Nothing is expanded.
Result<std::vector<std::string>> split_words(std::string_view line);

/// How long the request itself may take: its `timeout_ms`, a week for what works on files, else 0.
uint64_t answer_ms(const Call& call);

}  // namespace ptwop::ctl
