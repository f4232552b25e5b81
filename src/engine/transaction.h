// What one turn changes, not yet committed, laid over the store: reads see it, the commit takes it,
// a failure drops it.
#pragma once
#include <array>
#include <map>

#include "engine/ports.h"
#include "types/type.h"

namespace ptwop::engine {

class Transaction {
 public:
  explicit Transaction(const StateStore& store) : store_(store) {}

  Result<std::optional<Bytes>> get(Table table, BytesView key) const;
  Result<void> scan(Table table, BytesView from, BytesView until, bool reverse,
                    const StateStore::Visit& visit) const;
  void put(Table table, Bytes key, Bytes value) {
    pending_[index(table)].insert_or_assign(std::move(key), std::move(value));
  }
  void erase(Table table, BytesView key) { pending_[index(table)][Bytes(key)] = std::nullopt; }
  /// Also drops what is pending under the prefix. Reads in the same turn do not see it.
  void erase_prefix(Table table, BytesView prefix);

  bool empty() const;
  void clear();
  /// Moves it all out: what is left is empty.
  Changes take();

 private:
  using Pending = std::map<Bytes, std::optional<Bytes>, std::less<>>;
  static size_t index(Table table) { return static_cast<size_t>(table); }
  const StateStore& store_;
  std::array<Pending, kTables> pending_;
  Changes prefixes_;
};

/// One channel's state within a transaction, as its type sees it.
class ChannelState : public types::State {
 public:
  ChannelState(Transaction& txn, uint32_t channel) : txn_(txn), channel_(channel) {}
  Result<std::optional<Bytes>> get(types::Space space, BytesView key) const override;
  Result<void> scan(types::Space space, BytesView from, BytesView until, bool reverse,
                    const types::Visit& visit) const override;
  Result<void> put(types::Space space, BytesView key, Bytes value) override;
  Result<void> erase(types::Space space, BytesView key) override;

 private:
  Transaction& txn_;
  uint32_t channel_;
};

/// A type's space as a table, its keys with the channel's number in front.
Table table_of(types::Space space);
Bytes state_key(uint32_t channel, BytesView key);
/// The bounds of a scan within one channel.
struct StateBounds {
  Bytes from, until;
  StateBounds(uint32_t channel, BytesView from_key, BytesView until_key);
};

}  // namespace ptwop::engine
