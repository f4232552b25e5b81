#include "kubo/pins.h"

#include <utility>

#include "base/log.h"

namespace ptwop::kubo {
namespace {
constexpr size_t kWaitingMax = 10'000;
constexpr uint64_t kKuboTimeoutMs = 60'000;  ///< A recursive pin may have to fetch what it names.
constexpr uint64_t kTimeoutMs = kKuboTimeoutMs + 5'000;

std::string with_timeout(std::string path) {
  return path + "&timeout=" + std::to_string(kKuboTimeoutMs) + "ms";
}
}  // namespace

void Pins::add(const ipld::Cid& last, const ipld::Cid& next) {
  // a → b and then b → c, neither begun, is a → c: a long time without Kubo leaves one wish a
  // channel.
  const size_t begun = in_flight_ ? 1 : 0;
  for (size_t i = begun; last && i < waiting_.size(); ++i) {
    if (waiting_[i].next == last) {
      waiting_[i].next = next;
      return;
    }
  }
  if (waiting_.size() >= kWaitingMax) {
    log::warn("kubo", "too many pins are waiting; one was dropped", {{"cid", next.text()}});
    return;
  }
  waiting_.push_back({last, next});
  send_next();
}

void Pins::set_ready(bool ready) {
  ready_ = ready;
  if (!ready && in_flight_) api_.cancel(std::exchange(in_flight_, 0));
  send_next();
}

void Pins::send_next() {
  if (!ready_ || in_flight_ || waiting_.empty()) return;
  const Wish& wish = waiting_.front();
  if (wish.last && wish.next && wish.last != wish.next) {
    send("pin/update?arg=" + wish.last.text() + "&arg=" + wish.next.text() + "&unpin=true",
         Step::update);
  } else if (wish.next) {
    send("pin/add?recursive=true&arg=" + wish.next.text(), Step::add);
  } else if (wish.last) {
    send("pin/rm?recursive=true&arg=" + wish.last.text(), Step::remove);
  } else {
    waiting_.pop_front();
    send_next();
  }
}

void Pins::send(std::string path, Step step) {
  Call call;
  call.path = with_timeout(std::move(path));
  call.timeout_ms = kTimeoutMs;
  call.done = [this, step](const Result<Bytes>& body) { on_answer(body, step); };
  in_flight_ = api_.start(std::move(call));
}

void Pins::on_answer(const Result<Bytes>& body, Step step) {
  in_flight_ = 0;
  if (!body && body.error().code == Code::kubo_offline) {
    // The wish stays the first; set_ready follows when Kubo is there again, or the next wish
    // repeats it.
    return;
  }
  if (!body && step == Step::update) {
    // pin/update refuses when `last` is not pinned (another repository, a collection by hand): pin
    // the new one anyway.
    send("pin/add?recursive=true&arg=" + waiting_.front().next.text(), Step::add);
    return;
  }
  if (!body) log::debug("kubo", "a pin was not changed", {{"reason", body.error().message}});
  const Wish done = waiting_.front();
  waiting_.pop_front();
  if (done.next) told_(done.next, body.ok());
  // Pinned another way than by pin/update: `last` is still to be released, if it is pinned at all.
  if (body && step == Step::add && done.last) waiting_.push_front({done.last, {}});
  send_next();
}

}  // namespace ptwop::kubo
