// The client through everything that happens to a Kubo. What a healthy one does is
// tests/kubo/conformance.cpp.
#include "kubo/client.h"

#include <doctest/doctest.h>

#include <cstdlib>
#include <optional>

#include "support/fake_kubo.h"
#include "support/kubo_replica.h"
#include "support/temp_folder.h"

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
  bool until(const std::function<bool()>& what) { return run_until(loop, what); }

  boost::asio::io_context loop;
  FakeNet net{loop, 7};
  FakeKubo fake{net};
  ipld::Cid channel = ipld::Cid::of("a manifest");
  engine::Block block = block_of(numbered_block(1));
};

struct Connected : World {
  Connected() { REQUIRE(a.connect()); }
  bool hears(const Bytes& data) {
    for (int i = 0; i < 100; ++i) {
      a.client.publish(channel, data);
      if (run_until(
              loop, [&] { return a.count(channel, data) > 0; }, 20))
        return true;
    }
    return false;
  }
  KuboReplica a{loop, options(fake)};
};

}  // namespace

TEST_CASE_FIXTURE(World, "without a Kubo every call has its outcome soon, and only then") {
  fake.stop();
  KuboReplica a(loop, options(fake));
  a.client.publish(channel, "x");
  a.client.put(1, {block});
  a.client.put(2, {});
  a.client.get(block.cid);
  CHECK(a.published.empty());
  CHECK(a.stored.empty());
  CHECK(a.blocks_told == 0);
  REQUIRE(
      until([&] { return a.blocks_told == 1 && a.published.size() == 1 && a.stored.size() == 2; }));
  CHECK(a.published == std::vector{false});
  CHECK(a.stored[1] == std::vector{false});
  CHECK(a.stored[2] == std::vector{true});
  CHECK(a.blocks[block.cid][0].error().code == Code::kubo_offline);
  REQUIRE(until([&] { return !a.client.snapshot().last_error.empty(); }));
  CHECK_FALSE(a.client.snapshot().connected);
  CHECK(a.states.empty());
}

TEST_CASE_FIXTURE(World, "a Kubo that is started later, or moves, is found where it says it is") {
  const TempFolder repo;
  const std::string before = std::getenv("IPFS_PATH") ? std::getenv("IPFS_PATH") : "";
  ::setenv("IPFS_PATH", repo.path.c_str(), 1);
  auto opts = options(fake);
  opts.address.clear();
  KuboReplica a(loop, opts);
  a.client.subscribe(channel);
  run_for(loop, 50);
  CHECK_FALSE(a.client.snapshot().connected);
  repo.file("api", fake.api());
  REQUIRE(a.connect());
  CHECK(a.client.snapshot().peer_id == "12D3KooWFake0");

  FakeKubo other(net);
  fake.stop();
  repo.file("api", other.api());
  REQUIRE(until([&] { return a.client.snapshot().peer_id == "12D3KooWFake1"; }));
  CHECK(a.client.snapshot().address == other.api());
  REQUIRE(until([&] {
    a.client.publish(channel, "still here");
    run_for(loop, 5);
    return a.count(channel, "still here") > 0;
  }));
  before.empty() ? ::unsetenv("IPFS_PATH") : ::setenv("IPFS_PATH", before.c_str(), 1);
}

TEST_CASE_FIXTURE(Connected, "a restart is seen and survived, with all subscriptions") {
  const auto second = ipld::Cid::of("another manifest");
  a.client.subscribe(channel);
  a.client.subscribe(second);
  CHECK(hears("before"));
  for (int round = 0; round < 3; ++round) {
    fake.stop();
    REQUIRE(until([&] { return !a.client.snapshot().connected; }));
    CHECK(a.client.snapshot().peer_id.empty());
    fake.start();
    REQUIRE(a.connect());
    CHECK(hears("after " + std::to_string(round)));
    REQUIRE(until([&] {
      a.client.publish(second, "both");
      run_for(loop, 5);
      return a.count(second, "both") > 0;
    }));
    a.messages.clear();
  }
  CHECK(a.states.size() == 7);
  for (size_t i = 0; i < a.states.size(); ++i) CHECK(a.states[i].first == (i % 2 == 0));
}

TEST_CASE_FIXTURE(Connected, "what is under way when Kubo goes has one outcome each") {
  fake.faults().answer_delay_ms = 100;
  for (uint64_t i = 0; i < 200; ++i) {
    a.client.put(i, {block_of(numbered_block(i)), block_of(numbered_block(i + 1000))});
    a.client.get(ipld::Cid::of(numbered_block(i + 5000)));
    a.client.publish(channel, std::to_string(i));
  }
  run_for(loop, 30);
  fake.stop();
  REQUIRE(until(
      [&] { return a.stored.size() == 200 && a.blocks_told == 200 && a.published.size() == 200; }));
  run_for(loop, 100);
  CHECK(a.published.size() == 200);
  CHECK(a.blocks_told == 200);
  for (auto& [ticket, outcomes] : a.stored) CHECK(outcomes.size() == 1);
  for (auto& [cid, outcomes] : a.blocks) {
    REQUIRE(outcomes.size() == 1);
    CHECK(outcomes[0].error().code == Code::kubo_offline);
  }
}

TEST_CASE_FIXTURE(
    World, "pubsub switched off is told with its remedy; blocks go on; switched on it is noticed") {
  fake.faults().pubsub_off = true;
  KuboReplica a(loop, options(fake));
  a.client.subscribe(channel);
  REQUIRE(a.connect());
  CHECK(a.states == std::vector{std::pair(true, false)});
  CHECK(a.client.snapshot().pubsub == kubo::Pubsub::off);
  CHECK(a.client.snapshot().last_error.find("ipfs config --json Pubsub.Enabled true") !=
        std::string::npos);
  a.client.publish(channel, "x");
  REQUIRE(until([&] { return a.published.size() == 1; }));
  CHECK_FALSE(a.published[0]);
  CHECK(a.put({block}));
  CHECK(a.get(block.cid).ok());

  fake.faults().pubsub_off = false;
  REQUIRE(until([&] { return a.client.snapshot().pubsub == kubo::Pubsub::ok; }));
  CHECK(a.client.snapshot().last_error.empty());
  REQUIRE(until([&] {
    a.client.publish(channel, "heard");
    run_for(loop, 5);
    return a.count(channel, "heard") > 0;
  }));

  fake.faults().pubsub_off = true;
  a.client.publish(channel, "lost");
  REQUIRE(until([&] { return a.client.snapshot().pubsub == kubo::Pubsub::off; }));
  CHECK(a.client.snapshot().connected);
  CHECK(a.states.back() == std::pair(true, false));
}

TEST_CASE_FIXTURE(World, "a Kubo that asks for a secret gets it, also one that changes") {
  const TempFolder folder;
  fake.faults().authorization = "Bearer one";
  auto opts = options(fake);
  {
    KuboReplica a(loop, opts);
    REQUIRE(until([&] { return !a.client.snapshot().last_error.empty(); }));
    CHECK(a.client.snapshot().last_error.find("--kubo-auth-file") != std::string::npos);
    CHECK_FALSE(a.client.snapshot().connected);
  }
  opts.auth_file = folder.file("secret", "bearer:one", 0644);
  KuboReplica a(loop, opts);
  REQUIRE(
      until([&] { return a.client.snapshot().last_error.find("chmod 600") != std::string::npos; }));
  CHECK(fake.requests() < 20);
  folder.file("secret", "bearer:one", 0600);
  REQUIRE(a.connect());

  fake.faults().authorization = "Bearer two";
  REQUIRE(until([&] { return !a.client.snapshot().connected; }));
  folder.file("secret", "nonsense");
  CHECK_FALSE(a.client.reload().ok());
  run_for(loop, 50);
  CHECK_FALSE(a.client.snapshot().connected);
  folder.file("secret", "bearer:two");
  CHECK(a.client.reload().ok());
  REQUIRE(a.connect());
}

TEST_CASE_FIXTURE(Connected, "other bytes than were asked for are refused and counted") {
  CHECK(a.put({block}));
  fake.faults().wrong_bytes = true;
  const auto got = a.get(block.cid);
  REQUIRE_FALSE(got.ok());
  CHECK(got.error().code == Code::kubo_refused);
  CHECK_FALSE(a.put({block_of(numbered_block(2))}));
  CHECK(a.client.snapshot().bad_answers == 2);
  CHECK(a.client.snapshot().connected);
  fake.faults().wrong_bytes = false;
  CHECK(a.get(block.cid).ok());
}

TEST_CASE_FIXTURE(World, "nonsense, silence and an old version mean that no Kubo is there") {
  auto& faults = fake.faults();
  KuboReplica a(loop, options(fake));
  REQUIRE(a.connect());
  SUBCASE("nonsense") { faults.garbage = true; }
  SUBCASE("silence") { faults.hang = true; }
  SUBCASE("refusal") { faults.refuse = 1; }
  SUBCASE("an old version") { faults.version = "0.4.23"; }
  REQUIRE(until([&] { return !a.client.snapshot().connected; }));
  CHECK_FALSE(a.client.snapshot().last_error.empty());
  faults = {};
  REQUIRE(a.connect());
  CHECK(a.put({block}));
}

TEST_CASE_FIXTURE(Connected, "cut and refused answers fail what they belong to and nothing else") {
  fake.faults().cut = 0.3;
  fake.faults().refuse = 0.1;
  size_t stored = 0;
  for (uint64_t i = 0; i < 100; ++i) {
    const auto one = block_of(numbered_block(i));
    const bool ok = a.put({one});
    stored += ok;
    if (ok) CHECK(fake.has_block(one.cid.text()));
  }
  CHECK(stored > 0);
  CHECK(stored < 100);
  fake.faults() = {};
  REQUIRE(a.connect());
  for (auto& [ticket, outcomes] : a.stored) CHECK(outcomes.size() == 1);
  CHECK(a.put({block}));
}

TEST_CASE_FIXTURE(Connected, "hostile lines in a stream do no harm") {
  a.client.subscribe(channel);
  REQUIRE(hears("before"));
  for (const char* line :
       {"nonsense\n", "{}\n", "\n\n", "{\"from\":\"x\",\"data\":\"!\"}\n", "[[[[[[[[[[[[[[[[\n"}) {
    fake.write_to_streams(line);
  }
  REQUIRE(until([&] { return a.client.snapshot().bad_answers == 4; }));
  CHECK(hears("between"));
  for (int i = 0; i < 4; ++i) fake.write_to_streams(Bytes(1 << 20, 'x'));
  REQUIRE(until([&] { return a.client.snapshot().bad_answers >= 5; }));
  CHECK(hears("after"));
  CHECK(a.client.snapshot().connected);
  for (const auto& message : a.messages) CHECK(message.from == "12D3KooWFake0");
}

TEST_CASE_FIXTURE(Connected, "connections are used again, and their number is bounded") {
  for (int i = 0; i < 50; ++i) CHECK(a.put({block_of(numbered_block(i))}));
  CHECK(fake.connections() <= 2);
  for (int i = 0; i < 500; ++i) a.client.get(ipld::Cid::of(numbered_block(i % 50)));
  REQUIRE(until([&] { return a.blocks_told == 500; }));
  CHECK(fake.connections() <= 40);
}

TEST_CASE_FIXTURE(Connected, "many small puts share requests") {
  const size_t before = fake.requests();
  for (uint64_t i = 0; i < 1000; ++i) a.client.put(i, {block_of(numbered_block(i))});
  REQUIRE(until([&] { return a.stored.size() == 1000; }));
  CHECK(fake.requests() - before < 10);
  for (auto& [ticket, outcomes] : a.stored) CHECK(outcomes == std::vector{true});
}

TEST_CASE_FIXTURE(World, "pins that were wished while Kubo was away are made when it is there") {
  fake.stop();
  KuboReplica a(loop, options(fake));
  const auto first = block_of(numbered_block(1));
  const auto last = block_of(numbered_block(3));
  a.client.pin({}, first.cid);
  a.client.pin(first.cid, ipld::Cid::of(numbered_block(2)));  // never stored: must not be asked for
  a.client.pin(ipld::Cid::of(numbered_block(2)), last.cid);
  fake.start();
  REQUIRE(a.connect());
  CHECK(a.put({first, last}));
  run_for(loop, 300);
  fake.collect_garbage();
  CHECK(fake.has_block(last.cid.text()));
  CHECK_FALSE(fake.has_block(first.cid.text()));
}

TEST_CASE_FIXTURE(World, "after stop nothing comes any more") {
  auto a = std::make_unique<KuboReplica>(loop, options(fake));
  REQUIRE(a->connect());
  a->client.subscribe(channel);
  run_for(loop, 20);
  a->client.put(1, {block});
  a->client.publish(channel, "x");
  a->client.get(block.cid);
  a->client.stop();
  CHECK_FALSE(a->client.snapshot().connected);
  a->client.put(2, {});
  run_for(loop, 100);
  CHECK(a->stored.empty());
  CHECK(a->published.empty());
  CHECK(a->blocks_told == 0);
  a.reset();
  run_for(loop, 50);
}

TEST_CASE("an API on a unix socket") {
  boost::asio::io_context loop;
  const TempFolder folder;
  FakeNet net(loop, 1);
  FakeKubo fake(net, folder.path + "/api");
  KuboReplica a(loop, {.address = fake.api()});
  REQUIRE(a.connect());
  CHECK(a.put({block_of(numbered_block(1))}));
}
