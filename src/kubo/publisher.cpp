#include "kubo/publisher.h"

#include "base/limits.h"
#include "kubo/client.h"
#include "kubo/wire.h"

namespace ptwop::kubo {
namespace {
constexpr size_t kWaitingBytesMax = 16 << 20;
constexpr size_t kWaitingMax = 10'000;
constexpr uint64_t kTimeoutMs = 10'000;
}  // namespace

bool Publisher::add(const ipld::Cid& channel, Bytes message) {
  Topic& topic = topics_[channel];
  const bool room =
      topic.waiting.size() < kWaitingMax && waiting_bytes_ + message.size() <= kWaitingBytesMax;
  if (!room || message.size() > limits::kMessageBytesMax) {
    if (!topic.in_flight) topics_.erase(channel);
    return false;
  }
  waiting_bytes_ += message.size();
  topic.waiting.push_back(std::move(message));
  if (!topic.in_flight) send_next(channel, topic);
  return true;
}

void Publisher::send_next(const ipld::Cid& channel, Topic& topic) {
  Call call;
  call.path = "pubsub/pub?arg=" + multibase(topic_of(channel));
  call.timeout_ms = kTimeoutMs;
  waiting_bytes_ -= topic.waiting.front().size();
  call.parts.push_back({"data", std::move(topic.waiting.front())});
  topic.waiting.pop_front();
  call.done = [this, channel](const Result<Bytes>& body) { on_sent(channel, body.ok()); };
  topic.in_flight = api_.start(std::move(call));
}

void Publisher::on_sent(const ipld::Cid& channel, bool ok) {
  auto found = topics_.find(channel);
  if (found == topics_.end()) return;
  found->second.in_flight = 0;
  if (found->second.waiting.empty()) {
    topics_.erase(found);
  } else {
    send_next(channel, found->second);
  }
  told_(channel, ok);
}

void Publisher::fail_all() {
  auto topics = std::exchange(topics_, {});
  waiting_bytes_ = 0;
  for (auto& [channel, topic] : topics) {
    if (topic.in_flight) {
      api_.cancel(topic.in_flight);
      told_(channel, false);
    }
    for (size_t i = 0; i < topic.waiting.size(); ++i) told_(channel, false);
  }
}

}  // namespace ptwop::kubo
