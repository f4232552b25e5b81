#include "ctl/text.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/bytes.h"

namespace ptwop::ctl {
namespace {

struct Range {
  char32_t first, last;
};
template <size_t n>
bool within(const std::array<Range, n>& ranges, char32_t c) {
  return std::ranges::any_of(ranges, [c](Range r) { return r.first <= c && c <= r.last; });
}

constexpr std::array kActive = {
    Range{0, 0x1f},        Range{0x7f, 0x9f},     Range{0x61c, 0x61c},
    Range{0x200e, 0x200f}, Range{0x2028, 0x202e}, Range{0x2066, 0x2069},
    Range{0xfeff, 0xfeff}, Range{0xfff9, 0xfffb}, Range{0xe0000, 0xe007f}};
constexpr std::array kNarrow = {Range{0x300, 0x36f}, Range{0x200b, 0x200d}, Range{0x20d0, 0x20f0},
                                Range{0xfe00, 0xfe0f}};
constexpr std::array kWide = {
    Range{0x1100, 0x115f}, Range{0x2e80, 0xa4cf},   Range{0xac00, 0xd7a3},
    Range{0xf900, 0xfaff}, Range{0xfe30, 0xfe6f},   Range{0xff00, 0xff60},
    Range{0xffe0, 0xffe6}, Range{0x1f300, 0x1faff}, Range{0x20000, 0x3fffd}};

struct Character {
  std::string_view bytes;
  char32_t code = 0;
  bool valid = false;
};

/// Takes the first character off `text`, which is not empty; a byte that is no UTF-8 is one on its
/// own.
Character take(std::string_view& text) {
  const auto lead = static_cast<unsigned char>(text.front());
  const size_t size = lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
  Character c{text.substr(0, size), lead, size <= text.size() && valid_utf8(text.substr(0, size))};
  if (!c.valid)
    c.bytes = text.substr(0, 1);
  else if (size > 1) {
    c.code = lead & (0xff >> (size + 1));
    for (const char byte : c.bytes.substr(1))
      c.code = c.code << 6 | (static_cast<unsigned char>(byte) & 0x3f);
  }
  text.remove_prefix(c.bytes.size());
  return c;
}

void append_json_escape(std::string& out, char32_t code) {
  if (code > 0xffff) {
    code -= 0x10000;
    out += fmt::format("\\u{:04x}\\u{:04x}", 0xd800 + (code >> 10), 0xdc00 + (code & 0x3ff));
  } else {
    out += fmt::format("\\u{:04x}", static_cast<uint32_t>(code));
  }
}

std::string cleaned(std::string_view text, bool lines) {
  std::string out;
  while (!text.empty()) {
    const Character c = take(text);
    if (!c.valid)
      out += fmt::format("\\x{:02x}", static_cast<unsigned char>(c.bytes.front()));
    else if (!within(kActive, c.code) || (lines && (c.code == '\n' || c.code == '\t')))
      out += c.bytes;
    else if (c.code == '\n')
      out += "\\n";
    else if (c.code == '\t')
      out += "\\t";
    else if (c.code == '\r')
      out += "\\r";
    else
      append_json_escape(out, c.code);
  }
  return out;
}

size_t columns_of(const Character& c) {
  return within(kNarrow, c.code) ? 0 : within(kWide, c.code) ? 2 : 1;
}

}  // namespace

std::string clean(std::string_view text) { return cleaned(text, false); }
std::string clean_lines(std::string_view text) { return cleaned(text, true); }

std::string clean_json(std::string_view json) {
  // Outside of strings there is nothing to escape, since our JSON has no optional white space.
  std::string out;
  out.reserve(json.size());
  while (!json.empty()) {
    const size_t plain = static_cast<size_t>(
        std::ranges::find_if(json,
                             [](char byte) { return static_cast<unsigned char>(byte) >= 0x7f; }) -
        json.begin());
    out += json.substr(0, plain);
    json.remove_prefix(plain);
    if (json.empty()) break;
    const Character c = take(json);
    if (c.valid && within(kActive, c.code))
      append_json_escape(out, c.code);
    else
      out += c.bytes;
  }
  return out;
}

size_t width(std::string_view text) {
  size_t columns = 0;
  while (!text.empty()) columns += columns_of(take(text));
  return columns;
}

std::string cut(std::string_view text, size_t columns) {
  if (width(text) <= columns) return std::string(text);
  std::string out;
  size_t used = 1;  // the dots
  while (!text.empty()) {
    const Character c = take(text);
    used += columns_of(c);
    if (used > columns) break;
    out += c.bytes;
  }
  return out + "…";
}

std::string shell_quoted(std::string_view text) {
  constexpr std::string_view kPlain =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=./:,@%";
  if (!text.empty() && text.find_first_not_of(kPlain) == std::string_view::npos)
    return std::string(text);
  std::string out = "'";
  for (const char c : text) {
    if (c == '\'')
      out += "'\\''";
    else
      out += c;
  }
  return out + "'";
}

}  // namespace ptwop::ctl
