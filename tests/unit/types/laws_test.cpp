// Every type of the table keeps the laws that types/type.h names.
#include <algorithm>
#include <random>
#include <set>

#include "channel.h"
#include "types/count.h"
#include "types/keys.h"
#include "types/kv.h"
#include "types/log.h"

using namespace ptwop;
using namespace ptwop::test;

namespace {

using Random = std::mt19937_64;

constexpr int kLists = 4;

/// An operation of any type on a few keys; `ids` are all places that operations will have, for
/// log's `del`.
Bytes random_op(const types::Type& type, Random& random, const std::vector<types::OpId>& ids) {
  using namespace std::string_literals;
  static const std::string kKeys[] = {"a", "b", "a\0"s, "a\0b"s};
  const std::string& key = kKeys[random() % std::size(kKeys)];
  const Bytes value = cbor(std::to_string(random() % 1000));
  if (type.name() == "count") {
    const int64_t edge[] = {INT64_MAX, INT64_MIN, 1, -1, 0};
    return types::count_add_op(key, edge[random() % std::size(edge)]);
  }
  if (type.name() == "log") {
    if (random() % 2) return types::log_add_op(value);
    return *types::log_del_op(types::log_id(ids[random() % ids.size()]));
  }
  REQUIRE(type.name() == "kv");
  if (random() % 3 == 0) return types::kv_del_op(key);
  return types::kv_put_op(key, value,
                          random() % 2 ? std::optional<uint64_t>(1 + random() % 5) : std::nullopt);
}

/// Nodes of several lists with colliding times, each of one to three operations.
std::vector<Placed> random_channel(Channel& channel, Random& random) {
  struct Shape {
    int list;
    uint64_t number, time;
    size_t ops;
  };
  std::vector<Shape> shapes;
  std::vector<types::OpId> ids;
  for (int list = 1; list <= kLists; ++list) {
    uint64_t time = random() % 5;
    const uint64_t nodes = random() % 6;
    for (uint64_t number = 1; number <= nodes; ++number) {
      time += 1 + random() % 3;
      // Two branches of a forked list may both count: one number, two times.
      const uint64_t place = number - (number > 1 && random() % 4 == 0);
      shapes.push_back({list, place, time, 1 + random() % 3});
      for (uint32_t i = 0; i < shapes.back().ops; ++i)
        ids.push_back({time, list_id(list), place, i});
    }
  }
  std::vector<Placed> all;
  for (const Shape& shape : shapes) {
    std::vector<Bytes> ops;
    for (size_t i = 0; i < shape.ops; ++i) ops.push_back(random_op(channel.type, random, ids));
    for (Placed& placed : channel.node(shape.list, shape.number, shape.time, std::move(ops)))
      all.push_back(std::move(placed));
  }
  return all;
}

}  // namespace

TEST_CASE("the table") {
  CHECK(types::all_types().size() == 3);
  for (const types::Type* type : types::all_types()) CHECK(types::find_type(type->name()) == type);
  CHECK(types::find_type("KV") == nullptr);
  CHECK(types::find_type("") == nullptr);
}

TEST_CASE("any order gives the same state; undone operations leave no trace") {
  for (const types::Type* type : types::all_types()) {
    CAPTURE(type->name());
    for (uint64_t seed = 0; seed < 1000; ++seed) {
      CAPTURE(seed);
      Random random(seed);
      Channel channel(*type);
      const std::vector<Placed> all = random_channel(channel, random);
      std::vector<bool> stays(all.size());
      for (size_t i = 0; i < all.size(); ++i) stays[i] = random() % 3 != 0;

      MemoryState expected;
      for (size_t i = 0; i < all.size(); ++i)
        if (stays[i]) REQUIRE(type->apply(expected, all[i].at, all[i].op).ok());

      // Each operation's apply in any order, the undo of those that go anywhere after it.
      std::vector<size_t> waiting(all.size());
      for (size_t i = 0; i < all.size(); ++i) waiting[i] = i;
      std::vector<size_t> to_undo;
      while (!waiting.empty() || !to_undo.empty()) {
        const bool apply = to_undo.empty() || (!waiting.empty() && random() % 3 != 0);
        auto& from = apply ? waiting : to_undo;
        std::swap(from[random() % from.size()], from.back());
        const size_t chosen = from.back();
        from.pop_back();
        if (!apply)
          channel.undo(all[chosen]);
        else
          channel.apply(all[chosen]);
        if (apply && !stays[chosen]) to_undo.push_back(chosen);
        // Undone and accepted again: a fork that was settled.
        if (!apply && random() % 8 == 0) waiting.push_back(chosen);
      }
      REQUIRE(channel.state == expected);

      for (size_t i = 0; i < all.size(); ++i)
        if (stays[i]) channel.undo(all[i]);
      REQUIRE(channel.state.state.empty());
      REQUIRE(channel.state.index.empty());
    }
  }
}

TEST_CASE("reads are what the remaining operations say, worked out by hand") {
  for (uint64_t seed = 0; seed < 400; ++seed) {
    CAPTURE(seed);
    Random random(seed);
    for (const types::Type* type : types::all_types()) {
      Channel channel(*type);
      std::vector<Placed> all = random_channel(channel, random);
      std::shuffle(all.begin(), all.end(), random);
      for (const Placed& placed : all) channel.apply(placed);
      std::sort(all.begin(), all.end(),
                [](const Placed& a, const Placed& b) { return a.at.id < b.at.id; });

      if (type->name() == "log") {
        std::set<Bytes> deleted;
        std::vector<types::OpId> visible;
        for (const Placed& placed : all)
          if (placed.op.substr(2, 3) == "del") deleted.insert(placed.op.substr(7));
        for (const Placed& placed : all)
          if (placed.op.substr(2, 3) == "add" &&
              !deleted.contains(types::op_id_bytes(placed.at.id)))
            visible.push_back(placed.at.id);
        const auto page = types::log_list(channel.state, std::nullopt, 1000, false);
        REQUIRE(page->entries.size() == visible.size());
        for (size_t i = 0; i < visible.size(); ++i) CHECK(page->entries[i].id == visible[i]);
      } else if (type->name() == "kv") {
        std::map<std::string, Placed> winners;  // in the channel's order, so the last one stays
        for (const Placed& placed : all)
          winners.insert_or_assign(std::string(json::parse(shown(placed.op))->items[1].text),
                                   placed);
        for (const auto& [key, placed] : winners) {
          const auto entry = types::kv_get(channel.state, key);
          REQUIRE(*entry);
          CHECK((*entry)->id == placed.at.id);
          const auto op = json::parse(shown(placed.op));
          CHECK((*entry)->deleted == (op->items[0].text == "del"));
          if (!(*entry)->deleted) CHECK(shown((*entry)->value) == op->items[2].text);
          CHECK((*entry)->writer == placed.at.writer);
        }
        CHECK(channel.state.state.size() == winners.size());
      }
    }
  }
}
