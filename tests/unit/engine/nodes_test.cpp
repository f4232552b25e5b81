// Nodes built by hand, one by one: what is held, what waits, what applies, what is void.
#include <set>

#include "access/membership.h"
#include "alone.h"
#include "replicas.h"
#include "types/count.h"
#include "types/kv.h"
#include "types/log.h"

using namespace ptwop;
using test::Alone;

namespace {

std::vector<Bytes> add(int64_t by = 1) { return {types::count_add_op("k", by)}; }

struct Count : Alone {
  engine::ChannelRef ref = join("count");
  int64_t value() {
    engine->turn();
    return types::count_get(engine::StateView(disk, ref->number), "k")->value;
  }
  uint64_t waiting() { return engine->stats().waiting_nodes; }
};

}  // namespace

TEST_CASE_FIXTURE(
    Count,
    "each node counts once, however often and in whatever order it comes, also after a restart") {
  const list::Node one = node(add(1)), two = node(add(10), &one), three = node(add(100), &two);
  deliver({three, one});
  CHECK(value() == 1);
  CHECK(waiting() == 1);
  deliver({two, two});
  CHECK(value() == 111);
  CHECK(waiting() == 0);
  deliver({one, two, three, three});
  CHECK(value() == 111);
  start();
  deliver({three, two, one});
  CHECK(value() == 111);
  CHECK(ref->nodes == 3);
}

TEST_CASE_FIXTURE(Count, "a run is good by one signature at its end, and not without") {
  const list::Node one = node(add(1));
  list::Node two = node(add(10), &one);
  two.signature = {};
  two.cid = ipld::Cid::of(list::encode(two));
  deliver({one, two});
  CHECK(value() == 1);
  const list::Node three = node(add(100), &two);
  deliver({three});
  CHECK(value() == 1);
  deliver({two});
  CHECK(value() == 111);
}

TEST_CASE_FIXTURE(
    Count, "a node whose predecessor is another, or whose time does not rise, is not taken") {
  const list::Node one = node(add(1));
  list::Node other = node(add(5));
  list::Node two = node(add(10), &other);
  deliver({one, two});
  CHECK(value() == 1);
  list::Node early = node(add(10), &one);
  early.time = one.time;
  deliver({signed_(early)});
  CHECK(value() == 1);
  deliver({node(add(10), &one)});
  CHECK(value() == 11);
}

TEST_CASE_FIXTURE(Count, "a node of the future waits until its time is near") {
  wall += 3'600'000;
  const list::Node one = node(add(1));
  wall -= 3'600'000;
  deliver({one});
  CHECK(value() == 0);
  CHECK(waiting() == 1);
  wall += 3'600'000 - 6 * 60'000;
  run_ms(1'000);
  CHECK(value() == 0);
  wall += 2 * 60'000;
  run_ms(1'000);
  CHECK(value() == 1);
}

TEST_CASE_FIXTURE(Count, "an unsigned node of the future does not keep the genuine one out") {
  const list::Node one = node(add(1));
  deliver({one});
  list::Node forged = node(add(1'000), &one);
  forged.time = UINT64_MAX;
  forged.signature = {};
  deliver({forged});
  deliver({node(add(10), &one)});
  CHECK(value() == 11);
}

TEST_CASE_FIXTURE(
    Count,
    "forged nodes behind genuine ones that wait do not keep the genuine ones from applying") {
  const list::Node one = node(add(1)), two = node(add(10), &one), three = node(add(100), &two);
  std::vector<list::Node> forged;
  forged.reserve(100);
  const list::Node* last = &three;
  for (int i = 0; i < 20; ++i) {
    list::Node f = node(add(1'000), last);
    f.signature = {};
    f.cid = ipld::Cid::of(list::encode(f));
    forged.push_back(f);
    last = &forged.back();
  }
  deliver({two, three});
  deliver(forged);
  deliver({one});
  CHECK(value() == 111);
}

TEST_CASE_FIXTURE(
    Count, "a node waits ten seconds for what it had seen, and all who name it wait but once") {
  const list::Node absent = node(add(1), nullptr, 9);
  const list::Node one = node(add(10), nullptr, 1, {absent.at()}),
                   two = node(add(100), &one, 1, {absent.at()});
  deliver({one, two});
  run_ms(9'000);
  CHECK(value() == 0);
  CHECK(info().missing == 1);
  SUBCASE("it comes") {
    deliver({absent});
    CHECK(value() == 111);
  }
  SUBCASE("it does not") {
    run_ms(2'500);
    CHECK(value() == 110);
    deliver({absent});
    CHECK(value() == 111);
  }
}

TEST_CASE_FIXTURE(Count, "what is over is not waited for again, and a later wait is a full one") {
  const list::Node first = node(add(1), nullptr, 9);
  deliver({node(add(10), nullptr, 1, {first.at()})});
  run_ms(2'000);
  deliver({first});
  CHECK(value() == 11);
  run_ms(60'000);
  const list::Node second = node(add(1), &first, 9);
  deliver({node(add(100), nullptr, 2, {second.at()})});
  run_ms(5'000);
  CHECK(value() == 11);
  deliver({second});
  CHECK(value() == 112);
}

TEST_CASE_FIXTURE(Count, "what was awaited and came, or never will, is forgotten") {
  const list::Node one = node(add(1), nullptr, 9), two = node(add(1), &one, 9);
  deliver({node(add(10), nullptr, 1, {two.at()})});
  run_ms(1'000);
  CHECK(engine->stats().awaited == 1);
  SUBCASE("it came") { deliver({one, two}); }
  SUBCASE("it lies beyond a cut") {
    ++wall;
    deliver({one, node(add(1), nullptr, 9)});
  }
  run_ms(1'000);
  CHECK(engine->stats().awaited == 0);
}

TEST_CASE_FIXTURE(Count, "lists that are named and never come do not end the wait for others") {
  const auto naming = [&](uint32_t first, uint32_t count, uint8_t incarnation) {
    std::vector<list::At> seen;
    for (uint32_t i = first; i < first + count; ++i) {
      Bytes id(list::ListId::kSize, '\0');
      for (size_t b = 0; b < 4; ++b) id[b] = static_cast<char>(i >> (24 - 8 * b));
      seen.push_back({list::ListId::from(id), {1, 1}});
    }
    return node(add(1), nullptr, incarnation, seen);
  };
  for (uint32_t i = 0; i < 64; ++i)
    deliver({naming(i * limits::kSeenMax, limits::kSeenMax, static_cast<uint8_t>(100 + i))});
  run_ms(12'000);
  CHECK(value() == 64);
  const list::Node absent = node(add(1), nullptr, 9);
  deliver({node(add(1'000), nullptr, 1, {absent.at()})});
  run_ms(5'000);
  CHECK(value() == 64);
  CHECK(engine->stats().awaited <= 4096);
  deliver({absent});
  CHECK(value() == 1'065);
}

TEST_CASE_FIXTURE(Count, "what waits, however much, does not keep out what it waits for") {
  std::vector<list::Node> all{node(add())};
  while (all.size() < 5'000) all.push_back(node(add(), &all.back()));
  const auto deliver_from = [&](size_t first, size_t last) {
    for (size_t i = first; i < last; ++i, ++mono) deliver(std::vector{all[i]});
    engine->turn();
  };
  size_t missing = 0;
  SUBCASE("the first of a list") {}
  SUBCASE("one of a list of which some is held") { missing = 10; }
  deliver_from(0, missing);
  deliver_from(missing + 1, all.size());
  deliver_from(missing, missing + 1);
  CHECK(value() > 400);
  deliver_from(missing, all.size());  // what had to make room is asked for again
  CHECK(value() == 5'000);
  CHECK(waiting() == 0);
}

TEST_CASE_FIXTURE(Count, "what waits for a node behind a cut is dropped") {
  const list::Node one = node(add(1)), two = node(add(10), &one), three = node(add(100), &two),
                   four = node(add(1'000), &three);
  ++wall;
  const list::Node other = node(add(5), &one);
  deliver({one, two, four});
  CHECK(value() == 11);
  CHECK(waiting() == 1);
  deliver({other});
  CHECK(value() == 1);
  CHECK(waiting() == 0);
  deliver({four});
  CHECK(waiting() == 0);
}

TEST_CASE_FIXTURE(Count, "a void node keeps its number and changes nothing") {
  const std::vector<std::vector<Bytes>> bodies = {{types::kv_put_op("k", "\1", {})},
                                                  {types::count_add_op("k", 5), "\1"},
                                                  {"\x83"
                                                   "cincak\1"}};
  list::Node last = node(add(1));
  deliver({last});
  int64_t expect = 1;
  for (const auto& ops : bodies) {
    const list::Node bad = node(ops, &last);
    last = node(add(10), &bad);
    deliver({bad, last});
    expect += ops.size() == 1 && ops[0].starts_with(
                                     "\x83"
                                     "cinc")
                  ? 11
                  : 10;
    CHECK(value() == expect);
  }
  list::Node garbage = node(add(1), &last);
  garbage.body = "no body";
  garbage = signed_(garbage);
  deliver({garbage, node(add(10), &garbage)});
  CHECK(value() == expect + 10);
  CHECK(ref->nodes == 9);
  CHECK(refused("void") >= 3);
}

TEST_CASE("a body in clear is void in a private channel, and waits for no key") {
  Alone a;
  const auto ref = a.join("count", false);
  a.deliver({a.node(add(1))});
  a.engine->turn();
  CHECK(types::count_get(engine::StateView(a.disk, ref->number), "k")->value == 0);
  // Give it the channel's key: what is in clear must not count now either.
  struct Chance final : Entropy {
    void fill(unsigned char* out, size_t size) override { std::fill_n(out, size, 7); }
  } chance;
  list::Node epoch = a.node(
      {access::make_epoch(a.manifest.cid, {a.creator.key(), a.engine->identity().key()}, chance)
           ->op},
      nullptr, 3);
  epoch.list.control = true;
  a.deliver({a.signed_(epoch)});
  a.run_ms(1'000);
  CHECK(ref->readable);
  CHECK(types::count_get(engine::StateView(a.disk, ref->number), "k")->value == 0);
  CHECK(ref->nodes == 2);
}

TEST_CASE_FIXTURE(Count,
                  "two nodes after one: from there on nothing counts, whichever came first, and "
                  "the proof is passed on") {
  const list::Node one = node(add(1)), left = node(add(10), &one), right = node(add(100), &one),
                   on = node(add(1'000), &left);
  SUBCASE("") { deliver({one, left, on, right}); }
  SUBCASE("") { deliver({one, right, left, on}); }
  SUBCASE("") {
    deliver({one, right});
    CHECK(value() == 101);
    start();
    deliver({left});
  }
  CHECK(value() == 1);
  CHECK(info().lists[0].cut == "fork");
  start();
  CHECK(value() == 1);
  published.clear();
  sync::Want want;
  want.to = engine->identity().key();
  want.ranges = {{one.id, 2, 2}};
  deliver(want);
  run_ms(1'000);
  std::set<ipld::Cid> given;
  for (const Bytes& bytes : published) {
    Bytes covered;
    const auto m = sync::decode(bytes, covered);
    if (const auto* nodes = std::get_if<sync::Nodes>(&m->body))
      for (const Bytes& block : nodes->nodes) given.insert(ipld::Cid::of(block));
  }
  CHECK(given.contains(left.cid));
  CHECK(given.contains(right.cid));
}

TEST_CASE_FIXTURE(Count, "a token of another branch, or beyond the cut, is never reached") {
  const list::Node one = node(add(1));
  deliver({one});
  engine->turn();
  const auto wait = [&](list::At at) {
    std::optional<Result<bool>> answer;
    engine->wait("c", {at.token()}, 500, "", [&](Result<bool> r) { answer.emplace(std::move(r)); });
    run_ms(1'000);
    return answer->ok() ? Code{} : answer->error().code;
  };
  CHECK(wait(one.at()) == Code{});
  list::At other = one.at();
  other.position.tag ^= 1;
  CHECK(wait(other) == Code::unreachable);
  other = one.at();
  other.position.number = 2;
  CHECK(wait(other) == Code::not_reached);
}

TEST_CASE_FIXTURE(Count,
                  "who sends old nodes has not said that it holds the new ones, and strangers' "
                  "words count for nothing") {
  const list::Node one = node(add(1)), two = node(add(1), &one);
  deliver({one, two});
  engine->turn();
  const auto any_has = [&] {
    std::optional<Result<bool>> answer;
    engine->wait("c", {two.at().token()}, 500, "any",
                 [&](Result<bool> r) { answer.emplace(std::move(r)); });
    run_ms(1'000);
    return answer->ok();
  };
  CHECK(any_has());  // the creator sent it
  const list::Node three = node(add(1), &two);
  sync::ClockMessage clock;
  clock.entries = {{{one.id, {3, three.cid.tag()}}, 0}};
  deliver(clock, true);
  sync::Nodes nodes;
  nodes.nodes = {list::encode(three)};
  deliver(nodes, true);  // a stranger brings it
  engine->turn();
  deliver({one});
  engine->turn();
  std::optional<Result<bool>> answer;
  engine->wait("c", {three.at().token()}, 500, access::did_from(creator.key()),
               [&](Result<bool> r) { answer.emplace(std::move(r)); });
  run_ms(1'000);
  CHECK_FALSE(answer->ok());
}

TEST_CASE_FIXTURE(Count, "strangers who fill what may wait do not stop a list that is known") {
  const list::Node one = node(add(1));
  deliver({one});
  CHECK(value() == 1);
  sync::Nodes nodes;
  for (int i = 0; i < 600; ++i) {
    Bytes seed(32, 'z');
    seed[0] = static_cast<char>(i), seed[1] = static_cast<char>(i >> 8);
    const access::Identity id = std::move(*access::Identity::from_seed(seed));
    list::Node n = node(add(1));
    n.list.writer = id.key();
    if (i % 2) {
      n.number = 2;
      n.prev = one.cid;
    } else {
      n.grant = list::At{one.id, {uint64_t{1} << 60, 1}};
    }
    n.signature = id.sign("node", list::encode_unsigned(n));
    nodes.nodes.push_back(list::encode(n));
  }
  deliver(nodes, true);
  engine->turn();
  deliver({node(add(10), &one)});
  CHECK(value() == 11);
  // A list not known before gets in as well.
  deliver({node(add(100), nullptr, 8)});
  CHECK(value() == 111);
}

TEST_CASE_FIXTURE(Count, "empty wants do not pile up answers") {
  sync::Want want;
  want.to = engine->identity().key();
  for (int i = 0; i < 3'000; ++i) deliver(want, true);
  engine->turn();
  CHECK(engine->stats().outgoing < 500);
}

TEST_CASE("a stranger's clock does not make a writer begin a new list") {
  Alone a;
  a.engine->create("c", "count", true,
                   [&](Result<engine::ChannelRef> r) { a.manifest.cid = (*r)->cid; });
  a.engine->turn();
  for (int i = 0; i < 3; ++i) {
    a.engine->write("c", types::count_type(), add(), "", [](Result<engine::Written>) {});
    a.engine->turn();
    sync::ClockMessage clock;
    clock.entries = {{{list::ListId::from(*from_hex(a.info().lists[0].list)), {1'000, 7}}, 0}};
    a.deliver(clock, true);
    a.engine->turn();
  }
  CHECK(a.info().lists.size() == 1);
}

TEST_CASE("a writer whose clock was far ahead is heard again once it is right") {
  Alone a;
  a.engine->create("c", "count", true, [](Result<engine::ChannelRef>) {});
  a.engine->turn();
  const auto write_ms = [&] {
    std::string at;
    a.engine->write("c", types::count_type(), add(), "",
                    [&](Result<engine::Written> w) { at = w->at; });
    a.engine->turn();
    const list::At token = *list::At::from_token(at);
    const auto channel = a.engine->directory().find("c");
    return list::decode(
               **a.disk.get(engine::Table::nodes,
                            engine::node_key(channel->number, token.list, token.position.number)))
        ->time_ms();
  };
  CHECK(write_ms() == a.wall);
  a.wall += uint64_t{10} * 365 * 86'400'000;
  write_ms();
  a.wall -= uint64_t{10} * 365 * 86'400'000;
  CHECK(write_ms() <= a.wall + limits::kFutureMs);
}

TEST_CASE("a creator who left and joined again grants nothing until the channel's key is here") {
  Alone a;
  std::string address;
  a.engine->create("c", "count", false,
                   [&](Result<engine::ChannelRef> r) { address = (*r)->address; });
  a.engine->turn();
  const auto channel = a.engine->directory().find("c");
  const Bytes record = a.disk.dump(engine::Table::nodes, channel->number).begin()->second;
  const auto cid = channel->cid;
  const Bytes manifest =
      engine::decode_channel(
          **a.disk.get(engine::Table::meta, engine::meta_key('c', channel->number)))
          ->manifest;
  a.engine->leave("c", [](Result<bool>) {});
  a.engine->turn();
  a.engine->join(address, "c", [](Result<engine::ChannelRef>) {});
  a.engine->turn();
  a.manifest.cid = cid;
  sync::Nodes nodes;
  nodes.manifest = manifest;
  a.deliver(nodes, true);
  a.engine->turn();
  std::optional<Result<std::string>> granted;
  a.engine->grant("c", access::did_from(a.creator.key()), "write",
                  [&](Result<std::string> r) { granted.emplace(std::move(r)); });
  a.engine->turn();
  CHECK_FALSE(granted->ok());
  nodes = {};
  nodes.nodes = {record};
  a.deliver(nodes, true);
  a.run_ms(1'000);
  a.engine->grant("c", access::did_from(a.creator.key()), "write",
                  [&](Result<std::string> r) { granted.emplace(std::move(r)); });
  a.engine->turn();
  CHECK(granted->ok());
}

TEST_CASE("operations of one node leave the same here and there, the later one winning") {
  test::Network net(2, 41);
  const char* const names[] = {"log", "count", "kv"};
  ipld::CborWriter one, two;
  one.unsigned_integer(1);
  two.unsigned_integer(2);
  const std::vector<Bytes> ops[] = {
      {types::log_add_op(one.out()), types::log_add_op(two.out()), types::log_add_op(one.out())},
      {types::count_add_op("k", 1), types::count_add_op("k", 2)},
      {types::kv_put_op("k", one.out(), {}), types::kv_put_op("k", two.out(), {}),
       types::kv_put_op("l", one.out(), {}), types::kv_del_op("l")}};
  for (int i = 0; i < 3; ++i) {
    const auto here = net[0].create(names[i], names[i], i == 1);
    const auto there = net[1].join(here->address, names[i]);
    REQUIRE(net[0].grant(names[i], net[1].did(), "read").ok());
    const auto written = net[0].write(names[i], *types::find_type(names[i]), ops[i]);
    REQUIRE(written.ok());
    REQUIRE(net.run_until(30'000, [&] { return there->nodes == here->nodes; }));
    for (const auto table : {engine::Table::state, engine::Table::index})
      CHECK(net[0].store().dump(table, here->number) == net[1].store().dump(table, there->number));
    if (i == 0) CHECK(net[0].store().dump(engine::Table::state, here->number).size() == 3);
    if (i == 2)
      CHECK(types::kv_get(engine::StateView(net[0].store(), here->number), "k").value()->value ==
            two.out());
  }
}

TEST_CASE("an old copy of a folder does not continue its list once it hears of more") {
  Alone a;
  a.engine->create("c", "count", true,
                   [&](Result<engine::ChannelRef> r) { a.manifest.cid = (*r)->cid; });
  a.engine->grant("c", access::did_from(a.creator.key()), "write",
                  [](Result<std::string> r) { REQUIRE(r.ok()); });
  const auto write = [&] {
    a.engine->write("c", types::count_type(), add(), "",
                    [](Result<engine::Written> w) { REQUIRE(w.ok()); });
    a.engine->turn();
  };
  write();
  a.start();
  const uint32_t channel = a.engine->directory().find("c")->number;
  std::optional<list::Node> own;
  for (const auto& [key, block] : a.disk.dump(engine::Table::nodes, channel))
    if (auto node = list::decode(block); !node->list.control) own = *node;
  const auto data_lists = [&] {
    const auto lists = a.info().lists;
    return std::count_if(lists.begin(), lists.end(), [](const auto& l) { return !l.control; });
  };
  SUBCASE("from a member's clock") {
    sync::ClockMessage clock;
    clock.entries = {{{own->id, {6, 1}}, 0}};
    a.deliver(clock);
  }
  SUBCASE("from a node further on") {
    list::Node later = *own;
    later.number = 3;
    later.prev = own->cid;
    later.time += 2;
    later.signature = a.engine->identity().sign("node", list::encode_unsigned(later));
    a.deliver({later});
  }
  SUBCASE("from the node that follows") {
    list::Node next = *own;
    next.number = 2;
    next.prev = own->cid;
    next.time += 2;
    next.signature = a.engine->identity().sign("node", list::encode_unsigned(next));
    a.deliver({next});
  }
  a.engine->turn();
  write();
  CHECK(data_lists() == 2);
  a.start();
  write();
  CHECK(data_lists() == 2);
}

TEST_CASE_FIXTURE(Count, "a member that sends too much leaves its Kubo peer's room to the others") {
  sync::Nodes noise;
  noise.nodes.assign(8, Bytes(60 << 10, 'x'));
  for (int i = 0; i < 100; ++i) deliver(noise);
  const uint64_t over = refused("over_budget");
  CHECK(over > 20);
  CHECK(over < 80);
  // Another sender behind the same Kubo.
  deliver(sync::Nodes{}, true);
  CHECK(refused("over_budget") == over);
  // And the member again, a little later.
  run_ms(5'000);
  deliver({node(add(3))});
  CHECK(refused("over_budget") == over);
  CHECK(value() == 3);
}
