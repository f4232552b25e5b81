#include "rpc/mailbox.h"

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>

namespace ptwop::rpc {

void Mailbox::put(Answer answer) {
  const std::lock_guard lock(mutex_);
  if (!loop_) return;
  waiting_.push_back(std::move(answer));
  if (waiting_.size() == 1)
    boost::asio::post(*loop_, [self = shared_from_this()] { self->deliver(); });
}

void Mailbox::close() {
  std::vector<Answer> dropped;  // destroyed after the lock is gone
  const std::lock_guard lock(mutex_);
  loop_ = nullptr;
  dropped.swap(waiting_);
}

void Mailbox::deliver() {
  std::vector<Answer> answers;
  {
    const std::lock_guard lock(mutex_);
    if (!loop_) return;
    answers.swap(waiting_);
  }
  std::vector<std::shared_ptr<Caller>> callers;
  for (Answer& answer : answers) {
    if (answer.refused) stats_.refuse(*answer.refused);
    --stats_.in_flight;
    if (!std::exchange(answer.caller->answered_, true)) callers.push_back(answer.caller);
    answer.caller->on_answer(answer.tag, answer.size, std::move(answer.text));
  }
  for (const auto& caller : callers) {
    caller->answered_ = false;
    caller->on_answers_end();
  }
}

}  // namespace ptwop::rpc
