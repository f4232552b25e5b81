#include "ipld/cid.h"

#include <sodium.h>

#include <algorithm>
#include <vector>

namespace ptwop::ipld {
namespace {

// CIDv1, dag-cbor, sha2-256, 32 bytes of digest (https://github.com/multiformats/multicodec).
constexpr std::array<uint8_t, 4> kOwnPrefix = {0x01, 0x71, 0x12, 0x20};
// sha2-256, 32 bytes of digest: all that a CIDv0 can be.
constexpr std::string_view kV0Prefix = "\x12\x20";
constexpr size_t kV0Bytes = 34;
constexpr size_t kV0TextChars = 46;

constexpr std::string_view kBase32 = "abcdefghijklmnopqrstuvwxyz234567";
constexpr std::string_view kBase36 = "0123456789abcdefghijklmnopqrstuvwxyz";
constexpr std::string_view kBase58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";

// Bases that are no power of two cost the square of the length; no CID in use comes near this.
constexpr size_t kRadixCharsMax = 256;

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

std::string to_base32(BytesView bytes) {
  std::string out;
  out.reserve((bytes.size() * 8 + 4) / 5);
  uint32_t window = 0;
  int bits = 0;
  for (const char c : bytes) {
    window = window << 8 | static_cast<uint8_t>(c);
    for (bits += 8; bits >= 5; bits -= 5) out += kBase32[window >> (bits - 5) & 31];
  }
  if (bits > 0) out += kBase32[window << (5 - bits) & 31];
  return out;
}

std::optional<Bytes> from_base32(std::string_view text) {
  Bytes out;
  out.reserve(text.size() * 5 / 8);
  uint32_t window = 0;
  int bits = 0;
  for (const char c : text) {
    const size_t digit = kBase32.find(lower(c));
    if (digit == kBase32.npos) return std::nullopt;
    window = window << 5 | static_cast<uint32_t>(digit);
    bits += 5;
    if (bits < 8) continue;
    bits -= 8;
    out += static_cast<char>(window >> bits);
  }
  if (bits >= 5 || (window & ((1u << bits) - 1)) != 0) return std::nullopt;
  return out;
}

/// Digits of any base; each leading zero digit is a zero byte.
std::optional<Bytes> from_radix(std::string_view text, std::string_view alphabet, bool fold) {
  if (text.size() > kRadixCharsMax) return std::nullopt;
  std::vector<uint8_t> number;  // little-endian
  size_t zeros = 0;
  while (zeros < text.size() && text[zeros] == alphabet[0]) ++zeros;
  for (const char c : text.substr(zeros)) {
    const size_t digit = alphabet.find(fold ? lower(c) : c);
    if (digit == alphabet.npos) return std::nullopt;
    size_t carry = digit;
    for (uint8_t& byte : number) {
      carry += byte * alphabet.size();
      byte = static_cast<uint8_t>(carry);
      carry >>= 8;
    }
    if (carry > 0) number.push_back(static_cast<uint8_t>(carry));
  }
  Bytes out(zeros, '\0');
  out.append(number.rbegin(), number.rend());
  return out;
}

std::string to_base58(BytesView bytes) {
  std::vector<uint8_t> digits;  // little-endian
  size_t zeros = 0;
  while (zeros < bytes.size() && bytes[zeros] == '\0') ++zeros;
  for (const char c : bytes.substr(zeros)) {
    unsigned carry = static_cast<uint8_t>(c);
    for (uint8_t& digit : digits) {
      carry += digit << 8;
      digit = static_cast<uint8_t>(carry % 58);
      carry /= 58;
    }
    for (; carry > 0; carry /= 58) digits.push_back(static_cast<uint8_t>(carry % 58));
  }
  std::string out(zeros, kBase58[0]);
  std::for_each(digits.rbegin(), digits.rend(), [&](uint8_t digit) { out += kBase58[digit]; });
  return out;
}

bool is_v0(BytesView bytes) { return bytes.size() == kV0Bytes && bytes.starts_with(kV0Prefix); }

std::optional<Bytes> from_multibase(std::string_view text) {
  if (text.empty()) return std::nullopt;
  const std::string_view digits = text.substr(1);
  switch (text.front()) {
    case 'b':
    case 'B':
      return from_base32(digits);
    case 'k':
    case 'K':
      return from_radix(digits, kBase36, true);
    case 'z':
      return from_radix(digits, kBase58, false);
    default:
      return std::nullopt;
  }
}

Error no_cid() { return fail(Code::invalid_params, "This is not a CID."); }

}  // namespace

Bytes sha256(BytesView bytes) {
  Bytes digest(crypto_hash_sha256_BYTES, '\0');
  crypto_hash_sha256(u8(digest), u8(bytes), bytes.size());
  return digest;
}

Cid Cid::of(BytesView block) {
  Cid cid;
  std::copy(kOwnPrefix.begin(), kOwnPrefix.end(), cid.raw_.begin());
  crypto_hash_sha256(cid.raw_.data() + kOwnPrefix.size(), u8(block), block.size());
  return cid;
}

Result<Cid> Cid::from_bytes(BytesView bytes) {
  if (bytes.size() != kSize || !std::equal(kOwnPrefix.begin(), kOwnPrefix.end(), u8(bytes)))
    return fail(Code::invalid_params,
                "This is not a CID of the kind used here (v1, dag-cbor, sha2-256).");
  Cid cid;
  std::copy_n(u8(bytes), kSize, cid.raw_.begin());
  return cid;
}

Result<Cid> Cid::from_text(std::string_view text) {
  // One form only: what names a channel is compared as text as well.
  const auto bytes = text.starts_with('b') ? from_base32(text.substr(1)) : std::nullopt;
  if (!bytes || std::any_of(text.begin(), text.end(), [](char c) { return lower(c) != c; }))
    return no_cid();
  return from_bytes(*bytes);
}

std::string Cid::text() const { return 'b' + to_base32(bytes()); }

uint64_t Cid::tag() const { return read_be64(bytes().substr(kOwnPrefix.size())); }

bool valid_cid_bytes(BytesView bytes) {
  if (is_v0(bytes)) return true;
  const auto version = read_varint(bytes);
  if (!version || *version != 1) return false;
  if (!read_varint(bytes) || !read_varint(bytes)) return false;  // codec, hash
  const auto digest_bytes = read_varint(bytes);
  return digest_bytes && *digest_bytes == bytes.size();
}

Result<Bytes> cid_bytes_from_text(std::string_view text) {
  const bool v0 = text.size() == kV0TextChars && text.starts_with("Qm");
  auto bytes = v0 ? from_radix(text, kBase58, false) : from_multibase(text);
  // A v0 has no multibase form, so each text means one thing.
  if (!bytes || is_v0(*bytes) != v0 || !valid_cid_bytes(*bytes)) return no_cid();
  return std::move(*bytes);
}

Result<std::string> cid_text_from_bytes(BytesView bytes) {
  if (!valid_cid_bytes(bytes)) return no_cid();
  return is_v0(bytes) ? to_base58(bytes) : 'b' + to_base32(bytes);
}

}  // namespace ptwop::ipld
