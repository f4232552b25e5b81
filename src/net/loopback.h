// TCP on 127.0.0.1: what Kubo's p2p streams come out of and go into. Descriptors for
// net::UnixStream.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>

#include "base/result.h"

namespace boost::asio {
class io_context;
}

namespace ptwop::net {

/// Accepts on a free port of 127.0.0.1. On the loop's thread.
class LoopbackListener {
 public:
  /// Owns `fd` from here on.
  using OnAccept = std::function<void(int fd)>;
  LoopbackListener(boost::asio::io_context& loop, OnAccept on_accept);
  ~LoopbackListener();
  LoopbackListener(const LoopbackListener&) = delete;
  LoopbackListener& operator=(const LoopbackListener&) = delete;

  Result<void> listen();
  uint16_t port() const;  ///< 0 until it listens.

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

/// `done` gets the connected descriptor, or kubo_offline (nobody listens there) or timed_out.
void connect_loopback(boost::asio::io_context& loop, uint16_t port, uint64_t timeout_ms,
                      std::function<void(Result<int> fd)> done);

void close_fd(int fd);

/// A port that nobody listens on at the moment; 0 when there is none.
uint16_t free_loopback_port();

}  // namespace ptwop::net
