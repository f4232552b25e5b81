// The listening end of a unix socket: where it may stand, and who may connect (rpc.md, "Who may
// connect").
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "base/result.h"

namespace boost::asio {
class io_context;
}

namespace ptwop::net {

/// Longest path of a socket: `sockaddr_un` holds it with a closing zero.
inline constexpr size_t kSocketPathBytesMax = 107;

/// Who is at the other end, as the kernel says.
struct Peer {
  uint32_t uid = 0;
  /// Our own uid, root, or, where the socket's folder is open to a group, a member of the socket's
  /// group.
  bool permitted = false;
};

/// All on the loop's thread. When descriptors run out it waits a moment and goes on.
class UnixServer {
 public:
  /// Owns `fd` from here on: a connected socket, close-on-exec.
  using OnAccept = std::function<void(int fd, const Peer& peer)>;

  UnixServer(boost::asio::io_context& loop, OnAccept on_accept);
  ~UnixServer();  ///< Closes.
  UnixServer(const UnixServer&) = delete;
  UnixServer& operator=(const UnixServer&) = delete;

  /// Makes the socket and accepts. A missing folder is made 0700; a folder that is not ours or is
  /// looser than 0750 is refused; a stale socket is replaced. Errors: `exists` (somebody answers
  /// there: exit 73), `invalid_params` (path or folder is wrong: exit 78), `internal`.
  Result<void> listen(const std::string& path);

  /// Accepts on a listening socket that systemd made. Its file is systemd's and stays.
  Result<void> adopt(int fd);

  /// Stops accepting and removes the socket that `listen` made, unless another stands there by now.
  void close();

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace ptwop::net
