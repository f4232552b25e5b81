#include "rpc/session.h"

#include <fmt/format.h>

#include <algorithm>

#include "rpc/request_id.h"

namespace ptwop::rpc {
namespace {

// From here on a batch's answers are handed on while the rest is still under way, so that they need
// not all be in memory.
constexpr size_t kStreamBytes = 256 << 10;
// What is being read for a client cannot be counted as unread yet: each may become a page. A few at
// a time hide the way to the reader's thread and back.
constexpr size_t kLargeInFlightMax = 4;
// Who has read all but this much is served on, however much the others leave unread.
constexpr size_t kUnreadFloorBytes = 64 << 10;

}  // namespace

Session::Session(boost::asio::io_context& loop, int fd, const SessionPart& part)
    : UnixStream(loop, fd), part_(part) {}

std::shared_ptr<Caller> Session::caller() {
  return std::static_pointer_cast<Session>(shared_from_this());
}

void Session::on_end() {
  ended_ = true;
  pump();
}

void Session::on_closed() {
  if (on_gone) std::exchange(on_gone, nullptr)();
}

void Session::refuse(Code code, std::string message) {
  if (streaming_ != 0) out() += "]\n";
  out() += std::exchange(held_, {});
  part_.dispatcher.refuse(code, std::move(message), out());
  out() += '\n';
  refused_ = true;
  finish();
}

/// Only the last line read can be a batch of which elements are left to start.
bool Session::batch_left() const {
  return !batches_.empty() && !batches_.rbegin()->second.exhausted();
}

/// Starts whatever may be started, and reads on unless too much is under way.
void Session::pump() {
  while (batch_left() ? start_next_of_batch() : start_next_line()) {
  }
  if (closed() || refused_) return;
  if (all_started_ && in_flight_ == 0) return finish();
  pause_reading(batch_left() || !room_for_line());
}

bool Session::crowded() const { return part_.pending_of_all() >= limits::kUnreadTotalBytesMax; }

bool Session::all_in_flight() const {
  return in_flight_ >= limits::kInFlightMax || large_in_flight_ >= kLargeInFlightMax ||
         (large_in_flight_ > 0 && crowded());
}

bool Session::room_for_line() {
  if (all_in_flight()) return false;
  const auto room = [this] {
    return unread() < limits::kUnreadReplyBytesMax && (unsent() < kUnreadFloorBytes || !crowded());
  };
  if (room()) return true;
  flush();
  return !closed() && room();
}

/// Held and kept answers wait for the streaming batch, so they must not keep that one back.
bool Session::room_for(const Batch& batch) {
  if (all_in_flight()) return false;
  const auto full = [this] {
    return unsent() >= limits::kUnreadReplyBytesMax || (unsent() >= kUnreadFloorBytes && crowded());
  };
  if (full()) flush();
  if (closed() || full()) return false;
  return batch.streaming || held_.size() + kept_ < limits::kUnreadReplyBytesMax;
}

bool Session::start_next_line() {
  if (closed() || refused_ || !room_for_line()) return false;
  const Framing::Result next = framing_.next(input(), ended_);
  switch (next.found) {
    case Framing::Found::line:
      start_line(next.line);
      break;
    case Framing::Found::nothing:
      all_started_ = ended_;
      break;
    case Framing::Found::too_long:
      refuse(Code::invalid_request,
             fmt::format("A line has at most {} bytes.", limits::kRequestBytesMax));
      return false;
    case Framing::Found::too_deep:
      refuse(Code::invalid_request,
             fmt::format("A line is at most {} brackets deep.", limits::kRequestDepthMax));
      return false;
  }
  if (closed()) return false;
  consume(next.consumed);
  return next.found == Framing::Found::line;
}

void Session::start_line(std::string_view line) {
  auto document = json::parse(line);
  if (!document.ok()) {
    part_.dispatcher.refuse(document.error().code, document.error().message, line_out());
    line_out() += '\n';
    return;
  }
  if (document->is(json::Kind::array)) return start_batch(std::move(*document), line);
  std::string& target = line_out();
  const size_t mark = target.size();
  if (!took(part_.dispatcher.start(*document, line, caller(), 0, target)) && target.size() > mark)
    target += '\n';
}

/// Counts what is answered later; false for what was answered at once.
bool Session::took(Dispatcher::Outcome outcome) {
  if (outcome == Dispatcher::Outcome::answered) return false;
  ++in_flight_;
  if (outcome == Dispatcher::Outcome::later_large) ++large_in_flight_;
  return true;
}

void Session::start_batch(json::Value document, std::string_view line) {
  const size_t size = document.items.size();
  if (size == 0 || size > limits::kBatchRequestsMax) {
    part_.dispatcher.refuse(
        Code::invalid_request,
        fmt::format("A batch holds 1 to {} requests.", limits::kBatchRequestsMax), line_out());
    line_out() += '\n';
    return;
  }
  ++part_.stats.batches;
  Batch& batch = batches_[++last_batch_];
  batch.document = std::move(document);
  if (line.find('\\') != std::string_view::npos)
    for (const std::string_view text : element_texts(line)) batch.sources.emplace_back(text);
}

bool Session::start_next_of_batch() {
  const auto at = std::prev(batches_.end());
  Batch& batch = at->second;
  if (closed() || !room_for(batch)) return false;
  const size_t index = batch.next++;
  const std::string_view source = batch.sources.empty() ? std::string_view() : batch.sources[index];
  std::string answer;
  if (took(part_.dispatcher.start(batch.document.items[index], source, caller(), at->first,
                                  answer))) {
    ++batch.waiting;
  } else {
    add_to_batch(at, answer);
    end_batch_if_done(at);
  }
  return true;
}

/// Where a line of its own goes: not into the middle of a batch's.
std::string& Session::line_out() { return streaming_ != 0 ? held_ : out(); }

void Session::add_to_batch(Batches::iterator at, std::string_view answer) {
  Batch& batch = at->second;
  if (answer.empty()) return;
  if (batch.streaming) {
    out() += ',';
    out() += answer;
    return;
  }
  batch.answers += batch.answers.empty() ? '[' : ',';
  batch.answers += answer;
  kept_ += answer.size() + 1;
  if (streaming_ == 0 && batch.answers.size() >= kStreamBytes) stream(at);
}

/// From here on its answers are handed on as they come.
void Session::stream(Batches::iterator at) {
  at->second.streaming = true;
  streaming_ = at->first;
  kept_ -= at->second.answers.size();
  out() += std::exchange(at->second.answers, {});
}

void Session::end_batch_if_done(Batches::iterator at) {
  Batch& batch = at->second;
  if (!batch.exhausted() || batch.waiting > 0) return;
  const bool streamed = batch.streaming;
  if (streamed) {
    out() += "]\n";
    streaming_ = 0;
    out() += std::exchange(held_, {});
  } else if (!batch.answers.empty()) {
    std::string& target = line_out();
    target += batch.answers;
    target += "]\n";
    kept_ -= batch.answers.size();
  }
  batches_.erase(at);
  if (!streamed) return;
  // Who waited for its turn may have kept so much that nothing more of it is started.
  const auto next = std::ranges::find_if(
      batches_, [](const auto& one) { return one.second.answers.size() >= kStreamBytes; });
  if (next != batches_.end()) stream(next);
}

void Session::on_answer(uint64_t tag, AnswerSize size, std::string text) {
  --in_flight_;
  if (size == AnswerSize::large) --large_in_flight_;
  if (closed() || refused_) return;
  if (tag == 0) {
    if (text.empty()) return;
    std::string& target = line_out();
    target += text;
    target += '\n';
    return;
  }
  const auto at = batches_.find(tag);
  --at->second.waiting;
  add_to_batch(at, text);
  end_batch_if_done(at);
}

void Session::on_answers_end() {
  if (closed() || refused_) return;
  pump();
  flush();
}

}  // namespace ptwop::rpc
