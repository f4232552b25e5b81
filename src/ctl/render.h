// Results as text: a table or fields for people, one line of JSON for scripts, or the bare value.
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"

namespace ptwop::ctl {

/// A table with a line of headings; cells are cleaned, columns aligned by their width on a
/// terminal. Cells of the column "value" are cut so that a line fits `columns`, but not below 20.
std::string render_table(const std::vector<std::string>& headings,
                         const std::vector<std::vector<std::string>>& rows, size_t columns);

/// A result for a person: its fields, lists of objects as tables. Ends with a line end unless
/// empty.
std::string render_human(const json::Value& result, size_t columns);
/// One value as it stands in a table: text without quotes, times (names that end with _ms and are
/// of the clock) as dates.
std::string render_cell(std::string_view name, const json::Value& value);

/// The part of a result that --raw shows: `value`, else `id`, `address`, `at`, a yes or no; of a
/// list's entries likewise `value`, `name` or `id`. What has none of them is the bare value itself.
const json::Value& bare_part(const json::Value& result);
/// --raw: text followed by a line end, bytes exactly as they are, a list's parts one after the
/// other, else JSON and a line end.
std::string render_raw(const json::Value& result);

/// "2026-11-21 11:03:56" in the local time zone.
std::string local_time(int64_t unix_ms);

}  // namespace ptwop::ctl
