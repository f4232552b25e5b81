#include "ipld/multibase.h"

#include <algorithm>
#include <cstdint>
#include <vector>

namespace ptwop::ipld {
namespace {

constexpr std::string_view kBase32 = "abcdefghijklmnopqrstuvwxyz234567";
constexpr std::string_view kBase36 = "0123456789abcdefghijklmnopqrstuvwxyz";
constexpr std::string_view kBase58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";

// Bases that are no power of two cost the square of the length; no CID in use comes near this.
constexpr size_t kRadixCharsMax = 256;

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

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

}  // namespace

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

std::optional<Bytes> from_base58(std::string_view text) { return from_radix(text, kBase58, false); }

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
      return from_base58(digits);
    default:
      return std::nullopt;
  }
}

}  // namespace ptwop::ipld
