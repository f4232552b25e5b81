#include "rpc/server.h"

#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <unordered_set>
#include <vector>

#include "net/unix_server.h"
#include "rpc/session.h"

namespace ptwop::rpc {

namespace {

// At the end: how often it is seen who has been sent everything, and how many times before the rest
// is cut off.
constexpr auto kEndCheckTime = std::chrono::milliseconds(50);
constexpr int kEndChecks = 20;

}  // namespace

struct Server::Impl : std::enable_shared_from_this<Impl> {
  Impl(boost::asio::io_context& io_context, Backend& backend)
      : loop(io_context),
        end_timer(io_context),
        mailbox(std::make_shared<Mailbox>(io_context, stats)),
        dispatcher(backend, mailbox, stats),
        listener(io_context, [this](int fd, const net::Peer& peer) { accept(fd, peer); }) {}

  void accept(int fd, const net::Peer& peer) {
    auto session =
        std::make_shared<Session>(loop, fd, SessionPart{dispatcher, stats, pending_of_all});
    if (!peer.permitted)
      return session->refuse(Code::not_permitted,
                             "The user of this process may not use this daemon.");
    if (sessions.size() >= kConnectionsMax)
      return session->refuse(Code::overloaded,
                             "There are too many connections: close some and try again.");
    Session* key = session.get();
    sessions.insert(session);
    stats.connections = sessions.size();
    // Weak: a connection may outlive the server while its last answers are sent.
    session->on_gone = [weak = weak_from_this(), key] {
      const auto self = weak.lock();
      if (!self) return;
      std::erase_if(self->sessions, [key](const auto& held) { return held.get() == key; });
      self->stats.connections = self->sessions.size();
      if (self->sessions.empty()) self->end_timer.cancel();
    };
    session->start();
  }

  void close() {
    listener.close();
    mailbox->close();
    for (const auto& session : all()) session->finish();
    end_rest(kEndChecks);
  }

  /// Meanwhile what clients still send is thrown away, so that most of them see a clean end.
  void end_rest(int checks) {
    if (sessions.empty()) return;
    end_timer.expires_after(kEndCheckTime);
    end_timer.async_wait([self = shared_from_this(), checks](boost::system::error_code cancelled) {
      if (cancelled) return;
      for (const auto& session : self->all())
        if (checks == 1 || session->all_sent()) session->close();
      self->end_rest(checks - 1);
    });
  }

  /// A copy: sessions leave the set as they close.
  std::vector<std::shared_ptr<Session>> all() const { return {sessions.begin(), sessions.end()}; }

  boost::asio::io_context& loop;
  boost::asio::steady_timer end_timer;
  Stats stats;
  std::shared_ptr<Mailbox> mailbox;
  Dispatcher dispatcher;
  std::unordered_set<std::shared_ptr<Session>> sessions;
  const std::function<size_t()> pending_of_all = [this] {
    size_t sum = 0;
    for (const auto& session : sessions) sum += session->pending();
    return sum;
  };
  net::UnixServer listener;
};

Server::Server(boost::asio::io_context& loop, Backend& backend)
    : impl_(std::make_shared<Impl>(loop, backend)) {}
Server::~Server() { impl_->close(); }
Result<void> Server::listen(const std::string& path) { return impl_->listener.listen(path); }
Result<void> Server::adopt(int fd) { return impl_->listener.adopt(fd); }
void Server::stop_listening() { impl_->listener.close(); }
void Server::close() { impl_->close(); }
size_t Server::connections() const { return impl_->sessions.size(); }
size_t Server::in_flight() const { return impl_->stats.in_flight; }

}  // namespace ptwop::rpc
