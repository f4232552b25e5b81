// Who signs and who reads: an Ed25519 key, shown as a did:key
// (https://w3c-ccg.github.io/did-method-key/), whose X25519 form receives sealed channel keys.
#pragma once
#include "base/bytes.h"
#include "base/clock.h"
#include "base/result.h"
#include "list/node.h"

namespace ptwop::access {

using list::PublicKey;
using list::Signature;

/// `did:key:z6Mk…`
std::string did_from(const PublicKey& key);
/// Refuses any other multicodec, length, or text that is not the canonical form, and keys of small
/// order.
Result<PublicKey> key_from_did(std::string_view did);

/// True if `signature` over `"ptwop/<kind>/1\0"` and `bytes` is the key's.
bool verify(const PublicKey& key, std::string_view kind, BytesView bytes,
            const Signature& signature);

/// A private key in memory; wiped when destroyed.
class Identity {
 public:
  static Identity make(Entropy& entropy);
  static Result<Identity> from_seed(BytesView seed);  ///< 32 bytes
  ~Identity();
  Identity(Identity&&) noexcept;
  Identity& operator=(Identity&&) noexcept;
  Identity(const Identity&) = delete;
  Identity& operator=(const Identity&) = delete;

  const PublicKey& key() const { return public_; }
  std::string did() const { return did_from(public_); }
  Bytes seed() const;
  Signature sign(std::string_view kind, BytesView bytes) const;
  /// Opens what `seal` made for this identity; nothing if it was not.
  std::optional<Bytes> open(BytesView sealed) const;

 private:
  Identity() = default;
  PublicKey public_;
  std::array<uint8_t, 64> secret_{};
};

/// Seals to a public key (libsodium's sealed box under the key's X25519 form): only its holder can
/// open it.
Result<Bytes> seal(const PublicKey& to, BytesView secret);

}  // namespace ptwop::access
