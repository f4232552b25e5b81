// Lists that are fetched by the roots that peers name, also where the roots, or what they lead to,
// are lies: never a wrong state, bounded, and who is honest serves all the same.
#include <map>
#include <set>

#include "access/membership.h"
#include "alone.h"
#include "list/pack.h"
#include "types/count.h"

using namespace ptwop;
using test::Alone;

namespace {

std::vector<Bytes> add(int64_t by) { return {types::count_add_op("k", by)}; }

struct Bulk : Alone {
  engine::ChannelRef ref = join("count");
  std::map<ipld::Cid, Bytes> kubo;  ///< What somebody has.
  access::Identity second = std::move(*access::Identity::from_seed(Bytes(32, 'd')));
  uint64_t jobs_max = 0, blocks_max = 0;

  Bulk() { gets.clear(); }

  /// `count` nodes of the creator's, each of which adds one.
  std::vector<list::Node> chain(size_t count, uint8_t incarnation = 0, size_t padding = 0) {
    std::vector<list::Node> out;
    for (size_t i = 0; i < count; ++i) {
      std::vector<Bytes> ops = add(1);
      for (size_t left = padding; left > 0; left -= std::min<size_t>(left, 1'000))
        ops.push_back(types::count_add_op(Bytes(std::min<size_t>(left, 1'000), 'p'), 1));
      out.push_back(node(std::move(ops), i ? &out.back() : nullptr, incarnation));
    }
    return out;
  }

  ipld::Cid offer(Bytes block) {
    const ipld::Cid cid = ipld::Cid::of(block);
    kubo[cid] = std::move(block);
    return cid;
  }

  /// Puts a list into Kubo, as it should be, but for the root.
  list::Root pack(const std::vector<list::Node>& nodes) {
    list::Packer packer(
        {},
        [&](uint64_t first, uint64_t last) -> Result<std::vector<Bytes>> {
          std::vector<Bytes> items;
          for (uint64_t n = first; n <= last; ++n)
            items.push_back(list::item_of(list::encode(nodes[n - 1])));
          return items;
        },
        [&](const ipld::Cid&, Bytes block, const std::vector<list::Run>&) {
          offer(std::move(block));
        });
    for (const list::Node& n : nodes) {
      Bytes block = list::encode(n);
      REQUIRE(packer.add(list::item_of(block), n.position()).ok());
      if (block.size() > limits::kInlineNodeBytesMax) offer(std::move(block));
    }
    return {manifest.cid, nodes.front().id, packer.position(), packer.packed().levels,
            packer.tail()};
  }

  /// A member says that it has so much of the list, and this root of it.
  void name(const list::ListId& list, uint64_t number, const ipld::Cid& root,
            const access::Identity* by = nullptr) {
    const access::Identity& who = by ? *by : creator;
    sync::ClockMessage clock;
    clock.wall_ms = wall;
    clock.entries.push_back({{list, {number, 1}}, 0, number, root});
    sync::Message m;
    m.channel = manifest.cid;
    m.sender = who.key();
    m.boot = 7;
    m.count = ++said_;
    m.body = std::move(clock);
    m.signature = who.sign("message", sync::encode_unsigned(m));
    engine->on_message(manifest.cid, "other", sync::encode_signed(m));
  }

  /// The second one may write too.
  void admit_second() {
    access::Membership membership(manifest);
    list::Node grant = node({*access::make_grant(membership, second.key(), access::Role::write)});
    grant.list.control = true;
    deliver({signed_(grant)});
    engine->turn();
  }

  /// Time goes by, and Kubo answers what is asked: at once, or after ten seconds that nobody has
  /// it.
  void serve(uint64_t ms) {
    for (const uint64_t end = mono + ms; mono < end;) {
      run_ms(50);
      for (; published_ < published.size(); ++published_) engine->on_published(manifest.cid, true);
      for (const ipld::Cid& cid : std::exchange(gets, {})) {
        ++asked[cid];
        if (const auto it = kubo.find(cid); it != kubo.end())
          engine->on_block(cid, it->second);
        else
          lost_.emplace(mono + 10'000, cid);
      }
      while (!lost_.empty() && lost_.begin()->first <= mono) {
        engine->on_block(lost_.begin()->second, fail(Code::timed_out, "nobody has it"));
        lost_.erase(lost_.begin());
      }
      engine->turn();
      const auto stats = engine->stats();
      jobs_max = std::max(jobs_max, stats.bulk_jobs);
      blocks_max = std::max(blocks_max, stats.bulk_blocks);
      CHECK(stats.bulk_jobs <= 16);
      CHECK(stats.bulk_blocks <= 24 + stats.bulk_jobs);
      if (stats.bulk_jobs == 0) CHECK(stats.bulk_blocks == 0);
      CHECK(stats.waiting_nodes <= 2'048);
    }
  }

  int64_t value() { return types::count_get(engine::StateView(disk, ref->number), "k")->value; }
  /// The ranges that were asked for inline since the last call.
  size_t wants() {
    size_t out = 0;
    published_ = 0;
    for (const Bytes& bytes : std::exchange(published, {})) {
      Bytes covered;
      const auto message = sync::decode(bytes, covered);
      if (message && std::holds_alternative<sync::Want>(message->body))
        out += std::get<sync::Want>(message->body).ranges.size();
    }
    return out;
  }
  void check_idle() {
    const auto stats = engine->stats();
    CHECK(stats.bulk_jobs == 0);
    CHECK(stats.bulk_blocks == 0);
  }

  std::map<ipld::Cid, size_t> asked;

 private:
  uint64_t said_ = 0;
  size_t published_ = 0;  ///< Of those, Kubo's word is given.
  std::multimap<uint64_t, ipld::Cid> lost_;
};

}  // namespace

TEST_CASE_FIXTURE(Bulk, "a list comes by its root: packs, indexes, large nodes and all") {
  SUBCASE("small nodes") {
    const auto nodes = chain(700);
    name(nodes.front().id, 700, offer(list::encode(pack(nodes))));
    serve(3'000);
    CHECK(value() == 700);
  }
  SUBCASE("large packs") {
    const auto nodes = chain(60, 0, 30'000);
    const list::Root root = pack(nodes);
    REQUIRE(root.levels.size() == 2);
    name(nodes.front().id, 60, offer(list::encode(root)));
    serve(3'000);
    CHECK(value() == 60);
  }
  SUBCASE("large nodes between small ones") {
    std::vector<list::Node> nodes;
    for (size_t i = 0; i < 40; ++i) {
      std::vector<Bytes> ops = add(1);
      for (size_t keys = i % 3 ? 0 : 80; keys > 0; --keys)
        ops.push_back(types::count_add_op(Bytes(1'000, static_cast<char>('a' + keys % 26)), 1));
      nodes.push_back(node(ops, i ? &nodes.back() : nullptr));
    }
    REQUIRE(list::encode(nodes.front()).size() > limits::kInlineNodeBytesMax);
    name(nodes.front().id, 40, offer(list::encode(pack(nodes))));
    serve(3'000);
    CHECK(value() == 40);
  }
  CHECK(wants() == 0);
  CHECK(engine->stats().nodes_fetched > 0);
  check_idle();
}

TEST_CASE_FIXTURE(Bulk, "what is here already is not fetched again, after a restart neither") {
  const auto nodes = chain(600, 0, 300);
  const list::Root root = pack(nodes);
  REQUIRE(root.levels.at(0).size() > 7);
  const ipld::Cid cid = offer(list::encode(root));
  const ipld::Cid sixth = root.levels[0][5].cid;
  const Bytes held_back = kubo.at(sixth);
  kubo.erase(sixth);
  name(nodes.front().id, 600, cid);
  serve(2'000);
  const auto here = static_cast<uint64_t>(value());
  CHECK(here == root.levels[0][4].last.number);
  start();
  ref = engine->directory().find("c");
  kubo[sixth] = held_back;
  gets.clear();
  asked.clear();
  name(nodes.front().id, 600, cid);
  serve(3'000);
  CHECK(value() == 600);
  for (size_t i = 0; i < 5; ++i) CHECK_FALSE(asked.contains(root.levels[0][i].cid));
  check_idle();
}

TEST_CASE_FIXTURE(Bulk, "a root that lies changes nothing, and the list is asked for") {
  const auto nodes = chain(300);
  const auto others = chain(300, 1);
  list::Root root = pack(nodes);
  const list::Root other = pack(others);
  const list::ListId list = nodes.front().id;
  uint64_t number = 300;
  int64_t good = 0;
  ipld::Cid cid;
  SUBCASE("that nobody has") { cid = ipld::Cid::of("nothing"); }
  SUBCASE("noise") { cid = offer("noise"); }
  SUBCASE("a pack") { cid = root.levels[0][0].cid; }
  SUBCASE("of another list") { cid = offer(list::encode(other)); }
  SUBCASE("of another channel") {
    root.channel = ipld::Cid::of("another");
    cid = offer(list::encode(root));
  }
  SUBCASE("not up to where it was said to go") {
    cid = offer(list::encode(root));
    number = 301;
  }
  SUBCASE("very long") {
    list::Run run{1, {(uint64_t{1} << 50) - 1, 1}, ipld::Cid::of("nothing")};
    root.levels = {{}, {}, {run}};
    root.tail.resize(1);
    root.position.number = number = uint64_t{1} << 50;
    cid = offer(list::encode(root));
  }
  SUBCASE("very large") {
    ipld::CborWriter w;
    root.tail.assign(1, w.map(1).key("a").bytes(Bytes(list::kRootBytesMax, 'x')).take());
    cid = offer(list::encode(root));
  }
  SUBCASE("indexes below indexes") {
    list::Run run{1, {299, 1}, ipld::Cid::of("nothing")};
    for (int depth = 0; depth < 200; ++depth) run.cid = offer(list::encode_index({run}));
    root.levels = {{}, {}, {run}};
    root.tail.resize(1);
    cid = offer(list::encode(root));
  }
  SUBCASE("one block in many places") {
    const ipld::Cid pack_cid = root.levels[0][0].cid;
    root.levels.assign(2, {});
    for (uint64_t i = 0; i < 60; ++i)
      root.levels[1].push_back({1 + i * 4, {4 + i * 4, 1}, pack_cid});
    root.tail.resize(1);
    root.position.number = number = 241;
    cid = offer(list::encode(root));
  }
  SUBCASE("packs of another list") {
    root.levels = other.levels;
    cid = offer(list::encode(root));
  }
  SUBCASE("a pack with one node less") {
    auto items = *list::decode_pack(kubo.at(root.levels[0][0].cid));
    items.pop_back();
    root.levels[0][0].cid = offer(list::encode_pack(items));
    cid = offer(list::encode(root));
  }
  SUBCASE("a pack of what are no nodes") {
    const uint64_t count = root.levels[0][0].last.number;
    root.levels[0][0].cid = offer(list::encode_pack(std::vector<Bytes>(count, Bytes("\xa0", 1))));
    cid = offer(list::encode(root));
  }
  SUBCASE("a forged node in a pack") {
    auto items = *list::decode_pack(kubo.at(root.levels[0][0].cid));
    list::Node forged = nodes[9];
    forged.body = access::frame_ops(add(1'000'000), false);
    forged.signature = {};
    items[9] = list::encode(forged);
    root.levels[0][0].cid = offer(list::encode_pack(items));
    cid = offer(list::encode(root));
    good = 9;  // those before it are whose they say
  }
  SUBCASE("the last of a pack is not signed") {
    auto items = *list::decode_pack(kubo.at(root.levels[0][0].cid));
    list::Node last = nodes[items.size() - 1];
    last.signature = {};
    items.back() = list::encode(last);
    root.levels[0][0].cid = offer(list::encode_pack(items));
    cid = offer(list::encode(root));
    good = static_cast<int64_t>(items.size()) - 1;
  }
  name(list, number, cid);
  serve(20'000);
  CHECK(value() <= good);
  serve(20'000);
  CHECK(value() <= good);
  CHECK(wants() > 0);
  check_idle();
  // The truth is taken when it comes.
  deliver(nodes);
  serve(1'000);
  CHECK(value() == 300);
  CHECK(engine->stats().waiting_nodes == 0);
}

TEST_CASE_FIXTURE(Bulk, "one who lies, or names what nobody has, keeps no other from serving") {
  admit_second();
  const auto nodes = chain(300);
  const list::ListId list = nodes.front().id;
  const ipld::Cid good = offer(list::encode(pack(nodes)));
  ipld::Cid bad = ipld::Cid::of("nothing");
  SUBCASE("nobody has it") {}
  SUBCASE("it lies") { bad = offer("noise"); }
  name(list, 10'000, bad, &second);  // it says that it has more than anybody else
  serve(1'000);
  CHECK(engine->stats().bulk_jobs + (bad == ipld::Cid::of("noise")) == 1);
  name(list, 300, good);
  uint64_t took_ms = 0;
  for (; value() < 300 && took_ms < 60'000; took_ms += 500) {
    name(list, 10'000 + took_ms, bad, &second);
    serve(500);
  }
  CHECK(value() == 300);
  CHECK(took_ms < 20'000);
}

TEST_CASE_FIXTURE(Bulk, "one who names many roots of which nothing comes leaves room for others") {
  admit_second();
  for (uint8_t i = 0; i < 100; ++i) {
    list::ListId list;
    list.raw.fill(i);
    name(list, 1'000, ipld::Cid::of(Bytes(1, static_cast<char>(i))), &second);
  }
  serve(1'000);
  CHECK(jobs_max >= 4);
  const auto nodes = chain(300);
  name(nodes.front().id, 300, offer(list::encode(pack(nodes))));
  serve(2'000);
  CHECK(value() == 300);
  CHECK(engine->stats().nodes_fetched == 300);
  serve(900'000);  // they are given up
  check_idle();
}

TEST_CASE_FIXTURE(Bulk, "while nothing comes the list is asked for inline, and that ends it") {
  const auto nodes = chain(300);
  const list::Root root = pack(nodes);
  kubo.erase(root.levels[0][0].cid);
  name(nodes.front().id, 300, offer(list::encode(root)));
  serve(5'000);
  CHECK(engine->stats().bulk_jobs == 1);
  CHECK(wants() == 0);
  serve(10'000);
  CHECK(wants() > 0);
  deliver(nodes);
  serve(500);
  CHECK(value() == 300);
  check_idle();
}

TEST_CASE_FIXTURE(Bulk,
                  "what was fetched before its grant is here waits for it, and not for ever") {
  access::Membership membership(manifest);
  list::Node grant = node({*access::make_grant(membership, second.key(), access::Role::write)});
  grant.list.control = true;
  grant = signed_(grant);
  std::vector<list::Node> nodes;
  for (size_t i = 0; i < 100; ++i) {
    list::Node n = node(add(1), i ? &nodes.back() : nullptr);
    n.list.writer = second.key();
    if (i == 0) n.grant = grant.at();
    n.signature = second.sign("node", list::encode_unsigned(n));
    n.id = list::list_id(n.channel, n.list);
    n.cid = ipld::Cid::of(list::encode(n));
    nodes.push_back(n);
  }
  name(nodes.front().id, 100, offer(list::encode(pack(nodes))));
  serve(2'000);
  CHECK(value() == 0);
  CHECK(engine->stats().bulk_jobs == 1);
  SUBCASE("it comes") {
    const size_t fetched = asked.size();
    deliver({grant});
    serve(1'000);
    CHECK(value() == 100);
    CHECK(asked.size() == fetched);
  }
  SUBCASE("it does not come") {
    serve(12'000);
    CHECK(value() == 0);
    CHECK(engine->stats().waiting_nodes == 0);
  }
  serve(1'000);
}

TEST_CASE_FIXTURE(Bulk, "Kubo's going away ends it, and it goes on when Kubo is there again") {
  const auto nodes = chain(900, 0, 300);
  const list::Root root = pack(nodes);
  const ipld::Cid cid = offer(list::encode(root));
  name(nodes.front().id, 900, cid);
  run_ms(100);
  REQUIRE(engine->stats().bulk_jobs == 1);
  engine->on_kubo({false, false});
  engine->turn();
  check_idle();
  gets.clear();
  engine->on_kubo({true, true});
  engine->turn();
  name(nodes.front().id, 900, cid);
  serve(5'000);
  CHECK(value() == 900);
  check_idle();
}

TEST_CASE_FIXTURE(Bulk, "leaving the channel, a failed commit and a restart give all of it back") {
  const auto nodes = chain(900, 0, 300);
  name(nodes.front().id, 900, offer(list::encode(pack(nodes))));
  run_ms(100);
  for (const ipld::Cid& cid : std::exchange(gets, {})) engine->on_block(cid, kubo.at(cid));
  engine->turn();
  REQUIRE(engine->stats().bulk_blocks > 1);
  SUBCASE("leave") {
    engine->leave("c", [](Result<bool> r) { CHECK(r.ok()); });
    engine->turn();
  }
  SUBCASE("a failed commit") {
    disk.fail_syncs = true;
    for (const ipld::Cid& cid : std::exchange(gets, {})) engine->on_block(cid, kubo.at(cid));
    engine->turn();
    disk.fail_syncs = false;
  }
  check_idle();
}

TEST_CASE_FIXTURE(Bulk, "what was on its way into Kubo when a list was cut does not count") {
  const auto nodes = chain(10);
  deliver(nodes);
  const auto put = [&] {  // of a root
    serve(2'000);
    uint64_t out = 0;
    for (const auto& [ticket, blocks] : std::exchange(puts, {}))
      for (const auto& block : blocks)
        if (list::decode_root(block.bytes).ok()) out = ticket;
    REQUIRE(out != 0);
    return out;
  };
  const uint64_t whole = put();
  list::Node other = node(add(1'000), &nodes[3]);
  other.time += 5;
  deliver({signed_(other)});
  const uint64_t rest = put();
  engine->on_stored(whole, true);
  engine->turn();
  engine->on_stored(rest, true);
  engine->turn();
  CHECK(engine->stats().outbox == 0);
  REQUIRE(info().lists.size() == 1);
  CHECK(info().lists[0].root ==
        ipld::Cid::of(list::encode(pack({nodes.begin(), nodes.begin() + 4}))).text());
}

TEST_CASE_FIXTURE(Bulk, "a pin that comes to be what it was before is not released") {
  puts.clear();
  const auto answer_puts = [&] {
    for (const auto& [ticket, blocks] : std::exchange(puts, {})) engine->on_stored(ticket, true);
    engine->turn();
  };
  const auto nodes = chain(10);
  run_ms(6'000);
  deliver({nodes.begin(), nodes.begin() + 4});
  run_ms(2'000);
  answer_puts();
  run_ms(6'000);
  answer_puts();
  REQUIRE_FALSE(pins.empty());
  const ipld::Cid first = pins.back().second;
  engine->on_pinned(first, true);
  engine->turn();
  deliver({nodes.begin() + 4, nodes.end()});
  run_ms(6'000);
  answer_puts();
  run_ms(6'000);
  answer_puts();
  REQUIRE(pins.back().first == first);  // Kubo is at it, when…
  const ipld::Cid later = pins.back().second;
  engine->on_pinned(later, false);
  list::Node other = node(add(1'000), &nodes[3]);
  other.time += 5;
  deliver({signed_(other)});  // …the list is cut back to what it was
  engine->turn();
  for (int i = 0; i < 4; ++i) {
    run_ms(3'000);
    answer_puts();
  }
  REQUIRE(pins.back().second == first);
  pins.clear();
  engine->on_pinned(first, true);
  engine->turn();
  run_ms(6'000);
  for (const auto& [last, next] : pins) CHECK(last != first);
}
