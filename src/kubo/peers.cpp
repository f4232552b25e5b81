#include "kubo/peers.h"

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <chrono>
#include <utility>

#include "base/log.h"
#include "net/unix_stream.h"

namespace ptwop::kubo {
namespace {

constexpr std::string_view kProtocol = "/x/ptwop/1/";
constexpr uint64_t kTickMs = 500;
constexpr size_t kLinksMax = 256;
constexpr size_t kUnprovenMax = 64;  // of them
constexpr size_t kNamesMax = 257;
constexpr size_t kCallingMax = 8;
constexpr uint64_t kPaceMsMin = 500, kPaceMsMax = 60'000;
// Of two who know of each other the one with the smaller key calls at once, the other only if that
// leads to nothing.
constexpr uint64_t kLetThemMs = 1'000;
constexpr uint64_t kSeekMs = 20'000, kSeekPaceMsMin = 10'000, kSeekPaceMsMax = 600'000;
constexpr size_t kSeekChannels = 16, kSeekIds = 16, kSeekPacesMax = 4096;
constexpr uint64_t kProvideMs = 12ull * 3600 * 1000;
constexpr uint64_t kProvideLimitMs = 120'000, kFindMs = 15'000;
constexpr uint64_t kConnectMs = 3'000;
constexpr size_t kOutBytesMax = 1 << 20;

uint64_t jitter(uint64_t ms, Entropy& entropy) {
  return ms / 2 + read_be64(entropy.bytes(8)) % (ms / 2 + 1);
}

std::string protocol_of(const lane::Knock& knock) {
  return std::string(kProtocol) + lane::name_of(knock);
}

}  // namespace

// --- one connection ------------------------------------------------------------------------------

class Peers::Link final : public net::UnixStream {
 public:
  Link(Peers& owner, uint64_t number, int fd, lane::Session s, std::shared_ptr<Attempt> a)
      : UnixStream(owner.loop_, fd),
        peers(&owner),
        id(number),
        session(std::move(s)),
        attempt(std::move(a)) {}

  void on_input() override {
    if (!peers) return;
    const bool before = session.established();
    const auto fed = session.feed(input(), peers->now_ms());
    consume(input().size());
    if (!fed) return end(fed.error().message);
    if (!before && session.established()) peers->on_established(*this);
    if (!peers || closed()) return;
    for (Bytes& message : session.take_received())
      if (peers->hooks_.on_message)
        peers->hooks_.on_message(session.peer(), id, std::move(message));
    peers->pump(*this);
  }
  void on_end() override { close(); }
  void on_room() override {
    if (peers) peers->pump(*this);
  }
  void on_closed() override {
    if (peers) peers->on_gone(*this);
  }
  void end(const std::string& kind) {
    if (peers) peers->refuse(kind);
    close();
  }

  using UnixStream::flush;
  using UnixStream::out;
  using UnixStream::unsent;

  Peers* peers;  ///< Null once they are gone.
  uint64_t id;
  lane::Session session;
  std::shared_ptr<Attempt> attempt;  ///< None: we were called.
  bool counted = false;              ///< It is the one link to its peer.
};

Peers::Peers(boost::asio::io_context& loop, Api& api, Hooks hooks)
    : loop_(loop), api_(api), hooks_(std::move(hooks)), clock_(loop, kTickMs, kTickMs) {}

Peers::~Peers() {
  alive_.reset();
  for (auto& [id, link] : std::exchange(links_, {})) {
    link->peers = nullptr;
    link->close();
  }
}

uint64_t Peers::now_ms() const {
  using namespace std::chrono;
  return static_cast<uint64_t>(
      duration_cast<milliseconds>(steady_clock::now().time_since_epoch()).count());
}

void Peers::open(access::Identity me, Entropy& entropy) {
  me_ = std::move(me);
  entropy_ = &entropy;
  const lane::Knock knock = lane::knock_of(me_->key());
  names_[protocol_of(knock)] = {knock, true, false};
}

void Peers::set_ready(bool ready, const std::string& own_id) {
  if (!me_) return;
  if (own_id_ != own_id)
    for (auto& [protocol, name] : names_) name.claimed = false;
  own_id_ = own_id;
  const bool news = ready != std::exchange(ready_, ready);
  if (!ready) {
    if (news) close_all();
    return;
  }
  if (!listener_) {
    listener_ = std::make_unique<net::LoopbackListener>(loop_, [this](int fd) { accept(fd); });
    if (const auto listening = listener_->listen(); !listening) {
      log::warn("kubo", "no streams", {{"why", listening.error().message}});
      listener_.reset();
      ready_ = false;
      return;
    }
  }
  if (news) {
    for (auto& [key, pace] : paces_) pace.next_ms = pace.pause_ms = 0;
    seek_paces_.clear();
    seek_at_ms_ = 0;
  }
  check_names();
  if (!std::exchange(ticking_, true)) tick();
}

void Peers::ask(std::string path, std::function<void(const Result<Bytes>&)> done,
                uint64_t timeout_ms, size_t bytes_max) {
  Call call;
  call.path = std::move(path);
  call.timeout_ms = timeout_ms;
  call.body_bytes_max = bytes_max;
  call.optional = true;
  call.done = guarded([done = std::move(done)](const Result<Bytes>& body) { done(body); });
  api_.start(std::move(call));
}

// While there is nothing to do, no timer runs.
void Peers::tick() {
  const uint64_t now = now_ms();
  std::vector<std::shared_ptr<Link>> all;
  for (const auto& [id, link] : links_) all.push_back(link);
  for (const auto& link : all) {
    if (const auto alive = link->session.tick(now); !alive)
      link->end(alive.error().message);
    else
      pump(*link);
  }
  if (ready_) {
    call_wanted(now);
    if (!sought_.empty() && now >= seek_at_ms_) seek(now);
  }
  ticking_ = !links_.empty() || (ready_ && (!wanted_.empty() || !sought_.empty()));
  if (ticking_) clock_.after(kTickMs, [this] { tick(); });
}

// --- names under which we are called -------------------------------------------------------------

void Peers::check_names() {
  if (!ready_) return;
  if (checking_) {
    check_again_ = true;
    return;
  }
  checking_ = true;
  ask("p2p/ls", [this](const Result<Bytes>& body) {
    auto there = body ? parse_listeners(*body) : Result<std::vector<Listener>>(body.error());
    std::vector<std::string> left;
    if (there)
      for (const auto& [protocol, name] : names_) left.push_back(protocol);
    check_name(there ? *there : std::vector<Listener>{}, std::move(left));
  });
}

// One after the other: there may be hundreds.
void Peers::check_name(const std::vector<Listener>& there, std::vector<std::string> left) {
  const std::string here = "/p2p/" + own_id_;
  const std::string target = listener_ ? loopback_address(listener_->port()) : "";
  while (!left.empty() && ready_) {
    const std::string protocol = std::move(left.back());
    left.pop_back();
    const auto name = names_.find(protocol);
    if (name == names_.end()) continue;
    const auto entry = std::find_if(there.begin(), there.end(), [&](const Listener& l) {
      return l.protocol == protocol && l.listen == here;
    });
    if (entry != there.end() && entry->target == target) {
      name->second.claimed = true;
      continue;
    }
    const auto next = [this, there, left] { check_name(there, left); };
    if (entry == there.end()) return take_name(protocol, "", next);
    // Left over from a daemon that was killed, or somebody else's. The name of our identity was
    // ours when we start; after that, as any channel's, it is taken only from a port that is dead.
    const uint16_t port = loopback_port(entry->target);
    if (port == 0 || (name->second.identity && !name->second.claimed))
      return take_name(protocol, entry->target, next);
    if (!name->second.identity) name->second.claimed = false;
    return net::connect_loopback(
        loop_, port, kConnectMs,
        guarded([this, protocol, stale = entry->target, next](Result<int> fd) {
          if (fd) {
            net::close_fd(*fd);
            return next();
          }
          if (fd.error().code == Code::kubo_offline) return take_name(protocol, stale, next);
          next();
        }));
  }
  checking_ = false;
  if (std::exchange(check_again_, false)) check_names();
}

void Peers::take_name(const std::string& protocol, const std::string& stale_target,
                      std::function<void()> then) {
  if (!stale_target.empty())
    return ask("p2p/close?protocol=" + protocol + "&target-address=" + stale_target,
               [this, protocol, then](const Result<Bytes>&) { take_name(protocol, "", then); });
  if (!listener_ || !ready_) return then();
  ask("p2p/listen?arg=" + protocol + "&arg=" + loopback_address(listener_->port()),
      [this, protocol, then](const Result<Bytes>& body) {
        if (const auto name = names_.find(protocol); name != names_.end() && body)
          name->second.claimed = true;
        then();
      });
}

void Peers::accept(int fd) {
  size_t unproven = 0;
  std::shared_ptr<Link> oldest;
  for (const auto& [id, link] : links_)
    if (!link->session.established() && !link->attempt) {
      ++unproven;
      if (!oldest || link->id < oldest->id) oldest = link;
    }
  if (unproven >= kUnprovenMax) oldest->end("crowded");
  if (links_.size() >= kLinksMax) {
    refuse("crowded");
    return net::close_fd(fd);
  }
  const auto answers = [this](const std::function<bool(const lane::Knock&)>& fits) {
    for (const auto& [protocol, name] : names_)
      if (fits(name.knock)) return &name.knock;
    return static_cast<const lane::Knock*>(nullptr);
  };
  add_link(fd, lane::Session::accept(*me_, answers, *entropy_, now_ms()), nullptr);
}

// --- calling others ------------------------------------------------------------------------------

void Peers::want(std::vector<engine::PeerAddress> peers) {
  if (!me_) return;
  wanted_ = std::move(peers);
  std::map<PublicKey, Pace> kept;
  for (const engine::PeerAddress& peer : wanted_) {
    const auto known = paces_.find(peer.identity);
    Pace pace = known == paces_.end() ? Pace{} : known->second;
    if (known == paces_.end() && me_->key() > peer.identity)
      pace.next_ms = now_ms() + kLetThemMs + jitter(kLetThemMs, *entropy_);
    kept[peer.identity] = pace;
  }
  paces_ = std::move(kept);
  std::map<std::string, PublicKey> unknown;
  for (const engine::PeerAddress& peer : wanted_)
    if (peer.address.empty() && peer.peer != own_id_ && open_.contains(peer.identity))
      unknown[peer.peer] = peer.identity;
  if (ready_ && !unknown.empty()) tell_addresses(std::move(unknown));
  if (ready_ && !wanted_.empty() && !std::exchange(ticking_, true)) tick();
}

void Peers::call_wanted(uint64_t now) {
  for (const engine::PeerAddress& peer : wanted_) {
    if (calling_ >= kCallingMax || links_.size() >= kLinksMax) return;
    Pace& pace = paces_[peer.identity];
    if (pace.busy || now < pace.next_ms || open_.contains(peer.identity) || !is_peer_id(peer.peer))
      continue;
    pace.busy = true;
    auto attempt = std::make_shared<Attempt>();
    attempt->knock = lane::knock_of(peer.identity);
    attempt->expected = peer.identity;
    attempt->id = peer.peer;
    attempt->address = peer.address;
    attempt->done = [this, key = peer.identity](bool ok) {
      const auto found = paces_.find(key);
      if (found == paces_.end()) return;
      Pace& p = found->second;
      p.busy = false;
      p.pause_ms = ok ? 0 : std::clamp(2 * p.pause_ms, kPaceMsMin, kPaceMsMax);
      p.next_ms = now_ms() + jitter(std::max(p.pause_ms, kPaceMsMin), *entropy_);
    };
    call(std::move(attempt));
  }
}

void Peers::call(std::shared_ptr<Attempt> attempt) {
  ++calling_;
  ask("p2p/ls", [this, attempt](const Result<Bytes>& body) {
    const auto there = body ? parse_listeners(*body) : Result<std::vector<Listener>>(body.error());
    if (!there || !ready_) return finish(*attempt, false);
    const std::string protocol = protocol_of(attempt->knock);
    const bool beside = attempt->id == own_id_;
    const std::string at = "/p2p/" + attempt->id;
    for (const Listener& l : *there) {
      if (l.protocol != protocol || (beside ? l.listen : l.target) != at) continue;
      const uint16_t port = loopback_port(beside ? l.target : l.listen);
      if (port == 0 || port == listener_->port()) continue;
      return connect(attempt, port);
    }
    if (beside) return finish(*attempt, false);
    if (!is_address_of(attempt->address, attempt->id)) return forward(attempt);
    ask("swarm/connect?timeout=5s&arg=" + attempt->address,
        [this, attempt](const Result<Bytes>&) { forward(attempt); });
  });
}

void Peers::forward(std::shared_ptr<Attempt> attempt) {
  const uint16_t port = net::free_loopback_port();
  if (port == 0 || !ready_) return finish(*attempt, false);
  ask("p2p/forward?arg=" + protocol_of(attempt->knock) + "&arg=" + loopback_address(port) +
          "&arg=/p2p/" + attempt->id,
      [this, attempt, port](const Result<Bytes>& body) {
        if (!body) return finish(*attempt, false);
        attempt->forward = loopback_address(port);
        connect(attempt, port);
      });
}

void Peers::connect(std::shared_ptr<Attempt> attempt, uint16_t port) {
  net::connect_loopback(
      loop_, port, kConnectMs, guarded([this, attempt](Result<int> fd) {
        if (!fd) return finish(*attempt, false);
        add_link(*fd,
                 lane::Session::dial(*me_, attempt->knock, attempt->expected, *entropy_, now_ms()),
                 attempt);
      }));
}

// The port is of no use any more; a stream that came of it stays.
void Peers::finish(Attempt& attempt, bool ok) {
  if (!attempt.done) return;
  --calling_;
  if (!attempt.forward.empty())
    ask("p2p/close?protocol=" + protocol_of(attempt.knock) + "&listen-address=" + attempt.forward,
        [](const Result<Bytes>&) {});
  std::exchange(attempt.done, nullptr)(ok);
}

// --- looking for a channel's members -------------------------------------------------------------

void Peers::meet(std::vector<ipld::Cid> channels, std::vector<ipld::Cid> sought) {
  if (!me_) return;
  std::map<std::string, Name> names;
  for (const auto& [protocol, name] : names_)
    if (name.identity) names[protocol] = name;
  for (const ipld::Cid& channel : channels) {
    if (names.size() >= kNamesMax) break;
    const lane::Knock knock = lane::knock_of(channel);
    const std::string protocol = protocol_of(knock);
    const auto known = names_.find(protocol);
    names[protocol] = known == names_.end() ? Name{knock, false, false} : known->second;
  }
  const bool more = std::any_of(names.begin(), names.end(),
                                [](const auto& item) { return !item.second.claimed; });
  for (const auto& [protocol, name] : names_)
    if (!names.contains(protocol) && name.claimed && ready_)
      ask("p2p/close?protocol=" + protocol +
              "&target-address=" + loopback_address(listener_->port()),
          [](const Result<Bytes>&) {});
  names_ = std::move(names);
  for (const ipld::Cid& channel : sought)
    if (std::find(sought_.begin(), sought_.end(), channel) == sought_.end()) seek_at_ms_ = 0;
  sought_ = std::move(sought);
  if (more) check_names();
  if (ready_ && !sought_.empty() && !std::exchange(ticking_, true)) tick();
}

void Peers::seek(uint64_t now) {
  seek_at_ms_ = now + jitter(kSeekMs, *entropy_);
  // By turns, when there are many.
  std::vector<ipld::Cid> turn(
      sought_.begin(),
      sought_.begin() + static_cast<ptrdiff_t>(std::min(sought_.size(), kSeekChannels)));
  std::rotate(sought_.begin(), sought_.begin() + static_cast<ptrdiff_t>(turn.size()),
              sought_.end());
  ask(
      "swarm/peers?identify=true",
      [this, turn](const Result<Bytes>& body) {
        const auto peers =
            body ? parse_swarm_peers(*body) : Result<std::vector<SwarmPeer>>(body.error());
        std::vector<std::string> ids = {own_id_};
        if (peers)
          for (const SwarmPeer& peer : *peers)
            if (peer.streams && ids.size() < kSeekIds) ids.push_back(peer.peer);
        for (const ipld::Cid& channel : turn) seek_channel(channel, ids);
      },
      10'000, 4 << 20);
  for (const ipld::Cid& channel : turn) {
    if (provided_ms_.size() > kSeekPacesMax) provided_ms_.clear();
    uint64_t& provided = provided_ms_[channel];
    if (provided == 0 || now - provided >= kProvideMs) {
      provided = now;
      ask(
          "routing/provide?arg=" + channel.text(), [](const Result<Bytes>&) {}, kProvideLimitMs);
    }
    find_providers(channel);
  }
}

// A search may go on for long after it has found all there is: what came until then counts.
void Peers::find_providers(const ipld::Cid& channel) {
  auto found = std::make_shared<Bytes>();
  Call call;
  call.path = "routing/findprovs?num-providers=16&arg=" + channel.text();
  call.timeout_ms = kFindMs;
  call.optional = true;
  call.on_data = [found](BytesView data) {
    if (found->size() + data.size() <= kLineBytesMax) *found += data;
  };
  call.done = guarded([this, channel, found](const Result<Bytes>&) {
    seek_channel(channel, parse_providers(*found));
  });
  api_.start(std::move(call));
}

void Peers::seek_channel(const ipld::Cid& channel, const std::vector<std::string>& ids) {
  const uint64_t now = now_ms();
  if (seek_paces_.size() > kSeekPacesMax)
    std::erase_if(seek_paces_, [](const auto& item) { return !item.second.busy; });
  for (const std::string& id : ids) {
    if (!ready_ || calling_ >= kCallingMax || links_.size() >= kLinksMax) return;
    const std::string key = channel.text() + id;
    Pace& pace = seek_paces_[key];
    if (pace.busy || now < pace.next_ms) continue;
    pace.busy = true;
    auto attempt = std::make_shared<Attempt>();
    attempt->knock = lane::knock_of(channel);
    attempt->id = id;
    attempt->done = [this, key](bool ok) {
      Pace& p = seek_paces_[key];
      p.busy = false;
      p.pause_ms = ok ? 0 : std::clamp(2 * p.pause_ms, kSeekPaceMsMin, kSeekPaceMsMax);
      p.next_ms = now_ms() + jitter(std::max(p.pause_ms, kSeekPaceMsMin), *entropy_);
    };
    call(std::move(attempt));
  }
}

// --- links ---------------------------------------------------------------------------------------

void Peers::add_link(int fd, lane::Session session, std::shared_ptr<Attempt> attempt) {
  const uint64_t id = ++last_link_;
  auto link = std::make_shared<Link>(*this, id, fd, std::move(session), std::move(attempt));
  links_[id] = link;
  link->start();
  pump(*link);
  if (!std::exchange(ticking_, true)) clock_.after(kTickMs, [this] { tick(); });
}

// Both may have called: of two links the one that the smaller key made stays, and of its two the
// newer.
void Peers::on_established(Link& link) {
  const PublicKey peer = link.session.peer();
  if (link.attempt) finish(*link.attempt, true);
  const PublicKey& smaller = std::min(me_->key(), peer);
  const auto called_by_smaller = [&](const Link& l) {
    return (l.session.dialled() ? me_->key() : l.session.peer()) == smaller;
  };
  if (const auto known = open_.find(peer); known != open_.end()) {
    const auto other = links_.at(known->second);
    if (called_by_smaller(*other) && !called_by_smaller(link)) return link.close();
    other->close();
  }
  open_[peer] = link.id;
  link.counted = true;
  if (hooks_.on_count) hooks_.on_count(open_.size());
  if (hooks_.on_peer) hooks_.on_peer(peer, true, link.session.binding());
  if (link.attempt && link.attempt->id != own_id_) tell_addresses({{link.attempt->id, peer}});
}

void Peers::on_gone(Link& link) {
  const auto kept = links_.extract(link.id);
  link.peers = nullptr;
  if (link.attempt) finish(*link.attempt, false);
  if (!link.counted) return;
  const PublicKey peer = link.session.peer();
  for (const uint64_t ticket : link.session.take_unsent())
    if (hooks_.on_sent) hooks_.on_sent(peer, ticket, false);
  open_.erase(peer);
  if (const auto pace = paces_.find(peer); pace != paces_.end() && me_->key() > peer)
    pace->second.next_ms =
        std::max(pace->second.next_ms, now_ms() + kLetThemMs + jitter(kLetThemMs, *entropy_));
  if (hooks_.on_count) hooks_.on_count(open_.size());
  if (hooks_.on_peer) hooks_.on_peer(peer, false, {});
}

void Peers::pump(Link& link) {
  if (link.closed()) return;
  if (link.unsent() < kOutBytesMax) link.session.write(link.out(), kOutBytesMax);
  const auto sent = link.session.take_sent();
  link.flush();
  if (hooks_.on_sent)
    for (const uint64_t ticket : sent) hooks_.on_sent(link.session.peer(), ticket, true);
}

void Peers::send(const PublicKey& to, uint64_t ticket, Bytes message, bool urgent) {
  const auto found = open_.find(to);
  if (found != open_.end()) {
    const auto link = links_.at(found->second);
    if (link->session.send(ticket, std::move(message), urgent)) return pump(*link);
  }
  boost::asio::post(loop_, guarded([this, to, ticket] {
                      if (hooks_.on_sent) hooks_.on_sent(to, ticket, false);
                    }));
}

void Peers::consumed(uint64_t id, size_t message_bytes) {
  const auto found = links_.find(id);
  if (found == links_.end()) return;
  const auto link = found->second;
  link->session.consumed(message_bytes);
  pump(*link);
}

void Peers::drop(const PublicKey& peer) {
  if (const auto found = open_.find(peer); found != open_.end())
    std::shared_ptr(links_.at(found->second))->close();
}

// Of those that are here, and that may be somewhere else when they are wanted again.
void Peers::tell_addresses(std::map<std::string, PublicKey> peers) {
  ask(
      "swarm/peers?identify=true",
      [this, peers = std::move(peers)](const Result<Bytes>& body) {
        const auto swarm =
            body ? parse_swarm_peers(*body) : Result<std::vector<SwarmPeer>>(body.error());
        if (!swarm || !hooks_.on_address) return;
        for (const SwarmPeer& one : *swarm)
          if (const auto peer = peers.find(one.peer); peer != peers.end() && !one.address.empty())
            hooks_.on_address(peer->second, one.peer, one.address);
      },
      10'000, 4 << 20);
}

void Peers::close_all() {
  for (const auto& [id, link] : std::unordered_map(links_)) link->close();
}

}  // namespace ptwop::kubo
