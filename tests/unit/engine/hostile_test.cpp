// What comes in from the network is refused, counted, and has no effect on state or on the next
// good message.
#include <doctest/doctest.h>

#include "access/body.h"
#include "engine/engine.h"
#include "replicas.h"
#include "sync/message.h"
#include "types/kv.h"

using namespace ptwop;
using test::Network;

namespace {

Bytes text(std::string_view t) {
  ipld::CborWriter w;
  w.text(t);
  return w.take();
}

struct Stage {
  Network net{2, 31};
  engine::ChannelRef a, b;
  Bytes seed = Bytes(32, '\7');
  access::Identity stranger = std::move(*access::Identity::from_seed(Bytes(32, '\7')));
  uint64_t count = 0;

  Stage() {
    a = net[0].create("notes", "kv", true);
    b = net[1].join(a->address, "notes");
    REQUIRE(
        net[0].write("notes", types::kv_type(), {types::kv_put_op("k", text("good"), {})}).ok());
    REQUIRE(net.run_until(
        20'000, [&] { return b->nodes.load() == a->nodes.load() && b->nodes.load() == 1; }));
  }

  Bytes message(std::variant<sync::Nodes, sync::ClockMessage, sync::Want> body) {
    sync::Message m;
    m.channel = a->cid;
    m.sender = stranger.key();
    m.boot = 1;
    m.count = ++count;
    m.body = std::move(body);
    m.signature = stranger.sign("message", sync::encode_unsigned(m));
    return sync::encode_signed(m);
  }

  list::Node node(const access::Identity& writer, uint64_t number = 1) {
    list::Node n;
    n.channel = a->cid;
    n.list = {writer.key(), {}, false};
    n.number = number;
    n.time = 1'700'000'000'000ull << 16;
    n.body = access::frame_ops({types::kv_put_op("k", text("evil"), {})}, false);
    n.signature = writer.sign("node", list::encode_unsigned(n));
    return n;
  }

  uint64_t refused(const std::string& kind) {
    const auto stats = net[1]->stats();
    const auto it = stats.refused.find(kind);
    return it == stats.refused.end() ? 0 : it->second;
  }

  void unharmed() {
    net.run_ms(3'000);
    CHECK(types::kv_get(engine::StateView(net[1].store(), b->number), "k").value()->value ==
          text("good"));
    CHECK(b->nodes.load() == 1);
    REQUIRE(net[0]
                .write("notes", types::kv_type(), {types::kv_put_op("after", text("fine"), {})})
                .ok());
    CHECK(net.run_until(20'000, [&] { return b->nodes.load() == 2; }));
  }
};

}  // namespace

TEST_CASE_FIXTURE(Stage, "a message that is no message") {
  net.inject(a->cid, "not cbor");
  net.inject(a->cid, Bytes(800 << 10, '\0'));
  net.run_ms(10);
  CHECK(refused("malformed_message") == 1);
  CHECK(refused("oversized") == 1);
  unharmed();
}

TEST_CASE_FIXTURE(Stage, "a message whose signature does not verify") {
  Bytes m = message(sync::ClockMessage{});
  m.back() = static_cast<char>(m.back() ^ 1);
  net.inject(a->cid, m);
  net.run_ms(10);
  CHECK(refused("forged_message") == 1);
  unharmed();
}

TEST_CASE_FIXTURE(Stage, "a replayed message, its own and others'") {
  const Bytes m = message(sync::ClockMessage{});
  net.inject(a->cid, m);
  net.inject(a->cid, m);
  net.run_ms(10);
  CHECK(refused("replayed") == 1);
  const auto published = net.published;
  for (const auto& [channel, bytes] : published) net.inject(channel, bytes);
  net.run_ms(100);
  CHECK(refused("replayed") > 1);
  unharmed();
}

TEST_CASE_FIXTURE(Stage, "messages from more Kubo peers than are accounted for") {
  for (int i = 0; i < 3'000; ++i) net[1]->on_message(a->cid, "peer " + std::to_string(i), "noise");
  CHECK(refused("malformed_message") == 3'000);
  unharmed();
}

TEST_CASE_FIXTURE(Stage, "a stranger's node") {
  net.inject(a->cid, message(sync::Nodes{{list::encode(node(stranger))}, {}, {}, true}));
  net.run_ms(10);
  CHECK(refused("stranger") == 1);
  unharmed();
}

TEST_CASE_FIXTURE(Stage, "a stranger's node that names a grant which does not exist, or not yet") {
  list::Node n = node(stranger);
  n.grant = list::At{n.id, {1, 1}};
  n.signature = stranger.sign("node", list::encode_unsigned(n));
  net.inject(a->cid, message(sync::Nodes{{list::encode(n)}, {}, {}, true}));
  net.run_ms(10);
  CHECK(net[1]->stats().waiting_nodes <= 1);
  unharmed();
}

TEST_CASE_FIXTURE(Stage,
                  "a node forged in the creator's name, at the end of its list and in the middle") {
  for (const uint64_t number : {1, 2, 3}) {
    list::Node n = node(stranger, number);
    n.list.writer = net[0]->identity().key();
    const auto held =
        list::decode(net[0].store().dump(engine::Table::nodes, a->number).begin()->second);
    n.list = held->list;
    if (number > 1) n.prev = held->cid;
    n.time = held->time + number;
    n.signature = stranger.sign("node", list::encode_unsigned(n));
    net.inject(a->cid, message(sync::Nodes{{list::encode(n)}, {}, {}, true}));
  }
  net.run_ms(10);
  CHECK(refused("forged") == 3);
  unharmed();
}

TEST_CASE_FIXTURE(Stage, "a node of another channel, and one that is not canonical") {
  list::Node n = node(stranger);
  n.channel = ipld::Cid::of("other");
  n.signature = stranger.sign("node", list::encode_unsigned(n));
  Bytes loose = list::encode(node(stranger));
  loose += '\0';
  net.inject(a->cid, message(sync::Nodes{{list::encode(n), loose}, {}, {}, true}));
  net.inject(a->cid, message(sync::Nodes{{"junk", "more of it"}, {}, {}, true}));
  net.run_ms(10);
  CHECK(refused("other_channel") == 1);
  CHECK(refused("not_canonical") == 2);
  unharmed();
}

TEST_CASE_FIXTURE(Stage, "a clock with huge numbers of known and unknown lists") {
  sync::ClockMessage clock;
  for (uint8_t i = 0; i < 200; ++i)
    clock.entries.push_back({{list::ListId{{i}}, {UINT64_MAX, i}}, i});
  const auto id = list::ListId::from(*from_hex(net[0].info("notes").lists[0].list));
  clock.entries.push_back({{id, {UINT64_MAX, 1}}, 1});
  for (int i = 0; i < 20; ++i) {
    net.inject(a->cid, message(clock));
    net.run_ms(100);
  }
  unharmed();
}

TEST_CASE_FIXTURE(Stage, "wants for everything, of everything") {
  const size_t before = net.published.size();
  for (int i = 0; i < 50; ++i) {
    sync::Want want;
    want.to = net[1]->identity().key();
    for (uint8_t r = 0; r < 64; ++r) want.ranges.push_back({list::ListId{{r}}, 1, UINT64_MAX});
    net.inject(a->cid, message(want));
  }
  net.run_ms(1'000);
  CHECK(net.published.size() - before < 200);
  unharmed();
}
