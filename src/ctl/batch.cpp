#include "ctl/batch.h"

#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <deque>
#include <optional>
#include <utility>

#include "base/limits.h"
#include "ctl/schemas.h"
#include "ctl/values.h"

namespace ptwop::ctl {
namespace {

constexpr size_t kDepthMax = 1000;
constexpr size_t kReadBytes = 64 << 10;

Error wrong(std::string message) { return fail(Code::invalid_params, std::move(message)); }

Error too_long() {
  return fail(Code::too_large, fmt::format("The request is longer than {} MiB: it was not sent.",
                                           limits::kRequestBytesMax >> 20));
}

std::string answer_line(std::string_view id, std::string_view name, std::string_view body) {
  std::string out;
  json::Writer(out)
      .object()
      .key("jsonrpc")
      .string("2.0")
      .key("id")
      .raw(id)
      .key(name)
      .raw(body)
      .end_object();
  return out;
}

std::string local_error(const Error& error) {
  const ErrorRow& row = error_row(error.code);
  std::string out;
  json::Writer(out)
      .object()
      .key("code")
      .number(int64_t{static_cast<int>(error.code)})
      .key("message")
      .string(error.message)
      .key("data")
      .object()
      .key("kind")
      .string(row.kind)
      .key("retryable")
      .boolean(row.retryable)
      .end_object()
      .end_object();
  return out;
}

Result<Call> read_object(const json::Value& object) {
  for (const auto& [name, value] : object.members)
    if (name != "method" && name != "params" && name != "id" && name != "jsonrpc")
      return wrong("A request has method, params and id, and nothing else.");
  const json::Value* method = object.find("method");
  const json::Value* params = object.find("params");
  if (!method || !method->is(json::Kind::string)) return wrong("A request has a method, a string.");
  if (params && !params->is(json::Kind::object) && !params->is(json::Kind::array))
    return wrong("A request's params are an object or a list.");
  return Call{method->text, params ? *params : object_value(), true};
}

Result<Call> read_command(std::string_view line, Input& input) {
  PTWOP_TRY(std::vector<std::string> words, split_words(line));
  if (!words.empty() && words.front() == "ptwopctl") words.erase(words.begin());
  PTWOP_TRY(const Options options, parse_options(words));
  const bool other_flags = options.json || options.raw || options.all || options.help ||
                           options.version || options.fallback || options.sync || options.wait_ms ||
                           options.timeout_ms || !options.socket.empty();
  if (other_flags) return wrong("Of the flags, a line of a batch can have --bytes only.");
  return read_call(options, input);
}

/// Requests of one lane may be under way together; each lane starts when all before it were
/// answered. So a line sees what the lines before it did, although the daemon promises an order
/// among data writes only.
enum class Lane : uint8_t { write, read, alone };

Lane lane_of(const std::string& method) {
  const Schemas& schemas = Schemas::get();
  if (schemas.is_write(method)) return Lane::write;
  const bool reads = schemas.is_known(method) && !schemas.can_fail_with(method, "disk_full");
  return reads && method != "channel.wait" && method != "system.stop" ? Lane::read : Lane::alone;
}

struct Pending {
  std::string id;
  std::string request;
  uint64_t limit_ms = 0;
  Lane lane = Lane::alone;
};

/// A request under way, or one whose answer waits for its turn to be printed.
struct Slot {
  std::string id;
  Time deadline;
  bool answered = false;
  std::string line;
};

class Batch {
 public:
  Batch(Session& session, int in, Output& out) : session_(session), in_(in), out_(out) {}

  int run() {
    for (;;) {
      take_lines();
      print();
      if (end_of_input_ && lines_.empty() && slots_.empty() && !pending_)
        return failed_ ? kFailed : kDone;
      if (!out_.flush()) return kFailed;
      if (auto done = turn(); !done) return give_up(done.error());
    }
  }

 private:
  bool may_take() const {
    return !pending_ && slots_.size() < limits::kInFlightMax &&
           session_.client().unsent_bytes() < limits::kUnreadReplyBytesMax;
  }

  /// Starts what has come as whole lines, as far as there is room.
  void take_lines() {
    size_t at = 0;
    for (start_pending(); may_take() && at < lines_.size();) {
      size_t end = lines_.find('\n', at);
      if (end == std::string::npos && !end_of_input_) break;
      end = std::min(end, lines_.size());
      read(std::string_view(lines_).substr(at, end - at));
      at = std::min(end + 1, lines_.size());
      start_pending();
    }
    lines_.erase(0, at);
    if (end_of_input_ && skipping_ && lines_.empty()) read("");
    has_line_ = lines_.find('\n') != std::string::npos;
    if (has_line_ || lines_.size() <= limits::kRequestBytesMax) return;
    lines_.clear();
    skipping_ = true;
  }

  void read(std::string_view line) {
    const uint64_t number = ++number_;
    if (std::exchange(skipping_, false) || line.size() > limits::kRequestBytesMax)
      return refuse(std::to_string(number), too_long());
    if (is_skipped(line)) return;
    const BatchLine parsed = read_batch_line(line, number, input_);
    if (!parsed.call) return refuse(parsed.id, parsed.call.error());
    const Call& call = *parsed.call;
    const int64_t id = static_cast<int64_t>(first_ + slots_.size());
    Pending next{parsed.id, request_line(id, call.method, to_json(call.params)),
                 session_.limit_ms(answer_ms(call)), lane_of(call.method)};
    if (next.request.size() > limits::kRequestBytesMax) return refuse(next.id, too_long());
    pending_ = std::move(next);
  }

  void start_pending() {
    if (!pending_ || (under_way_ > 0 && (pending_->lane != lane_ || lane_ == Lane::alone))) return;
    lane_ = pending_->lane;
    ++under_way_;
    session_.client().queue(pending_->request);
    slots_.push_back({std::move(pending_->id), in_ms(pending_->limit_ms)});
    pending_.reset();
  }

  void refuse(const std::string& id, const Error& error) {
    failed_ = true;
    slots_.push_back({id, {}, true, answer_line(id, "error", local_error(error))});
  }

  void print() {
    for (; !slots_.empty() && slots_.front().answered; ++first_) {
      out_.line(slots_.front().line);
      slots_.pop_front();
    }
  }

  /// Waits for something to happen, and lets it.
  Result<void> turn() {
    Client& client = session_.client();
    pollfd ready[2] = {
        {client.fd(), static_cast<short>(POLLIN | (client.has_unsent() ? POLLOUT : 0)), 0},
        {end_of_input_ || has_line_ || !may_take() ? -1 : in_, POLLIN, 0}};
    PTWOP_TRY(const int wait_ms, until_deadline());
    const int count = ::poll(ready, 2, wait_ms);
    if (count < 0 && errno != EINTR) return fail(Code::internal, "Waiting for the daemon failed.");
    if (count <= 0) return {};
    if (ready[0].revents & POLLOUT) PTWOP_CHECK(client.send_some());
    if (ready[0].revents & (POLLIN | POLLHUP | POLLERR)) {
      auto read = client.read_some();
      PTWOP_CHECK(take_answers());
      print();
      if (!read) return read;
    }
    if (ready[1].revents) read_input();
    return {};
  }

  Result<int> until_deadline() const {
    std::optional<Time> first;
    for (const Slot& slot : slots_)
      if (!slot.answered && (!first || slot.deadline < *first)) first = slot.deadline;
    if (!first) return -1;
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(*first - std::chrono::steady_clock::now())
            .count();
    if (left <= 0) return fail(Code::timed_out, "No answer in time.");
    return static_cast<int>(std::min<int64_t>(left, 60'000));
  }

  Result<void> take_answers() {
    while (const auto line = session_.client().next_line()) {
      PTWOP_TRY(const Answer answer, read_answer(*line));
      const bool known = answer.id.is(json::Kind::integer) &&
                         answer.id.integer >= static_cast<int64_t>(first_) &&
                         answer.id.integer < static_cast<int64_t>(first_ + slots_.size());
      if (!known) return fail(Code::internal, std::string(member_text(answer.body, "message")));
      Slot& slot = slots_[static_cast<size_t>(answer.id.integer) - first_];
      if (slot.answered) return fail(Code::internal, "The daemon answered a request twice.");
      slot.answered = true;
      --under_way_;
      slot.line = answer_line(slot.id, answer.ok ? "result" : "error", to_json(answer.body));
      failed_ |= !answer.ok;
    }
    return {};
  }

  void read_input() {
    const size_t before = lines_.size();
    lines_.resize(before + kReadBytes);
    ssize_t count;
    do count = ::read(in_, lines_.data() + before, kReadBytes);
    while (count < 0 && errno == EINTR);
    lines_.resize(before + static_cast<size_t>(std::max<ssize_t>(count, 0)));
    if (count > 0) return;
    end_of_input_ = true;
    if (count < 0) complain("Standard input cannot be read any further.");
    failed_ |= count < 0;
  }

  int give_up(const Error& error) {
    print();
    complain(fmt::format(
        "{} {} requests were answered; whether the {} after them took effect is not known.",
        error.message, first_ - 1, slots_.size() + (pending_ ? 1 : 0)));
    return kUnreachable;
  }

  Session& session_;
  int in_;
  Output& out_;
  BatchInput input_;
  std::string lines_;  ///< Read and not started.
  bool has_line_ = false;
  bool skipping_ = false;  ///< The line that is being read is too long.
  bool end_of_input_ = false;
  bool failed_ = false;
  std::optional<Pending> pending_;  ///< Read, and waits for its lane. Its id counts on being next.
  Lane lane_ = Lane::alone;         ///< Of those under way.
  size_t under_way_ = 0;            ///< Sent and not answered.
  uint64_t number_ = 0;             ///< Of the last line started.
  size_t first_ = 1;        ///< The daemon's id for the front of `slots_`; the others follow.
  std::deque<Slot> slots_;  ///< In the order of the lines.
};

}  // namespace

bool is_skipped(std::string_view line) {
  const size_t first = line.find_first_not_of(" \t\r");
  return first == std::string_view::npos || line[first] == '#';
}

BatchLine read_batch_line(std::string_view line, uint64_t number, Input& input) {
  const std::string own = std::to_string(number);
  const size_t first = line.find_first_not_of(" \t\r");
  if (first == std::string_view::npos || line[first] != '{')
    return {own, read_command(line, input)};
  auto object = json::parse(line, kDepthMax);
  if (!object) return {own, object.error()};
  const json::Value* id = object->find("id");
  const bool usable = id && !id->is(json::Kind::object) && !id->is(json::Kind::array) &&
                      !id->is(json::Kind::boolean);
  if (id && !usable) return {own, wrong("An id is a string, a number or null.")};
  return {id ? to_json(*id) : own, read_object(*object)};
}

int run_batch(Session& session, int in, Output& out) { return Batch(session, in, out).run(); }

}  // namespace ptwop::ctl
