// engine::StateStore in memory: for tests of everything above the store.
#pragma once
#include <array>
#include <map>
#include <mutex>

#include "engine/ports.h"
#include "engine/records.h"

namespace ptwop::test {

class MemoryStore : public engine::StateStore {
 public:
  Result<std::optional<Bytes>> get(engine::Table table, BytesView key,
                                   engine::ReadMode = engine::ReadMode::any) const override {
    const std::lock_guard lock(mutex_);
    const auto& map = at(table);
    const auto it = map.find(Bytes(key));
    if (it == map.end()) return std::optional<Bytes>{};
    return std::optional<Bytes>(it->second);
  }

  Result<void> scan(engine::Table table, BytesView from, BytesView until, bool reverse,
                    const Visit& visit) const override {
    Map copy;
    {
      const std::lock_guard lock(mutex_);
      copy = at(table);
    }
    auto first = copy.lower_bound(Bytes(from));
    auto last = until.empty() ? copy.end() : copy.lower_bound(Bytes(until));
    if (!reverse) {
      for (; first != last; ++first)
        if (!visit(first->first, first->second)) break;
    } else {
      while (last != first) {
        --last;
        if (!visit(last->first, last->second)) break;
      }
    }
    return {};
  }

  Result<void> commit(const engine::Changes& changes, bool) override {
    const std::lock_guard lock(mutex_);
    if (fail_commits) return fail(Code::disk_full, "the disk is full");
    ++commits;
    for (const engine::Change& change : changes) {
      Map& map = maps_[static_cast<size_t>(change.table)];
      switch (change.kind) {
        case engine::Change::Kind::put:
          map[change.key] = change.value;
          break;
        case engine::Change::Kind::erase:
          map.erase(change.key);
          break;
        case engine::Change::Kind::erase_prefix: {
          const Bytes end = engine::after_prefix(change.key);
          map.erase(map.lower_bound(change.key), end.empty() ? map.end() : map.lower_bound(end));
          break;
        }
      }
    }
    return {};
  }
  Result<void> sync() override { return {}; }

  void copy_from(const MemoryStore& other) { maps_ = other.maps_; }
  size_t size(engine::Table table) const { return at(table).size(); }
  /// What a channel's state looks like, byte for byte, without the channel's number.
  std::map<Bytes, Bytes> dump(engine::Table table, uint32_t channel) const {
    std::map<Bytes, Bytes> out;
    const Bytes prefix = engine::channel_prefix(channel);
    for (const auto& [key, value] : at(table))
      if (key.starts_with(prefix)) out[key.substr(prefix.size())] = value;
    return out;
  }

  bool fail_commits = false;
  size_t commits = 0;

 private:
  using Map = std::map<Bytes, Bytes>;
  const Map& at(engine::Table table) const { return maps_[static_cast<size_t>(table)]; }
  mutable std::mutex mutex_;
  std::array<Map, engine::kTables> maps_;
};

}  // namespace ptwop::test
