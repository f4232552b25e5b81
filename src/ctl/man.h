// The man pages ptwopctl(1) and ptwopd(8), made from the method table, the schemas, and text that
// stands in man.cpp.
#pragma once
#include <optional>
#include <string>
#include <string_view>

namespace ptwop::ctl {

/// roff of the page "ptwopctl" or "ptwopd"; nothing for another name.
std::optional<std::string> man_page(std::string_view name);
/// Text in roff: nothing in it is a command or an escape.
std::string roff(std::string_view text);

}  // namespace ptwop::ctl
