#include "app/identity_file.h"

#include <sodium.h>

#include <cstdlib>
#include <fstream>
#include <iterator>

namespace ptwop::app {
namespace {

constexpr const char* kFile = "identity";
constexpr const char* kCredential = "ptwop-identity";

std::optional<Bytes> credential() {
  const char* folder = std::getenv("CREDENTIALS_DIRECTORY");
  if (!folder) return std::nullopt;
  std::ifstream in(std::string(folder) + '/' + kCredential, std::ios::binary);
  if (!in) return std::nullopt;
  return Bytes(std::istreambuf_iterator<char>(in), {});
}

}  // namespace

Result<access::Identity> load_identity(const store::DataFolder& folder, Entropy& entropy) {
  PTWOP_TRY(auto stored, folder.read(kFile));
  if (auto secret = credential()) {
    if (stored && *stored != *secret)
      return fail(
          Code::corrupt,
          "the credential ptwop-identity is not this data folder's identity: nothing was changed; "
          "use the folder that belongs to it, or remove the credential");
    auto identity = access::Identity::from_seed(*secret);
    sodium_memzero(secret->data(), secret->size());
    return identity;
  }
  if (!stored) {
    PTWOP_TRY(const auto key, folder.read("store.key"));
    if (key)
      return fail(Code::corrupt,
                  "the data folder's identity is missing: nothing was changed; put back the file "
                  "`identity`, or "
                  "pass the credential ptwop-identity");
    auto identity = access::Identity::make(entropy);
    Bytes seed = identity.seed();
    const auto written = folder.write(kFile, seed);
    sodium_memzero(seed.data(), seed.size());
    if (!written) return written.error();
    return identity;
  }
  auto identity = access::Identity::from_seed(*stored);
  sodium_memzero(stored->data(), stored->size());
  if (!identity)
    return fail(Code::corrupt,
                "the file `identity` in the data folder is damaged: nothing was changed; put back "
                "your copy of it");
  return identity;
}

}  // namespace ptwop::app
