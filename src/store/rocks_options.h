// How RocksDB is set up, and its errors in our words. Internal to this room.
#pragma once
#include <rocksdb/db.h>

#include <string_view>
#include <vector>

#include "base/error.h"

namespace ptwop::store {

/// Small enough for a daemon of 64 MiB: memtables are charged to the cache, so this bounds both
/// together.
inline constexpr size_t kMemoryBytesMax = 12 << 20;
/// Of values of the state, by themselves.
inline constexpr size_t kValuesBytesMax = 18 << 20;
inline constexpr size_t kMemtablesBytesMax = 8 << 20;
inline constexpr size_t kMemtableBytesMax = 4 << 20;

rocksdb::DBOptions database_options(rocksdb::Env* env,
                                    const std::shared_ptr<rocksdb::Cache>& cache);
/// RocksDB's own `default` first (unused), then one for each engine::Table in its order.
std::vector<rocksdb::ColumnFamilyDescriptor> column_families(
    const std::shared_ptr<rocksdb::Cache>& cache);

/// `what`: the attempt, as in "cannot <what>: …".
Error error_from(const rocksdb::Status& status, std::string_view what);

}  // namespace ptwop::store
