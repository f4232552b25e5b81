// A channel's state and nodes in memory, for tests.
#pragma once
#include <map>
#include <utility>

#include "types/type.h"

namespace ptwop::test {

class MemoryState : public types::State {
 public:
  using Map = std::map<Bytes, Bytes, std::less<>>;

  Result<std::optional<Bytes>> get(types::Space space, BytesView key) const override {
    const auto found = map(space).find(key);
    return found == map(space).end() ? std::nullopt : std::optional(found->second);
  }

  Result<void> scan(types::Space space, BytesView from, BytesView until, bool reverse,
                    const types::Visit& visit) const override {
    ++scans;
    const Map& all = map(space);
    const auto begin = all.lower_bound(from);
    const auto end = until.empty() ? all.end() : all.lower_bound(until);
    if (!until.empty() && until <= from) return {};
    if (reverse) {
      for (auto it = end; it != begin;) {
        --it;
        if (++visited; !visit(it->first, it->second)) break;
      }
    } else {
      for (auto it = begin; it != end; ++it)
        if (++visited; !visit(it->first, it->second)) break;
    }
    return {};
  }

  Result<void> put(types::Space space, BytesView key, Bytes value) override {
    map(space).insert_or_assign(Bytes(key), std::move(value));
    return {};
  }

  Result<void> erase(types::Space space, BytesView key) override {
    map(space).erase(Bytes(key));
    return {};
  }

  bool operator==(const MemoryState& other) const {
    return state == other.state && index == other.index;
  }

  Map state, index;
  mutable size_t scans = 0, visited = 0;  ///< What reading cost.

 private:
  Map& map(types::Space space) { return space == types::Space::state ? state : index; }
  const Map& map(types::Space space) const { return space == types::Space::state ? state : index; }
};

class MemorySource : public types::NodeSource {
 public:
  Result<types::SourceNode> node(const types::OpId& id) const override {
    const auto found = nodes.find({id.list, id.time});
    if (found == nodes.end()) return fail(Code::corrupt, "There is no such node.");
    return found->second;
  }
  std::map<std::pair<list::ListId, uint64_t>, types::SourceNode> nodes;  ///< By list and time.
};

}  // namespace ptwop::test
