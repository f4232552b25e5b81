// `count`: sums by key; each node is applied exactly once. Exact in 128 bits, shown clamped to 64
// with `saturated`. Operation (DAG-CBOR): ["inc", key, by].
#pragma once
#include "types/type.h"

namespace ptwop::types {

const Type& count_type();

Bytes count_add_op(std::string_view key, int64_t by);

struct CountValue {
  int64_t value = 0;
  bool saturated = false;
};
Result<CountValue> count_get(const StateReader& state,
                             std::string_view key);  ///< 0 for a key never added to.

struct CountPage {
  std::vector<std::pair<std::string, CountValue>> entries;
  bool more = false;
};
/// Every key ever added to that starts with `prefix`, strictly after `after`, in byte order.
Result<CountPage> count_list(const StateReader& state, std::string_view prefix,
                             const std::optional<std::string>& after, size_t limit);

}  // namespace ptwop::types
