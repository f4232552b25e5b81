// Both sides of a comparison behind one face: requests as bytes, replies counted. One thread, plain
// sockets.
#pragma once
#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

namespace bench {

using SteadyTime = std::chrono::steady_clock::time_point;
double seconds_since(SteadyTime start);

/// The bench measures or ends: says why on stderr, exits with 1.
[[noreturn]] void give_up(std::string_view why);

enum class Protocol : uint8_t { ptwop, redis };
enum class Op : uint8_t { get, put };

/// A server at a unix socket.
struct Target {
  Protocol protocol = Protocol::ptwop;
  std::string socket_path;
  std::string channel = "bench";  ///< Redis has none.
};

/// A JSON string of `bytes` characters that follows from `key`: random, so that compression finds
/// nothing in it.
std::string value_of(uint64_t key, size_t bytes);
std::string key_name(uint64_t key);

void append_request(std::string& out, const Target& target, Op op, uint64_t key,
                    size_t value_bytes);

/// The bytes of the first whole reply in `input`, 0 where it is not whole yet. Gives up on an
/// answer that is an error or no value.
size_t reply_size(const Target& target, Op op, std::string_view input);

/// A blocking connection.
class Connection {
 public:
  explicit Connection(int fd) : fd_(fd) {}
  Connection(Connection&& other) noexcept;
  Connection& operator=(Connection&&) = delete;
  ~Connection();
  static Connection to_unix(const std::string& path);
  static Connection to_loopback(uint16_t port);

  int fd() const { return fd_; }
  void send(std::string_view data);
  /// Waits for more and appends it. False where `timeout_ms` (-1: none) passed first.
  bool receive(std::string& input, int timeout_ms = -1);

 private:
  int fd_;
};

/// Sends one JSON-RPC request and waits for its answer: the whole line.
std::string call(Connection& connection, std::string_view method, std::string_view params);
/// The JSON text of a member of an answer: a string with its quotes, or a list of strings.
std::string member(std::string_view answer, std::string_view name);

}  // namespace bench
