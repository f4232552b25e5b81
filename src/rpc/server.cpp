#include "rpc/server.h"

#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <unordered_set>

#include "net/unix_server.h"
#include "rpc/session.h"

namespace ptwop::rpc {

struct Server::Impl : std::enable_shared_from_this<Impl> {
  Impl(boost::asio::io_context& io_context, Backend& backend)
      : loop(io_context),
        mailbox(std::make_shared<Mailbox>(io_context, stats)),
        dispatcher(backend, mailbox, stats),
        listener(io_context, [this](int fd, const net::Peer& peer) { accept(fd, peer); }) {}

  void accept(int fd, const net::Peer& peer) {
    auto session = std::make_shared<Session>(loop, fd, SessionPart{dispatcher, stats});
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
    };
    session->start();
  }

  void close() {
    listener.close();
    mailbox->close();
    for (const auto& session : std::exchange(sessions, {})) session->finish();
  }

  boost::asio::io_context& loop;
  Stats stats;
  std::shared_ptr<Mailbox> mailbox;
  Dispatcher dispatcher;
  std::unordered_set<std::shared_ptr<Session>> sessions;
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

}  // namespace ptwop::rpc
