// Where the private key rests: `identity` in the data folder (0600), or a systemd credential of the
// name `ptwop-identity`, so that the folder alone opens nothing.
#pragma once
#include "access/identity.h"
#include "store/data_folder.h"

namespace ptwop::app {

/// Loads it; a fresh folder makes its key. Errors: corrupt (wrong length, or the credential differs
/// from the folder's), disk_full, internal.
Result<access::Identity> load_identity(const store::DataFolder& folder, Entropy& entropy);

}  // namespace ptwop::app
