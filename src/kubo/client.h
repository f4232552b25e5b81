// Kubo as the daemon uses it: blocks, pins and pubsub over the RPC API, through all that happens to
// a Kubo (absent, restarted, moved, refusing, with pubsub off). Whatever it answers is checked
// before it is passed on.
#pragma once
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "access/identity.h"
#include "base/bytes.h"
#include "base/clock.h"
#include "base/result.h"
#include "engine/ports.h"
#include "ipld/cid.h"

namespace boost::asio {
class io_context;
}

namespace ptwop::kubo {

struct Options {
  std::string
      address;  ///< As parse_api_address reads it. Empty: discovered, anew at every attempt.
  std::string auth_file;               ///< See read_authorization. Empty: none.
  uint64_t block_timeout_ms = 10'000;  ///< How long Kubo may look for a block on the network.
  uint64_t probe_timeout_ms = 5'000;   ///< Silence for so long means that Kubo is not there.
  uint64_t check_ms = 10'000;          ///< The interval of the light check while connected.
  uint64_t retry_ms_min = 100;    ///< Backoff of reconnecting, with jitter: doubles from here …
  uint64_t retry_ms_max = 2'000;  ///< … up to here.
  uint64_t stream_retry_ms_max =
      30'000;  ///< The same for pubsub streams that break while Kubo is there.
};

/// Of Kubo's pubsub, and of its p2p streams.
enum class Pubsub : uint8_t { unknown, ok, off };

/// For system.info, doctor and the log.
struct Snapshot {
  bool connected = false;
  Pubsub pubsub = Pubsub::unknown;
  Pubsub streams = Pubsub::unknown;
  uint64_t streams_open = 0;
  std::map<std::string, uint64_t> streams_refused;  ///< Connections that led to nothing, by kind.
  std::string version;                              ///< Empty while offline.
  std::string peer_id;                              ///< Empty while offline.
  std::string address;       ///< The one last tried; empty when none was found.
  std::string last_error;    ///< What keeps Kubo or pubsub from working, and the remedy; empty when
                             ///< nothing does.
  uint64_t bad_answers = 0;  ///< Answers and messages of Kubo that were refused since start.
};

/// What comes out; on the loop's thread, never from inside a call. The same outcomes as Engine's
/// on_… functions. Unset ones are not called.
struct Events {
  std::function<void(bool connected, bool pubsub)>
      on_state;  ///< At every change; offline to begin with.
  std::function<void(const ipld::Cid& channel, std::string_view from, Bytes message)> on_message;
  std::function<void(const ipld::Cid& channel, bool ok)> on_published;
  std::function<void(uint64_t ticket, bool ok)> on_stored;
  std::function<void(const ipld::Cid& next, bool ok)> on_pinned;
  /// The bytes hash to the CID. Errors: kubo_offline, timed_out (nobody had it in time),
  /// kubo_refused, overloaded.
  std::function<void(const ipld::Cid& cid, Result<Bytes> block)> on_block;
  /// Whether Kubo takes p2p streams, and its peer id (empty when it is gone); at every change.
  std::function<void(bool streams, const std::string& peer_id)> on_streams;
  /// As Peers::Hooks.
  std::function<void(const list::PublicKey& peer, bool up, Bytes binding)> on_peer;
  std::function<void(const list::PublicKey& peer, const std::string& id,
                     const std::string& address)>
      on_peer_address;
  std::function<void(const list::PublicKey& peer, uint64_t link, Bytes message)> on_peer_message;
  std::function<void(const list::PublicKey& peer, uint64_t ticket, bool sent)> on_sent;
};

/// The pubsub topic of a channel: `ptwop/1/<manifest CID>`.
std::string topic_of(const ipld::Cid& channel);

/// All functions but snapshot() on the loop's thread. While offline (also before start) publish,
/// put and get fail soon; subscriptions and pins are kept and take effect when Kubo is there.
class Client {
 public:
  Client(boost::asio::io_context& loop, Options options, Events events);
  ~Client();  ///< As stop().
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  void start();
  /// Ends all requests, timers and streams; no event comes any more. Not from within an event.
  void stop();
  /// Reads the authorisation file again (SIGHUP) and reconnects when Kubo had refused the old one.
  /// On an error the old secret stays in use.
  Result<void> reload();

  void subscribe(const ipld::Cid& channel);
  void unsubscribe(const ipld::Cid& channel);
  void publish(const ipld::Cid& channel, Bytes message);
  void put(uint64_t ticket, std::vector<engine::Block> blocks);
  void get(const ipld::Cid& cid);
  void pin(const ipld::Cid& last, const ipld::Cid& next);
  void unpin(const ipld::Cid& cid);

  /// Before start(): who we are towards other daemons. Without it there are no streams.
  void open_streams(access::Identity me, Entropy& entropy);
  // As engine::PeerStream's, and Peers'.
  void want(std::vector<engine::PeerAddress> peers);
  void meet(std::vector<ipld::Cid> channels, std::vector<ipld::Cid> sought);
  void send(const list::PublicKey& to, uint64_t ticket, Bytes message, bool urgent);
  void drop(const list::PublicKey& peer);
  void consumed(uint64_t link, size_t message_bytes);

  Snapshot snapshot() const;  ///< From any thread.

 private:
  struct Status;
  struct Impl;
  std::shared_ptr<Status> status_;
  std::shared_ptr<Impl> impl_;  ///< None once stopped.
};

}  // namespace ptwop::kubo
