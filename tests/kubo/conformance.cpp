// What the daemon relies on in a Kubo. The same cases run against the fake one in this process and,
// with PTWOP_TEST_KUBO_A and _B naming two connected nodes (with_kubo.py does), against real ones.
#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <optional>
#include <random>

#include "base/limits.h"
#include "kubo/address.h"
#include "kubo/wire.h"
#include "net/http_client.h"
#include "support/fake_kubo.h"
#include "support/kubo_replica.h"
#include "support/temp_folder.h"

using namespace ptwop;
using namespace ptwop::test;

namespace {

struct World {
  World() {
    const char* a = std::getenv("PTWOP_TEST_KUBO_A");
    const char* b = std::getenv("PTWOP_TEST_KUBO_B");
    if (a && b) {
      api_a = a;
      api_b = b;
      api_closed = std::getenv("PTWOP_TEST_KUBO_CLOSED");
    } else {
      net.emplace(loop, 1);
      fake_a.emplace(*net);
      fake_b.emplace(*net);
      fake_closed.emplace(*net, folder.path + "/api.sock");
      fake_closed->faults().pubsub_off = true;
      fake_closed->faults().streams_off = true;
      fake_closed->faults().authorization = "Bearer open sesame";
      api_closed = fake_closed->api();
      api_a = fake_a->api();
      api_b = fake_b->api();
    }
  }
  boost::asio::io_context loop;
  std::optional<FakeNet> net;
  TempFolder folder;
  std::optional<FakeKubo> fake_a, fake_b, fake_closed;
  std::string api_a, api_b;
  std::string api_closed;  ///< On a unix socket, with pubsub off, asking for `bearer:open sesame`.
};

struct Pair : World {
  Pair() {
    REQUIRE(a.connect());
    REQUIRE(b.connect());
  }
  KuboReplica a{loop, {.address = api_a, .block_timeout_ms = 1'000}};
  KuboReplica b{loop, {.address = api_b, .block_timeout_ms = 1'000}};
};

/// One call as it is, with what came back.
struct Raw : World {
  net::HttpResponse post(const std::string& path, std::vector<Bytes> parts = {}) {
    net::HttpClient http(loop);
    std::optional<Result<net::HttpResponse>> got;
    net::HttpRequest request;
    request.url = kubo::parse_api_address(api_a)->url + "/api/v0/" + path;
    for (auto& part : parts) request.parts.push_back({"data", std::move(part)});
    request.body_bytes_max = 4 << 20;
    request.on_done = [&](Result<net::HttpResponse> response) { got = std::move(response); };
    http.start(std::move(request));
    REQUIRE(run_until(loop, [&] { return got.has_value(); }));
    REQUIRE(got->ok());
    return **got;
  }
  bool says(const net::HttpResponse& response, int status, std::string_view text) {
    INFO(response.status, " ", response.body, " ", response.stream_error);
    return response.status == status && response.body.find(text) != std::string::npos;
  }
};

/// Fresh in every run: a real node remembers.
uint64_t fresh() {
  static std::mt19937_64 random{std::random_device{}()};
  return random() >> 1;
}
ipld::Cid fresh_channel() { return ipld::Cid::of(numbered_block(fresh())); }

/// Publishes until it arrives: the nodes take a moment to learn who listens to a new topic.
bool link(KuboReplica& from, KuboReplica& to, const ipld::Cid& channel) {
  for (int attempt = 0; attempt < 100; ++attempt) {
    from.client.publish(channel, "hello");
    if (run_until(
            from.loop, [&] { return to.count(channel, "hello") > 0; }, 100))
      return true;
  }
  return false;
}

}  // namespace

TEST_CASE_FIXTURE(Pair, "a Kubo says who it is") {
  const auto shown = a.client.snapshot();
  CHECK(shown.connected);
  CHECK(shown.pubsub == kubo::Pubsub::ok);
  CHECK(shown.streams == kubo::Pubsub::ok);
  CHECK(shown.version == "0.43.0");
  CHECK(shown.peer_id.starts_with("12D3Koo"));
  CHECK(shown.peer_id != b.client.snapshot().peer_id);
  CHECK(shown.address == api_a);
  CHECK(shown.last_error.empty());
  REQUIRE(a.states.size() == 1);
  CHECK(a.states[0] == std::pair(true, true));
}

TEST_CASE_FIXTURE(Pair, "blocks go in by the batch and come out at the other node") {
  std::vector<engine::Block> blocks;
  for (int i = 0; i < 1500; ++i) blocks.push_back(block_of(numbered_block(fresh(), {}, i % 700)));
  for (int i = 0; i < 8; ++i)
    blocks.push_back(block_of(numbered_block(fresh(), {}, limits::kBodyBytesMax)));
  a.client.put(1, {blocks.begin(), blocks.begin() + 1000});
  a.client.put(2, {blocks.begin() + 1000, blocks.end()});
  REQUIRE(run_until(loop, [&] { return a.stored.size() == 2; }));
  CHECK(a.stored[1] == std::vector{true});
  CHECK(a.stored[2] == std::vector{true});
  for (const auto& block : blocks) b.client.get(block.cid);
  REQUIRE(run_until(
      loop, [&] { return b.blocks_told == blocks.size(); }, 30'000));
  for (const auto& block : blocks) {
    REQUIRE(b.blocks[block.cid].size() == 1);
    REQUIRE(b.blocks[block.cid][0].ok());
    CHECK(*b.blocks[block.cid][0] == block.bytes);
  }
}

TEST_CASE_FIXTURE(
    Pair, "a block that nobody has is given up in time, and one that appears meanwhile is found") {
  const auto late = block_of(numbered_block(fresh()));
  b.client.get(late.cid);
  run_for(loop, 200);
  CHECK(a.put({late}));
  REQUIRE(run_until(loop, [&] { return b.blocks_told == 1; }));
  CHECK(b.blocks[late.cid][0].ok());

  const auto none = b.get(fresh_channel());
  REQUIRE_FALSE(none.ok());
  CHECK(none.error().code == Code::timed_out);
  CHECK(b.client.snapshot().connected);
}

TEST_CASE_FIXTURE(Pair, "a block over 2 MiB is refused, nothing at all is stored at once") {
  CHECK_FALSE(a.put({block_of(Bytes((2 << 20) + 1, 'x'))}));
  CHECK(a.put({}));
  CHECK(a.put({block_of(numbered_block(fresh()))}));
}

TEST_CASE_FIXTURE(Pair, "messages reach the other node and come back to one's own") {
  const auto channel = fresh_channel();
  a.client.subscribe(channel);
  b.client.subscribe(channel);
  REQUIRE(link(a, b, channel));
  run_for(loop, 300);
  a.published.clear();
  Bytes every_byte;
  for (int i = 0; i < 256; ++i) every_byte += static_cast<char>(i);
  const Bytes large(limits::kMessageBytesMax, '\x80');
  for (const Bytes& data : {every_byte, Bytes("\r\n--ptwop\r\n"), large}) {
    a.client.publish(channel, data);
    CHECK(run_until(loop,
                    [&] { return b.count(channel, data) == 1 && a.count(channel, data) == 1; }));
  }
  CHECK(run_until(loop, [&] { return a.published.size() == 3; }));
  CHECK(a.published == std::vector{true, true, true});
  for (const auto* replica : {&a, &b}) {
    for (const auto& message : replica->messages)
      CHECK(message.from == a.client.snapshot().peer_id);
  }

  a.published.clear();
  a.client.publish(channel, Bytes(limits::kMessageBytesMax + 1, 'x'));
  CHECK(run_until(loop, [&] { return a.published.size() == 1; }));
  CHECK(a.published == std::vector{false});
}

TEST_CASE_FIXTURE(Pair, "messages of one topic leave in order, other topics do not arrive") {
  const auto channel = fresh_channel();
  const auto other = fresh_channel();
  a.client.subscribe(channel);
  b.client.subscribe(channel);
  REQUIRE(link(a, b, channel));
  a.messages.clear();
  b.messages.clear();
  for (int i = 0; i < 100; ++i) {
    a.client.publish(channel, "m" + std::to_string(1000 + i));
    a.client.publish(other, "not for b");
  }
  CHECK(run_until(
      loop, [&] { return a.count(channel, "m1099") == 1 && b.count(channel, "m1099") == 1; }));
  for (const auto& message : b.messages) CHECK(message.channel == channel);
  // Seen at the sender: the other Kubo validates several at once, and now and then one overtakes
  // another there.
  Bytes last;
  for (const auto& message : a.messages) {
    if (message.data == "hello") continue;
    CHECK(last < message.data);
    last = message.data;
  }

  b.client.unsubscribe(channel);
  run_for(loop, 200);
  b.messages.clear();
  a.client.publish(channel, "too late");
  CHECK(run_until(loop, [&] { return a.count(channel, "too late") == 1; }));
  run_for(loop, 100);
  CHECK(b.messages.empty());
}

TEST_CASE_FIXTURE(Pair, "two subscriptions beside one node both hear") {
  KuboReplica second(loop, {.address = api_a});
  REQUIRE(second.connect());
  const auto channel = fresh_channel();
  a.client.subscribe(channel);
  second.client.subscribe(channel);
  REQUIRE(link(a, second, channel));
  a.client.publish(channel, "beside");
  CHECK(run_until(loop, [&] {
    return a.count(channel, "beside") == 1 && second.count(channel, "beside") == 1;
  }));
}

TEST_CASE_FIXTURE(Raw, "what is pinned stays, with what it links to; what is not goes") {
  KuboReplica a(loop, {.address = api_a});
  REQUIRE(a.connect());
  const auto leaf = block_of(numbered_block(fresh()));
  const auto old_leaf = block_of(numbered_block(fresh()));
  const auto first = block_of(numbered_block(fresh(), {leaf.cid, old_leaf.cid}));
  const auto second = block_of(numbered_block(fresh(), {leaf.cid}));
  const auto stray = block_of(numbered_block(fresh()));
  REQUIRE(a.put({leaf, old_leaf, first, second, stray}));
  auto pinned = [&](const ipld::Cid& cid) {
    return post("pin/ls?type=recursive&arg=" + cid.text()).status == 200;
  };
  auto held = [&](const ipld::Cid& cid) {
    return post("block/get?offline=true&arg=" + cid.text()).status == 200;
  };

  a.client.pin({}, first.cid);
  CHECK(run_until(loop, [&] { return pinned(first.cid); }));
  a.client.pin(first.cid, second.cid);
  CHECK(run_until(loop, [&] { return pinned(second.cid) && !pinned(first.cid); }));
  CHECK(post("repo/gc").status == 200);
  CHECK(held(second.cid));
  CHECK(held(leaf.cid));
  CHECK_FALSE(held(first.cid));
  CHECK_FALSE(held(old_leaf.cid));
  CHECK_FALSE(held(stray.cid));

  // The last one is not pinned (any more): the next one is all the same.
  a.client.pin(stray.cid, leaf.cid);
  CHECK(run_until(loop, [&] { return pinned(leaf.cid); }));
  a.client.unpin(leaf.cid);
  a.client.unpin(second.cid);
  CHECK(run_until(loop, [&] { return !pinned(leaf.cid) && !pinned(second.cid); }));
}

TEST_CASE_FIXTURE(Raw, "errors come in these forms") {
  const std::string absent = fresh_channel().text();
  CHECK(says(post("nonsense"), 404, "404 page not found"));
  CHECK(says(post("block/put?cid-codec=dag-cbor&mhtype=sha2-256"), 400,
             "file argument 'data' is required"));
  CHECK(says(post("pubsub/pub?arg=uYWJj"), 400, "file argument 'data' is required"));
  CHECK(says(post("pubsub/pub?arg=abc", {"x"}), 500, "URL arg must be multibase encoded"));
  CHECK(says(post("pubsub/sub?arg=abc"), 500, "URL arg must be multibase encoded"));
  CHECK(says(post("pin/rm?arg=" + absent), 500, "not pinned or pinned indirectly"));
  CHECK(says(post("pin/ls?arg=" + absent), 500, "is not pinned"));
  CHECK(says(post("pin/update?arg=" + absent + "&arg=" + absent), 500,
             "'from' cid was not recursively pinned already"));
  CHECK(says(post("pin/add?timeout=100ms&arg=" + absent), 500, "pin: context deadline exceeded"));
  CHECK(says(post("block/get?timeout=100ms&arg=" + absent), 500,
             "{\"Message\":\"context deadline exceeded\",\"Code\":0,\"Type\":\"error\"}"));
  CHECK(says(post("block/get?offline=true&arg=" + absent), 500,
             "block was not found locally (offline): ipld: could not find"));
  CHECK(says(post("block/get?arg=zzz"), 500, "invalid path"));
}

TEST_CASE_FIXTURE(Raw, "a failure after the answer began comes in the trailer") {
  const Bytes good = numbered_block(fresh());
  const auto answer =
      post("block/put?cid-codec=dag-cbor&mhtype=sha2-256", {good, Bytes((2 << 20) + 1, 'x')});
  CHECK(says(answer, 200, ipld::Cid::of(good).text()));
  CHECK(answer.stream_error.starts_with("produced block is over 2MiB"));
  CHECK(says(post("block/put?cid-codec=dag-cbor&mhtype=sha2-256", {Bytes((2 << 20) + 1, 'x')}), 500,
             "produced block is over 2MiB"));
}

TEST_CASE_FIXTURE(Raw,
                  "a message of 1 MiB is dropped, and its publisher is told that all is well") {
  KuboReplica b(loop, {.address = api_b});
  KuboReplica a(loop, {.address = api_a});
  const auto channel = fresh_channel();
  REQUIRE(a.connect());
  REQUIRE(b.connect());
  b.client.subscribe(channel);
  REQUIRE(link(a, b, channel));
  b.messages.clear();
  const std::string path = "pubsub/pub?arg=" + kubo::multibase(kubo::topic_of(channel));
  CHECK(post(path, {Bytes(1 << 20, 'x')}).status == 200);
  CHECK(post(path, {"after it"}).status == 200);
  CHECK(run_until(loop, [&] { return b.count(channel, "after it") == 1; }));
  for (const auto& message : b.messages) CHECK(message.data.size() < 1000);
  CHECK(b.client.snapshot().bad_answers == 0);
}

TEST_CASE_FIXTURE(World, "a Kubo that asks for a secret, and has pubsub off") {
  KuboReplica stranger(loop, {.address = api_closed});
  REQUIRE(run_until(loop, [&] { return !stranger.client.snapshot().last_error.empty(); }));
  CHECK(stranger.client.snapshot().last_error.find("--kubo-auth-file") != std::string::npos);
  CHECK_FALSE(stranger.client.snapshot().connected);

  KuboReplica friendly(
      loop, {.address = api_closed, .auth_file = folder.file("secret", "bearer:open sesame")});
  REQUIRE(friendly.connect());
  CHECK(friendly.states == std::vector{std::pair(true, false)});
  CHECK(friendly.client.snapshot().pubsub == kubo::Pubsub::off);
  CHECK(friendly.client.snapshot().streams == kubo::Pubsub::off);
  CHECK(friendly.client.snapshot().last_error.find("ipfs config --json Pubsub.Enabled true") !=
        std::string::npos);
  CHECK(friendly.put({block_of(numbered_block(fresh()))}));
}

// --- streams -------------------------------------------------------------------------------------

namespace {

/// Two daemons beside each its own Kubo, and one more beside the first.
struct Streams : World {
  Streams() {
    for (KuboReplica* each : {&a, &b, &c}) {
      each->open_streams();
      REQUIRE(each->connect());
    }
  }
  bool link(KuboReplica& x, KuboReplica& y) {
    x.want(y);
    y.want(x);
    return run_until(
        loop, [&] { return x.linked(y) && y.linked(x); }, 20'000);
  }
  KuboReplica a{loop, {.address = api_a}, false};
  KuboReplica b{loop, {.address = api_b}, false};
  KuboReplica c{loop, {.address = api_a}, false};
};

}  // namespace

TEST_CASE_FIXTURE(Streams, "a stream to the other node, and one to who stands beside the same") {
  REQUIRE(link(a, b));
  CHECK(a.peers[b.key] == b.peers[a.key]);
  a.client.send(b.key, 7, "hello", true);
  REQUIRE(run_until(loop, [&] { return b.received.size() == 1 && a.sent.size() == 1; }));
  CHECK(b.received[0] == "hello");
  CHECK(a.sent[0] == std::pair(uint64_t{7}, true));
  b.client.send(a.key, 8, "and back", false);
  REQUIRE(run_until(loop, [&] { return a.received.size() == 1; }));
  REQUIRE(link(a, c));
  c.client.send(a.key, 9, "from beside", false);
  CHECK(run_until(loop, [&] { return a.received.size() == 2; }));
  // To whom there is none, nothing goes.
  c.client.send(b.key, 10, "lost", true);
  CHECK(run_until(loop, [&] { return c.sent.size() == 2; }));
  CHECK(c.sent[1] == std::pair(uint64_t{10}, false));
  // Whoever goes is told of.
  b.client.stop();
  CHECK(run_until(loop, [&] { return !a.linked(b); }));
  CHECK(a.client.snapshot().streams_open == 1);
}

TEST_CASE_FIXTURE(Streams, "both call at once and one stream stays") {
  a.want(b);
  b.want(a);
  run_for(loop, 6'000);
  CHECK(a.linked(b));
  CHECK(b.linked(a));
  CHECK(a.peers[b.key] == b.peers[a.key]);
  CHECK(a.client.snapshot().streams_open == 1);
  CHECK(b.client.snapshot().streams_open == 1);
}

TEST_CASE_FIXTURE(Streams, "members of a channel find each other by its address alone") {
  const auto channel = fresh_channel();
  a.client.meet({channel}, {});
  run_for(loop, 200);
  b.client.meet({channel}, {channel});
  CHECK(run_until(
      loop, [&] { return a.linked(b) && b.linked(a); }, 20'000));
  c.client.meet({channel}, {channel});
  CHECK(run_until(
      loop, [&] { return c.linked(a) || c.linked(b); }, 20'000));
}

TEST_CASE_FIXTURE(Streams,
                  "a slow reader keeps the sender waiting; much goes through a quick one") {
  REQUIRE(link(a, b));
  b.take_received = b.keep_received = false;
  const Bytes part(512 << 10, 'x');
  for (uint64_t i = 0; i < 15; ++i) a.client.send(b.key, i, part, false);
  run_for(loop, 1'000);
  CHECK(a.sent.size() <= 5);
  CHECK(b.bytes_received <= 2 << 20);
  // Gone with what waited: each is told of.
  a.client.drop(b.key);
  CHECK(run_until(loop, [&] { return a.sent.size() == 15; }));
  CHECK(std::count_if(a.sent.begin(), a.sent.end(), [](const auto& s) { return s.second; }) <= 5);

  b.take_received = true;
  b.bytes_received = 0;
  REQUIRE(run_until(
      loop, [&] { return a.linked(b) && b.linked(a); }, 20'000));
  constexpr uint64_t kBytes = 256 << 20;
  const auto begin = std::chrono::steady_clock::now();
  uint64_t offered = 0;
  a.sent.clear();
  REQUIRE(run_until(
      loop,
      [&] {
        for (; offered < kBytes && offered < (a.sent.size() + 8) * part.size();
             offered += part.size())
          a.client.send(b.key, 100, part, false);
        return b.bytes_received >= kBytes;
      },
      60'000));
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  MESSAGE("one stream, both ends in one thread: ",
          static_cast<int>(static_cast<double>(kBytes >> 20) / took.count()), " MiB/s");
  CHECK(b.bytes_received == kBytes);
}

TEST_CASE_FIXTURE(Raw, "p2p streams are answered in these forms") {
  const std::string name = "/x/ptwop/test/" + std::to_string(fresh());
  CHECK(post("p2p/listen?arg=" + name + "&arg=/ip4/127.0.0.1/tcp/9").status == 200);
  CHECK(says(post("p2p/listen?arg=" + name + "&arg=/ip4/127.0.0.1/tcp/10"), 500,
             "listener already registered"));
  const auto all = kubo::parse_listeners(post("p2p/ls").body);
  REQUIRE(all.ok());
  const auto found = std::find_if(all->begin(), all->end(),
                                  [&](const auto& each) { return each.protocol == name; });
  REQUIRE(found != all->end());
  CHECK(found->target == "/ip4/127.0.0.1/tcp/9");
  CHECK(found->listen == "/p2p/" + *kubo::parse_peer_id(post("id").body));
  CHECK(says(post("p2p/close?protocol=" + name + "&target-address=/ip4/127.0.0.1/tcp/8"), 200,
             "0\n"));
  CHECK(says(post("p2p/close?protocol=" + name + "&target-address=/ip4/127.0.0.1/tcp/9"), 200,
             "1\n"));
  const auto peers = kubo::parse_swarm_peers(post("swarm/peers?identify=true").body);
  REQUIRE(peers.ok());
  REQUIRE_FALSE(peers->empty());
  CHECK((*peers)[0].streams);
  CHECK(kubo::is_address_of((*peers)[0].address, (*peers)[0].peer));
  const std::string absent = fresh_channel().text();
  CHECK(says(post("routing/provide?arg=" + absent), 500, "not found locally, cannot provide"));
  CHECK(
      kubo::parse_providers(post("routing/findprovs?num-providers=16&arg=" + absent).body).empty());
}
