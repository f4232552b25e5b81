#include "rpc/framing.h"

#include <algorithm>

#include "base/limits.h"

namespace ptwop::rpc {
namespace {

bool blank(std::string_view line) {
  return line.find_first_not_of(" \t\r") == std::string_view::npos;
}

/// With no more opening brackets than the limit, nothing can be nested deeper: cheaper to know than
/// the depth.
bool few_brackets(std::string_view line) {
  if (line.size() <= limits::kRequestDepthMax) return true;
  return std::ranges::count_if(line, [](char c) { return (c | 0x20) == '{'; }) <=
         static_cast<std::ptrdiff_t>(limits::kRequestDepthMax);
}
static_assert(('[' | 0x20) == '{' && ('{' | 0x20) == '{');

}  // namespace

bool DepthScan::feed(std::string_view piece) {
  for (const char c : piece) {
    if (in_string_) {
      if (escaped_)
        escaped_ = false;
      else if (c == '\\')
        escaped_ = true;
      else if (c == '"')
        in_string_ = false;
    } else if (c == '"') {
      in_string_ = true;
    } else if (c == '{' || c == '[') {
      if (++depth_ > limits::kRequestDepthMax) return false;
    } else if ((c == '}' || c == ']') && depth_ > 0) {
      --depth_;
    }
  }
  return true;
}

Framing::Result Framing::next(std::string_view input, bool ended) {
  size_t skipped = 0;
  for (;;) {
    const std::string_view rest = input.substr(skipped);
    const size_t newline = rest.find('\n', scanned_);
    const bool whole = newline != std::string_view::npos || (ended && !rest.empty());
    const std::string_view line = rest.substr(0, newline);
    if (line.size() > limits::kRequestBytesMax) return {Found::too_long, {}, skipped};
    const bool shallow = whole && scanned_ == 0 && few_brackets(line);
    if (!shallow && !scan_.feed(line.substr(scanned_))) return {Found::too_deep, {}, skipped};
    if (!whole) {
      scanned_ = line.size();
      return {Found::nothing, {}, skipped};
    }
    scan_ = {};
    scanned_ = 0;
    skipped += std::min(line.size() + 1, rest.size());
    if (!blank(line)) return {Found::line, line, skipped};
  }
}

}  // namespace ptwop::rpc
