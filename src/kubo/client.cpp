#include "kubo/client.h"

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <mutex>
#include <utility>

#include "base/log.h"
#include "kubo/address.h"
#include "kubo/api.h"
#include "kubo/blocks.h"
#include "kubo/peers.h"
#include "kubo/pins.h"
#include "kubo/publisher.h"
#include "kubo/retry.h"
#include "kubo/streams.h"
#include "kubo/wire.h"

namespace ptwop::kubo {
namespace {

// block/put learned `cid-codec`, and pubsub its multibase topics, before this one.
constexpr unsigned kOldestMajor = 0, kOldestMinor = 13;

constexpr const char* kPubsubRemedy =
    "Kubo's pubsub is off: run `ipfs config --json Pubsub.Enabled true` and restart Kubo. Blocks "
    "are still shared, but "
    "other replicas hear of changes late or not at all, unless they can be told over p2p streams "
    "(Experimental.Libp2pStreamMounting)";

std::string pubsub_remedy(const Error& error) {
  if (error.message.find("not enabled") != std::string::npos) return kPubsubRemedy;
  return "Kubo's pubsub does not work (" + error.message + "); blocks are still shared";
}

}  // namespace

std::string topic_of(const ipld::Cid& channel) { return "ptwop/1/" + channel.text(); }

/// What is shown; the only part that other threads see.
struct Client::Status {
  template <class Change>
  void change(Change what) {
    const std::lock_guard lock(mutex);
    what(shown);
  }
  mutable std::mutex mutex;
  Snapshot shown;
};

struct Client::Impl : std::enable_shared_from_this<Client::Impl> {
  Impl(boost::asio::io_context& io, Options opts, Events evts, std::shared_ptr<Status> shown)
      : loop(io), options(std::move(opts)), events(std::move(evts)), status(std::move(shown)) {
    api.set_on_trouble([this] { suspect(); });
  }

  // --- the state: a probe asks what Kubo is there; its outcome is one of came_up and went_down
  // -----------------------

  void probe() {
    probing = true;
    clock.cancel();
    auto ready = prepare();
    if (!ready) return went_down(ready.error());
    ask("version", [this](const Result<Bytes>& body) {
      auto version = body ? parse_version(*body) : Result<std::string>(body.error());
      if (!version) return went_down(version.error());
      if (!version_at_least(*version, kOldestMajor, kOldestMinor)) {
        return went_down(fail(Code::kubo_refused,
                              "Kubo " + *version + " is too old: update it to 0.13 or newer"));
      }
      found.version = *version;
      probe_identity();
    });
  }

  void probe_identity() {
    ask("id", [this](const Result<Bytes>& body) {
      auto peer_id = body ? parse_peer_id(*body) : Result<std::string>(body.error());
      if (!peer_id) return went_down(peer_id.error());
      found.peer_id = *peer_id;
      probe_pubsub();
    });
  }

  void probe_pubsub() {
    ask("pubsub/ls", [this](const Result<Bytes>& body) {
      const bool gone = !body && (body.error().code == Code::kubo_offline ||
                                  body.error().code == Code::timed_out);
      if (gone) return went_down(body.error());
      // A long list of topics is not ours to bound: that it answers is enough.
      const bool ok = body || body.error().code == Code::too_large;
      probe_streams(ok, ok ? "" : pubsub_remedy(body.error()));
    });
  }

  // The second lane: where it is off, nobody needs to be told but who asks (system.info).
  void probe_streams(bool pubsub_ok, const std::string& trouble) {
    Call call;
    call.path = "p2p/ls";
    call.optional = true;
    call.timeout_ms = options.probe_timeout_ms;
    call.body_bytes_max = 1 << 20;
    call.done = [this, pubsub_ok, trouble](const Result<Bytes>& body) {
      const bool gone = !body && (body.error().code == Code::kubo_offline ||
                                  body.error().code == Code::timed_out);
      if (gone) return went_down(body.error());
      streams_on = body && parse_listeners(*body);
      came_up(pubsub_ok, trouble);
    };
    api.start(std::move(call));
  }

  void ask(std::string path, std::function<void(const Result<Bytes>&)> done) {
    Call call;
    call.path = std::move(path);
    call.timeout_ms = options.probe_timeout_ms;
    call.done = std::move(done);
    api.start(std::move(call));
  }

  // Address and secret, looked up anew: Kubo may be started later, or move.
  Result<void> prepare() {
    if (!options.auth_file.empty() && !has_secret) PTWOP_CHECK(read_secret());
    auto address =
        options.address.empty() ? discover_api_address() : parse_api_address(options.address);
    status->change([&](Snapshot& shown) { shown.address = address ? address->text : ""; });
    if (!address) return address.error();
    api.set_address(std::move(*address));
    return {};
  }

  Result<void> read_secret() {
    PTWOP_TRY(std::string secret, read_authorization(options.auth_file));
    api.set_authorization(std::move(secret));
    has_secret = true;
    return {};
  }

  void came_up(bool pubsub_ok, std::string trouble) {
    probing = false;
    retry.reset();
    const bool news = !connected;
    connected = true;
    pubsub = pubsub_ok;
    status->change([&](Snapshot& shown) {
      shown.connected = true;
      shown.pubsub = pubsub_ok ? Pubsub::ok : Pubsub::off;
      shown.streams = streams_on ? Pubsub::ok : Pubsub::off;
      shown.version = found.version;
      shown.peer_id = found.peer_id;
      shown.last_error = trouble;
    });
    if (news) log::info("kubo", "connected", {{"peer", found.peer_id}, {"version", found.version}});
    tell_once(trouble);
    pins.set_ready(true);
    streams.set_ready(pubsub_ok);
    peers.set_ready(streams_on, found.peer_id);
    clock.after(options.check_ms, [this] { probe(); });
    tell_state();
  }

  void went_down(const Error& error) {
    probing = false;
    connected = pubsub = streams_on = false;
    status->change([&](Snapshot& shown) {
      shown.connected = false;
      shown.pubsub = shown.streams = Pubsub::unknown;
      shown.version.clear();
      shown.peer_id.clear();
      shown.last_error = error.message;
    });
    tell_once("offline, trying again: " + error.message);
    pins.set_ready(false);
    streams.set_ready(false);
    peers.set_ready(false, "");
    retry.again([this] { probe(); });
    tell_state();
    publisher.fail_all();
    puts.fail_all();
    gets.fail_all();
  }

  void suspect() {
    if (connected && !probing) probe();
  }

  void tell_state() {
    const std::string& id = connected ? found.peer_id : kNobody;
    if (told_streams != streams_on || told_id != id) {
      told_streams = streams_on;
      told_id = id;
      if (events.on_streams) events.on_streams(streams_on, id);
    }
    if (told_connected == connected && told_pubsub == pubsub) return;
    told_connected = connected;
    told_pubsub = pubsub;
    if (events.on_state) events.on_state(connected, pubsub);
  }

  // Each trouble is told when it begins, not at every attempt.
  void tell_once(const std::string& trouble) {
    if (std::exchange(told_trouble, trouble) != trouble && !trouble.empty())
      log::warn("kubo", trouble);
  }

  // --- outcomes
  // ------------------------------------------------------------------------------------------------------

  void published(const ipld::Cid& channel, bool ok) {
    if (!ok) suspect();  // also when Kubo answered: pubsub may have been switched off
    tell_published(channel, ok);
  }
  void tell_published(const ipld::Cid& channel, bool ok) {
    if (events.on_published) events.on_published(channel, ok);
  }
  void stored(uint64_t ticket, bool ok) {
    if (events.on_stored) events.on_stored(ticket, ok);
  }
  void got(const ipld::Cid& cid, Result<Bytes> block) {
    if (events.on_block) events.on_block(cid, std::move(block));
  }
  void refused() {
    status->change([](Snapshot& shown) { ++shown.bad_answers; });
  }

  // Outcomes that are known at once still come from the loop.
  template <class What>
  void later(What what) {
    boost::asio::post(loop, [weak = weak_from_this(), what = std::move(what)]() mutable {
      if (auto alive = weak.lock()) what(*alive);
    });
  }

  boost::asio::io_context& loop;
  Options options;
  Events events;
  std::shared_ptr<Status> status;
  bool probing = false, connected = false, pubsub = false;
  bool told_connected = false, told_pubsub = false;
  bool streams_on = false, told_streams = false;
  std::string told_id;
  inline static const std::string kNobody;
  bool has_secret = false;
  std::string told_trouble;
  struct {
    std::string version, peer_id;
  } found;  ///< By the probe under way.

  Api api{loop};
  Retry retry{loop, options.retry_ms_min, options.retry_ms_max};
  Retry clock{loop, options.check_ms, options.check_ms};
  Publisher publisher{api, [this](const ipld::Cid& channel, bool ok) { published(channel, ok); }};
  BlockPuts puts{api, [this](uint64_t ticket, bool ok) { stored(ticket, ok); },
                 [this] { refused(); }};
  BlockGets gets{api, options.block_timeout_ms,
                 [this](const ipld::Cid& cid, Result<Bytes> block) { got(cid, std::move(block)); },
                 [this] { refused(); }};
  Pins pins{api, [this](const ipld::Cid& next, bool ok) {
              if (events.on_pinned) events.on_pinned(next, ok);
            }};
  Streams streams{loop,
                  api,
                  options.stream_retry_ms_max,
                  {[this](const ipld::Cid& channel, std::string_view from, Bytes data) {
                     if (events.on_message) events.on_message(channel, from, std::move(data));
                   },
                   [this] { refused(); }, [this] { suspect(); }}};
  Peers peers{
      loop,
      api,
      {[this](const list::PublicKey& peer, bool up, Bytes binding) {
         if (events.on_peer) events.on_peer(peer, up, std::move(binding));
       },
       [this](const list::PublicKey& peer, const std::string& id, const std::string& address) {
         if (events.on_peer_address) events.on_peer_address(peer, id, address);
       },
       [this](const list::PublicKey& peer, uint64_t link, Bytes message) {
         if (events.on_peer_message) events.on_peer_message(peer, link, std::move(message));
       },
       [this](const list::PublicKey& peer, uint64_t ticket, bool ok) {
         if (events.on_sent) events.on_sent(peer, ticket, ok);
       },
       [this](const std::string& kind) {
         status->change([&](Snapshot& shown) { ++shown.streams_refused[kind]; });
       },
       [this](size_t open) {
         status->change([&](Snapshot& shown) { shown.streams_open = open; });
       }}};
};

Client::Client(boost::asio::io_context& loop, Options options, Events events)
    : status_(std::make_shared<Status>()),
      impl_(std::make_shared<Impl>(loop, std::move(options), std::move(events), status_)) {}

Client::~Client() { stop(); }

void Client::start() {
  if (impl_ && !impl_->probing && !impl_->connected) impl_->probe();
}

void Client::stop() {
  impl_.reset();
  status_->change([](Snapshot& shown) { shown = Snapshot{.bad_answers = shown.bad_answers}; });
}

Result<void> Client::reload() {
  if (!impl_ || impl_->options.auth_file.empty()) return {};
  PTWOP_CHECK(impl_->read_secret());
  impl_->retry.reset();
  if (!impl_->probing) impl_->probe();
  return {};
}

void Client::subscribe(const ipld::Cid& channel) {
  if (impl_) impl_->streams.want(channel);
}

void Client::unsubscribe(const ipld::Cid& channel) {
  if (impl_) impl_->streams.unwant(channel);
}

void Client::publish(const ipld::Cid& channel, Bytes message) {
  if (!impl_) return;
  if (impl_->connected && impl_->pubsub && impl_->publisher.add(channel, std::move(message)))
    return;
  impl_->later([channel](Impl& impl) { impl.tell_published(channel, false); });
}

void Client::put(uint64_t ticket, std::vector<engine::Block> blocks) {
  if (!impl_) return;
  const bool nothing = blocks.empty();
  if (!nothing && impl_->connected && impl_->puts.add(ticket, std::move(blocks))) return;
  impl_->later([ticket, nothing](Impl& impl) { impl.stored(ticket, nothing); });
}

void Client::get(const ipld::Cid& cid) {
  if (!impl_) return;
  const bool connected = impl_->connected;
  if (connected && impl_->gets.add(cid)) return;
  impl_->later([cid, connected](Impl& impl) {
    impl.got(cid, connected
                      ? fail(Code::overloaded, "too many blocks are being fetched; ask again later")
                      : fail(Code::kubo_offline, "Kubo is not there"));
  });
}

void Client::pin(const ipld::Cid& last, const ipld::Cid& next) {
  if (impl_) impl_->pins.add(last, next);
}

void Client::unpin(const ipld::Cid& cid) {
  if (impl_) impl_->pins.add(cid, ipld::Cid());
}

void Client::open_streams(access::Identity me, Entropy& entropy) {
  if (impl_) impl_->peers.open(std::move(me), entropy);
}
void Client::want(std::vector<engine::PeerAddress> peers) {
  if (impl_) impl_->peers.want(std::move(peers));
}
void Client::meet(std::vector<ipld::Cid> channels, std::vector<ipld::Cid> sought) {
  if (impl_) impl_->peers.meet(std::move(channels), std::move(sought));
}
void Client::send(const list::PublicKey& to, uint64_t ticket, Bytes message, bool urgent) {
  if (impl_) impl_->peers.send(to, ticket, std::move(message), urgent);
}
void Client::drop(const list::PublicKey& peer) {
  if (impl_) impl_->peers.drop(peer);
}
void Client::consumed(uint64_t link, size_t message_bytes) {
  if (impl_) impl_->peers.consumed(link, message_bytes);
}

Snapshot Client::snapshot() const {
  const std::lock_guard lock(status_->mutex);
  return status_->shown;
}

}  // namespace ptwop::kubo
