// A channel that is carried as blocks in a file, and stores that come from a backup.
#include <doctest/doctest.h>

#include <algorithm>

#include "alone.h"
#include "engine/archive.h"
#include "ipld/dag_cbor.h"
#include "replicas.h"
#include "types/count.h"

using namespace ptwop;
using test::Network;
using test::Replica;

namespace {

struct Carry {
  Network net{4, 5};
  std::string address;

  explicit Carry(bool is_public = true, const std::string& type = "count") {
    for (size_t i = 0; i < net.size(); ++i) net[i].set_online(false);
    address = net[0].create("c", type, is_public)->address;
  }
  void grant(size_t i) { REQUIRE(net[0].grant("c", net[i].did(), "write").ok()); }
  void add(size_t i, int64_t by) {
    REQUIRE(net[i].write("c", types::count_type(), {types::count_add_op("k", by)}).ok());
  }
  int64_t value(size_t i) {
    const auto channel = net[i]->directory().find(address);
    return types::count_get(engine::StateView(net[i].store(), channel->number), "k")->value;
  }
  bool forked(size_t i) {
    const auto lists = net[i].info("c").lists;
    return std::any_of(lists.begin(), lists.end(), [](const auto& l) { return !l.cut.empty(); });
  }
  std::vector<Bytes> blocks(size_t from, const engine::ArchiveOf& of = {}) {
    std::vector<Bytes> out;
    const auto read = engine::read_archive(net[from].store(), *net[from]->directory().find(address),
                                           of, [&](BytesView block) -> Result<void> {
                                             out.emplace_back(block);
                                             return {};
                                           });
    REQUIRE_MESSAGE(read.ok(), (read.ok() ? "" : read.error().message));
    CHECK(out.size() == read->nodes + 1);
    return out;
  }
  engine::Imported import(size_t to, std::vector<Bytes> all, size_t batch = SIZE_MAX) {
    std::optional<Result<engine::ChannelRef>> opened;
    net[to]->import_channel(all.at(0), "c",
                            [&](Result<engine::ChannelRef> r) { opened.emplace(std::move(r)); });
    net[to]->turn();
    REQUIRE(opened);
    REQUIRE_MESSAGE(opened->ok(), (opened->ok() ? "" : opened->error().message));
    engine::Imported sum;
    for (size_t i = 1; i < all.size(); i += std::min(batch, all.size())) {
      std::vector<Bytes> part(all.begin() + static_cast<ptrdiff_t>(i),
                              all.begin() + static_cast<ptrdiff_t>(std::min(
                                                all.size(), i + std::min(batch, all.size()))));
      const auto done = give(to, std::move(part));
      REQUIRE(done.ok());
      sum.here += done->here;
      sum.refused += done->refused;
    }
    sum.held = give(to, {})->held;
    return sum;
  }
  Result<engine::Imported> give(size_t to, std::vector<Bytes> part) {
    std::optional<Result<engine::Imported>> answer;
    net[to]->import_blocks(net[0]->directory().find(address)->cid, std::move(part),
                           [&](Result<engine::Imported> r) { answer.emplace(std::move(r)); });
    net[to]->turn();
    REQUIRE(answer);
    return *answer;
  }
};

}  // namespace

TEST_CASE("one batch of everything: who may write is known before what they wrote comes") {
  Carry c;
  for (size_t i = 1; i < 3; ++i) c.grant(i);
  // Two writers of whom the grants come in the same batch as what they wrote.
  for (size_t i = 1; i < 3; ++i) {
    c.import(i, c.blocks(0));
    for (int by = 0; by < 400; ++by) c.add(i, 1);  // more than may wait
    c.import(0, c.blocks(i));
  }
  CHECK(c.value(0) == 800);
  const auto all = c.blocks(0);
  for (const size_t batch : {size_t{1000}, size_t{7}, size_t{1}}) {
    CAPTURE(batch);
    const auto done = c.import(3, all, batch);
    CHECK(done.held == all.size() - 1);
    CHECK(done.refused == 0);
    CHECK(c.value(3) == 800);
    CHECK(c.import(3, all, batch).here == all.size() - 1);
    std::optional<Result<bool>> left;
    c.net[3]->leave("c", [&](Result<bool> r) { left.emplace(std::move(r)); });
    c.net[3]->turn();
    REQUIRE(left->ok());
  }
}

TEST_CASE("what is open goes out before: a client's write and an import in one turn") {
  Carry c;
  c.grant(1);
  c.import(1, c.blocks(0));
  c.add(1, 5);
  const auto all = c.blocks(1);
  std::optional<Result<engine::Written>> written;
  c.net[0]->write("c", types::count_type(), {types::count_add_op("k", 7)}, "",
                  [&](Result<engine::Written> r) { written.emplace(std::move(r)); });
  REQUIRE(c.give(0, {all.begin() + 1, all.end()}).ok());
  REQUIRE(written);
  CHECK(written->ok());
  CHECK(c.value(0) == 12);
}

TEST_CASE("what waited long is applied bit by bit, and others are served meanwhile") {
  constexpr uint64_t kNodes = 18'000;
  test::Alone alone;
  alone.join("count");
  const Bytes op = types::count_add_op("k", 1);
  const list::Node awaited = alone.node({op}, nullptr, 1);
  std::vector<Bytes> blocks;
  std::vector<list::Node> last;
  for (uint64_t i = 0; i < kNodes; ++i) {
    last = {alone.node({op}, last.empty() ? nullptr : &last[0], 2,
                       last.empty() ? std::vector{awaited.at()} : std::vector<list::At>{})};
    blocks.push_back(list::encode(last[0]));
  }
  const auto give = [&](std::vector<Bytes> part) {
    std::optional<Result<engine::Imported>> answer;
    alone.engine->import_blocks(alone.manifest.cid, std::move(part),
                                [&](Result<engine::Imported> r) { answer.emplace(std::move(r)); });
    alone.engine->turn();
    REQUIRE(answer);
    return **answer;
  };
  const auto applied = [&] {
    uint64_t count = 0;
    alone.engine->info("c", [&](Result<engine::ChannelInfo> r) {
      for (const auto& list : r->lists) count += list.count;
    });
    alone.engine->turn();  // nothing in it but the answer
    return count;
  };
  CHECK(give(blocks).held == kNodes);
  CHECK(applied() == 0);
  give({list::encode(awaited)});
  for (uint64_t before = 0, turns = 1; turns <= 3; ++turns) {
    const uint64_t now = applied();
    CHECK(now - before <= 8192);
    CHECK((now == kNodes + 1) == (turns == 3));
    before = now;
    alone.engine->tick();  // no time has gone by: it wants to go on at once
    alone.engine->turn();
  }
  CHECK(alone.engine->turn() > alone.mono);
}

TEST_CASE("a file tells of forks") {
  Carry c;
  c.grant(1);
  c.import(1, c.blocks(0));
  c.add(1, 1);
  test::MemoryStore old;
  old.copy_from(c.net[1].store());
  c.add(1, 10);
  c.import(0, c.blocks(1));
  c.net[1].restart_from(old);
  c.add(1, 100);
  c.import(0, c.blocks(1));
  CHECK(c.forked(0));
  const auto done = c.import(3, c.blocks(0));
  CHECK(done.refused == 0);
  CHECK(c.forked(3));
  CHECK(c.value(3) == 1);
  // Its owner hears of it, and what was cut off counts again.
  c.import(1, c.blocks(0));
  c.net.run_ms(2'000);
  c.import(3, c.blocks(1));
  CHECK(c.value(3) == 111);
}

TEST_CASE("a restored store continues no list, whoever knows how it went on") {
  for (const bool restored : {true, false}) {
    CAPTURE(restored);
    Carry c(false);
    c.grant(1);
    c.import(1, c.blocks(0));
    c.add(0, 1);
    c.add(1, 10);
    c.import(0, c.blocks(1));
    for (const size_t who :
         {size_t{0}, size_t{1}}) {  // the creator, with a control list, and a writer
      test::MemoryStore old;
      old.copy_from(c.net[who].store());
      c.add(who, 100);
      if (who == 0) c.grant(2);
      c.import(3, c.blocks(who));
      c.net[who].restart_from(old, restored);
      c.add(who, 1000);
      if (who == 0) c.grant(3);
      c.import(3, c.blocks(who));
      CHECK(c.forked(3) == !restored);
      if (!restored) break;
      c.import(who, c.blocks(3));
      CHECK_FALSE(c.forked(who));
      // Once only: the next start goes on with these.
      const size_t lists = c.net[who].info("c").lists.size();
      c.net[who].restart();
      c.add(who, 1);
      CHECK(c.net[who].info("c").lists.size() == lists);
    }
    if (!restored) continue;
    c.import(0, c.blocks(1));
    CHECK(c.value(0) == 1 + 10 + 2 * 1101);
    CHECK(c.net[0].info("c").lists.size() == 6);
  }
}

TEST_CASE("a restored store that cannot write does not start") {
  Carry c;
  c.add(0, 1);
  test::MemoryStore old;
  old.copy_from(c.net[0].store());
  c.net[0].store().fail_commits = true;
  CHECK_THROWS(c.net[0].restart_from(old, true));
}

TEST_CASE("parts of a channel") {
  Carry c;
  c.grant(1);
  c.import(1, c.blocks(0));
  for (int i = 0; i < 10; ++i) c.add(0, 1);
  for (int i = 0; i < 5; ++i) c.add(1, 1);
  c.import(0, c.blocks(1));
  const size_t all = c.blocks(0).size();
  CHECK(all == 1 + 1 + 10 + 5);
  list::ListId of_one;
  list::ClockMap since;
  for (const auto& list : c.net[0].info("c").lists) {
    const auto id = list::ListId::from(*from_hex(list.list));
    if (list.writer == c.net[1].did()) of_one = id;
    since[id] = {list.count, 0};
  }
  CHECK(c.blocks(0, {.only = of_one}).size() == 1 + 1 + 5);
  CHECK(c.blocks(0, {.since = since}).size() == 1);
  since[of_one].number = 2;
  CHECK(c.blocks(0, {.since = since}).size() == 1 + 3);
  since[of_one].number = 99;
  CHECK(c.blocks(0, {.since = since}).size() == 1);

  const auto refused = [&](const engine::ArchiveOf& of, const engine::ChannelView& channel) {
    const auto read = engine::read_archive(c.net[0].store(), channel, of,
                                           [](BytesView) -> Result<void> { return {}; });
    REQUIRE_FALSE(read.ok());
    return read.error().code;
  };
  const auto channel = c.net[0]->directory().find("c");
  CHECK(refused({.only = list::ListId{}}, *channel) == Code::not_found);
  const auto joined = c.net[0].join(
      "/ptwop/bafyreiddv2ottakcu7meysnxhorpmz6i2n345n4dfw3jwgsbmezvmlvesy", "elsewhere");
  CHECK(refused({}, *joined) == Code::no_manifest);
  std::optional<Result<bool>> left;
  c.net[0]->leave("c", [&](Result<bool> r) { left.emplace(std::move(r)); });
  c.net[0]->turn();
  CHECK(refused({}, *channel) == Code::no_channel);
}

TEST_CASE("what is no channel, and names that are none") {
  Carry c;
  const auto outcome = [&](Bytes manifest, const std::string& name) {
    std::optional<Result<engine::ChannelRef>> opened;
    c.net[1]->import_channel(std::move(manifest), name,
                             [&](Result<engine::ChannelRef> r) { opened.emplace(std::move(r)); });
    c.net[1]->turn();
    REQUIRE(opened);
    return opened->ok() ? std::string((*opened->value()).name)
                        : std::string(error_row(opened->error().code).kind);
  };
  const Bytes manifest = c.blocks(0).at(0);
  c.net[1].create("taken", "kv", true);
  CHECK(outcome("noise", "c") != "c");
  CHECK(outcome(manifest.substr(1), "c") != "c");
  CHECK(outcome(manifest, "") == "invalid_params");
  CHECK(outcome(manifest, "/x") == "invalid_params");
  CHECK(outcome(manifest, "taken") == "exists");
  CHECK(outcome(manifest, "c") == "c");
  CHECK(outcome(manifest, "another name") == "c");
  CHECK(outcome(manifest, "") == "c");
  // Joined by address before: the manifest comes with the file.
  c.net[2].join(c.address, "early");
  CHECK(c.net[2]->directory().find("early")->type.load() == nullptr);
  c.import(2, c.blocks(0));
  CHECK(c.net[2]->directory().find("early")->type.load() != nullptr);
}
