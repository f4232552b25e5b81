// engine::StateStore on a simulated disk. What was committed is visible at once and durable only
// after a sync; a crash takes any suffix of the unsynced commits away (RocksDB's log loses its end,
// never its middle).
#pragma once
#include <array>
#include <functional>
#include <map>
#include <set>

#include "engine/ports.h"
#include "random.h"

namespace ptwop::sim {

class Disk : public engine::StateStore {
 public:
  using Table = std::map<Bytes, Bytes, std::less<>>;
  using Image = std::array<Table, engine::kTables>;

  explicit Disk(uint64_t seed) : random_(seed) {}

  Result<std::optional<Bytes>> get(engine::Table table, BytesView key,
                                   engine::ReadMode mode = engine::ReadMode::any) const override;
  Result<void> scan(engine::Table table, BytesView from, BytesView until, bool reverse,
                    const Visit& visit) const override;
  Result<void> commit(const engine::Changes& changes, bool sync) override;
  Result<void> sync() override;

  // --- faults ---
  bool full = false;  ///< Commits and syncs fail.
  unsigned write_error_percent = 0;
  unsigned read_error_percent = 0;
  /// The process dies at the `operations`-th commit or sync from now: before it, in it, or right
  /// after it.
  void crash_after(uint64_t operations) { crash_in_ = operations; }
  bool dead() const { return dead_; }  ///< The process is gone: nothing that it still does counts.
  void kill() { dead_ = true; }
  /// The disk as the next process finds it. `keep_all`: the machine went on, only the process
  /// ended.
  void restart(bool keep_all);
  /// What a copy of the folder holds, made now; and the folder replaced by such a copy.
  Image copy() const;
  void replace(const Image& image);

  // --- for the checker ---
  std::function<void(const engine::Changes&)> committed;  ///< After each commit that took effect.
  const Table& table(engine::Table table) const { return tables_[static_cast<size_t>(table)]; }
  const Bytes* find(engine::Table table, BytesView key) const;
  /// What a crash at this moment could not take away; null: nothing.
  const Bytes* durable(engine::Table table, BytesView key) const;
  /// An error was given in this turn or the one before: what was broken by it may be told now.
  bool faulted() const { return faulted_ > 0; }
  void forget_faults() { faulted_ -= faulted_ > 0; }

 private:
  struct Undo {
    size_t table;
    Bytes key;
    std::optional<Bytes> before;
  };
  using Undos = std::vector<Undo>;
  enum class When { before, during, after, never };
  When crash_now();
  bool fails(unsigned percent) const;
  void apply(const engine::Changes& changes);
  void set(Undos& undos, size_t table, const Bytes& key, std::optional<Bytes> value);

  Image tables_;
  std::vector<Undos> unsynced_;  ///< How to take each commit back, the oldest first.
  mutable Random random_;
  uint64_t crash_in_ = 0;
  bool dead_ = false;
  mutable unsigned faulted_ = 0;
};

}  // namespace ptwop::sim
