// Text for people: nothing that was stored by somebody else may act on the terminal.
#pragma once
#include <cstddef>
#include <string>
#include <string_view>

namespace ptwop::ctl {

/// `text` with everything escaped that a terminal acts on (control characters, C1 included, line
/// and paragraph separators, marks that turn the direction of writing) as `\n` or `\u001b`, and
/// bytes that are no UTF-8 as `\xff`.
std::string clean(std::string_view text);
/// The same, but line ends and tabs stay.
std::string clean_lines(std::string_view text);
/// JSON text with the same characters escaped as JSON does it: the same document.
std::string clean_json(std::string_view json);

/// Columns on a terminal: wide characters count 2, combining ones 0. Estimated from ranges, without
/// a locale.
size_t width(std::string_view text);
/// At most `columns` of it; what was cut off shows as `…`.
std::string cut(std::string_view text, size_t columns);
/// Quoted for a POSIX shell where that is needed.
std::string shell_quoted(std::string_view text);

}  // namespace ptwop::ctl
