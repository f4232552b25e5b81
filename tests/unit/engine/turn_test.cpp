// What a turn promises: nothing is answered, shown to others or given to Kubo that could still be
// lost.
#include "alone.h"
#include "list/pack.h"
#include "types/count.h"
#include "types/kv.h"

using namespace ptwop;
using test::Alone;

namespace {

std::vector<Bytes> add(int64_t by = 1) { return {types::count_add_op("k", by)}; }

struct Own : Alone {
  std::vector<Result<engine::Written>> answers;
  Own() {
    engine->create("c", "count", true, [](Result<engine::ChannelRef> r) { REQUIRE(r.ok()); });
    engine->turn();
    log.clear();
  }
  void write(std::vector<Bytes> ops, std::string request = "",
             const types::Type& type = types::count_type()) {
    engine->write("c", type, std::move(ops), std::move(request), [this](Result<engine::Written> r) {
      log.push_back(r.ok() ? "answer" : "refusal");
      answers.push_back(std::move(r));
    });
  }
  int64_t value() {
    return types::count_get(engine::StateView(disk, engine->directory().find("c")->number), "k")
        ->value;
  }
  bool put_own_node() {
    return std::any_of(puts.begin(), puts.end(), [](const auto& put) {
      return std::any_of(put.second.begin(), put.second.end(), [](const auto& block) {
        return list::decode(block.bytes).ok() || list::decode_root(block.bytes).ok();
      });
    });
  }
};

}  // namespace

TEST_CASE_FIXTURE(Own, "a write is durable before it is answered and before anything goes out") {
  run_ms(500);
  log.clear();
  puts.clear();
  write(add());
  engine->turn();
  CHECK(at("durable") < at("answer"));
  CHECK(at("durable") < at("publish"));
  CHECK(at("answer") < log.size());
  CHECK(at("durable") < at("put"));
  CHECK(at("publish") < log.size());
}

TEST_CASE_FIXTURE(
    Own, "after a failed commit nothing went out, and what follows is as if it had not been") {
  run_ms(500);
  log.clear();
  puts.clear();
  const size_t before = published.size();
  disk.fail_commits = true;
  write(add(5));
  engine->turn();
  CHECK(at("refusal") < log.size());
  CHECK(published.size() == before);
  CHECK(puts.empty());
  disk.fail_commits = false;
  write(add(2));
  engine->turn();
  CHECK(*answers.back()->result.value == 2);
  CHECK(info().lists[0].count == 1);
  CHECK(engine->stats().outbox == 1);
  start();
  CHECK(value() == 2);
  CHECK(engine->stats().outbox == 1);
}

TEST_CASE_FIXTURE(Own, "a write that cannot be made durable is refused, and is not there") {
  write(add(5));
  engine->turn();
  disk.fail_syncs = true;
  write(add(50));
  engine->turn();
  CHECK_FALSE(answers.back().ok());
  CHECK(value() == 5);
  disk.fail_syncs = false;
  write(add(1));
  engine->turn();
  CHECK(value() == 6);
}

TEST_CASE("what others sent is durable before anything says that it is here") {
  Alone a;
  const auto ref = a.join("count");
  a.run_ms(20'000);
  const list::Node n = a.node(add());
  bool reached = false;
  a.engine->wait("c", {n.at().token()}, 60'000, "", [&](Result<bool> r) {
    a.log.push_back("reached");
    reached = r.ok();
  });
  a.engine->turn();
  a.log.clear();
  a.deliver({n});
  a.disk.fail_syncs = true;
  a.engine->tick();
  a.engine->turn();
  CHECK_FALSE(reached);
  CHECK(a.at("publish") == a.log.size());
  a.disk.fail_syncs = false;
  a.log.clear();
  a.deliver({n});
  a.run_ms(20'000);
  CHECK(reached);
  CHECK(a.at("durable") < a.at("reached"));
  CHECK(a.at("durable") < a.at("publish"));
}

TEST_CASE_FIXTURE(Own,
                  "a large own node that is wanted in the turn in which it is written goes to Kubo "
                  "after the commit") {
  std::string big(200'000, 'x');
  std::mt19937_64 random(1);
  for (char& c : big) c = static_cast<char>('a' + random() % 26);
  ipld::CborWriter w;
  w.text(big);
  engine->create("k", "kv", true, [&](Result<engine::ChannelRef> r) { manifest.cid = (*r)->cid; });
  engine->turn();
  const auto put = [&](std::string key) {
    engine->write("k", types::kv_type(), {types::kv_put_op(key, w.out(), {})}, "",
                  [](Result<engine::Written>) {});
  };
  put("before");
  engine->turn();
  run_ms(1'000);
  const auto id = list::ListId::from(*from_hex(info("k").lists[0].list));
  puts.clear();
  log.clear();
  put("large");
  put("next");
  sync::Want want;
  want.to = engine->identity().key();
  want.ranges = {{id, 2, 2}};
  deliver(want);
  CHECK_FALSE(put_own_node());
  disk.fail_commits = true;
  engine->turn();
  CHECK_FALSE(put_own_node());
}

TEST_CASE_FIXTURE(Own,
                  "own nodes reach Kubo after a restart, after a refusal, and after it was away") {
  engine->on_kubo({false, false});
  write(add());
  engine->turn();
  run_ms(2'000);
  CHECK(engine->stats().outbox == 1);
  puts.clear();
  SUBCASE("a restart") {
    start();
    CHECK(engine->stats().outbox == 1);
    run_ms(2'000);
    REQUIRE(put_own_node());
  }
  SUBCASE("a refusal") {
    engine->on_kubo({true, true});
    run_ms(2'000);
    REQUIRE(put_own_node());
    const auto refused = std::exchange(puts, {});
    for (const auto& [ticket, blocks] : refused) engine->on_stored(ticket, false);
    run_ms(100);
    CHECK(engine->stats().outbox == 1);
    run_ms(5'000);
    REQUIRE(put_own_node());
  }
  SUBCASE("lost in Kubo's going away") {
    engine->on_kubo({true, true});
    run_ms(2'000);
    REQUIRE(put_own_node());
    puts.clear();
    engine->on_kubo({false, false});
    run_ms(2'000);
    engine->on_kubo({true, true});
    run_ms(2'000);
    REQUIRE(put_own_node());
  }
  for (const auto& [ticket, blocks] : std::exchange(puts, {})) engine->on_stored(ticket, true);
  run_ms(2'000);
  CHECK(engine->stats().outbox == 0);
  CHECK_FALSE(put_own_node());
}

TEST_CASE_FIXTURE(
    Own, "leaving a channel whose nodes are on their way to Kubo does not stop the others'") {
  engine->create("other", "count", true, [](Result<engine::ChannelRef>) {});
  write(add());
  engine->turn();
  run_ms(1'500);
  CHECK(put_own_node());
  engine->leave("c", [](Result<bool>) {});
  engine->turn();
  for (const auto& [ticket, blocks] : std::exchange(puts, {})) engine->on_stored(ticket, true);
  run_ms(2'000);
  CHECK(engine->stats().outbox == 0);
  engine->write("other", types::count_type(), add(), "",
                [](Result<engine::Written> r) { CHECK(r.ok()); });
  engine->turn();
  run_ms(2'000);
  CHECK(put_own_node());
  for (const auto& [ticket, blocks] : std::exchange(puts, {})) engine->on_stored(ticket, true);
  run_ms(2'000);
  CHECK(engine->stats().outbox == 0);
}

TEST_CASE_FIXTURE(Own, "a channel that could not be left stays pinned") {
  run_ms(100);
  std::optional<bool> left;
  const auto leave = [&] {
    log.clear();
    engine->leave("c", [&](Result<bool> r) { left = r.ok(); });
    engine->turn();
  };
  disk.fail_commits = true;
  leave();
  CHECK(left == false);
  CHECK(at("unpin") == log.size());
  REQUIRE(engine->directory().find("c"));
  disk.fail_commits = false;
  leave();
  CHECK(left == true);
  run_ms(2'000);
  CHECK(at("unpin") < log.size());
  CHECK(at("durable") < at("unpin"));
}

TEST_CASE_FIXTURE(Own, "a write and a leave in one turn leave nothing in the outbox") {
  write(add());
  engine->leave("c", [](Result<bool> r) { CHECK(r.ok()); });
  engine->turn();
  run_ms(1'000);
  CHECK(engine->stats().outbox == 0);
}

TEST_CASE_FIXTURE(Own, "a request that cannot be looked up is not carried out a second time") {
  write(add(3), "id");
  engine->turn();
  disk.fail_reads_of = "r";
  write(add(3), "id");
  engine->turn();
  CHECK_FALSE(answers.back().ok());
  disk.fail_reads_of.clear();
  write(add(3), "other");  // the channel is set aside for a while
  engine->turn();
  CHECK(answers.back().error().code == Code::corrupt);
  run_ms(1'100);
  CHECK(value() == 3);
  write(add(3), "id");
  engine->turn();
  CHECK(answers.back().ok());
  CHECK(value() == 3);
}

TEST_CASE_FIXTURE(Own, "requests are remembered for a day") {
  write(add(), "id");
  engine->turn();
  wall += 23 * 3'600'000;
  run_ms(120'000);
  write(add(), "id");
  engine->turn();
  CHECK(value() == 1);
  wall += 2 * 3'600'000;
  mono += 120'000;
  engine->tick();
  write(add(), "id");
  engine->turn();
  CHECK(value() == 2);
  write(add(), "id");
  engine->turn();
  CHECK(value() == 2);
}

TEST_CASE_FIXTURE(Own, "the boot counter rises with every start, also when the clock went back") {
  uint64_t last = 0;
  for (int i = 0; i < 3; ++i) {
    write(add());
    engine->turn();
    run_ms(100);
    Bytes covered;
    const auto m = sync::decode(published.back(), covered);
    CHECK(m->boot > last);
    last = m->boot;
    wall -= 3'600'000;
    start();
  }
}

TEST_CASE_FIXTURE(Own,
                  "a node that is lost from the store stops its own channel only, and says so") {
  engine->create("private", "count", false, [](Result<engine::ChannelRef> r) { REQUIRE(r.ok()); });
  engine->turn();
  const engine::ChannelRef ref = engine->directory().find("private");
  const auto write_to = [&](const std::string& channel) {
    answers.clear();
    engine->write(channel, types::count_type(), add(), "",
                  [this](Result<engine::Written> r) { answers.push_back(std::move(r)); });
    engine->turn();
    return answers.back();
  };
  REQUIRE(write_to("private").ok());
  // Its control list is read at a start: the channel's key is in there.
  Bytes lost;
  for (const auto& [key, block] : disk.dump(engine::Table::nodes, ref->number))
    if (const auto node = list::decode(block); node && node->list.control)
      lost = engine::channel_prefix(ref->number) + key;
  REQUIRE(!lost.empty());
  const Bytes block = **disk.get(engine::Table::nodes, lost);
  REQUIRE(disk.commit({{engine::Change::Kind::erase, engine::Table::nodes, lost, {}}}, true).ok());
  start();
  CHECK(write_to("private").error().code == Code::corrupt);
  CHECK(write_to("c").ok());
  CHECK(info("private").damaged.find("channel.leave") != std::string::npos);
  CHECK(info("c").damaged.empty());
  SUBCASE("it can be left") {
    engine->leave("private", [](Result<bool> r) { CHECK(r.ok()); });
    engine->turn();
    run_ms(120'000);
    CHECK(write_to("c").ok());
  }
  SUBCASE("it is there again when the node is") {
    run_ms(5'000);
    CHECK(write_to("private").error().code == Code::corrupt);
    REQUIRE(
        disk.commit({{engine::Change::Kind::put, engine::Table::nodes, lost, block}}, true).ok());
    run_ms(60'000);
    CHECK(write_to("private").ok());
    CHECK(info("private").damaged.empty());
    disk.fail_commits = true;
    CHECK_FALSE(write_to("c").ok());
    disk.fail_commits = false;
    CHECK(write_to("private").ok());
  }
}
