// The engine's side of streams: who is called, what goes over them and what does not.
#include "alone.h"
#include "types/kv.h"

using namespace ptwop;
using namespace ptwop::test;

namespace {

const Bytes kBinding(32, 'b');

Bytes put_op(const std::string& key) { return types::kv_put_op(key, Bytes("\x01", 1), {}); }

struct Streaming : Alone {
  Streaming() {
    ref = join("kv");
    engine->on_streams(true, "kubo");
    run_ms(1'000);
  }
  list::PublicKey peer() const { return creator.key(); }
  Bytes our_tag() const { return tag(kBinding, engine->identity().key(), manifest.cid); }
  Bytes their_tag() const { return tag(kBinding, peer(), manifest.cid); }
  /// A stream to the creator opens, and its hello comes.
  void open(bool pubsub) {
    engine->on_peer(peer(), true, kBinding);
    engine->on_peer_message(peer(), hello(pubsub, their_tag()));
    engine->turn();
  }
  void off_pubsub() {
    engine->on_kubo({true, false});
    run_ms(1'000);
  }
  /// The bodies that went over the stream since the last call.
  template <class Body>
  std::vector<Body> said() {
    std::vector<Body> out;
    for (const Streamed& each : streamed) {
      if (!each.message.starts_with("c" + our_tag())) continue;
      Bytes covered;
      const auto message = sync::decode(BytesView(each.message).substr(17), covered);
      REQUIRE(message.ok());
      if (const auto* body = std::get_if<Body>(&message->body)) out.push_back(*body);
    }
    streamed.clear();
    return out;
  }
  void clock(const std::string& id, bool ask = false) {
    sync::ClockMessage clock;
    clock.peer = id;
    clock.ask = ask;
    deliver(clock);
    run_ms(1'000);
  }
  engine::ChannelRef ref;
};

}  // namespace

TEST_CASE_FIXTURE(Streaming, "who says where it is is called, and after a restart again") {
  CHECK(wanted.empty());
  clock("12D3Koo1");
  REQUIRE(wanted.size() == 1);
  CHECK(wanted[0].identity == peer());
  CHECK(wanted[0].peer == "12D3Koo1");
  engine->on_peer_address(peer(), "12D3Koo1", "/ip4/1.2.3.4/tcp/1/p2p/12D3Koo1");
  run_ms(1'000);
  CHECK(wanted[0].address == "/ip4/1.2.3.4/tcp/1/p2p/12D3Koo1");
  wanted.clear();
  start();
  engine->on_streams(true, "kubo");
  run_ms(1'000);
  REQUIRE(wanted.size() == 1);
  CHECK(wanted[0].address == "/ip4/1.2.3.4/tcp/1/p2p/12D3Koo1");
  // It moves; it has no streams any more.
  clock("12D3Koo2");
  REQUIRE(wanted.size() == 1);
  CHECK(wanted[0].peer == "12D3Koo2");
  CHECK(wanted[0].address.empty());
}

TEST_CASE_FIXTURE(Streaming, "beside pubsub only what is for one goes over its stream") {
  open(true);
  REQUIRE(streamed.size() == 1);  // our hello
  CHECK(streamed[0].message == hello(true, our_tag()));
  clock("12D3Koo1", true);
  CHECK(info().peers.at(0).stream);
  deliver(std::vector<list::Node>{node({put_op("k")})});
  run_ms(2'000);
  CHECK(said<sync::ClockMessage>().empty());
  CHECK(published.size() >= 2);
  // A want of it is answered there, a want of ours goes there.
  const size_t before = published.size();
  sync::Want want;
  want.to = engine->identity().key();
  want.manifest = true;
  engine->on_peer_message(peer(), over_stream(want, kBinding));
  engine->turn();
  const auto answers = said<sync::Nodes>();
  REQUIRE(answers.size() == 1);
  CHECK(answers[0].manifest == manifest_block);
  CHECK(published.size() == before);
  sync::ClockMessage more;
  more.entries.push_back({{list::list_id(manifest.cid, {creator.key(), {}, false}), {9, 9}}, 0});
  engine->on_peer_message(peer(), over_stream(more, kBinding));
  engine->turn();
  run_ms(200);
  CHECK(said<sync::Want>().size() == 1);
  // The stream goes: the next one goes on the topic.
  engine->on_peer(peer(), false, {});
  run_ms(3'000);
  CHECK(said<sync::Want>().empty());
  CHECK_FALSE(info().peers.at(0).stream);
}

TEST_CASE_FIXTURE(Streaming, "without pubsub everything does, and members are looked for") {
  CHECK(met == std::vector{manifest.cid});
  CHECK(sought.empty());
  off_pubsub();
  CHECK(sought == std::vector{manifest.cid});
  published.clear();
  open(false);
  run_ms(1'000);
  CHECK(sought.empty());
  CHECK(said<sync::ClockMessage>().size() >= 1);
  engine->on_peer(peer(), false, {});
  run_ms(1'000);
  CHECK(sought == std::vector{manifest.cid});
  CHECK(published.empty());
}

TEST_CASE_FIXTURE(Streaming, "who does not hear the topic is told over the stream") {
  open(false);
  run_ms(2'000);
  CHECK(said<sync::ClockMessage>().size() >= 1);
  CHECK(published.size() >= 1);
}

TEST_CASE_FIXTURE(Streaming, "who says our own tags back, or bends its hello, shares no channel") {
  off_pubsub();
  engine->on_peer(peer(), true, kBinding);
  for (const Bytes& bad :
       {hello(false, our_tag()), hello(false, their_tag() + "x"), Bytes("h"), Bytes(), Bytes("x"),
        hello(false, their_tag()) + "x", hello(false, tag(Bytes(32, 'c'), peer(), manifest.cid))}) {
    engine->on_peer_message(peer(), bad);
    run_ms(500);
  }
  sync::Want want;
  want.to = engine->identity().key();
  want.manifest = true;
  engine->on_peer_message(peer(), over_stream(want, kBinding));
  run_ms(500);
  for (const Streamed& each : streamed) CHECK(each.message.starts_with("h"));
  CHECK(refused("malformed_message") >= 4);
  // Nothing shared: after a while it is let go.
  run_ms(12'000);
  CHECK(std::find(dropped.begin(), dropped.end(), peer()) != dropped.end());
}

TEST_CASE_FIXTURE(Streaming, "another's message over a stream is not taken") {
  open(true);
  const access::Identity other = std::move(*access::Identity::from_seed(Bytes(32, 'o')));
  sync::Message m;
  m.channel = manifest.cid;
  m.sender = other.key();
  m.boot = m.count = 1;
  m.body = sync::ClockMessage{};
  m.signature = other.sign("message", sync::encode_unsigned(m));
  engine->on_peer_message(peer(), "c" + their_tag() + sync::encode_signed(m));
  CHECK(refused("forged_message") == 1);
}

TEST_CASE_FIXTURE(Streaming, "a peer that takes nothing is sent no more than so much") {
  open(true);
  sync::Want want;
  want.to = engine->identity().key();
  std::vector<list::Node> nodes;
  for (int i = 0; i < 400; ++i) {
    std::vector<Bytes> ops;
    for (int j = 0; j < 16; ++j)
      ops.push_back(types::kv_put_op(std::to_string(i * 16 + j) + std::string(900, 'k'),
                                     Bytes("\x01", 1), {}));
    nodes.push_back(node(ops, nodes.empty() ? nullptr : &nodes.back()));
  }
  for (size_t i = 0; i < nodes.size(); i += 20)
    deliver(std::vector<list::Node>(nodes.begin() + static_cast<ptrdiff_t>(i),
                                    nodes.begin() + static_cast<ptrdiff_t>(i + 20)));
  engine->turn();
  want.ranges = {{nodes[0].id, 1, 400}};
  const auto sent_bytes = [&] {
    size_t bytes = 0;
    for (const Streamed& each : streamed) bytes += each.message.size();
    return bytes;
  };
  for (int i = 0; i < 40; ++i) {
    engine->on_peer_message(peer(), over_stream(want, kBinding));
    engine->turn();
  }
  const size_t first = sent_bytes();
  CHECK(first > 3 << 20);
  CHECK(first < 6 << 20);
  // As it leaves, more follows.
  const auto tickets = std::exchange(streamed, {});
  for (const Streamed& each : tickets) engine->on_sent(peer(), each.ticket, true);
  engine->turn();
  CHECK(sent_bytes() > 0);
}
