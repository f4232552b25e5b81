// The connection as the flags want it: which socket, how long to wait.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "ctl/client.h"
#include "ctl/options.h"

namespace ptwop::ctl {

inline constexpr uint64_t kTimeoutDefaultMs = 30'000;

class Session {
 public:
  /// Connects, with --wait for as long as it takes the daemon to start. Errors: `invalid_params` is
  /// wrong usage; else the message says what was tried and what to do.
  static Result<Session> open(const Options& options);

  /// `answer_ms`: how long the request itself may take; --timeout counts more. The error says what
  /// became of the request.
  Result<Answer> call(std::string_view method, const json::Value& params, uint64_t answer_ms = 0);
  Client& client() { return client_; }
  /// How long to wait for the answer of a request that may itself take `answer_ms`.
  uint64_t limit_ms(uint64_t answer_ms) const;

 private:
  Session(Client client, std::optional<uint64_t> timeout_ms)
      : client_(std::move(client)), timeout_ms_(timeout_ms) {}
  Client client_;
  std::optional<uint64_t> timeout_ms_;
};

/// Several lines: the paths that were tried, why each failed, and the remedy.
std::string cannot_connect(const std::vector<Tried>& tried);

}  // namespace ptwop::ctl
