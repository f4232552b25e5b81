// One connection to the daemon, one JSON document a line.
#pragma once
#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/result.h"

namespace ptwop::ctl {

using Time = std::chrono::steady_clock::time_point;
inline Time in_ms(uint64_t ms) {
  return std::chrono::steady_clock::now() + std::chrono::milliseconds(ms);
}

/// The longest line that is read: a page of the longest values, written in their longest form, is
/// under half of it.
inline constexpr size_t kReplyBytesMax = 64 << 20;

/// What the daemon answered: a result, or an error object.
struct Answer {
  json::Value id;
  bool ok = false;
  json::Value body;
};

/// Reads a line as an answer; the error says that this is no JSON-RPC.
Result<Answer> read_answer(std::string_view line);
/// One request without its line end. `params`: JSON text.
std::string request_line(int64_t id, std::string_view method, std::string_view params);

/// A failed attempt to connect.
struct Tried {
  std::string path;
  int error = 0;  ///< errno
};

/// A Result's error always means that the connection is of no use any more.
class Client {
 public:
  /// The first of the paths that takes the connection; else nothing, and each one's failure.
  static std::optional<Client> connect(const std::vector<std::string>& paths,
                                       std::vector<Tried>& tried);
  Client(Client&& other) noexcept;
  Client& operator=(Client&& other) noexcept;
  ~Client();

  /// Sends one request and waits for its answer.
  Result<Answer> call(std::string_view method, std::string_view params, Time deadline);

  // For pipelining: the caller polls.
  int fd() const { return fd_; }
  void queue(std::string_view line);
  bool has_unsent() const { return sent_ < outgoing_.size(); }
  size_t unsent_bytes() const { return outgoing_.size() - sent_; }
  /// Sends and reads what goes without waiting.
  Result<void> send_some();
  Result<void> read_some();
  /// The next whole line that came, without its end.
  std::optional<std::string> next_line();
  const std::string& path() const { return path_; }

 private:
  Client(int fd, std::string path) : fd_(fd), path_(std::move(path)) {}
  int fd_ = -1;
  std::string path_;
  int64_t next_id_ = 1;
  std::string outgoing_;
  size_t sent_ = 0;
  std::string incoming_;
  size_t taken_ = 0;     ///< Of `incoming_`: handed out.
  size_t searched_ = 0;  ///< Of `incoming_`: holds no line end.
};

}  // namespace ptwop::ctl
