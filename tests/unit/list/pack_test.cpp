#include "list/pack.h"

#include <doctest/doctest.h>

#include <map>
#include <random>
#include <set>

#include "base/limits.h"

using namespace ptwop;
using list::Packed;
using list::Packer;
using list::Root;
using list::Run;

namespace {

template <class O>
O filled(uint8_t with) {
  O out;
  out.raw.fill(with);
  return out;
}

const ipld::Cid kChannel = ipld::Cid::of("channel");
const auto kList = filled<list::ListId>(3);

using Nodes = std::vector<Bytes>;

Nodes make_nodes(size_t count, const std::function<size_t(size_t)>& body_bytes) {
  Nodes out;
  list::Node node;
  node.channel = kChannel;
  node.list = {filled<list::PublicKey>(1), filled<list::Incarnation>(2), false};
  node.time = uint64_t{1'700'000'000'000} << 16;
  node.signature = filled<list::Signature>(9);
  for (size_t i = 0; i < count; ++i) {
    ++node.number;
    ++node.time;
    node.body = Bytes(body_bytes(i), static_cast<char>(i));
    out.push_back(list::encode(node));
    node.prev = ipld::Cid::of(out.back());
  }
  return out;
}

Nodes mixed(size_t count, uint64_t seed) {
  std::mt19937_64 random(seed);
  return make_nodes(count, [&](size_t) -> size_t {
    switch (random() % 12) {
      case 0:
        return 60 << 10;
      case 1:
        return 70 << 10;  // a link
      case 2:
      case 3:
        return 5'000 + random() % 20'000;
      default:
        return random() % 400;
    }
  });
}

size_t bytes_of(const Nodes& nodes) {
  size_t sum = 0;
  for (const Bytes& node : nodes) sum += node.size();
  return sum;
}

/// Packs as the outbox does: in steps, between which no more is kept than the levels.
struct Shelf {
  const Nodes& nodes;
  Packed packed;
  std::map<ipld::Cid, Bytes> kubo;
  size_t bytes_put = 0;
  Bytes root;

  Root advance(uint64_t to) {
    std::map<ipld::Cid, Bytes> made;
    Packer packer(
        packed,
        [&](uint64_t first, uint64_t last) -> Result<std::vector<Bytes>> {
          std::vector<Bytes> items;
          for (uint64_t n = first; n <= last; ++n) items.push_back(list::item_of(nodes[n - 1]));
          return items;
        },
        [&](const ipld::Cid& cid, Bytes block, const std::vector<Run>& inner) {
          for (const Run& run : inner) made.erase(run.cid);
          made[cid] = std::move(block);
        });
    for (uint64_t n = packed.number() + 1; n <= to; ++n) {
      const Bytes& node = nodes[n - 1];
      if (node.size() > limits::kInlineNodeBytesMax && !kubo.contains(ipld::Cid::of(node)))
        made[ipld::Cid::of(node)] = node;
      REQUIRE(packer.add(list::item_of(node), {n, ipld::Cid::of(node).tag()}).ok());
    }
    Root out{kChannel, kList, packer.position(), packer.packed().levels, packer.tail()};
    root = list::encode(out);
    made[ipld::Cid::of(root)] = root;
    for (auto& [cid, block] : made) {
      bytes_put += block.size();
      kubo[cid] = std::move(block);
    }
    ipld::CborWriter w;
    list::write_levels(w, packer.packed().levels);
    ipld::CborReader r(w.out());
    packed.levels = list::read_levels(r);
    REQUIRE(r.finish("levels").ok());
    CHECK(packed.levels == packer.packed().levels);
    return out;
  }
};

Bytes root_of(const Nodes& nodes, const std::vector<uint64_t>& steps) {
  Shelf shelf{nodes, {}, {}, 0, {}};
  for (const uint64_t to : steps) shelf.advance(to);
  return shelf.root;
}

/// Every node below a root, by what is in Kubo alone, and each block once.
struct Walk {
  const std::map<ipld::Cid, Bytes>& kubo;
  Nodes found;
  std::set<ipld::Cid> blocks;

  void items(const std::vector<Bytes>& all) {
    for (const Bytes& item : all)
      if (const ipld::Cid cid = list::linked(item); cid)
        found.push_back(block(cid));
      else
        found.push_back(item);
  }
  const Bytes& block(const ipld::Cid& cid) {
    CHECK(blocks.insert(cid).second);
    REQUIRE(kubo.contains(cid));
    return kubo.at(cid);
  }
  void run(const Run& run, size_t level) {
    CHECK(run.first == found.size() + 1);
    const Bytes& bytes = block(run.cid);
    if (level >= 2) {
      const auto runs = list::decode_index(bytes);
      REQUIRE(runs.ok());
      CHECK(runs->size() == list::kIndexMax);
      for (const Run& inner : *runs) this->run(inner, level - 1);
    } else {
      const auto pack = list::decode_pack(bytes);
      REQUIRE(pack.ok());
      if (level == 0)
        CHECK((bytes.size() <= list::kSmallPackBytes + 8 || pack->size() == 1));
      else
        CHECK(bytes.size() <= list::kPackBytesMax);
      items(*pack);
    }
    CHECK(run.last.number == found.size());
    CHECK(run.last.tag == ipld::Cid::of(found.back()).tag());
  }
  void all(const Bytes& root_block) {
    CHECK(root_block.size() <= list::kRootBytesMax);
    const auto root = list::decode_root(root_block);
    REQUIRE(root.ok());
    CHECK(root->channel == kChannel);
    CHECK(root->list == kList);
    for (size_t level = root->levels.size(); level-- > 0;)
      for (const Run& r : root->levels[level]) run(r, level);
    items(root->tail);
    CHECK(root->position.number == found.size());
    CHECK(root->position.tag == ipld::Cid::of(found.back()).tag());
  }
};

Run run_of(uint64_t first, uint64_t last) {
  return {first, {last, first}, ipld::Cid::of(std::to_string(first))};
}

Bytes item() {
  ipld::CborWriter w;
  return w.map(1).key("a").unsigned_integer(1).take();
}

Root small_root() {
  Root root{kChannel, kList, {12, 5}, {{run_of(9, 10)}, {run_of(1, 4), run_of(5, 8)}}, {}};
  root.tail = {item(), list::item_of(Bytes(limits::kInlineNodeBytesMax + 1, 'x'))};
  return root;
}

/// Is refused, and would not be but for that.
void check_refused(const Root& root) { CHECK_FALSE(list::decode_root(list::encode(root)).ok()); }

}  // namespace

TEST_CASE("packing in any steps gives the same root as packing from the first node on") {
  for (const uint64_t seed : {1, 2, 3}) {
    const Nodes nodes = mixed(900, seed);
    const Bytes whole = root_of(nodes, {nodes.size()});
    std::mt19937_64 random(seed);
    for (const uint64_t most : {40, 300}) {
      std::vector<uint64_t> steps;
      for (uint64_t at = 0; at < nodes.size();)
        steps.push_back(at = std::min<uint64_t>(nodes.size(), at + 1 + random() % most));
      CHECK(root_of(nodes, steps) == whole);
    }
  }
  const Nodes few = mixed(120, 4);
  std::vector<uint64_t> each;
  for (uint64_t n = 1; n <= few.size(); ++n) {
    each.push_back(n);
    CHECK(root_of(few, each) == root_of(few, {n}));
  }
}

TEST_CASE("below a root every node stands in one place, in order, in blocks within the limits") {
  for (const uint64_t seed : {5, 6}) {
    const Nodes nodes = mixed(1'500, seed);
    Shelf shelf{nodes, {}, {}, 0, {}};
    for (const uint64_t to : {1, 2, 700, 1'499, 1'500}) {
      shelf.advance(to);
      Walk walk{shelf.kubo, {}, {}};
      walk.all(shelf.root);
      CHECK(walk.found == Nodes(nodes.begin(), nodes.begin() + to));
    }
  }
}

TEST_CASE("a long list has indexes; the bytes put are few, in bulk and in steps of 2 MiB") {
  const Nodes nodes = make_nodes(2'400, [](size_t i) { return 14'000 + i % 1'000; });
  Shelf bulk{nodes, {}, {}, 0, {}};
  const Root root = bulk.advance(nodes.size());
  REQUIRE(root.levels.size() == 3);
  CHECK(root.levels[2].size() == 1);
  CHECK(static_cast<double>(bulk.bytes_put) < 1.1 * static_cast<double>(bytes_of(nodes)));
  Walk walk{bulk.kubo, {}, {}};
  walk.all(bulk.root);
  CHECK(walk.found == nodes);

  Shelf steps{nodes, {}, {}, 0, {}};
  for (uint64_t to = 140; to < nodes.size(); to += 140) steps.advance(to);
  steps.advance(nodes.size());
  CHECK(steps.root == bulk.root);
  CHECK(static_cast<double>(steps.bytes_put) < 1.5 * static_cast<double>(bytes_of(nodes)));

  Shelf trickle{nodes, {}, {}, 0, {}};  // some nodes a root: each is put in tails, too
  for (uint64_t to = 2; to <= 400; to += 2) trickle.advance(to);
  CHECK(trickle.bytes_put < 4 * bytes_of(Nodes(nodes.begin(), nodes.begin() + 400)));
}

TEST_CASE("the worst pack and the worst root are within their limits") {
  // Nodes just small enough to be inline: one a small pack.
  const Nodes nodes = make_nodes(40, [](size_t) { return limits::kInlineNodeBytesMax - 300; });
  REQUIRE(nodes.back().size() <= limits::kInlineNodeBytesMax);
  REQUIRE(nodes.back().size() + 40 > limits::kInlineNodeBytesMax);
  Shelf shelf{nodes, {}, {}, 0, {}};
  const Root root = shelf.advance(nodes.size());
  REQUIRE(root.levels.size() == 2);
  CHECK(root.levels[1].size() == 2);
  Walk walk{shelf.kubo, {}, {}};
  walk.all(shelf.root);
  CHECK(walk.found == nodes);

  Root worst{kChannel, kList, {}, list::Levels(list::kLevelsMax), {nodes.back()}};
  uint64_t number = 0;
  const uint64_t step = limits::kNumberMax / 1'000;
  for (size_t level = list::kLevelsMax; level-- > 0;)
    for (size_t i = 0; i + 1 < (level == 0 ? list::kSmallMax : list::kIndexMax); ++i) {
      worst.levels[level].push_back(run_of(number + 1, number + step));
      number += step;
    }
  worst.position = {number + 1, 7};
  const Bytes block = list::encode(worst);
  CHECK(block.size() <= list::kRootBytesMax);
  const auto back = list::decode_root(block);
  REQUIRE(back.ok());
  CHECK(list::encode(*back) == block);
}

TEST_CASE("what cannot be read again, when small packs become a large one, is an error") {
  const Nodes nodes = make_nodes(17, [](size_t) { return 40'000; });
  Packer packer(
      {},
      [](uint64_t, uint64_t) -> Result<std::vector<Bytes>> { return fail(Code::corrupt, "gone"); },
      [](const ipld::Cid&, const Bytes&, const std::vector<Run>&) {});
  Result<void> added;
  for (uint64_t n = 1; n <= nodes.size() && added.ok(); ++n)
    added = packer.add(list::item_of(nodes[n - 1]), {n, 1});
  REQUIRE_FALSE(added.ok());
  CHECK(added.error().code == Code::corrupt);
}

TEST_CASE("a root comes back as it was, and nothing else is one") {
  const Root good = small_root();
  const Bytes block = list::encode(good);
  const auto back = list::decode_root(block);
  REQUIRE(back.ok());
  CHECK(list::encode(*back) == block);
  CHECK(back->channel == good.channel);
  CHECK(back->list == good.list);
  CHECK(back->position == good.position);
  CHECK(back->levels == good.levels);
  CHECK(back->tail == good.tail);

  CHECK_FALSE(list::decode_root(block + '\0').ok());
  for (size_t size = 0; size < block.size(); ++size)
    CHECK_FALSE(list::decode_root(BytesView(block).substr(0, size)).ok());
  CHECK_FALSE(list::decode_root(list::encode_pack(good.tail)).ok());
  CHECK_FALSE(list::decode_root(list::encode_index(good.levels[1])).ok());
  Bytes kind = block;
  kind[kind.find("root")] = 's';
  CHECK_FALSE(list::decode_root(kind).ok());

  Root root = good;
  SUBCASE("a gap") {
    root.levels[1][1].first = 6;
    check_refused(root);
  }
  SUBCASE("a gap between levels") {
    root.levels[0] = {run_of(10, 10)};
    check_refused(root);
  }
  SUBCASE("an overlap") {
    root.levels[1][1].first = 4;
    check_refused(root);
  }
  SUBCASE("an overlap between levels") {
    root.levels[0] = {run_of(8, 10)};
    check_refused(root);
  }
  SUBCASE("not from the first node on") {
    root.levels[1] = {run_of(2, 4), run_of(5, 8)};
    check_refused(root);
  }
  SUBCASE("number 0") {
    root.levels[1] = {run_of(0, 4), run_of(5, 8)};
    check_refused(root);
  }
  SUBCASE("small packs before large ones") {
    std::swap(root.levels[0], root.levels[1]);
    check_refused(root);
  }
  SUBCASE("a run that ends before it begins") {
    root.levels[0] = {run_of(9, 8)};
    root.position.number = 10;
    check_refused(root);
  }
  SUBCASE("a number beyond the limit") {
    root.levels[0] = {run_of(9, limits::kNumberMax)};
    root.position.number = limits::kNumberMax + 2;
    check_refused(root);
  }
  SUBCASE("a position that the tail does not lead to") {
    root.position.number = 13;
    check_refused(root);
    root.position.number = 11;
    check_refused(root);
  }
  SUBCASE("no tail") {
    root.tail.clear();
    root.position.number = 10;
    check_refused(root);
  }
  SUBCASE("a tail of something else") {
    ipld::CborWriter w;
    root.tail[0] = w.unsigned_integer(1).take();
    check_refused(root);
  }
  SUBCASE("as many runs as would make one of the next level") {
    root.levels = {{}, {}};
    for (uint64_t n = 1; n <= list::kSmallMax; ++n) root.levels[0].push_back(run_of(n, n));
    root.position.number = list::kSmallMax + 2;
    check_refused(root);
    root.levels[0].pop_back();
    --root.position.number;
    CHECK(list::decode_root(list::encode(root)).ok());
  }
  SUBCASE("too many levels") {
    root.levels.resize(list::kLevelsMax);
    CHECK(list::decode_root(list::encode(root)).ok());
    root.levels.resize(list::kLevelsMax + 1);
    check_refused(root);
  }
  SUBCASE("too large") {
    root.tail = {item(), item()};
    ipld::CborWriter w;
    root.tail[0] = w.map(1).key("a").bytes(Bytes(list::kRootBytesMax, 'x')).take();
    check_refused(root);
  }
}

TEST_CASE("a pack comes back as it was, and nothing else is one") {
  const std::vector<Bytes> items = {item(), list::item_of(Bytes(70'000, 'x')), item()};
  const Bytes block = list::encode_pack(items);
  const auto back = list::decode_pack(block);
  REQUIRE(back.ok());
  CHECK(*back == items);
  CHECK_FALSE(list::linked((*back)[0]));
  CHECK(list::linked((*back)[1]) == ipld::Cid::of(Bytes(70'000, 'x')));
  CHECK_FALSE(list::decode_pack(block + '\0').ok());
  for (size_t size = 0; size < block.size(); ++size)
    CHECK_FALSE(list::decode_pack(BytesView(block).substr(0, size)).ok());
  for (const Bytes& other :
       {Bytes("\x01", 1), Bytes("\x61x", 2), Bytes("\x80", 1), Bytes("\xf6", 1)})
    CHECK_FALSE(list::decode_pack(list::encode_pack({item(), other})).ok());
  ipld::CborWriter w;
  const Bytes large = w.map(1).key("a").bytes(Bytes(list::kPackBytesMax, 'x')).take();
  CHECK_FALSE(list::decode_pack(list::encode_pack({large})).ok());
  const std::vector<Bytes> many((1 << 16) + 1, Bytes("\xa0", 1));
  CHECK_FALSE(list::decode_pack(list::encode_pack(many)).ok());
  CHECK(list::decode_pack(list::encode_pack({many.begin() + 1, many.end()})).ok());
}

TEST_CASE("an index comes back as it was, and nothing else is one") {
  std::vector<Run> runs;
  for (uint64_t n = 0; n < list::kIndexMax; ++n) runs.push_back(run_of(5 + 2 * n, 6 + 2 * n));
  const Bytes block = list::encode_index(runs);
  const auto back = list::decode_index(block);
  REQUIRE(back.ok());
  CHECK(*back == runs);
  CHECK_FALSE(list::decode_index(block + '\0').ok());
  CHECK_FALSE(list::decode_index(list::encode_index({})).ok());
  CHECK_FALSE(list::decode_index(list::encode(small_root())).ok());
  CHECK_FALSE(list::decode_index(list::encode_pack({item()})).ok());
  runs.push_back(run_of(runs.back().last.number + 1, runs.back().last.number + 1));
  CHECK_FALSE(list::decode_index(list::encode_index(runs)).ok());
  CHECK_FALSE(list::decode_index(list::encode_index({run_of(1, 2), run_of(4, 5)})).ok());
  CHECK_FALSE(list::decode_index(list::encode_index({run_of(1, 2), run_of(2, 5)})).ok());
  CHECK_FALSE(list::decode_index(list::encode_index({run_of(0, 2)})).ok());
  CHECK_FALSE(list::decode_index(list::encode_index({run_of(1, limits::kNumberMax + 1)})).ok());
  CHECK(list::decode_index(list::encode_index({run_of(1, limits::kNumberMax)})).ok());
}
