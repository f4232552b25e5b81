#include "support/fake_kubo.h"

#include <unistd.h>

#include "ipld/cid.h"
#include "ipld/dag_cbor.h"
#include "support/fake_kubo_state.h"

namespace ptwop::test {
namespace asio = boost::asio;
namespace {

void collect_links(ipld::CborReader& in, std::vector<std::string>& links) {
  using ipld::CborKind;
  switch (in.peek()) {
    case CborKind::array:
      for (size_t left = in.array(); in.ok() && left; --left) collect_links(in, links);
      return;
    case CborKind::map:
      for (size_t left = in.map(); in.ok() && left; --left) {
        in.key();
        collect_links(in, links);
      }
      return;
    case CborKind::link:
      if (auto text = ipld::cid_text_from_bytes(in.link())) links.push_back(*text);
      return;
    default:
      in.item();
  }
}

}  // namespace

const Bytes* FakeKubo::Node::find(const std::string& cid) const {
  auto found = blocks.find(cid);
  return found == blocks.end() ? nullptr : &found->second;
}

/// The block and all it links to, as far as that is known here.
std::set<std::string> FakeKubo::Node::reach(const std::string& root) const {
  std::set<std::string> seen = {root};
  std::vector<std::string> left = {root};
  while (!left.empty()) {
    const Bytes* block = find(left.back());
    left.pop_back();
    if (!block) continue;
    std::vector<std::string> links;
    ipld::CborReader reader(*block);
    collect_links(reader, links);
    for (auto& link : links) {
      if (seen.insert(link).second) left.push_back(link);
    }
  }
  return seen;
}

void FakeKubo::Node::deliver(const std::string& topic, const std::string& from, const Bytes& data,
                             const std::string& seqno) {
  const std::string line = "{\"from\":\"" + from + "\",\"data\":\"u" + base64url(data) +
                           "\",\"seqno\":\"u" + base64url(seqno) + "\",\"topicIDs\":[\"" + topic +
                           "\"]}\n";
  const int times = net->chance(faults.drop) ? 0 : net->chance(faults.duplicate) ? 2 : 1;
  for (int i = 0; i < times; ++i) {
    const uint64_t delay_ms = net->chance(faults.reorder) ? net->up_to(faults.delay_ms_max) : 0;
    auto write = [topic, line, weak = weak_from_this()] {
      auto self = weak.lock();
      if (!self) return;
      for (const auto& session : self->sessions) session->stream_line(topic, line);
    };
    delay_ms ? net->after(delay_ms, write) : write();
  }
}

void FakeKubo::Node::collect_garbage() {
  std::set<std::string> live;
  for (const auto& pin : pins) live.merge(reach(pin));
  std::erase_if(blocks, [&](const auto& block) { return !live.count(block.first); });
}

void FakeKubo::Node::listen() {
  if (unix_path.empty()) {
    const asio::ip::tcp::endpoint at(asio::ip::address_v4::loopback(), port);
    tcp.open(at.protocol());
    tcp.set_option(asio::ip::tcp::acceptor::reuse_address(true));
    tcp.bind(at);
    tcp.listen();
    port = tcp.local_endpoint().port();
  } else {
    ::unlink(unix_path.c_str());
    local.open();
    local.bind(unix_path);
    local.listen();
  }
  up = true;
  accept();
}

void FakeKubo::Node::accept() {
  auto socket = std::make_shared<Socket>(net->loop);
  auto handler = [weak = weak_from_this(), socket](auto error) {
    auto self = weak.lock();
    if (error || !self || !self->up) return;
    ++self->connections;
    boost::system::error_code ignored;
    if (self->unix_path.empty()) socket->set_option(asio::ip::tcp::no_delay(true), ignored);
    self->sessions.insert(open_session(self, std::move(*socket)));
    self->accept();
  };
  if (unix_path.empty()) {
    tcp.async_accept(*socket, handler);
  } else {
    local.async_accept(*socket, handler);
  }
}

void FakeKubo::Node::close() {
  up = false;
  boost::system::error_code ignored;
  tcp.close(ignored);
  local.close(ignored);
  for (auto& session : std::exchange(sessions, {})) session->close();
  p2p_end();
}

FakeNet::FakeNet(asio::io_context& loop, uint64_t seed)
    : state_(std::make_shared<NetState>(loop, seed)) {}
FakeNet::~FakeNet() = default;

void FakeNet::set_group(size_t node, int group) {
  if (auto found = state_->nodes.at(node).lock()) found->group = group;
}

FakeKubo::FakeKubo(FakeNet& net, std::string unix_path)
    : node_(std::make_shared<Node>(net.state_, std::move(unix_path))) {
  node_->peer_id = "12D3KooWFake" + std::to_string(net.state_->nodes.size());
  net.state_->nodes.push_back(node_);
  start();
}
FakeKubo::~FakeKubo() { node_->close(); }

std::string FakeKubo::api() const {
  return node_->unix_path.empty() ? "/ip4/127.0.0.1/tcp/" + std::to_string(node_->port)
                                  : "/unix" + node_->unix_path;
}
Faults& FakeKubo::faults() { return node_->faults; }
void FakeKubo::stop() { node_->close(); }
void FakeKubo::start() {
  if (!node_->up) node_->listen();
}
void FakeKubo::collect_garbage() { node_->collect_garbage(); }
void FakeKubo::cut_streams() {
  for (const auto& stream : std::set(node_->p2p_streams)) stream->close();
}
bool FakeKubo::has_block(const std::string& cid) const { return node_->find(cid) != nullptr; }
size_t FakeKubo::requests() const { return node_->requests; }
size_t FakeKubo::connections() const { return node_->connections; }
void FakeKubo::write_to_streams(BytesView text) {
  for (const auto& session : node_->sessions) session->stream_line("", text);
}

}  // namespace ptwop::test
