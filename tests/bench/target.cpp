#include "target.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <iterator>
#include <utility>

namespace bench {

double seconds_since(SteadyTime start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

void give_up(std::string_view why) {
  fmt::print(stderr, "bench: {}\n", why);
  std::exit(1);
}

std::string key_name(uint64_t key) { return fmt::format("key-{:08}", key); }

std::string value_of(uint64_t key, size_t bytes) {
  static constexpr std::string_view kLetters =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  std::string value = "\"";
  uint64_t state = key * 0x9e3779b97f4a7c15 + 1;
  while (value.size() <= bytes) {
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;  // xorshift64
    value += kLetters[state >> 58];
  }
  value += '"';
  return value;
}

void append_request(std::string& out, const Target& target, Op op, uint64_t key,
                    size_t value_bytes) {
  const std::string name = key_name(key);
  const auto to = std::back_inserter(out);
  if (target.protocol == Protocol::redis) {
    if (op == Op::get) {
      fmt::format_to(to, "*2\r\n$3\r\nGET\r\n${}\r\n{}\r\n", name.size(), name);
      return;
    }
    const std::string value = value_of(key, value_bytes);
    fmt::format_to(to, "*3\r\n$3\r\nSET\r\n${}\r\n{}\r\n${}\r\n{}\r\n", name.size(), name,
                   value.size(), value);
    return;
  }
  if (op == Op::get) {
    fmt::format_to(
        to,
        R"({{"jsonrpc":"2.0","id":{},"method":"kv.get","params":{{"channel":"{}","key":"{}"}}}})",
        key, target.channel, name);
  } else {
    fmt::format_to(
        to,
        R"({{"jsonrpc":"2.0","id":{},"method":"kv.put","params":{{"channel":"{}","key":"{}","value":{}}}}})",
        key, target.channel, name, value_of(key, value_bytes));
  }
  out += '\n';
}

namespace {

size_t redis_reply_size(Op op, std::string_view input) {
  const size_t line_end = input.find("\r\n");
  if (line_end == std::string_view::npos) return 0;
  if (op == Op::put && input[0] == '+') return line_end + 2;
  if (op == Op::get && input[0] == '$' && input[1] != '-') {
    size_t size = 0;
    std::from_chars(input.data() + 1, input.data() + line_end, size);
    const size_t whole = line_end + 2 + size + 2;
    return input.size() < whole ? 0 : whole;
  }
  give_up(fmt::format("redis answers {}", input.substr(0, line_end)));
}

size_t ptwop_reply_size(Op op, std::string_view input) {
  const size_t newline = input.find('\n');
  if (newline == std::string_view::npos) return 0;
  const std::string_view expected =
      op == Op::get ? R"("result":{"value":")" : R"("result":{"at":")";
  if (input.substr(0, 80).find(expected) == std::string_view::npos)
    give_up(fmt::format("ptwopd answers {}", input.substr(0, newline)));
  return newline + 1;
}

}  // namespace

size_t reply_size(const Target& target, Op op, std::string_view input) {
  if (input.empty()) return 0;
  return target.protocol == Protocol::redis ? redis_reply_size(op, input)
                                            : ptwop_reply_size(op, input);
}

Connection::Connection(Connection&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}

Connection::~Connection() {
  if (fd_ >= 0) ::close(fd_);
}

Connection Connection::to_unix(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) give_up("the path of a socket is too long: " + path);
  path.copy(address.sun_path, path.size());
  Connection connection(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (::connect(connection.fd_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0)
    give_up("cannot connect to " + path);
  return connection;
}

Connection Connection::to_loopback(uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  Connection connection(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const int on = 1;
  ::setsockopt(connection.fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  if (::connect(connection.fd_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0)
    give_up(fmt::format("cannot connect to port {}", port));
  return connection;
}

void Connection::send(std::string_view data) {
  while (!data.empty()) {
    const ssize_t sent = ::send(fd_, data.data(), data.size(), MSG_NOSIGNAL);
    if (sent < 0) give_up("a connection broke while sending");
    data.remove_prefix(static_cast<size_t>(sent));
  }
}

bool Connection::receive(std::string& input, int timeout_ms) {
  if (timeout_ms >= 0) {
    pollfd waiting{fd_, POLLIN, 0};
    if (::poll(&waiting, 1, timeout_ms) == 0) return false;
  }
  char chunk[64 << 10];
  const ssize_t got = ::recv(fd_, chunk, sizeof(chunk), 0);
  if (got <= 0) give_up("a connection was closed by the other side");
  input.append(chunk, static_cast<size_t>(got));
  return true;
}

std::string call(Connection& connection, std::string_view method, std::string_view params) {
  connection.send(fmt::format("{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"{}\",\"params\":{}}}\n",
                              method, params));
  std::string answer;
  while (answer.empty() || answer.back() != '\n') connection.receive(answer);
  if (answer.find("\"result\":") == std::string::npos)
    give_up(fmt::format("{}: {}", method, answer));
  return answer;
}

std::string member(std::string_view answer, std::string_view name) {
  const std::string mark = fmt::format("\"{}\":", name);
  const size_t at = answer.find(mark);
  if (at == std::string_view::npos) give_up(fmt::format("no {} in {}", name, answer));
  const std::string_view rest = answer.substr(at + mark.size());
  const size_t end = rest[0] == '[' ? rest.find(']') : rest.find('"', 1);
  return std::string(rest.substr(0, end + 1));
}

}  // namespace bench
