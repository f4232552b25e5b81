// One engine whose ports only write down what is asked of them, and a creator who is nothing but a
// key: what comes in is built by hand, node by node, and what goes out is seen in its order.
#pragma once
#include <doctest/doctest.h>

#include <algorithm>
#include <random>

#include "access/body.h"
#include "access/manifest.h"
#include "base/limits.h"
#include "engine/engine.h"
#include "memory_store.h"
#include "sync/message.h"

namespace ptwop::test {

/// Fails where it is told to and writes down what it did.
class Disk : public MemoryStore {
 public:
  explicit Disk(std::vector<std::string>& log) : log_(log) {}
  Result<std::optional<Bytes>> get(engine::Table table, BytesView key,
                                   engine::ReadMode mode = engine::ReadMode::any) const override {
    if (!fail_reads_of.empty() && key.starts_with(fail_reads_of))
      return fail(Code::corrupt, "cannot be read");
    return MemoryStore::get(table, key, mode);
  }
  Result<void> commit(const engine::Changes& changes, bool sync) override {
    if (sync && fail_syncs) return fail(Code::disk_full, "the disk is full");
    auto done = MemoryStore::commit(changes, sync);
    log_.push_back(!done ? "commit failed" : sync ? "durable" : "commit");
    return done;
  }
  Result<void> sync() override {
    if (fail_syncs) return fail(Code::disk_full, "the disk is full");
    log_.push_back("durable");
    return {};
  }
  bool fail_syncs = false;
  Bytes fail_reads_of;

 private:
  std::vector<std::string>& log_;
};

class Alone : engine::Gossip, engine::BlockStore, engine::PeerStream, Clock, Entropy {
 public:
  std::vector<std::string> log;  ///< "durable", "commit", "publish", "put", "answer", …
  Disk disk{log};
  uint64_t wall = 1'700'000'000'000, mono = 1'000;
  std::vector<Bytes> published;
  std::vector<std::pair<uint64_t, std::vector<engine::Block>>> puts;
  std::vector<ipld::Cid> gets;
  std::vector<std::pair<ipld::Cid, ipld::Cid>> pins;  ///< What is released, and what is pinned.
  struct Streamed {
    list::PublicKey to;
    uint64_t ticket;
    Bytes message;
    bool urgent;
  };
  std::vector<Streamed> streamed;           ///< What was sent over streams.
  std::vector<engine::PeerAddress> wanted;  ///< Who is to be reached by one…
  std::vector<ipld::Cid> met, sought;       ///< …and where members find us, and we them.
  std::vector<list::PublicKey> dropped;
  access::Identity creator = std::move(*access::Identity::from_seed(Bytes(32, 'c')));
  access::Manifest manifest;
  Bytes manifest_block;
  std::unique_ptr<engine::Engine> engine;

  Alone() { start(); }

  void start() {
    engine =
        std::make_unique<engine::Engine>(engine::Ports{disk, *this, *this, *this, *this, this},
                                         std::move(*access::Identity::from_seed(Bytes(32, 'm'))));
    REQUIRE(engine->open().ok());
    engine->on_kubo({true, true});
    engine->turn();
    log.clear();
  }

  /// Joins a channel of the creator's.
  engine::ChannelRef join(const std::string& type, bool is_public = true) {
    manifest.type = type;
    manifest.is_public = is_public;
    manifest.creator = creator.key();
    manifest.salt = Bytes(16, 's');
    manifest_block = access::seal_manifest(manifest, creator);
    engine::ChannelRef ref;
    engine->join("/ptwop/" + manifest.cid.text(), "c",
                 [&](Result<engine::ChannelRef> r) { ref = *r; });
    engine->turn();
    sync::Nodes nodes;
    nodes.manifest = manifest_block;
    deliver(nodes);
    engine->turn();
    REQUIRE(ref->type.load() != nullptr);
    log.clear();
    return ref;
  }

  /// The creator's next node in its `incarnation`-th list, after `last`.
  list::Node node(std::vector<Bytes> ops, const list::Node* last = nullptr, uint8_t incarnation = 0,
                  std::vector<list::At> seen = {}) {
    list::Node n;
    n.channel = manifest.cid;
    n.list = {creator.key(), {}, false};
    n.list.incarnation.raw[0] = incarnation;
    n.number = last ? last->number + 1 : 1;
    if (last) n.prev = last->cid;
    n.time = std::max(last ? last->time + 1 : 0, (wall << 16) + 1);
    n.seen = std::move(seen);
    n.body = access::frame_ops(ops, false);
    return signed_(n);
  }
  list::Node signed_(list::Node n) {
    n.signature = creator.sign("node", list::encode_unsigned(n));
    n.id = list::list_id(n.channel, n.list);
    n.cid = ipld::Cid::of(list::encode(n));
    return n;
  }
  void deliver(decltype(sync::Message::body) body, bool by_stranger = false) {
    static const access::Identity stranger =
        std::move(*access::Identity::from_seed(Bytes(32, 'x')));
    const access::Identity& sender = by_stranger ? stranger : creator;
    sync::Message m;
    m.channel = manifest.cid;
    m.sender = sender.key();
    m.boot = 5;
    m.count = ++counts_;
    m.body = std::move(body);
    m.signature = sender.sign("message", sync::encode_unsigned(m));
    engine->on_message(manifest.cid, "peer", sync::encode_signed(m));
  }
  /// The creator's message over its stream, which `binding` binds.
  Bytes over_stream(decltype(sync::Message::body) body, const Bytes& binding) {
    sync::Message m;
    m.channel = manifest.cid;
    m.sender = creator.key();
    m.boot = 5;
    m.count = ++counts_;
    m.body = std::move(body);
    m.signature = creator.sign("message", sync::encode_unsigned(m));
    return "c" + tag(binding, creator.key(), manifest.cid) + sync::encode_signed(m);
  }
  static Bytes tag(const Bytes& binding, const list::PublicKey& sender, const ipld::Cid& channel) {
    return ipld::sha256(binding + Bytes(sender.view()) + Bytes(channel.bytes())).substr(0, 16);
  }
  static Bytes hello(bool pubsub, const Bytes& tags) {
    ipld::CborWriter w;
    w.map(2).key("pubsub").boolean(pubsub).key("channels").bytes(tags);
    return "h" + w.take();
  }
  void deliver(const std::vector<list::Node>& nodes) {
    sync::Nodes body;
    for (const list::Node& n : nodes) body.nodes.push_back(list::encode(n));
    deliver(body);
  }
  void run_ms(uint64_t ms) {
    for (const uint64_t end = mono + ms; mono < end; mono += 50, wall += 50) {
      engine->tick();
      engine->turn();
    }
  }
  engine::ChannelInfo info(const std::string& name = "c") {
    engine::ChannelInfo out;
    engine->info(name, [&](Result<engine::ChannelInfo> r) { out = *r; });
    engine->turn();
    return out;
  }
  uint64_t refused(const std::string& kind) {
    const auto stats = engine->stats();
    const auto it = stats.refused.find(kind);
    return it == stats.refused.end() ? 0 : it->second;
  }
  size_t at(const std::string& what) const {
    return static_cast<size_t>(std::find(log.begin(), log.end(), what) - log.begin());
  }

 private:
  uint64_t wall_ms() const override { return wall; }
  uint64_t mono_ms() const override { return mono; }
  void fill(unsigned char* out, size_t size) override {
    for (size_t i = 0; i < size; ++i) out[i] = static_cast<unsigned char>(random_());
  }
  void subscribe(const ipld::Cid&) override {}
  void unsubscribe(const ipld::Cid&) override {}
  void publish(const ipld::Cid& channel, Bytes message) override {
    log.push_back("publish");
    published.push_back(std::move(message));
    (void)channel;
  }
  void put(uint64_t ticket, std::vector<engine::Block> blocks) override {
    log.push_back("put");
    puts.emplace_back(ticket, std::move(blocks));
  }
  void get(const ipld::Cid& cid) override {
    log.push_back("get");
    gets.push_back(cid);
  }
  void pin(const ipld::Cid& last, const ipld::Cid& next) override {
    log.push_back("pin");
    pins.emplace_back(last, next);
  }
  void unpin(const ipld::Cid& cid) override {
    log.push_back("unpin");
    pins.emplace_back(cid, ipld::Cid{});
  }

  void want(std::vector<engine::PeerAddress> peers) override { wanted = std::move(peers); }
  void meet(std::vector<ipld::Cid> channels, std::vector<ipld::Cid> seek) override {
    met = std::move(channels);
    sought = std::move(seek);
  }
  void send(const list::PublicKey& to, uint64_t ticket, Bytes message, bool urgent) override {
    log.push_back("stream");
    streamed.push_back({to, ticket, std::move(message), urgent});
  }
  void drop(const list::PublicKey& peer) override { dropped.push_back(peer); }

  std::mt19937_64 random_{1};
  uint64_t counts_ = 0;
};

}  // namespace ptwop::test
