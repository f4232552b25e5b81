// How answers that were made on other threads come back to the loop: collected, with one post for
// all that wait.
#pragma once
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "rpc/stats.h"

namespace boost::asio {
class io_context;
}

namespace ptwop::rpc {

/// What an answer that comes later may grow to: `large` for those that hold stored values.
enum class AnswerSize : uint8_t { small, large };

/// Whoever sent requests. Lives on the loop's thread.
class Caller {
 public:
  virtual ~Caller() = default;
  /// The answer to the request that was started under `tag`: one JSON object, or empty for a
  /// notification. `size` is what was foretold when it was started.
  virtual void on_answer(uint64_t tag, AnswerSize size, std::string text) = 0;
  /// After the last on_answer of a turn of the loop: send.
  virtual void on_answers_end() = 0;

 private:
  friend class Mailbox;
  bool answered_ = false;  ///< In this turn.
};

struct Answer {
  std::shared_ptr<Caller> caller;
  uint64_t tag = 0;
  AnswerSize size = AnswerSize::small;
  std::string text;
  std::optional<Code> refused;  ///< The code of an error: to be counted.
};

class Mailbox : public std::enable_shared_from_this<Mailbox> {
 public:
  Mailbox(boost::asio::io_context& loop, Stats& stats) : loop_(&loop), stats_(stats) {}

  /// From any thread. After `close` it only drops the answer.
  void put(Answer answer);
  /// On the loop's thread. Loop and counters are not touched any more.
  void close();

 private:
  void deliver();

  std::mutex mutex_;
  std::vector<Answer> waiting_;
  boost::asio::io_context* loop_;  ///< Null when closed.
  Stats& stats_;
};

}  // namespace ptwop::rpc
