#include "ctl/render.h"

#include <algorithm>
#include <array>
#include <ctime>
#include <optional>

#include "base/bytes.h"
#include "ctl/text.h"
#include "ctl/values.h"

namespace ptwop::ctl {
namespace {

using json::Kind;

constexpr size_t kValueColumnsMin = 20;
constexpr std::string_view kGap = "  ";

bool is_time(std::string_view name) {
  return name == "time_ms" || name == "since_ms" || name == "last_seen_ms";
}

/// The name of the list that a listing result consists of ("entries", "channels", …), or null.
const json::Value* only_list(const json::Value& result) {
  const json::Value* list = nullptr;
  for (const auto& [name, value] : result.members) {
    if (name == "next") continue;
    if (list || !value.is(Kind::array)) return nullptr;
    list = &value;
  }
  return list;
}

/// A name as people see it: times are shown as dates, so their unit goes.
std::string shown_name(std::string_view name) {
  return clean(is_time(name) ? name.substr(0, name.size() - 3) : name);
}

std::string padded(const std::string& text, size_t columns) {
  return text + std::string(columns - std::min(columns, width(text)), ' ');
}

std::string table_of(const json::Value& list, size_t columns) {
  std::vector<std::string> headings;
  for (const json::Value& row : list.items)
    for (const auto& [name, value] : row.members)
      if (std::ranges::find(headings, name) == headings.end()) headings.push_back(name);
  std::vector<std::vector<std::string>> rows;
  for (const json::Value& row : list.items) {
    auto& cells = rows.emplace_back();
    for (const std::string& name : headings) {
      const json::Value* value = row.find(name);
      cells.push_back(value ? render_cell(name, *value) : "");
    }
  }
  return render_table(headings, rows, columns);
}

std::string list_text(const json::Value& list, size_t columns) {
  const bool objects = std::ranges::all_of(
      list.items, [](const json::Value& item) { return item.is(Kind::object); });
  if (objects) return list.items.empty() ? "" : table_of(list, columns);
  std::string out;
  for (const json::Value& item : list.items) out += render_cell("", item) + '\n';
  return out;
}

std::optional<Bytes> as_bytes(const json::Value& value) {
  if (value.members.size() != 1 || value.members.front().name != "/") return std::nullopt;
  const json::Value& inner = value.members.front().value;
  if (inner.members.size() != 1 || inner.members.front().name != "bytes") return std::nullopt;
  return from_base64(inner.members.front().value.text);
}

std::string raw_text(const json::Value& value) {
  if (auto bytes = as_bytes(value)) return std::move(*bytes);
  return (value.is(Kind::string) ? value.text : to_json(value)) + '\n';
}

template <size_t n>
const json::Value* first_of(const json::Value& object,
                            const std::array<std::string_view, n>& names) {
  for (const std::string_view name : names)
    if (const json::Value* found = object.find(name)) return found;
  return nullptr;
}

}  // namespace

std::string local_time(int64_t unix_ms) {
  const std::time_t seconds = unix_ms / 1000;
  std::tm parts{};
  char text[64];
  if (!::localtime_r(&seconds, &parts) ||
      std::strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &parts) == 0)
    return std::to_string(unix_ms);
  return text;
}

std::string render_cell(std::string_view name, const json::Value& value) {
  if (value.is(Kind::null)) return "-";
  if (value.is(Kind::boolean)) return value.boolean ? "yes" : "no";
  if (value.is(Kind::string)) return clean(value.text);
  if (value.is(Kind::integer) && is_time(name)) return local_time(value.integer);
  return clean(to_json(value));
}

std::string render_table(const std::vector<std::string>& headings,
                         const std::vector<std::vector<std::string>>& rows, size_t columns) {
  std::vector<size_t> widths;
  for (const std::string& heading : headings) widths.push_back(width(heading));
  for (const auto& row : rows)
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], width(row[i]));
  size_t total = 0;
  for (const size_t w : widths) total += w + kGap.size();
  const auto value = std::ranges::find(headings, "value");
  if (value != headings.end() && total > columns) {
    size_t& w = widths[static_cast<size_t>(value - headings.begin())];
    w = std::min(w, std::max(kValueColumnsMin, w - std::min(w, total - columns)));
  }
  std::string out;
  const auto add = [&](const std::vector<std::string>& cells) {
    std::string line;
    for (size_t i = 0; i < cells.size(); ++i) {
      if (i > 0) line += kGap;
      line += padded(cut(cells[i], widths[i]), widths[i]);
    }
    out += line.substr(0, line.find_last_not_of(' ') + 1) + '\n';
  };
  std::vector<std::string> shown = headings;
  for (std::string& heading : shown) {
    heading = shown_name(heading);
    for (char& c : heading)
      if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
  }
  add(shown);
  for (const auto& row : rows) add(row);
  return out;
}

std::string render_human(const json::Value& result, size_t columns) {
  if (result.is(Kind::array)) return list_text(result, columns);
  if (!result.is(Kind::object)) return render_cell("", result) + '\n';
  if (const json::Value* list = only_list(result)) return list_text(*list, columns);
  std::string out, tables;
  size_t name_width = 0;
  for (const auto& [name, value] : result.members)
    if (!value.is(Kind::array)) name_width = std::max(name_width, width(shown_name(name)));
  for (const auto& [name, value] : result.members) {
    if (value.is(Kind::array)) {
      if (!value.items.empty()) tables += '\n' + clean(name) + ":\n" + list_text(value, columns);
    } else if (value.is(Kind::object) && name != "value") {
      std::string inner;
      for (const auto& [inner_name, inner_value] : value.members)
        inner += (inner.empty() ? "" : ", ") + clean(inner_name) + " " +
                 render_cell(inner_name, inner_value);
      out += padded(shown_name(name), name_width) + std::string(kGap) +
             (inner.empty() ? "-" : inner) + '\n';
    } else {
      out += padded(shown_name(name), name_width) + std::string(kGap) + render_cell(name, value) +
             '\n';
    }
  }
  return out + tables;
}

const json::Value& bare_part(const json::Value& result) {
  constexpr std::array<std::string_view, 8> kNames = {"value", "id",      "address", "at",
                                                      "ready", "reached", "left",    "stopping"};
  if (!result.is(Kind::object)) return result;
  if (const json::Value* list = only_list(result)) return *list;
  const json::Value* part = first_of(result, kNames);
  return part ? *part : result;
}

std::string render_raw(const json::Value& result) {
  constexpr std::array<std::string_view, 3> kNames = {"value", "name", "id"};
  const json::Value& part = bare_part(result);
  // A value that is a list is one value.
  if (!part.is(Kind::array) || &part == result.find("value")) return raw_text(part);
  std::string out;
  for (const json::Value& item : part.items) {
    const json::Value* inner = first_of(item, kNames);
    out += raw_text(inner ? *inner : item);
  }
  return out;
}

}  // namespace ptwop::ctl
