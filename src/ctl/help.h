// Help, from the method table and the schemas.
#pragma once
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"
#include "rpc/method.h"

namespace ptwop::ctl {

/// A command that is no method.
struct Extra {
  std::string_view name;
  std::string_view usage;  ///< After "ptwopctl ".
  std::string_view summary;
  std::string_view details;  ///< Lines of at most 100 columns.
};
std::span<const Extra> extras();
const Extra* find_extra(std::string_view name);

/// How arguments are read, for help and the man page.
std::span<const std::string_view> argument_rules();
std::span<const std::string_view> exit_codes();

/// For `help`, `help kv`, `help kv put`, `help status`. Refused: words that name nothing.
Result<std::string> help_text(std::span<const std::string_view> words);
std::string method_help(const rpc::Method& method);
/// "required", "default 100" or "optional".
std::string presence(const rpc::Param& param);
/// Its type, or the words it is one of.
std::string takes(const rpc::Method& method, const rpc::Param& param);

/// Breaks into lines of at most `columns`, each but the first after `indent` blanks.
std::string wrapped(std::string_view text, size_t columns, size_t indent);

}  // namespace ptwop::ctl
