#include "net/loopback.h"

#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>

namespace ptwop::net {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

constexpr auto kAcceptPause = std::chrono::milliseconds(100);

tcp::endpoint at(uint16_t port) { return {asio::ip::address_v4::loopback(), port}; }

// Small frames wait for nobody.
int released(tcp::socket& socket) {
  error_code ignored;
  socket.set_option(tcp::no_delay(true), ignored);
  const int fd = socket.release(ignored);
  return fd;
}

}  // namespace

struct LoopbackListener::Impl : std::enable_shared_from_this<Impl> {
  Impl(asio::io_context& io, OnAccept accepted)
      : loop(io), acceptor(io), pause(io), on_accept(std::move(accepted)) {}

  void accept() {
    acceptor.async_accept([weak = weak_from_this()](error_code error, tcp::socket socket) {
      const auto self = weak.lock();
      if (!self || error == asio::error::operation_aborted) return;
      if (error) return self->rest();  // descriptors ran out
      const int fd = released(socket);
      if (fd >= 0) self->on_accept(fd);
      self->accept();
    });
  }
  void rest() {
    pause.expires_after(kAcceptPause);
    pause.async_wait([weak = weak_from_this()](error_code error) {
      if (const auto self = weak.lock(); self && !error) self->accept();
    });
  }

  asio::io_context& loop;
  tcp::acceptor acceptor;
  asio::steady_timer pause;
  OnAccept on_accept;
};

LoopbackListener::LoopbackListener(asio::io_context& loop, OnAccept on_accept)
    : impl_(std::make_shared<Impl>(loop, std::move(on_accept))) {}
LoopbackListener::~LoopbackListener() = default;

Result<void> LoopbackListener::listen() {
  error_code error;
  impl_->acceptor.open(tcp::v4(), error);
  if (!error) impl_->acceptor.bind(at(0), error);
  if (!error) impl_->acceptor.listen(tcp::acceptor::max_listen_connections, error);
  if (error) {
    error_code ignored;
    impl_->acceptor.close(ignored);
    return fail(Code::internal, "cannot listen on 127.0.0.1: " + error.message());
  }
  impl_->accept();
  return {};
}

uint16_t LoopbackListener::port() const {
  error_code error;
  const auto endpoint = impl_->acceptor.local_endpoint(error);
  return error ? 0 : endpoint.port();
}

void connect_loopback(asio::io_context& loop, uint16_t port, uint64_t timeout_ms,
                      std::function<void(Result<int> fd)> done) {
  struct Attempt {
    explicit Attempt(asio::io_context& io) : socket(io), timer(io) {}
    tcp::socket socket;
    asio::steady_timer timer;
    bool late = false;
  };
  auto attempt = std::make_shared<Attempt>(loop);
  attempt->timer.expires_after(std::chrono::milliseconds(timeout_ms));
  attempt->timer.async_wait([weak = std::weak_ptr(attempt)](error_code cancelled) {
    const auto self = weak.lock();
    if (cancelled || !self) return;
    self->late = true;
    error_code ignored;
    self->socket.close(ignored);
  });
  attempt->socket.async_connect(at(port), [attempt, done = std::move(done)](error_code error) {
    attempt->timer.cancel();
    if (attempt->late) return done(fail(Code::timed_out, "the port is silent"));
    const int fd = error ? -1 : released(attempt->socket);
    if (fd < 0) return done(fail(Code::kubo_offline, "nobody listens there"));
    done(fd);
  });
}

void close_fd(int fd) { ::close(fd); }

uint16_t free_loopback_port() {
  asio::io_context loop;
  tcp::acceptor probe(loop);
  error_code error;
  probe.open(tcp::v4(), error);
  if (!error) probe.bind(at(0), error);
  if (error) return 0;
  const auto endpoint = probe.local_endpoint(error);
  return error ? 0 : endpoint.port();
}

}  // namespace ptwop::net
