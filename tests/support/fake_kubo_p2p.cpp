// Streams between fake nodes: what p2p/listen and p2p/forward make of connections.
#include <boost/asio/write.hpp>

#include "support/fake_kubo_state.h"

namespace ptwop::test {
namespace asio = boost::asio;
using asio::ip::tcp;

namespace {

bool reachable(const FakeKubo::Node& a, const FakeKubo::Node& b) {
  return a.up && b.up && a.group == b.group;
}

uint16_t port_of(const std::string& address) {
  constexpr std::string_view kPrefix = "/ip4/127.0.0.1/tcp/";
  return address.starts_with(kPrefix)
             ? static_cast<uint16_t>(std::stoul(address.substr(kPrefix.size())))
             : 0;
}

/// Two connections with everything of one written to the other.
struct Splice final : P2pStream, std::enable_shared_from_this<Splice> {
  Splice(std::shared_ptr<FakeKubo::Node> from, std::shared_ptr<FakeKubo::Node> to, tcp::socket here)
      : a(from), b(to), loop(from->net->loop), near(std::move(here)), far(loop) {}

  void start(uint16_t port) {
    far.async_connect({asio::ip::address_v4::loopback(), port},
                      [self = shared_from_this()](auto error) {
                        if (error) return self->close();
                        boost::system::error_code ignored;
                        self->near.set_option(tcp::no_delay(true), ignored);
                        self->far.set_option(tcp::no_delay(true), ignored);
                        self->relay(self->near, self->far, self->there);
                        self->relay(self->far, self->near, self->back);
                      });
  }

  void relay(tcp::socket& from, tcp::socket& to, std::array<char, 65536>& buffer) {
    from.async_read_some(asio::buffer(buffer),
                         [self = shared_from_this(), &from, &to, &buffer](auto error, size_t size) {
                           if (error) return self->close();
                           self->pass(from, to, buffer, size);
                         });
  }

  void pass(tcp::socket& from, tcp::socket& to, std::array<char, 65536>& buffer, size_t size) {
    const auto x = a.lock(), y = b.lock();
    if (!x || !y || !reachable(*x, *y)) return close();
    if (x->faults.stall || y->faults.stall)
      return x->net->after(5, [self = shared_from_this(), &from, &to, &buffer, size] {
        self->pass(from, to, buffer, size);
      });
    asio::async_write(to, asio::buffer(buffer.data(), size),
                      [self = shared_from_this(), &from, &to, &buffer](auto error, size_t) {
                        if (error) return self->close();
                        self->relay(from, to, buffer);
                      });
  }

  void close() override {
    boost::system::error_code ignored;
    near.close(ignored);
    far.close(ignored);
    for (const auto& weak : {a, b})
      if (const auto node = weak.lock()) node->p2p_streams.erase(shared_from_this());
  }

  std::weak_ptr<FakeKubo::Node> a, b;
  asio::io_context& loop;
  tcp::socket near, far;
  std::array<char, 65536> there{}, back{};
};

void accept_next(const std::shared_ptr<FakeKubo::Node>& node,
                 const std::shared_ptr<P2pListener>& at) {
  at->acceptor->async_accept(
      [weak = std::weak_ptr(node), entry = std::weak_ptr(at)](auto error, tcp::socket socket) {
        const auto owner = weak.lock();
        const auto self = entry.lock();
        if (error || !owner || !self) return;
        accept_next(owner, self);
        // libp2p does not call itself.
        owner->each_reachable([&](FakeKubo::Node& other) {
          if ("/p2p/" + other.peer_id != self->target || &other == owner.get() ||
              other.faults.streams_off)
            return;
          for (const auto& heard : other.p2p)
            if (!heard->acceptor && heard->protocol == self->protocol && socket.is_open()) {
              auto splice =
                  std::make_shared<Splice>(owner, other.shared_from_this(), std::move(socket));
              owner->p2p_streams.insert(splice);
              other.p2p_streams.insert(splice);
              splice->start(port_of(heard->target));
              return;
            }
        });
      });
}

}  // namespace

std::string FakeKubo::Node::p2p_listen(const std::string& protocol, const std::string& target) {
  if (port_of(target) == 0) return "unable to use a listener at " + target;
  for (const auto& each : p2p)
    if (!each->acceptor && each->protocol == protocol) return "listener already registered";
  p2p.push_back(
      std::make_shared<P2pListener>(P2pListener{protocol, "/p2p/" + peer_id, target, {}}));
  return "";
}

std::string FakeKubo::Node::p2p_forward(const std::string& protocol, const std::string& listen,
                                        const std::string& target) {
  auto entry = std::make_shared<P2pListener>(P2pListener{protocol, listen, target, {}});
  entry->acceptor.emplace(net->loop);
  boost::system::error_code failed;
  entry->acceptor->open(tcp::v4());
  entry->acceptor->set_option(tcp::acceptor::reuse_address(true));
  entry->acceptor->bind({asio::ip::address_v4::loopback(), port_of(listen)}, failed);
  if (!failed) entry->acceptor->listen(tcp::acceptor::max_listen_connections, failed);
  if (failed)
    return "listen tcp4 127.0.0.1:" + std::to_string(port_of(listen)) +
           ": bind: address already in use";
  p2p.push_back(entry);
  accept_next(shared_from_this(), entry);
  return "";
}

void FakeKubo::Node::p2p_end() {
  p2p.clear();
  for (const auto& stream : std::set(p2p_streams)) stream->close();
}

}  // namespace ptwop::test
