#include "closed_loop.h"

#include <sys/epoll.h>
#include <unistd.h>

#include <algorithm>

namespace bench {

using std::chrono::steady_clock;

double Round::percentile_us(double share) const {
  if (latencies_ns.empty()) return 0;
  const auto index = static_cast<size_t>(share * static_cast<double>(latencies_ns.size() - 1));
  return latencies_ns[index] / 1000.0;
}

ClosedLoop::ClosedLoop(Target target, const Load& load)
    : target_(std::move(target)),
      load_(load),
      epoll_(::epoll_create1(EPOLL_CLOEXEC)),
      next_(load.first) {
  for (size_t i = 0; i < load_.connections; ++i) {
    Client& client =
        clients_.emplace_back(Client{Connection::to_unix(target_.socket_path), {}, {}});
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.ptr = &client;
    ::epoll_ctl(epoll_, EPOLL_CTL_ADD, client.connection.fd(), &event);
  }
}

ClosedLoop::~ClosedLoop() { ::close(epoll_); }

uint64_t ClosedLoop::next_key() {
  return load_.in_order ? next_++ : load_.first + random_() % load_.keys;
}

void ClosedLoop::start_requests(Client& client, size_t wanted) {
  const size_t count = std::min(wanted, unsent_);
  if (count == 0) return;
  unsent_ -= count;
  output_.clear();
  for (size_t i = 0; i < count; ++i)
    append_request(output_, target_, load_.op, next_key(), load_.value_bytes);
  client.sent.insert(client.sent.end(), count, steady_clock::now());
  client.connection.send(output_);
}

void ClosedLoop::take_replies(Client& client) {
  client.connection.receive(client.input);
  const auto now = steady_clock::now();
  size_t used = 0, replies = 0;
  while (const size_t size =
             reply_size(target_, load_.op, std::string_view(client.input).substr(used))) {
    if (client.sent.empty()) give_up("a reply that nobody asked for");
    using std::chrono::nanoseconds;
    round_.latencies_ns.push_back(
        static_cast<uint32_t>(nanoseconds(now - client.sent.front()).count()));
    client.sent.pop_front();
    used += size, ++replies;
  }
  client.input.erase(0, used);
  start_requests(client, replies);
}

Round ClosedLoop::run() {
  round_ = {};
  round_.latencies_ns.reserve(load_.count);
  unsent_ = load_.count;
  const auto started = steady_clock::now();
  for (Client& client : clients_) start_requests(client, load_.depth);
  epoll_event events[256];
  while (round_.latencies_ns.size() < load_.count) {
    if (clients_.size() ==
        1) {  // nothing to choose from: a blocking read saves a call on both sides
      take_replies(clients_.front());
      continue;
    }
    const int ready = ::epoll_wait(epoll_, events, std::size(events), -1);
    for (int i = 0; i < ready; ++i) take_replies(*static_cast<Client*>(events[i].data.ptr));
  }
  round_.seconds = seconds_since(started);
  std::ranges::sort(round_.latencies_ns);
  return std::move(round_);
}

}  // namespace bench
