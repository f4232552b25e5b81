// `next` and `after`: an opaque place in a list, valid with the parameters it was made for.
#pragma once
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/result.h"
#include "ipld/cid.h"

namespace ptwop::rpc {

/// What a page was asked with, besides its channel.
struct PageOf {
  std::string_view method;
  std::string_view prefix;
  bool reverse = false;
};

std::string cursor_from(const PageOf& page, const ipld::Cid& channel, BytesView place);
/// invalid_params when it was not made for this page, or (where the channel is known) for another
/// channel.
Result<Bytes> place_from(const PageOf& page, const ipld::Cid* channel, std::string_view cursor);

}  // namespace ptwop::rpc
