#include "engine/transaction.h"

#include <algorithm>
#include <utility>

#include "engine/records.h"

namespace ptwop::engine {
namespace {

constexpr size_t kChannelBytes = 4;

}  // namespace

Result<std::optional<Bytes>> Transaction::get(Table table, BytesView key) const {
  const Pending& pending = pending_[index(table)];
  if (const auto it = pending.find(key); it != pending.end()) return it->second;
  return store_.get(table, key);
}

Result<void> Transaction::scan(Table table, BytesView from, BytesView until, bool reverse,
                               const StateStore::Visit& visit) const {
  const Pending& pending = pending_[index(table)];
  auto first = pending.lower_bound(from);
  auto last = until.empty() ? pending.end() : pending.lower_bound(until);
  if (first == last) return store_.scan(table, from, until, reverse, visit);

  // Merge: what is pending comes before, or instead of, what is stored.
  bool more = true;
  const auto next = [&]() { return reverse ? std::prev(last) : first; };
  const auto advance = [&] { reverse ? (void)--last : (void)++first; };
  const auto before = [&](BytesView a, BytesView b) { return reverse ? a > b : a < b; };
  const auto visit_pending = [&] {
    const auto it = next();
    advance();
    if (it->second) more = visit(it->first, *it->second);
  };
  PTWOP_CHECK(store_.scan(table, from, until, reverse, [&](BytesView key, BytesView value) {
    while (more && first != last && before(next()->first, key)) visit_pending();
    if (more && first != last && next()->first == key)
      visit_pending();
    else if (more)
      more = visit(key, value);
    return more;
  }));
  while (more && first != last) visit_pending();
  return {};
}

void Transaction::erase_prefix(Table table, BytesView prefix) {
  std::erase_if(pending_[index(table)],
                [&](const auto& item) { return item.first.starts_with(prefix); });
  prefixes_.push_back({Change::Kind::erase_prefix, table, Bytes(prefix), {}});
}

bool Transaction::empty() const {
  return prefixes_.empty() &&
         std::all_of(pending_.begin(), pending_.end(), [](const Pending& p) { return p.empty(); });
}

void Transaction::clear() {
  for (Pending& pending : pending_) pending.clear();
  prefixes_.clear();
}

Changes Transaction::take() {
  Changes out = std::exchange(prefixes_, {});
  size_t count = out.size();
  for (const Pending& pending : pending_) count += pending.size();
  out.reserve(count);
  for (size_t i = 0; i < kTables; ++i)
    for (Pending& pending = pending_[i]; !pending.empty();) {
      auto item = pending.extract(pending.begin());
      auto& value = item.mapped();
      out.push_back({value ? Change::Kind::put : Change::Kind::erase, static_cast<Table>(i),
                     std::move(item.key()), value ? std::move(*value) : Bytes{}});
    }
  return out;
}

Table table_of(types::Space space) {
  return space == types::Space::state ? Table::state : Table::index;
}

Bytes state_key(uint32_t channel, BytesView key) {
  Bytes out;
  out.reserve(kChannelBytes + key.size());
  append_be32(out, channel);
  return out.append(key);
}

StateBounds::StateBounds(uint32_t channel, BytesView from_key, BytesView until_key)
    : from(state_key(channel, from_key)),
      until(until_key.empty() ? after_prefix(channel_prefix(channel))
                              : state_key(channel, until_key)) {}

Result<std::optional<Bytes>> ChannelState::get(types::Space space, BytesView key) const {
  return txn_.get(table_of(space), state_key(channel_, key));
}

Result<void> ChannelState::scan(types::Space space, BytesView from, BytesView until, bool reverse,
                                const types::Visit& visit) const {
  const StateBounds bounds(channel_, from, until);
  return txn_.scan(
      table_of(space), bounds.from, bounds.until, reverse,
      [&](BytesView key, BytesView value) { return visit(key.substr(kChannelBytes), value); });
}

Result<void> ChannelState::put(types::Space space, BytesView key, Bytes value) {
  txn_.put(table_of(space), state_key(channel_, key), std::move(value));
  return {};
}

Result<void> ChannelState::erase(types::Space space, BytesView key) {
  txn_.erase(table_of(space), state_key(channel_, key));
  return {};
}

}  // namespace ptwop::engine
