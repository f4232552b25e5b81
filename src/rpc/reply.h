// Answers as text (https://www.jsonrpc.org/specification), without optional white space and without
// the newline.
#pragma once
#include <string>
#include <string_view>

#include "base/error.h"

namespace ptwop::rpc {

/// Appends `{"jsonrpc":"2.0","id":<id>,"result":`. The caller appends one object and then `}`.
/// `id`: the bytes that came.
void begin_result(std::string& out, std::string_view id);

/// Appends a whole answer with the error's row of the table as `data`.
void append_error(std::string& out, std::string_view id, const Error& error);

/// A caller's text cut short, to be named in a message.
inline std::string_view shown(std::string_view text) { return text.substr(0, 64); }

}  // namespace ptwop::rpc
