// From a parsed request to its method and its answer. Knows nothing of sockets: every door uses it.
#pragma once
#include <memory>
#include <string>
#include <string_view>

#include "net/once_a_minute.h"
#include "rpc/request.h"

namespace ptwop::rpc {

class Dispatcher {
 public:
  Dispatcher(Backend& backend, std::shared_ptr<Mailbox> mailbox, Stats& stats);

  enum class Outcome { answered, later, later_large };
  /// Starts one request; `source` is its JSON text. answered: the answer (for a notification
  /// nothing) was appended to `out`. later, later_large (by the size foretold):
  /// `caller->on_answer(tag, …)` follows, through the mailbox.
  Outcome start(const json::Value& request, std::string_view source,
                const std::shared_ptr<Caller>& caller, uint64_t tag, std::string& out);

  /// Appends an error of the protocol (id null) and counts it.
  void refuse(Code code, std::string message, std::string& out);

 private:
  Error unready() const;

  Backend& backend_;
  std::shared_ptr<Mailbox> mailbox_;
  Stats& stats_;
  net::OnceAMinute refusals_;
};

}  // namespace ptwop::rpc
