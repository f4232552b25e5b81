// Keys and values of the types' state: order-preserving encodings. Local to a replica; never sent
// or signed.
#pragma once
#include "types/type.h"

namespace ptwop::types {

/// Time, list, number, index, big-endian: byte order is the channel's order.
inline constexpr size_t kOpIdBytes = 8 + list::ListId::kSize + 8 + 4;
Bytes op_id_bytes(const OpId& id);
/// Nothing unless `bytes` has exactly kOpIdBytes.
std::optional<OpId> op_id_from(BytesView bytes);

/// Any bytes as one component of a longer key: none is a prefix of another, and byte order is kept.
/// (0x00 becomes 0x00 0xff, the end is 0x00 0x01.)
Bytes escaped(BytesView component);

/// The first key after all that start with `prefix`; empty when there is no such key.
Bytes after_prefix(BytesView prefix);

/// The range [from, until) of the keys that start with `prefix` and come strictly after `after` in
/// the direction of travel.
struct KeyRange {
  Bytes from, until;
};
KeyRange page_range(std::string_view prefix, const std::optional<std::string>& after, bool reverse);

/// Whether an entry is too many for a page of `entries` so far, `bytes` being the size of their
/// values with its own.
bool page_full(size_t entries, size_t limit, size_t bytes);

/// True for a user's key: 1 to limits::kKeyBytesMax bytes. (That it is UTF-8 is CborReader::text's
/// to check.)
bool valid_key_size(std::string_view key);

/// State bytes that this code cannot have written.
Error corrupt_state(std::string_view type);

}  // namespace ptwop::types
