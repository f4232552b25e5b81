// `log`: entries in the order (time, list, number, index); `del` hides an entry.
// Operations (DAG-CBOR): ["add", value], ["del", id bytes].
#pragma once
#include "types/type.h"

namespace ptwop::types {

const Type& log_type();

Bytes log_add_op(BytesView value_cbor);
/// invalid_params when `id` is no entry id.
Result<Bytes> log_del_op(std::string_view id);

/// Opaque text, equal on all replicas: base64url of time, list, number, index.
std::string log_id(const OpId& id);
std::optional<OpId> log_id_from(std::string_view text);

struct LogEntry {
  OpId id;
  list::PublicKey writer;
  Bytes value;  ///< DAG-CBOR
  uint64_t time_ms() const { return id.time >> 16; }
};

/// not_found when there is none or it is hidden.
Result<LogEntry> log_get(const StateReader& state, const OpId& id);

/// Visible entries strictly after `after` (in the direction of travel), at most `limit`.
/// A page also ends once its values exceed limits::kPageBytesMax.
/// `more` tells whether at least one further entry follows.
struct LogPage {
  std::vector<LogEntry> entries;
  bool more = false;
};
Result<LogPage> log_list(const StateReader& state, const std::optional<OpId>& after, size_t limit,
                         bool reverse);

}  // namespace ptwop::types
