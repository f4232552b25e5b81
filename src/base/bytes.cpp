#include "base/bytes.h"

#include <simdjson.h>
#include <sodium.h>

#include <algorithm>
#include <cassert>

namespace ptwop {
namespace {

template <class Integer>
void append_be(Bytes& out, Integer value) {
  for (int shift = 8 * (sizeof value - 1); shift >= 0; shift -= 8)
    out += static_cast<char>(value >> shift);
}

template <class Integer>
Integer read_be(BytesView bytes) {
  assert(bytes.size() >= sizeof(Integer));
  Integer value = 0;
  for (size_t i = 0; i < sizeof value; ++i) value = value << 8 | u8(bytes)[i];
  return value;
}

std::string to_base64(BytesView bytes, int variant) {
  std::string out(sodium_base64_encoded_len(bytes.size(), variant), '\0');
  sodium_bin2base64(out.data(), out.size(), u8(bytes), bytes.size(), variant);
  out.pop_back();  // libsodium ends it with a NUL
  return out;
}

std::optional<Bytes> decode_base64(std::string_view text, int variant) {
  // libsodium 1.0.18 takes every byte from 0x80 on for a character of the alphabet.
  if (std::any_of(text.begin(), text.end(),
                  [](char c) { return static_cast<unsigned char>(c) >= 0x80; }))
    return std::nullopt;
  Bytes out(text.size() / 4 * 3 + 3, '\0');
  size_t size = 0;
  if (sodium_base642bin(u8(out), out.size(), text.data(), text.size(), nullptr, &size, nullptr,
                        variant) != 0)
    return std::nullopt;
  out.resize(size);
  return out;
}

}  // namespace

void append_be32(Bytes& out, uint32_t value) { append_be(out, value); }
void append_be64(Bytes& out, uint64_t value) { append_be(out, value); }
uint32_t read_be32(BytesView bytes) { return read_be<uint32_t>(bytes); }
uint64_t read_be64(BytesView bytes) { return read_be<uint64_t>(bytes); }

void append_varint(Bytes& out, uint64_t value) {
  assert(value >> 63 == 0);
  for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
  out += static_cast<char>(value);
}

std::optional<uint64_t> read_varint(BytesView& in) {
  uint64_t value = 0;
  for (size_t i = 0; i < 9 && i < in.size(); ++i) {
    const uint8_t byte = u8(in)[i];
    value |= static_cast<uint64_t>(byte & 0x7f) << (7 * i);
    if (byte >= 0x80) continue;
    if (byte == 0 && i > 0) return std::nullopt;  // not the shortest form
    in.remove_prefix(i + 1);
    return value;
  }
  return std::nullopt;
}

std::string base64(BytesView bytes) {
  return to_base64(bytes, sodium_base64_VARIANT_ORIGINAL_NO_PADDING);
}
std::string base64url(BytesView bytes) {
  return to_base64(bytes, sodium_base64_VARIANT_URLSAFE_NO_PADDING);
}
std::optional<Bytes> from_base64(std::string_view text) {
  return decode_base64(text, sodium_base64_VARIANT_ORIGINAL_NO_PADDING);
}
std::optional<Bytes> from_base64url(std::string_view text) {
  return decode_base64(text, sodium_base64_VARIANT_URLSAFE_NO_PADDING);
}

std::string hex(BytesView bytes) {
  std::string out(bytes.size() * 2 + 1, '\0');
  sodium_bin2hex(out.data(), out.size(), u8(bytes), bytes.size());
  out.pop_back();
  return out;
}

std::optional<Bytes> from_hex(std::string_view text) {
  Bytes out(text.size() / 2 + 1, '\0');
  size_t size = 0;
  if (sodium_hex2bin(u8(out), out.size(), text.data(), text.size(), nullptr, &size, nullptr) != 0)
    return std::nullopt;
  out.resize(size);
  return out;
}

bool valid_utf8(std::string_view text) { return simdjson::validate_utf8(text.data(), text.size()); }

}  // namespace ptwop
