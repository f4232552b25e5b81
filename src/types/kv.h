// `kv`: a last-write-wins element set by key: the later hybrid time wins, ties by list id, then
// number and index; deletes are tombstones; an expired put still hides what is older. Operations
// (DAG-CBOR): ["put", key, value], ["put", key, value, expires_ms], ["del", key].
#pragma once
#include "types/type.h"

namespace ptwop::types {

const Type& kv_type();

Bytes kv_put_op(std::string_view key, BytesView value_cbor, std::optional<uint64_t> expires_ms);
Bytes kv_del_op(std::string_view key);
// `admit` refuses a `del` of a key that has no value (102). It has no clock: that an expired value
// is not there is for the caller to check with `live`.

struct KvEntry {
  OpId id;
  list::PublicKey writer;
  bool deleted = false;
  uint64_t expires_ms = 0;  ///< 0: never
  Bytes value;              ///< DAG-CBOR; empty if deleted
  uint64_t time_ms() const { return id.time >> 16; }
  bool live(uint64_t now_ms) const { return !deleted && (expires_ms == 0 || now_ms < expires_ms); }
};

/// The entry in a state value.
Result<KvEntry> kv_entry_from(Bytes state_value);

/// The winner by key, live or not; nothing when no operation named the key.
Result<std::optional<KvEntry>> kv_get(const StateReader& state, std::string_view key);

/// The winner first, then every concurrent loser: the last operation on the key of each other list,
/// unless a remaining one's node had seen it. Live or not: the caller filters expired ones.
Result<std::vector<KvEntry>> kv_siblings(const StateReader& state, const NodeSource& source,
                                         std::string_view key);

struct KvPage {
  std::vector<std::pair<std::string, KvEntry>> entries;
  bool more = false;
};
/// Live keys with `prefix`, strictly after `after` in the direction of travel, in byte order of
/// keys. A page also ends once its values exceed limits::kPageBytesMax.
Result<KvPage> kv_list(const StateReader& state, std::string_view prefix,
                       const std::optional<std::string>& after, size_t limit, bool reverse,
                       uint64_t now_ms);

}  // namespace ptwop::types
