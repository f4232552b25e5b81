#include "list/position.h"

namespace ptwop::list {
namespace {

constexpr size_t kTagBytes = 8;

}  // namespace

std::string At::token() const {
  Bytes bytes(list.view());
  append_varint(bytes, position.number);
  append_be64(bytes, position.tag);
  return base64url(bytes);
}

std::optional<At> At::from_token(std::string_view token) {
  const auto bytes = from_base64url(token);
  if (!bytes || bytes->size() < ListId::kSize) return std::nullopt;
  BytesView rest = *bytes;
  At at;
  at.list = ListId::from(rest.substr(0, ListId::kSize));
  rest.remove_prefix(ListId::kSize);
  const auto number = read_varint(rest);
  if (!number || rest.size() != kTagBytes) return std::nullopt;
  at.position = {*number, read_be64(rest)};
  return at;
}

}  // namespace ptwop::list
