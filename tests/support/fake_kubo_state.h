// What fake_kubo.cpp (the node) and fake_kubo_session.cpp (its connections) share.
#pragma once
#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "support/fake_kubo.h"

namespace ptwop::test {

using Socket = boost::asio::basic_stream_socket<boost::asio::generic::stream_protocol>;

/// One connection of a node.
class Connection {
 public:
  virtual ~Connection() = default;
  virtual void close() = 0;
  /// Sends the line if this is a stream of that pubsub topic (any topic where it is empty).
  virtual void stream_line(const std::string& topic, BytesView line) = 0;
};

/// One entry of p2p/ls: of p2p/listen, or of p2p/forward where there is an acceptor.
struct P2pListener {
  std::string protocol, listen, target;
  std::optional<boost::asio::ip::tcp::acceptor> acceptor;
};

class P2pStream {
 public:
  virtual ~P2pStream() = default;
  virtual void close() = 0;
};

struct NetState {
  NetState(boost::asio::io_context& io, uint64_t seed) : loop(io), random(seed) {}
  bool chance(double probability) {
    return probability > 0 && std::uniform_real_distribution<>(0, 1)(random) < probability;
  }
  uint64_t up_to(uint64_t max) { return std::uniform_int_distribution<uint64_t>(0, max)(random); }
  void after(uint64_t ms, std::function<void()> what) {
    auto timer = std::make_shared<boost::asio::steady_timer>(loop, std::chrono::milliseconds(ms));
    timer->async_wait([timer, what = std::move(what)](auto error) {
      if (!error) what();
    });
  }
  boost::asio::io_context& loop;
  std::mt19937_64 random;
  std::vector<std::weak_ptr<FakeKubo::Node>> nodes;
};

struct FakeKubo::Node : std::enable_shared_from_this<FakeKubo::Node> {
  explicit Node(std::shared_ptr<NetState> state, std::string path)
      : net(std::move(state)), tcp(net->loop), local(net->loop), unix_path(std::move(path)) {}

  void listen();
  void accept();
  void close();
  const Bytes* find(const std::string& cid) const;
  void deliver(const std::string& topic, const std::string& from, const Bytes& data,
               const std::string& seqno);
  std::set<std::string> reach(const std::string& cid) const;
  void collect_garbage();
  template <class Visit>
  void each_reachable(Visit visit) const {
    for (const auto& weak : net->nodes) {
      if (auto other = weak.lock(); other && other->up && other->group == group) visit(*other);
    }
  }

  std::shared_ptr<NetState> net;
  boost::asio::ip::tcp::acceptor tcp;
  boost::asio::local::stream_protocol::acceptor local;
  std::string unix_path;
  unsigned short port = 0;
  bool up = false;
  int group = 0;
  Faults faults;
  std::string peer_id;
  uint64_t messages = 0;
  size_t requests = 0, connections = 0;
  std::map<std::string, Bytes> blocks;
  std::set<std::string> pins;
  std::set<std::shared_ptr<Connection>> sessions;

  // Each gives what Kubo complains of; empty when all is well.
  std::string p2p_listen(const std::string& protocol, const std::string& target);
  std::string p2p_forward(const std::string& protocol, const std::string& listen,
                          const std::string& target);
  void p2p_end();
  std::vector<std::shared_ptr<P2pListener>> p2p;
  std::set<std::shared_ptr<P2pStream>> p2p_streams;
};

/// Begins to answer what comes in over the socket.
std::shared_ptr<Connection> open_session(const std::shared_ptr<FakeKubo::Node>& node,
                                         Socket socket);

}  // namespace ptwop::test
