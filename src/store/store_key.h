// The key of the encrypted files: random, kept in `store.key` sealed to the identity, so that the
// folder without the identity's private key opens nothing.
#pragma once
#include "access/identity.h"
#include "store/data_folder.h"

namespace ptwop::store {

inline constexpr size_t kStoreKeyBytes = 32;

/// Reads and opens the folder's key; makes one in a folder that has no database yet.
/// Errors: `corrupt`: the file does not open with this identity, or it is missing beside a database
/// (nothing was changed); `disk_full`; `internal`.
Result<Bytes> load_store_key(const DataFolder& folder, const access::Identity& identity,
                             Entropy& entropy);

}  // namespace ptwop::store
