#include "kubo/adapter.h"

#include <doctest/doctest.h>

#include <thread>

#include "support/fake_kubo.h"
#include "support/kubo_replica.h"

using namespace ptwop;
using namespace ptwop::test;

TEST_CASE("calls of another thread arrive in order, each once") {
  boost::asio::io_context loop;
  FakeNet net(loop, 1);
  FakeKubo fake(net);
  KuboReplica replica(loop, {.address = fake.api()});
  REQUIRE(replica.connect());
  const auto channel = ipld::Cid::of("a manifest");
  kubo::Adapter adapter(loop, replica.client);
  engine::Gossip& gossip = adapter;
  engine::BlockStore& blocks = adapter;
  const auto block = block_of(numbered_block(1));

  std::thread engine_thread([&] {
    gossip.subscribe(channel);
    blocks.put(7, {block});
    blocks.pin({}, block.cid);
  });
  REQUIRE(run_until(loop, [&] { return replica.stored.count(7) > 0; }));
  engine_thread.join();
  run_for(loop, 50);

  engine_thread = std::thread([&] {
    for (int i = 0; i < 300; ++i) gossip.publish(channel, std::to_string(1000 + i));
    blocks.get(block.cid);
  });
  REQUIRE(
      run_until(loop, [&] { return replica.published.size() == 300 && replica.blocks_told == 1; }));
  engine_thread.join();
  REQUIRE(run_until(loop, [&] { return replica.messages.size() == 300; }));
  for (int i = 0; i < 300; ++i) CHECK(replica.messages[i].data == std::to_string(1000 + i));
  CHECK(*replica.blocks[block.cid][0] == block.bytes);
  fake.collect_garbage();
  CHECK(fake.has_block(block.cid.text()));

  gossip.unsubscribe(channel);
  blocks.unpin(block.cid);
  run_for(loop, 100);
  fake.collect_garbage();
  CHECK_FALSE(fake.has_block(block.cid.text()));
}

TEST_CASE("an adapter that is gone leaves nothing behind that calls") {
  boost::asio::io_context loop;
  {
    KuboReplica replica(loop, {.address = "/ip4/127.0.0.1/tcp/1"});
    kubo::Adapter adapter(loop, replica.client);
    adapter.put(1, {});
  }
  loop.restart();
  loop.run_for(std::chrono::milliseconds(50));
}
