#include "store/store_key.h"

#include <fmt/format.h>

#include <filesystem>

namespace ptwop::store {
namespace {
constexpr std::string_view kKeyFile = "store.key";
}

Result<Bytes> load_store_key(const DataFolder& folder, const access::Identity& identity,
                             Entropy& entropy) {
  PTWOP_TRY(const auto sealed, folder.read(kKeyFile));
  if (sealed) {
    auto key = identity.open(*sealed);
    if (!key || key->size() != kStoreKeyBytes)
      return fail(Code::corrupt,
                  fmt::format("{} does not open with this folder's identity {}: put back the "
                              "identity and the {} that belong together; nothing was changed",
                              folder.in(kKeyFile), identity.did(), kKeyFile));
    return std::move(*key);
  }
  // A new key beside old files would make them unreadable for good.
  if (std::filesystem::exists(folder.in("rocksdb/CURRENT")))
    return fail(Code::corrupt,
                fmt::format("{} is missing and the database cannot be read without it: restore it "
                            "from a backup; nothing was changed",
                            folder.in(kKeyFile)));
  Bytes key = entropy.bytes(kStoreKeyBytes);
  PTWOP_TRY(const Bytes fresh, access::seal(identity.key(), key));
  PTWOP_CHECK(folder.write(kKeyFile, fresh));
  return key;
}

}  // namespace ptwop::store
