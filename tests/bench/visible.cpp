#include "visible.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <random>
#include <string_view>
#include <vector>

#include "closed_loop.h"
#include "target.h"

namespace bench {
namespace {

using std::chrono::steady_clock;
constexpr int kPubsubTimeoutMs = 3000;
constexpr double kVisibleTimeoutS = 30;
constexpr useconds_t kPollPauseUs =
    50;  ///< Between two gets at B: polling must not take the core that Kubo needs.
constexpr size_t kMessageBytes = 900;  ///< What a message with one put of 200 B takes.

std::string request(std::string_view path, std::string_view topic, std::string_view type,
                    std::string_view body) {
  return fmt::format(
      "POST /api/v0/{}?arg={} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {}\r\nContent-Length: "
      "{}\r\n\r\n{}",
      path, topic, type, body.size(), body);
}

/// Reads the answer to pubsub/pub, which has no body, with a length of 0 or as the empty last
/// chunk.
void read_published(Connection& api) {
  std::string answer;
  const auto whole = [&] {
    const size_t head = answer.find("\r\n\r\n");
    if (head == std::string::npos) return false;
    return answer.find("Transfer-Encoding: chunked") == std::string::npos ||
           answer.ends_with("0\r\n\r\n");
  };
  while (!whole()) api.receive(answer);
  if (!answer.starts_with("HTTP/1.1 200")) give_up("pubsub/pub: " + answer);
}

/// One topic from A's Kubo to B's, on connections that stay open. Both subscribe, as two daemons
/// that share a channel do.
class RawPubsub {
 public:
  explicit RawPubsub(const Pair& pair)
      : topic_(pair.topic),
        publish_(Connection::to_loopback(pair.api_a)),
        own_(Connection::to_loopback(pair.api_a)),
        stream_(Connection::to_loopback(pair.api_b)) {
    for (Connection* const one : {&own_, &stream_}) {
      input_.clear();
      one->send(request("pubsub/sub", topic_, "text/plain", ""));
      while (input_.find("\r\n\r\n") == std::string::npos) one->receive(input_);
      if (!input_.starts_with("HTTP/1.1 200")) give_up("pubsub/sub: " + input_);
    }
    const std::string payload(kMessageBytes, 'x');
    message_ = request("pubsub/pub", topic_, "multipart/form-data; boundary=edge",
                       "--edge\r\nContent-Disposition: form-data; name=\"file\"; filename=\"m\"\r\n"
                       "Content-Type: application/octet-stream\r\n\r\n" +
                           payload + "\r\n--edge--\r\n");
  }

  /// µs until the message is read from B's stream; below 0 where it is lost.
  double once() {
    while (stream_.receive(input_, 0) || own_.receive(input_, 0)) {
    }
    input_.clear();
    const auto started = steady_clock::now();
    publish_.send(message_);
    bool arrived = true;
    while (arrived && input_.find("\"topicIDs\"") == std::string::npos)
      arrived = stream_.receive(input_, kPubsubTimeoutMs);
    const double us = seconds_since(started) * 1e6;
    read_published(publish_);
    return arrived ? us : -1;
  }

 private:
  std::string topic_;
  Connection publish_, own_, stream_;
  std::string input_, message_;
};

std::string put_params(const Pair& pair, uint64_t key) {
  return fmt::format(R"({{"channel":"{}","key":"{}","value":{}}})", pair.channel, key_name(key),
                     value_of(key, pair.value_bytes));
}

std::string summary(std::vector<double> samples) {
  if (samples.empty()) give_up("nothing was measured");
  std::ranges::sort(samples);
  const auto at = [&](double share) {
    return samples[static_cast<size_t>(share * static_cast<double>(samples.size() - 1))];
  };
  return fmt::format(R"({{"p50":{:.1f},"p99":{:.1f},"count":{}}})", at(0.5), at(0.99),
                     samples.size());
}

/// µs from sending kv.put to A until kv.get at B shows it. The put's answer is read meanwhile or
/// afterwards.
double until_readable(const Pair& pair, Connection& a, Connection& b, uint64_t key) {
  const auto get = fmt::format(
      "{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"kv.get\",\"params\":{{\"channel\":\"{}\","
      "\"key\":\"{}\"}}}}\n",
      pair.channel, key_name(key));
  const auto started = steady_clock::now();
  a.send(fmt::format("{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"kv.put\",\"params\":{}}}\n",
                     put_params(pair, key)));
  for (;;) {
    b.send(get);
    std::string answer;
    while (answer.empty() || answer.back() != '\n') b.receive(answer);
    if (answer.find("\"result\":") != std::string::npos) break;
    if (answer.find("\"code\":102") == std::string::npos) give_up("kv.get: " + answer);
    if (seconds_since(started) > kVisibleTimeoutS) give_up("a write did not become visible");
    ::usleep(kPollPauseUs);
  }
  const double us = seconds_since(started) * 1e6;
  std::string acknowledged;
  while (acknowledged.empty() || acknowledged.back() != '\n') a.receive(acknowledged);
  if (acknowledged.find("\"result\":") == std::string::npos) give_up("kv.put: " + acknowledged);
  return us;
}

std::string wait_params(const Pair& pair, std::string_view at) {
  return fmt::format(R"({{"channel":"{}","at":{},"timeout_ms":120000}})", pair.channel, at);
}

}  // namespace

void measure_visible(const Pair& pair) {
  Connection a = Connection::to_unix(pair.socket_a), b = Connection::to_unix(pair.socket_b);
  RawPubsub raw(pair);
  std::vector<double> pubsub, get, wait, acknowledged;
  size_t lost = 0;
  uint64_t key = 50'000'000;  // nobody else's
  std::mt19937 random{11};
  const auto pause = [&] {
    ::usleep(40'000 + random() % 20'000);
  };  // what the last one left behind comes to rest
  for (size_t i = 0; i < pair.count; ++i) {
    const double us = raw.once();
    us < 0 ? void(++lost) : pubsub.push_back(us);
    pause();
    get.push_back(until_readable(pair, a, b, key++));
    pause();
    const auto started = steady_clock::now();
    const std::string at = member(call(a, "kv.put", put_params(pair, key++)), "at");
    acknowledged.push_back(seconds_since(started) * 1e6);
    call(b, "channel.wait", wait_params(pair, at));
    wait.push_back(seconds_since(started) * 1e6);
    pause();
  }
  fmt::print(
      "{{\"pubsub_us\":{},\"get_us\":{},\"wait_us\":{},\"acknowledged_us\":{},\"lost\":{}}}\n",
      summary(pubsub), summary(get), summary(wait), summary(acknowledged), lost);
}

void measure_replicated(const Pair& pair) {
  Target target;
  target.socket_path = pair.socket_a;
  target.channel = pair.channel;
  Load load;
  load.op = Op::put;
  load.connections = 64;
  load.count = pair.count;
  load.first = 60'000'000;
  load.in_order = true;
  load.value_bytes = pair.value_bytes;
  Connection a = Connection::to_unix(pair.socket_a), b = Connection::to_unix(pair.socket_b);
  const Round round = ClosedLoop(target, load).run();
  const auto last = steady_clock::now();
  const std::string at =
      member(call(a, "channel.clock", fmt::format(R"({{"channel":"{}"}})", pair.channel)), "at");
  call(b, "channel.wait", wait_params(pair, at));
  const double lag_s = seconds_since(last);
  fmt::print("{{\"write_s\":{:.3f},\"per_s\":{:.0f},\"lag_s\":{:.3f}}}\n", round.seconds,
             round.per_second(), lag_s);
}

}  // namespace bench
