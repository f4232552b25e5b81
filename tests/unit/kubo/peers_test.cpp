// Streams between daemons through everything that happens to them. What works when all is well is
// tests/kubo/conformance.cpp.
#include <doctest/doctest.h>

#include <algorithm>

#include "kubo/address.h"
#include "kubo/client.h"
#include "kubo/wire.h"
#include "lane/session.h"
#include "net/http_client.h"
#include "net/loopback.h"
#include "support/fake_kubo.h"
#include "support/kubo_replica.h"

using namespace ptwop;
using namespace ptwop::test;

namespace {

struct World {
  kubo::Options options(const FakeKubo& node) const {
    return {.address = node.api(),
            .block_timeout_ms = 200,
            .probe_timeout_ms = 300,
            .check_ms = 100,
            .retry_ms_min = 10,
            .retry_ms_max = 50,
            .stream_retry_ms_max = 200};
  }
  bool until(const std::function<bool()>& what, uint64_t limit_ms = 15'000) {
    return run_until(loop, what, limit_ms);
  }
  boost::asio::io_context loop;
  FakeNet net{loop, 7};
  FakeKubo one{net}, two{net};
};

struct Linked : World {
  Linked() {
    for (KuboReplica* each : {&a, &b}) {
      each->open_streams();
      REQUIRE(each->connect());
    }
    a.want(b);
    b.want(a);
    REQUIRE(linked());
  }
  bool linked() {
    return until([&] { return a.linked(b) && b.linked(a); });
  }
  KuboReplica a{loop, options(one), false};
  KuboReplica b{loop, options(two), false};
};

uint64_t refused(const KuboReplica& replica, const std::string& kind) {
  const auto all = replica.client.snapshot().streams_refused;
  const auto found = all.find(kind);
  return found == all.end() ? 0 : found->second;
}

}  // namespace

TEST_CASE_FIXTURE(Linked, "a stream that is cut is told of, and comes back with other secrets") {
  const Bytes before = a.peers[b.key];
  two.cut_streams();
  CHECK(until([&] { return !a.linked(b) && !b.linked(a); }));
  REQUIRE(linked());
  CHECK(a.peers[b.key] != before);
  REQUIRE(a.peer_news.size() >= 3);
  CHECK(a.peer_news[0] == std::pair(b.key, true));
  CHECK(a.peer_news[1] == std::pair(b.key, false));
  CHECK(a.peer_news.back() == std::pair(b.key, true));
}

TEST_CASE_FIXTURE(Linked, "a Kubo that goes takes its streams along, and they come back with it") {
  two.stop();
  CHECK(until([&] { return !a.linked(b) && !b.linked(a); }));
  CHECK(until([&] { return b.client.snapshot().streams == kubo::Pubsub::unknown; }));
  two.start();
  REQUIRE(linked());
  run_for(loop, 2'500);  // of two that were opened one stays
  REQUIRE(linked());
  b.client.send(a.key, 1, "hello again", true);
  CHECK(until([&] { return a.received == std::vector<Bytes>{"hello again"}; }));
}

TEST_CASE_FIXTURE(Linked,
                  "while a stream stalls a bounded number of bytes waits, and all comes after") {
  one.faults().stall = true;
  const Bytes part(256 << 10, 'x');
  for (uint64_t i = 0; i < 40; ++i) a.client.send(b.key, i, part, false);
  run_for(loop, 500);
  // What there is no room for is refused at once; what is on its way is at most a window.
  const auto lost = std::count_if(a.sent.begin(), a.sent.end(), [](auto& s) { return !s.second; });
  const auto left = std::count_if(a.sent.begin(), a.sent.end(), [](auto& s) { return s.second; });
  CHECK(lost >= 1);
  CHECK(left <= 8);
  one.faults().stall = false;
  CHECK(until([&] { return a.sent.size() == 40; }));
  CHECK(until([&] { return b.received.size() == static_cast<size_t>(40 - lost); }));
}

TEST_CASE_FIXTURE(Linked, "streams that are switched off are gone without a word") {
  one.faults().streams_off = true;
  one.cut_streams();
  CHECK(until([&] { return a.client.snapshot().streams == kubo::Pubsub::off; }));
  CHECK(until([&] { return !b.linked(a); }));
  CHECK(a.client.snapshot().connected);
  CHECK(a.client.snapshot().last_error.empty());
  one.faults().streams_off = false;
  CHECK(linked());
}

TEST_CASE_FIXTURE(World, "what a killed daemon left is replaced; what is another's is not") {
  KuboReplica other(loop, options(one), false);
  other.open_streams();
  REQUIRE(other.connect());
  const auto channel = ipld::Cid::of("a manifest");
  // An entry for the channel whose port is dead, and one for another channel whose port lives.
  const auto call = [&](const std::string& path) {
    net::HttpClient http(loop);
    std::optional<Bytes> body;
    net::HttpRequest request;
    request.url = kubo::parse_api_address(one.api())->url + "/api/v0/" + path;
    request.on_done = [&](Result<net::HttpResponse> r) { body = r ? r->body : Bytes("?"); };
    http.start(std::move(request));
    REQUIRE(until([&] { return body.has_value(); }));
    return *body;
  };
  const auto protocol = [](const ipld::Cid& cid) {
    return "/x/ptwop/1/" + lane::name_of(lane::knock_of(cid));
  };
  const auto second = ipld::Cid::of("another manifest");
  net::LoopbackListener alive(loop, net::close_fd);
  REQUIRE(alive.listen().ok());
  const std::string dead = kubo::loopback_address(net::free_loopback_port());
  const std::string living = kubo::loopback_address(alive.port());
  (void)call("p2p/listen?arg=" + protocol(channel) + "&arg=" + dead);
  (void)call("p2p/listen?arg=" + protocol(second) + "&arg=" + living);
  other.client.meet({channel, second}, {});
  const auto target = [&](const ipld::Cid& cid) {
    const auto all = kubo::parse_listeners(call("p2p/ls"));
    std::vector<std::string> found;
    for (const auto& each : *all)
      if (each.protocol == protocol(cid)) found.push_back(each.target);
    return found.size() == 1 ? found[0] : "";
  };
  CHECK(until([&] { return target(channel) != dead && !target(channel).empty(); }));
  run_for(loop, 300);
  CHECK(target(second) == living);
  // Left again, the channel's name goes; the other's stays.
  other.client.meet({}, {});
  CHECK(until([&] { return target(channel).empty(); }));
  CHECK(target(second) == living);
}

TEST_CASE_FIXTURE(Linked, "strangers at the port are put out, are counted, and keep nobody out") {
  const auto all = [&] {
    net::HttpClient http(loop);
    std::optional<Bytes> body;
    net::HttpRequest request;
    request.url = kubo::parse_api_address(one.api())->url + "/api/v0/p2p/ls";
    request.on_done = [&](Result<net::HttpResponse> r) { body = r->body; };
    http.start(std::move(request));
    REQUIRE(until([&] { return body.has_value(); }));
    return *kubo::parse_listeners(*body);
  }();
  REQUIRE(all.size() == 1);
  const uint16_t port = kubo::loopback_port(all[0].target);
  std::vector<int> silent;
  for (int i = 0; i < 100; ++i)
    net::connect_loopback(loop, port, 1'000, [&](Result<int> fd) {
      if (fd) silent.push_back(*fd);
    });
  CHECK(until([&] { return silent.size() == 100; }));
  CHECK(until([&] { return refused(a, "crowded") >= 36; }));
  a.client.drop(b.key);
  CHECK(until([&] { return !b.linked(a); }));
  CHECK(linked());
  CHECK(until([&] { return refused(a, "late") >= 1; }));  // 5 s of silence
  for (const int fd : silent) net::close_fd(fd);
}

TEST_CASE_FIXTURE(World, "whoever answers at another's name is not taken for him") {
  KuboReplica a(loop, options(one), false), b(loop, options(two), false);
  for (KuboReplica* each : {&a, &b}) {
    each->open_streams();
    REQUIRE(each->connect());
  }
  // What comes for somebody who is not there is brought to b.
  list::PublicKey nobody;
  nobody.raw.fill(7);
  const auto call = [&](const std::string& path) {
    net::HttpClient http(loop);
    std::optional<Bytes> body;
    net::HttpRequest request;
    request.url = kubo::parse_api_address(two.api())->url + "/api/v0/" + path;
    request.on_done = [&](Result<net::HttpResponse> r) { body = r ? r->body : Bytes("?"); };
    http.start(std::move(request));
    REQUIRE(until([&] { return body.has_value(); }));
    return *body;
  };
  std::vector<kubo::Listener> all;
  REQUIRE(until([&] {
    all = *kubo::parse_listeners(call("p2p/ls"));
    return all.size() == 1;
  }));
  (void)call("p2p/listen?arg=/x/ptwop/1/" + lane::name_of(lane::knock_of(nobody)) +
             "&arg=" + all[0].target);
  a.client.want({{nobody, b.client.snapshot().peer_id, ""}});
  CHECK(until([&] { return refused(b, "stranger") >= 1; }));
  CHECK(a.peers.empty());
  CHECK(b.peers.empty());
}

TEST_CASE_FIXTURE(World, "members are found by who provides the manifest, too") {
  one.faults().alone = two.faults().alone = true;
  KuboReplica a(loop, options(one), false), b(loop, options(two), false);
  for (KuboReplica* each : {&a, &b}) {
    each->open_streams();
    REQUIRE(each->connect());
  }
  const auto channel = ipld::Cid::of("a manifest");
  a.client.meet({channel}, {});
  two.faults().providers = {"12D3KooWNobody", a.client.snapshot().peer_id};
  run_for(loop, 300);
  b.client.meet({channel}, {channel});
  CHECK(until([&] { return a.linked(b) && b.linked(a); }));
}
