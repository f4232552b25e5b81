#include "access/identity.h"

#include <sodium.h>

#include <cassert>

#include "ipld/multibase.h"

namespace ptwop::access {
namespace {

// did:key: multibase base58btc of the multicodec ed25519-pub (0xed 0x01) and the key.
constexpr std::string_view kDidPrefix = "did:key:z";
constexpr std::string_view kMulticodec("\xed\x01", 2);
constexpr size_t kDidBytesMax = 80;

Bytes prefixed(std::string_view kind, BytesView bytes) {
  Bytes out = "ptwop/";
  out += kind;
  out.append("/1\0", 3);
  out += bytes;
  return out;
}

}  // namespace

std::string did_from(const PublicKey& key) {
  return std::string(kDidPrefix) + ipld::to_base58(Bytes(kMulticodec) + Bytes(key.view()));
}

Result<PublicKey> key_from_did(std::string_view did) {
  const auto refuse = [&] {
    return fail(Code::invalid_params, "not an Ed25519 did:key (expected did:key:z6Mk…)");
  };
  if (did.size() > kDidBytesMax || !did.starts_with(kDidPrefix)) return refuse();
  const auto bytes = ipld::from_base58(did.substr(kDidPrefix.size()));
  if (!bytes || bytes->size() != kMulticodec.size() + PublicKey::kSize ||
      !bytes->starts_with(kMulticodec))
    return refuse();
  const auto key = PublicKey::from(BytesView(*bytes).substr(kMulticodec.size()));
  // Refuses small order and off-curve points, to which nothing could be sealed.
  unsigned char x25519[crypto_scalarmult_curve25519_BYTES];
  if (did_from(key) != did || crypto_sign_ed25519_pk_to_curve25519(x25519, key.raw.data()) != 0)
    return refuse();
  return key;
}

bool verify(const PublicKey& key, std::string_view kind, BytesView bytes,
            const Signature& signature) {
  const Bytes text = prefixed(kind, bytes);
  return crypto_sign_verify_detached(signature.raw.data(), u8(BytesView(text)), text.size(),
                                     key.raw.data()) == 0;
}

Identity Identity::make(Entropy& entropy) {
  Bytes seed = entropy.bytes(crypto_sign_SEEDBYTES);
  auto identity = from_seed(seed);
  sodium_memzero(seed.data(), seed.size());
  assert(identity.ok());
  return std::move(*identity);
}

Result<Identity> Identity::from_seed(BytesView seed) {
  if (seed.size() != crypto_sign_SEEDBYTES)
    return fail(Code::corrupt, "an identity's private key has 32 bytes");
  Identity identity;
  crypto_sign_seed_keypair(identity.public_.raw.data(), identity.secret_.data(), u8(seed));
  return identity;
}

Identity::~Identity() { sodium_memzero(secret_.data(), secret_.size()); }

Identity::Identity(Identity&& other) noexcept : public_(other.public_), secret_(other.secret_) {
  sodium_memzero(other.secret_.data(), other.secret_.size());
}

Identity& Identity::operator=(Identity&& other) noexcept {
  public_ = other.public_;
  std::swap(secret_, other.secret_);
  return *this;
}

Bytes Identity::seed() const {
  Bytes out(crypto_sign_SEEDBYTES, '\0');
  crypto_sign_ed25519_sk_to_seed(u8(out), secret_.data());
  return out;
}

Signature Identity::sign(std::string_view kind, BytesView bytes) const {
  const Bytes text = prefixed(kind, bytes);
  Signature signature;
  crypto_sign_detached(signature.raw.data(), nullptr, u8(BytesView(text)), text.size(),
                       secret_.data());
  return signature;
}

std::optional<Bytes> Identity::open(BytesView sealed) const {
  if (sealed.size() < crypto_box_SEALBYTES) return std::nullopt;
  unsigned char public_key[crypto_box_PUBLICKEYBYTES], secret_key[crypto_box_SECRETKEYBYTES];
  if (crypto_sign_ed25519_pk_to_curve25519(public_key, public_.raw.data()) != 0)
    return std::nullopt;
  crypto_sign_ed25519_sk_to_curve25519(secret_key, secret_.data());
  Bytes out(sealed.size() - crypto_box_SEALBYTES, '\0');
  const int bad = crypto_box_seal_open(u8(out), u8(sealed), sealed.size(), public_key, secret_key);
  sodium_memzero(secret_key, sizeof secret_key);
  if (bad) return std::nullopt;
  return out;
}

Result<Bytes> seal(const PublicKey& to, BytesView secret) {
  unsigned char public_key[crypto_box_PUBLICKEYBYTES];
  if (crypto_sign_ed25519_pk_to_curve25519(public_key, to.raw.data()) != 0)
    return fail(Code::invalid_params, "nothing can be sealed to that key");
  Bytes out(secret.size() + crypto_box_SEALBYTES, '\0');
  crypto_box_seal(u8(out), u8(secret), secret.size(), public_key);
  return out;
}

}  // namespace ptwop::access
