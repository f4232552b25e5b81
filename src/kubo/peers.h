// Streams to other replicas' daemons through Kubo (`p2p/listen`, `p2p/forward`): who may call us by
// which names, whom we call, and one connection to each. What goes over them is lane::Session's.
//
// A daemon listens on a TCP port of 127.0.0.1 and tells Kubo to bring it what comes for
// `/x/ptwop/1/<name>`, one name for its identity and one for each channel (lane::name_of), so
// several daemons beside one Kubo are each reachable. To call, it has Kubo open a port that leads
// to the other's Kubo, connects, and closes that port again: the stream stays. libp2p does not call
// itself: who stands beside the same Kubo is called at its port directly, which `p2p/ls` shows.
#pragma once
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "access/identity.h"
#include "base/clock.h"
#include "engine/ports.h"
#include "kubo/api.h"
#include "kubo/retry.h"
#include "kubo/wire.h"
#include "lane/session.h"
#include "net/loopback.h"

namespace ptwop::kubo {

class Peers {
 public:
  using PublicKey = list::PublicKey;
  struct Hooks {
    /// `binding`: 32 bytes that only the two ends know; empty when it is down.
    std::function<void(const PublicKey& peer, bool up, Bytes binding)> on_peer;
    std::function<void(const PublicKey& peer, const std::string& id, const std::string& address)>
        on_address;
    /// `link` is for `consumed`.
    std::function<void(const PublicKey& peer, uint64_t link, Bytes message)> on_message;
    std::function<void(const PublicKey& peer, uint64_t ticket, bool sent)> on_sent;
    /// A connection that led to nothing, by kind: "stranger", "forged", "late", …
    std::function<void(const std::string& kind)> on_refused;
    std::function<void(size_t open)> on_count;
  };
  Peers(boost::asio::io_context& loop, Api& api, Hooks hooks);
  ~Peers();
  Peers(const Peers&) = delete;
  Peers& operator=(const Peers&) = delete;

  /// Who we are; without it nothing is listened to or called.
  void open(access::Identity me, Entropy& entropy);
  /// Kubo is there and takes streams (again), under this id, or no more. Called at every probe:
  /// names that are lost are set again.
  void set_ready(bool ready, const std::string& own_id);

  void want(std::vector<engine::PeerAddress> peers);
  void meet(std::vector<ipld::Cid> channels, std::vector<ipld::Cid> sought);
  void send(const PublicKey& to, uint64_t ticket, Bytes message, bool urgent);
  void drop(const PublicKey& peer);
  /// A message that came over `link` was dealt with.
  void consumed(uint64_t link, size_t message_bytes);

 private:
  class Link;
  /// One way to somebody, tried once.
  struct Attempt {
    lane::Knock knock{};
    std::optional<PublicKey> expected;
    std::string id, address;  ///< As PeerAddress's.
    std::string forward;      ///< The port that Kubo opened for it; empty: none of ours.
    std::function<void(bool ok)> done;
  };
  struct Pace {
    uint64_t next_ms = 0, pause_ms = 0;
    bool busy = false;
  };
  struct Name {
    lane::Knock knock{};
    bool identity = false;
    bool claimed = false;  ///< Kubo brings us what comes for it, as far as we know.
  };

  void tick();
  void accept(int fd);
  void ask(std::string path, std::function<void(const Result<Bytes>&)> done,
           uint64_t timeout_ms = 10'000, size_t bytes_max = 1 << 20);
  // Names
  void check_names();
  void check_name(const std::vector<Listener>& there, std::vector<std::string> left);
  void take_name(const std::string& protocol, const std::string& stale_target,
                 std::function<void()> then);
  // Calling
  void call_wanted(uint64_t now_ms);
  void seek(uint64_t now_ms);
  void find_providers(const ipld::Cid& channel);
  void seek_channel(const ipld::Cid& channel, const std::vector<std::string>& ids);
  void call(std::shared_ptr<Attempt> attempt);
  void forward(std::shared_ptr<Attempt> attempt);
  void connect(std::shared_ptr<Attempt> attempt, uint16_t port);
  void finish(Attempt& attempt, bool ok);
  // Links
  void add_link(int fd, lane::Session session, std::shared_ptr<Attempt> attempt);
  void on_established(Link& link);
  void on_gone(Link& link);
  void pump(Link& link);
  void tell_addresses(std::map<std::string, PublicKey> peers);  ///< By Kubo's peer id.
  void close_all();
  void refuse(const std::string& kind) {
    if (hooks_.on_refused) hooks_.on_refused(kind);
  }
  uint64_t now_ms() const;
  /// Runs only while this object lives.
  template <class F>
  auto guarded(F f) {
    return [weak = std::weak_ptr(alive_), f = std::move(f)](auto&&... args) {
      if (weak.lock()) f(std::forward<decltype(args)>(args)...);
    };
  }

  boost::asio::io_context& loop_;
  Api& api_;
  Hooks hooks_;
  std::optional<access::Identity> me_;
  Entropy* entropy_ = nullptr;
  std::unique_ptr<net::LoopbackListener> listener_;
  Retry clock_;
  bool ready_ = false, ticking_ = false, checking_ = false, check_again_ = false;
  std::string own_id_;
  std::map<std::string, Name> names_;  ///< By protocol.
  std::vector<ipld::Cid> sought_;      ///< Channels whose members we look for.
  uint64_t seek_at_ms_ = 0;
  std::map<ipld::Cid, uint64_t> provided_ms_;
  std::vector<engine::PeerAddress> wanted_;
  std::map<PublicKey, Pace> paces_;         ///< Of those wanted.
  std::map<std::string, Pace> seek_paces_;  ///< By protocol and peer id.
  size_t calling_ = 0;
  uint64_t last_link_ = 0;
  std::unordered_map<uint64_t, std::shared_ptr<Link>> links_;
  std::map<PublicKey, uint64_t> open_;
  std::shared_ptr<int> alive_ = std::make_shared<int>();
};

}  // namespace ptwop::kubo
