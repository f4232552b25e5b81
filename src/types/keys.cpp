#include "types/keys.h"

#include <algorithm>

#include "base/limits.h"

namespace ptwop::types {

Bytes op_id_bytes(const OpId& id) {
  Bytes out;
  out.reserve(kOpIdBytes);
  append_be64(out, id.time);
  out += id.list.view();
  append_be64(out, id.number);
  append_be32(out, id.index);
  return out;
}

std::optional<OpId> op_id_from(BytesView bytes) {
  if (bytes.size() != kOpIdBytes) return std::nullopt;
  OpId id;
  id.time = read_be64(bytes);
  id.list = list::ListId::from(bytes.substr(8));
  bytes.remove_prefix(8 + list::ListId::kSize);
  id.number = read_be64(bytes);
  id.index = read_be32(bytes.substr(8));
  return id;
}

Bytes escaped(BytesView component) {
  Bytes out;
  out.reserve(component.size() + 2);
  for (const char c : component) {
    out += c;
    if (c == '\0') out += '\xff';
  }
  out += '\0';
  out += '\x01';
  return out;
}

Bytes after_prefix(BytesView prefix) {
  while (!prefix.empty() && prefix.back() == '\xff') prefix.remove_suffix(1);
  Bytes out(prefix);
  if (!out.empty()) ++out.back();
  return out;
}

KeyRange page_range(std::string_view prefix, const std::optional<std::string>& after,
                    bool reverse) {
  KeyRange range{Bytes(prefix), after_prefix(prefix)};
  if (after && reverse && (range.until.empty() || *after < range.until)) range.until = *after;
  if (after && !reverse) range.from = std::max(range.from, *after + '\0');
  // A position outside the prefix may leave nothing between them.
  if (!range.until.empty()) range.from = std::min(range.from, range.until);
  return range;
}

bool page_full(size_t entries, size_t limit, size_t bytes) {
  return entries == limit || (entries > 0 && bytes > limits::kPageBytesMax);
}

bool valid_key_size(std::string_view key) {
  return !key.empty() && key.size() <= limits::kKeyBytesMax;
}

Error corrupt_state(std::string_view type) {
  return fail(Code::corrupt,
              "The stored state of a " + std::string(type) +
                  " channel is damaged; it can be rebuilt from the channel's nodes.");
}

}  // namespace ptwop::types
