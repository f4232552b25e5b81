// A channel in memory, as the tests of the types see it: nodes of several lists, applied one
// operation at a time.
#pragma once
#include <doctest/doctest.h>

#include "base/json.h"
#include "ipld/dag_json.h"
#include "support/memory_state.h"

namespace ptwop::test {

inline list::ListId list_id(int number) {
  list::ListId id;
  id.raw.fill(static_cast<uint8_t>(number));
  return id;
}
inline list::PublicKey writer_of(int list) {
  list::PublicKey key;
  key.raw.fill(static_cast<uint8_t>(0x80 + list));
  return key;
}

inline Bytes cbor(std::string_view json_text) {
  return *ipld::cbor_from_json(*json::parse(json_text));
}
inline std::string shown(BytesView value) {
  std::string out;
  REQUIRE(ipld::append_json_from_cbor(out, value).ok());
  return out;
}

/// One operation with its place.
struct Placed {
  types::OpContext at;
  Bytes op;
};

struct Channel {
  explicit Channel(const types::Type& its_type) : type(its_type) {}

  /// Puts a node into the source and gives back its operations, not applied yet.
  std::vector<Placed> node(int list, uint64_t number, uint64_t time, std::vector<Bytes> ops,
                           list::ClockMap seen = {}) {
    std::vector<Placed> placed;
    for (uint32_t i = 0; i < ops.size(); ++i) {
      REQUIRE(type.check(ops[i]).ok());
      placed.push_back({{{time, list_id(list), number, i}, writer_of(list)}, ops[i]});
    }
    source.nodes[{list_id(list), time}] = {writer_of(list), time, std::move(seen), std::move(ops)};
    return placed;
  }

  void apply(const Placed& placed) { REQUIRE(type.apply(state, placed.at, placed.op).ok()); }
  void undo(const Placed& placed) {
    const auto done = type.undo(state, placed.at, placed.op, source);
    REQUIRE_MESSAGE(done.ok(), (done.ok() ? "" : done.error().message));
  }

  /// A node of one operation, applied.
  Placed write(int list, uint64_t number, uint64_t time, Bytes op, list::ClockMap seen = {}) {
    auto placed = node(list, number, time, {std::move(op)}, std::move(seen));
    apply(placed[0]);
    return placed[0];
  }

  const types::Type& type;
  MemoryState state;
  MemorySource source;
};

}  // namespace ptwop::test
