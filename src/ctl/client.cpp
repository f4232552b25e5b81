#include "ctl/client.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "ctl/values.h"

namespace ptwop::ctl {
namespace {

constexpr size_t kDepthMax = 1000;
constexpr size_t kChunkBytes = 256 << 10;

Error broken(std::string message) { return fail(Code::internal, std::move(message)); }

/// A connected, non-blocking socket, or -errno.
int connected(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) return -ENAMETOOLONG;
  path.copy(address.sun_path, path.size());
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return -errno;
  // Bounds connecting to a daemon that takes no connections; what follows does not block.
  const timeval limit{5, 0};
  ::setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  int failed = 0;
  // A full backlog blocks here, and a signal interrupts that.
  while (::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    failed = errno;
    if (failed != EINTR) break;
    failed = 0;
  }
  if (failed == 0 && ::fcntl(fd, F_SETFL, O_NONBLOCK) != 0) failed = errno;
  if (failed == 0) return fd;
  ::close(fd);
  return -failed;
}

}  // namespace

Result<Answer> read_answer(std::string_view line) {
  auto parsed = json::parse(line, kDepthMax);
  if (!parsed) return broken("What answers at the socket does not speak JSON-RPC: is it ptwopd?");
  const json::Value* result = parsed->find("result");
  const json::Value* error = parsed->find("error");
  const json::Value* id = parsed->find("id");
  if (!id || !result == !error || (error && !error->is(json::Kind::object)))
    return broken("What answers at the socket does not speak JSON-RPC: is it ptwopd?");
  return Answer{*id, result != nullptr, result ? *result : *error};
}

std::string request_line(int64_t id, std::string_view method, std::string_view params) {
  std::string line;
  json::Writer(line)
      .object()
      .key("jsonrpc")
      .string("2.0")
      .key("id")
      .number(id)
      .key("method")
      .string(method)
      .key("params")
      .raw(params)
      .end_object();
  return line;
}

std::optional<Client> Client::connect(const std::vector<std::string>& paths,
                                      std::vector<Tried>& tried) {
  tried.clear();
  for (const std::string& path : paths) {
    const int fd = connected(path);
    if (fd >= 0) return Client(fd, path);
    tried.push_back({path, -fd});
  }
  return std::nullopt;
}

Client::Client(Client&& other) noexcept { *this = std::move(other); }

Client& Client::operator=(Client&& other) noexcept {
  std::swap(fd_, other.fd_);
  path_.swap(other.path_);
  next_id_ = other.next_id_;
  outgoing_.swap(other.outgoing_);
  std::swap(sent_, other.sent_);
  incoming_.swap(other.incoming_);
  std::swap(taken_, other.taken_);
  std::swap(searched_, other.searched_);
  return *this;
}

Client::~Client() {
  if (fd_ >= 0) ::close(fd_);
}

void Client::queue(std::string_view line) {
  outgoing_.erase(0, sent_);
  sent_ = 0;
  outgoing_ += line;
  outgoing_ += '\n';
}

Result<void> Client::send_some() {
  while (has_unsent()) {
    const ssize_t count = ::send(fd_, outgoing_.data() + sent_, unsent_bytes(), MSG_NOSIGNAL);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return {};
    // A daemon that refuses and closes has said why: that is still there to read.
    if (count < 0 && (errno == EPIPE || errno == ECONNRESET)) {
      sent_ = outgoing_.size();
      return {};
    }
    if (count < 0) return broken(fmt::format("The connection broke: {}.", std::strerror(errno)));
    sent_ += static_cast<size_t>(count);
  }
  return {};
}

Result<void> Client::read_some() {
  if (taken_ > 0) {
    incoming_.erase(0, taken_);
    searched_ -= taken_;
    taken_ = 0;
  }
  const size_t before = incoming_.size();
  incoming_.resize(before + kChunkBytes);
  ssize_t count;
  do count = ::recv(fd_, incoming_.data() + before, kChunkBytes, 0);
  while (count < 0 && errno == EINTR);
  const int error = errno;
  incoming_.resize(before + static_cast<size_t>(std::max<ssize_t>(count, 0)));
  if (count == 0) return broken("The daemon closed the connection.");
  if (count < 0 && error != EAGAIN && error != EWOULDBLOCK)
    return broken(fmt::format("The connection broke: {}.", std::strerror(error)));
  if (incoming_.size() > kReplyBytesMax && incoming_.find('\n') == std::string::npos)
    return broken(fmt::format("The answer is longer than {} MiB.", kReplyBytesMax >> 20));
  return {};
}

std::optional<std::string> Client::next_line() {
  const size_t end = incoming_.find('\n', searched_);
  if (end == std::string::npos) {
    searched_ = incoming_.size();
    return std::nullopt;
  }
  std::string line = incoming_.substr(taken_, end - taken_);
  taken_ = searched_ = end + 1;
  return line;
}

Result<Answer> Client::call(std::string_view method, std::string_view params, Time deadline) {
  const int64_t id = next_id_++;
  queue(request_line(id, method, params));
  for (;;) {
    while (const auto line = next_line()) {
      PTWOP_TRY(Answer answer, read_answer(*line));
      // An id of null: the request was refused before its id was read.
      if (answer.id.is(json::Kind::null) ||
          (answer.id.is(json::Kind::integer) && answer.id.integer == id))
        return answer;
    }
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now())
            .count();
    if (left <= 0) return fail(Code::timed_out, "No answer in time.");
    pollfd ready{fd_, static_cast<short>(POLLIN | (has_unsent() ? POLLOUT : 0)), 0};
    const int count = ::poll(&ready, 1, static_cast<int>(std::min<int64_t>(left, 60'000)));
    if (count < 0 && errno != EINTR)
      return broken(fmt::format("The connection broke: {}.", std::strerror(errno)));
    if (count <= 0) continue;
    if (ready.revents & POLLOUT) PTWOP_CHECK(send_some());
    if (ready.revents & (POLLIN | POLLHUP | POLLERR)) PTWOP_CHECK(read_some());
  }
}

}  // namespace ptwop::ctl
