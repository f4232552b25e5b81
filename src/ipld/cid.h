// Content identifiers (https://github.com/multiformats/cid): ours are v1, dag-cbor, sha2-256.
#pragma once
#include <array>
#include <compare>
#include <functional>

#include "base/bytes.h"
#include "base/result.h"

namespace ptwop::ipld {

/// SHA-256 of the bytes (32 bytes).
Bytes sha256(BytesView bytes);

/// A CID of one of our own blocks: v1, dag-cbor (0x71), sha2-256, 36 bytes. Default: all zero,
/// meaning none.
class Cid {
 public:
  static constexpr size_t kSize = 36;
  Cid() = default;
  static Cid of(BytesView block);  ///< The CID of a DAG-CBOR block.
  static Result<Cid> from_bytes(
      BytesView bytes);  ///< Refuses any other version, codec, hash or length.
  static Result<Cid> from_text(std::string_view text);  ///< `b…` (base32 lower case).
  std::string text() const;
  BytesView bytes() const { return {reinterpret_cast<const char*>(raw_.data()), raw_.size()}; }
  /// The first 8 bytes of the digest: enough to name a node at a known number (formats.md,
  /// position).
  uint64_t tag() const;
  explicit operator bool() const { return raw_[0] != 0; }
  auto operator<=>(const Cid&) const = default;

 private:
  std::array<uint8_t, kSize> raw_{};
};

/// Any CID (v0 or v1, any codec and hash), as it may stand in users' values.
/// Binary form as in tag 42 (without the 0x00 prefix) ↔ text: v1 shown in base32, v0 in base58btc.
/// Reading text accepts base32 (either case), base36, base58btc and v0; the binary form must be
/// well formed: shortest varints, digest length that matches.
Result<Bytes> cid_bytes_from_text(std::string_view text);
Result<std::string> cid_text_from_bytes(BytesView bytes);
bool valid_cid_bytes(BytesView bytes);

}  // namespace ptwop::ipld

template <>
struct std::hash<ptwop::ipld::Cid> {
  size_t operator()(const ptwop::ipld::Cid& cid) const noexcept { return cid.tag(); }
};
