#include "net/unix_server.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cerrno>
#include <cstring>
#include <optional>
#include <vector>

#include "base/log.h"
#include "net/once_a_minute.h"

namespace ptwop::net {
namespace {

namespace asio = boost::asio;
using boost::system::error_code;
using Protocol = asio::local::stream_protocol;

constexpr auto kAcceptPause = std::chrono::milliseconds(100);

Error configuration(std::string message) { return fail(Code::invalid_params, std::move(message)); }

std::string folder_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

/// Makes the folder, and those above it, where they are missing.
Result<void> make_folders(const std::string& folder) {
  if (mkdir(folder.c_str(), 0700) == 0 || errno == EEXIST) return {};
  if (errno == ENOENT && folder != folder_of(folder)) {
    PTWOP_CHECK(make_folders(folder_of(folder)));
    if (mkdir(folder.c_str(), 0700) == 0 || errno == EEXIST) return {};
  }
  return configuration(
      fmt::format("The socket's folder {} cannot be made: {}.", folder, strerror(errno)));
}

Result<struct stat> checked_folder(const std::string& folder) {
  struct stat info {};
  if (stat(folder.c_str(), &info) != 0)
    return configuration(
        fmt::format("The socket's folder {} cannot be read: {}.", folder, strerror(errno)));
  if (!S_ISDIR(info.st_mode)) return configuration(fmt::format("{} is not a folder.", folder));
  if (info.st_uid != geteuid())
    return configuration(fmt::format(
        "The socket's folder {} belongs to another user (uid {}): choose one of your own.", folder,
        info.st_uid));
  if (info.st_mode & 0027)
    return configuration(
        fmt::format("The socket's folder {} has mode {:04o}: make it 0700 (or 0750 for a group), "
                    "or choose another.",
                    folder, info.st_mode & 07777));
  return info;
}

struct Descriptor {
  int fd;
  explicit Descriptor(int number) : fd(number) {}
  ~Descriptor() {
    if (fd >= 0) ::close(fd);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int release() { return std::exchange(fd, -1); }
};

sockaddr_un address_of(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

/// Removes what an ended daemon left behind. Anything but a socket that nobody listens on stays.
Result<void> clear_stale(const std::string& path) {
  struct stat info {};
  if (lstat(path.c_str(), &info) != 0) {
    if (errno == ENOENT) return {};
    return configuration(fmt::format("{} cannot be looked at: {}.", path, strerror(errno)));
  }
  if (!S_ISSOCK(info.st_mode))
    return configuration(fmt::format("{} is there and is not a socket: it was left alone.", path));
  const Descriptor probe(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  const sockaddr_un address = address_of(path);
  // A full backlog (EAGAIN) is somebody alive, too.
  if (connect(probe.fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 ||
      errno == EAGAIN)
    return fail(
        Code::exists,
        fmt::format("Another daemon answers on {}: stop it first, or choose another socket.",
                    path));
  if (errno != ECONNREFUSED && errno != ENOENT)
    return configuration(fmt::format("{} cannot be tried: {}.", path, strerror(errno)));
  if (unlink(path.c_str()) != 0 && errno != ENOENT)
    return configuration(
        fmt::format("The stale socket {} cannot be removed: {}.", path, strerror(errno)));
  return {};
}

Result<int> bind_at(const std::string& path) {
  Descriptor made(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (made.fd < 0)
    return fail(Code::internal, fmt::format("No socket can be made: {}.", strerror(errno)));
  const sockaddr_un address = address_of(path);
  const mode_t before = umask(0177);
  const int bound = bind(made.fd, reinterpret_cast<const sockaddr*>(&address), sizeof address);
  const int why = errno;
  umask(before);
  if (bound != 0 && why == EADDRINUSE)
    return fail(Code::exists, fmt::format("Another daemon has just taken {}.", path));
  if (bound != 0)
    return configuration(fmt::format("The socket {} cannot be made: {}.", path, strerror(why)));
  if (::listen(made.fd, SOMAXCONN) != 0)
    return fail(Code::internal,
                fmt::format("{} cannot be listened on: {}.", path, strerror(errno)));
  return made.release();
}

/// Gives the socket to the folder's group.
Result<void> open_to_group(const std::string& path, gid_t group) {
  if ((group != getegid() && chown(path.c_str(), static_cast<uid_t>(-1), group) != 0) ||
      chmod(path.c_str(), 0660) != 0)
    return configuration(fmt::format(
        "The socket {} cannot be given to the group of its folder: {}.", path, strerror(errno)));
  return {};
}

bool in_group(int fd, const ucred& peer, gid_t group) {
  if (peer.gid == group) return true;
  std::vector<gid_t> groups(64);
  auto size = static_cast<socklen_t>(groups.size() * sizeof(gid_t));
  int got = getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups.data(), &size);
  if (got != 0 && errno == ERANGE) {
    groups.resize(size / sizeof(gid_t));
    got = getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups.data(), &size);
  }
  if (got != 0) return false;
  groups.resize(size / sizeof(gid_t));
  return std::ranges::find(groups, group) != groups.end();
}

Peer peer_of(int fd, std::optional<gid_t> group) {
  ucred credentials{};
  socklen_t size = sizeof credentials;
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0) return {UINT32_MAX, false};
  const bool own = credentials.uid == geteuid() || credentials.uid == 0;
  return {credentials.uid, own || (group && in_group(fd, credentials, *group))};
}

}  // namespace

struct UnixServer::Impl : std::enable_shared_from_this<Impl> {
  Impl(asio::io_context& loop, OnAccept handler)
      : acceptor(loop), pause(loop), on_accept(std::move(handler)) {}

  Result<void> start(int fd) {
    error_code error;
    acceptor.assign(Protocol(), fd, error);
    if (error) {
      ::close(fd);
      return fail(Code::internal, fmt::format("The socket cannot be used: {}.", error.message()));
    }
    accept();
    return {};
  }

  void accept() {
    acceptor.async_accept([self = shared_from_this()](error_code error, Protocol::socket socket) {
      if (!self->acceptor.is_open()) return;
      if (error) return self->accept_failed(error);
      const int fd = socket.release();
      fcntl(fd, F_SETFD, FD_CLOEXEC);
      self->on_accept(fd, peer_of(fd, self->group));
      if (self->acceptor.is_open()) self->accept();
    });
  }

  /// Out of descriptors or memory: the connection waits in the kernel's queue, and asking again at
  /// once would spin.
  void accept_failed(error_code error) {
    if (const auto times = failures.due())
      log::warn("net", "cannot accept connections",
                {{"error", error.message()}, {"times", *times}});
    pause.expires_after(kAcceptPause);
    pause.async_wait([self = shared_from_this()](error_code cancelled) {
      if (!cancelled && self->acceptor.is_open()) self->accept();
    });
  }

  void close() {
    error_code ignored;
    acceptor.close(ignored);
    pause.cancel();
    struct stat info {};
    if (!made_path.empty() && lstat(made_path.c_str(), &info) == 0 && info.st_dev == made.st_dev &&
        info.st_ino == made.st_ino)
      unlink(made_path.c_str());
    made_path.clear();
  }

  Protocol::acceptor acceptor;
  asio::steady_timer pause;
  OnceAMinute failures;
  OnAccept on_accept;
  std::optional<gid_t> group;  ///< Whose members may connect too.
  std::string made_path;       ///< Empty: none of ours.
  struct stat made {};
};

UnixServer::UnixServer(asio::io_context& loop, OnAccept on_accept)
    : impl_(std::make_shared<Impl>(loop, std::move(on_accept))) {}
UnixServer::~UnixServer() { close(); }
void UnixServer::close() { impl_->close(); }

Result<void> UnixServer::listen(const std::string& path) {
  if (path.empty() || path.size() > kSocketPathBytesMax || path.find('\0') != std::string::npos)
    return configuration(
        fmt::format("A socket's path has 1 to {} bytes, and {} has {}: choose a shorter one.",
                    kSocketPathBytesMax, path, path.size()));
  PTWOP_CHECK(make_folders(folder_of(path)));
  PTWOP_TRY(const struct stat folder, checked_folder(folder_of(path)));
  PTWOP_CHECK(clear_stale(path));
  PTWOP_TRY(const int fd, bind_at(path));
  Descriptor socket(fd);
  impl_->made_path = path;
  lstat(path.c_str(), &impl_->made);
  if (folder.st_mode & 0050) {
    PTWOP_CHECK(open_to_group(path, folder.st_gid));
    impl_->group = folder.st_gid;
  }
  return impl_->start(socket.release());
}

Result<void> UnixServer::adopt(int fd) {
  Descriptor socket(fd);
  sockaddr_un address{};
  socklen_t size = sizeof address;
  int listening = 0;
  socklen_t flag_size = sizeof listening;
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0 ||
      address.sun_family != AF_UNIX ||
      getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &flag_size) != 0 || !listening)
    return configuration("The socket that was passed in is not a listening unix socket.");
  fcntl(fd, F_SETFD, FD_CLOEXEC);
  const std::string path = size > offsetof(sockaddr_un, sun_path) ? address.sun_path : "";
  struct stat folder {
  }, file{};
  if (!path.empty() && stat(folder_of(path).c_str(), &folder) == 0 &&
      stat(path.c_str(), &file) == 0 && (folder.st_mode & 0077) == 0050 && (file.st_mode & 0020))
    impl_->group = file.st_gid;
  return impl_->start(socket.release());
}

}  // namespace ptwop::net
