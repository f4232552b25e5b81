// The daemon's JSON-RPC server on a unix socket.
#pragma once
#include <memory>
#include <string>

#include "base/result.h"
#include "rpc/backend.h"

namespace boost::asio {
class io_context;
}

namespace ptwop::rpc {

inline constexpr size_t kConnectionsMax = 512;

/// All on the loop's thread.
class Server {
 public:
  /// `backend` outlives it.
  Server(boost::asio::io_context& loop, Backend& backend);
  ~Server();  ///< Closes.
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  /// Errors: `exists` (somebody answers there: exit 73), `invalid_params` (wrong path or folder:
  /// exit 78), `internal`.
  Result<void> listen(const std::string& path);
  /// A listening socket that systemd made.
  Result<void> adopt(int fd);

  /// Takes no new connections and removes the socket.
  void stop_listening();
  /// Ends every connection once what was answered is sent, within a second: who has not read it by
  /// then is cut off. Answers that come later are dropped.
  void close();
  size_t connections() const;
  size_t in_flight() const;  ///< Requests of all connections that were started and not answered.

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace ptwop::rpc
