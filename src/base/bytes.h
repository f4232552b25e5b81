// Byte strings and the text forms in which they are shown.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace ptwop {

/// Octets, not text. The same types as strings, because every library here speaks them.
using Bytes = std::string;
using BytesView = std::string_view;

inline const unsigned char* u8(BytesView bytes) {
  return reinterpret_cast<const unsigned char*>(bytes.data());
}
inline unsigned char* u8(Bytes& bytes) { return reinterpret_cast<unsigned char*>(bytes.data()); }

/// Big-endian integers, so that byte order is number order in keys.
void append_be32(Bytes& out, uint32_t value);
void append_be64(Bytes& out, uint64_t value);
uint32_t read_be32(BytesView bytes);  ///< The first 4 bytes; the caller checked the length.
uint64_t read_be64(BytesView bytes);  ///< The first 8 bytes; the caller checked the length.

/// LEB128 as in multiformats: at most 9 bytes, shortest form only.
void append_varint(Bytes& out, uint64_t value);
/// Reads one and advances `in`; nothing when cut short, too long, or not the shortest form.
std::optional<uint64_t> read_varint(BytesView& in);

/// Base64 without padding (RFC 4648 §4) and its URL form (§5). Decoding refuses padding, white
/// space, stray bits and any other character.
std::string base64(BytesView bytes);
std::string base64url(BytesView bytes);
std::optional<Bytes> from_base64(std::string_view text);
std::optional<Bytes> from_base64url(std::string_view text);

std::string hex(BytesView bytes);
std::optional<Bytes> from_hex(std::string_view text);

/// True for well-formed UTF-8 (no overlong forms, no surrogates).
bool valid_utf8(std::string_view text);

}  // namespace ptwop
