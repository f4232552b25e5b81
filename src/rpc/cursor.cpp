#include "rpc/cursor.h"

namespace ptwop::rpc {
namespace {

constexpr size_t kMarkBytes = 4;

Bytes mark_of(const PageOf& page) {
  const Bytes all = Bytes(page.method) + (page.reverse ? '-' : '+') + Bytes(page.prefix);
  return ipld::sha256(all).substr(0, kMarkBytes);
}
Bytes mark_of(const ipld::Cid& channel) {
  return ipld::sha256(channel.bytes()).substr(0, kMarkBytes);
}

}  // namespace

// The page's mark, the channel's mark, the place.
std::string cursor_from(const PageOf& page, const ipld::Cid& channel, BytesView place) {
  return base64url(mark_of(page) + mark_of(channel) + Bytes(place));
}

Result<Bytes> place_from(const PageOf& page, const ipld::Cid* channel, std::string_view cursor) {
  const auto raw = from_base64url(cursor);
  const bool valid = raw && raw->size() > 2 * kMarkBytes && raw->starts_with(mark_of(page)) &&
                     (!channel || raw->substr(kMarkBytes, kMarkBytes) == mark_of(*channel));
  if (!valid)
    return fail(
        Code::invalid_params,
        "\"after\" is the \"next\" of an earlier page with the same channel, prefix and reverse.");
  return raw->substr(2 * kMarkBytes);
}

}  // namespace ptwop::rpc
