// Lists at rest in Kubo: the same roots everywhere, whatever happened, all of it pinned.
#include <doctest/doctest.h>

#include <algorithm>

#include "list/pack.h"
#include "replicas.h"
#include "types/count.h"

using namespace ptwop;
using test::Network;

namespace {

/// Adds one, and so many bytes that cannot be compressed.
bool add(Network& net, size_t i, size_t bytes = 0) {
  std::vector<Bytes> ops = {types::count_add_op("k", 1)};
  while (bytes > 0) {
    Bytes key(std::min<size_t>(bytes, 1'000), 'p');
    for (char& c : key) c = static_cast<char>('0' + net.random() % 64);
    bytes -= key.size();
    ops.push_back(types::count_add_op(key, 1));
  }
  return net[i].write("c", types::count_type(), ops).ok();
}

/// A channel of the first one's, in which all may write.
engine::ChannelRef channel(Network& net, size_t members) {
  const auto ref = net[0].create("c", "count", true);
  for (size_t i = 1; i < members; ++i) {
    net[i].join(ref->address, "c");
    REQUIRE(net[0].grant("c", net[i].did(), "write").ok());
  }
  for (size_t i = 1; i < members; ++i)
    REQUIRE(net.run_until(20'000, [&] { return net[i]->directory().find("c")->writable.load(); }));
  return ref;
}

/// The roots that are named, by list.
std::map<std::string, std::string> roots(Network& net, size_t i) {
  std::map<std::string, std::string> out;
  for (const auto& list : net[i].info("c").lists) out[list.list] = list.root;
  return out;
}

/// The same, made at once from the nodes in the store up to `end` (by list; else all).
std::map<std::string, std::string> roots_anew(Network& net, size_t i,
                                              const std::map<std::string, uint64_t>& end = {}) {
  std::map<std::string, std::string> out;
  const auto ref = net[i]->directory().find("c");
  for (const auto& info : net[i].info("c").lists) {
    const auto id = list::ListId::from(*from_hex(info.list));
    const auto item = [&](uint64_t n) -> std::optional<std::pair<Bytes, list::Position>> {
      const auto node =
          net[i].store().get(engine::Table::nodes, engine::node_key(ref->number, id, n));
      if (!node.ok() || !*node) return std::nullopt;
      return std::pair(list::item_of(**node), list::Position{n, ipld::Cid::of(**node).tag()});
    };
    list::Packer packer(
        {},
        [&](uint64_t first, uint64_t last) -> Result<std::vector<Bytes>> {
          std::vector<Bytes> items;
          for (uint64_t n = first; n <= last; ++n) items.push_back(item(n)->first);
          return items;
        },
        [](const ipld::Cid&, const Bytes&, const std::vector<list::Run>&) {});
    const uint64_t last = end.contains(info.list) ? end.at(info.list) : UINT64_MAX;
    for (uint64_t n = 1; n <= last; ++n) {
      const auto one = item(n);
      if (!one) break;
      REQUIRE(packer.add(one->first, one->second).ok());
    }
    out[info.list] = ipld::Cid::of(list::encode(list::Root{ref->cid, id, packer.position(),
                                                           packer.packed().levels, packer.tail()}))
                         .text();
  }
  return out;
}

void check_at_rest(Network& net, size_t i) {
  CHECK(net.run_until(120'000, [&] {
    const auto stats = net[i]->stats();
    return stats.outbox == 0 && stats.pins == 0;
  }));
  CHECK(roots(net, i) == roots_anew(net, i));
  REQUIRE(net[i].pinned().size() == 1);
  net[i].collect_garbage();
  for (const auto& [list, root] : roots(net, i)) {
    std::set<ipld::Cid> below;
    const auto bytes = ipld::cid_bytes_from_text(root);
    REQUIRE(bytes);
    CHECK(test::collect(net[i].blocks(), *ipld::Cid::from_bytes(*bytes), below));
  }
}

}  // namespace

TEST_CASE("replicas that hold the same nodes have the same roots, also after restarts") {
  Network net(3, 1);
  channel(net, 3);
  for (int n = 0; n < 250; ++n) {
    REQUIRE(add(net, n % 3 ? 0 : 1, n % 7 == 0 ? 5'000 : 10));
    net.run_ms(n % 50 == 0 ? 6'000 : 5);
    if (n == 120) net[1].restart();
  }
  net.run_ms(15'000);
  CHECK(roots(net, 0).size() == 3);  // control, and two of data
  CHECK(roots(net, 0) == roots(net, 1));
  CHECK(roots(net, 0) == roots(net, 2));
  for (size_t i = 0; i < 3; ++i) {
    const auto before = roots(net, i);
    net[i].restart();
    CHECK(roots(net, i) == before);
    check_at_rest(net, i);
  }
  CHECK(*net[0].pinned().begin() != *net[1].pinned().begin());
}

TEST_CASE(
    "restarts, and a Kubo that comes and goes, at any time: the roots are what they would be") {
  for (const uint64_t seed : {2, 3, 4}) {
    Network net(2, seed);
    channel(net, 2);
    for (int n = 0; n < 120; ++n) {
      const size_t who = net.random() % 2;
      if (net[who]->directory().find("c")->writable) add(net, who, net.random() % 3 ? 10 : 9'000);
      net.run_ms(net.random() % 400);
      switch (net.random() % 8) {
        case 0:
          net[who].restart();
          break;
        case 1:
          net[who].set_online(!net[who].online());
          break;
        case 2:
          net[who].collect_garbage();
          break;
        case 3:
          if (net.random() % 4 == 0) net[who].lose_blocks();
          break;
        default:
          break;
      }
    }
    for (size_t i = 0; i < 2; ++i) net[i].set_online(true);
    net.run_ms(60'000);
    for (size_t i = 0; i < 2; ++i) {
      net[i].restart();
      check_at_rest(net, i);
    }
    CHECK(roots(net, 0) == roots(net, 1));
  }
}

TEST_CASE("a list that is cut is packed up to the cut") {
  Network net(3, 5);
  channel(net, 3);
  for (int n = 0; n < 150; ++n) REQUIRE(add(net, 1, 400));
  net.run_ms(10'000);
  test::MemoryStore old;
  old.copy_from(net[1].store());
  for (int n = 0; n < 150; ++n) REQUIRE(add(net, 1, 500));
  net.run_ms(10'000);
  net[0].set_online(false);
  net[2].set_online(false);
  net[1].restart_from(old);
  REQUIRE(add(net, 1, 600));  // in the place of another
  net.run_ms(3'000);
  net[0].set_online(true);
  net[2].set_online(true);
  const auto cut = [&](size_t i) {
    const auto lists = net[i].info("c").lists;
    return std::any_of(lists.begin(), lists.end(), [](const auto& l) { return l.cut == "fork"; });
  };
  for (size_t i = 0; i < 3; ++i) REQUIRE(net.run_until(60'000, [&] { return cut(i); }));
  net.run_ms(30'000);
  std::map<std::string, uint64_t> end;
  for (const auto& list : net[0].info("c").lists)
    if (list.cut == "fork") end[list.list] = 150;
  REQUIRE(end.size() == 1);
  for (size_t i = 0; i < 3; ++i) {
    CHECK(net[i]->stats().outbox == 0);
    CHECK(roots(net, i) == roots_anew(net, i, end));
    CHECK(net[i].pinned().size() == (i == 1 ? 2 : 1));  // the copy does not know of the later one
  }
}

TEST_CASE("after garbage collection everywhere a newcomer gets all from the one that is left") {
  Network net(4, 6);
  const auto ref = channel(net, 3);
  for (int n = 0; n < 400; ++n) REQUIRE(add(net, n % 2, 16'000));
  net.run_ms(15'000);
  for (size_t i = 0; i < 3; ++i) check_at_rest(net, i);
  net[0].set_online(false);
  net[1].set_online(false);
  net[3].join(ref->address, "c");
  const auto value = [&] {
    const auto there = net[3]->directory().find("c");
    if (!there) return int64_t{0};
    return types::count_get(engine::StateView(net[3].store(), there->number), "k")->value;
  };
  CHECK(net.run_until(20'000, [&] { return value() == 400; }));
  CHECK(net[3]->stats().nodes_fetched >= 100);
  net.run_ms(10'000);
  check_at_rest(net, 3);
  CHECK(roots(net, 3) == roots(net, 2));
}

TEST_CASE("one pin a channel: none is left of a channel that was left, with Kubo there or not") {
  Network net(1, 7);
  channel(net, 1);
  net[0].create("other", "count", true);
  for (int n = 0; n < 20; ++n) {
    REQUIRE(add(net, 0));
    net.run_ms(2'600);
    if (n % 5 == 4) net[0].restart();
    CHECK(net[0].pinned().size() == 2);
  }
  const auto leave = [&] {
    net[0]->leave("c", [](Result<bool> r) { CHECK(r.ok()); });
    net[0]->turn();
  };
  SUBCASE("with Kubo") { leave(); }
  SUBCASE("without") {
    net[0].set_online(false);
    leave();
    net[0].set_online(true);
  }
  SUBCASE("without, and a restart") {
    net[0].set_online(false);
    leave();
    net[0].restart();
    net[0].set_online(true);
  }
  net.run_ms(6'000);
  CHECK(net[0].pinned().size() == 1);
  CHECK(net[0]->stats().pins == 0);
  net[0].restart();
  net.run_ms(6'000);
  CHECK(net[0].pinned().size() == 1);
}
