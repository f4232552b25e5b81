#include "store/store_key.h"

#include <sodium.h>

#include "faulty_disk.h"

namespace ptwop::store {
namespace {

struct Random final : Entropy {
  void fill(unsigned char* out, size_t size) override { randombytes_buf(out, size); }
};

TEST_CASE("the key is made once, opens with its identity only, and is never guessed anew") {
  REQUIRE(sodium_init() >= 0);
  const TempFolder temp;
  auto folder = DataFolder::open(temp.data());
  REQUIRE(folder.ok());
  Random random;
  const auto owner = access::Identity::make(random);
  const auto key = load_store_key(*folder, owner, random);
  REQUIRE(key.ok());
  CHECK(key->size() == 32);
  CHECK(*load_store_key(*folder, owner, random) == *key);
  const std::string sealed = slurp(folder->in("store.key"));
  CHECK(sealed.find(*key) == std::string::npos);

  const auto stranger = load_store_key(*folder, access::Identity::make(random), random);
  REQUIRE_FALSE(stranger.ok());
  CHECK(stranger.error().code == Code::corrupt);
  CHECK(slurp(folder->in("store.key")) == sealed);

  REQUIRE(open_store(*folder, {*key}).ok());
  std::filesystem::remove(folder->in("store.key"));
  const auto missing = load_store_key(*folder, owner, random);
  REQUIRE_FALSE(missing.ok());
  CHECK(missing.error().code == Code::corrupt);
  CHECK_FALSE(std::filesystem::exists(folder->in("store.key")));
}

}  // namespace
}  // namespace ptwop::store
