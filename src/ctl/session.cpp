#include "ctl/session.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <thread>

#include "ctl/socket_path.h"
#include "ctl/values.h"

namespace ptwop::ctl {
namespace {

constexpr std::chrono::milliseconds kRetryEvery{50};
constexpr uint64_t kReadyAnswerMs = 5'000;

bool says_ready(const Result<Answer>& answer) {
  return answer && answer->ok && member_true(answer->body, "ready");
}

}  // namespace

std::string cannot_connect(const std::vector<Tried>& tried) {
  std::string out = "Cannot reach ptwopd: nothing was sent. Tried:";
  bool refused = false;
  for (const Tried& attempt : tried) {
    out += fmt::format("\n  {}: {}", attempt.path, std::strerror(attempt.error));
    refused |= attempt.error == EACCES || attempt.error == EPERM;
  }
  if (refused)
    out +=
        "\nThis user may not use that socket. For the system service: sudo adduser \"$USER\" "
        "ptwop, then log in again.";
  out +=
      "\nStart it with scripts/run, systemctl start ptwopd or systemctl --user start ptwopd. Where "
      "it is still starting, use "
      "--wait; where its socket is elsewhere, --socket PATH or PTWOP_SOCKET.";
  return out;
}

Result<Session> Session::open(const Options& options) {
  PTWOP_TRY(const std::vector<std::string> paths,
            socket_candidates(options.socket, system_environment));
  const Time deadline = in_ms(options.wait_ms.value_or(0));
  std::vector<Tried> tried;
  for (;;) {
    auto client = Client::connect(paths, tried);
    const bool last_try = std::chrono::steady_clock::now() >= deadline;
    // Past the deadline a daemon that is still starting says so itself, in answer to the request.
    while (client && options.wait_ms && !last_try) {
      const auto answer = client->call(
          "system.ready", "{}", std::min(std::max(deadline, in_ms(100)), in_ms(kReadyAnswerMs)));
      if (!answer) {
        client.reset();
      } else if (says_ready(answer) || std::chrono::steady_clock::now() >= deadline) {
        break;
      } else {
        std::this_thread::sleep_for(kRetryEvery);
      }
    }
    if (client) return Session(std::move(*client), options.timeout_ms);
    if (last_try) return fail(Code::starting, cannot_connect(tried));
    std::this_thread::sleep_for(kRetryEvery);
  }
}

uint64_t Session::limit_ms(uint64_t answer_ms) const {
  constexpr uint64_t kGraceMs = 5'000;
  return timeout_ms_.value_or(std::max(kTimeoutDefaultMs, answer_ms + kGraceMs));
}

Result<Answer> Session::call(std::string_view method, const json::Value& params,
                             uint64_t answer_ms) {
  const uint64_t limit = limit_ms(answer_ms);
  auto answer = client_.call(method, to_json(params), in_ms(limit));
  if (answer) return answer;
  const bool late = answer.error().code == Code::timed_out;
  std::string message =
      late ? fmt::format("No answer within {} s.", static_cast<double>(limit) / 1000)
           : answer.error().message;
  message += " Whether the request took effect is not known";
  message += late ? ": ask again, or wait longer with --timeout."
                  : ": see whether ptwopd still runs, then look or ask again.";
  return fail(answer.error().code, message);
}

}  // namespace ptwop::ctl
