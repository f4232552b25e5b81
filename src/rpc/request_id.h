// The bytes of a request's id, as they came.
#pragma once
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"

namespace ptwop::rpc {

/// The texts of an array's elements. `array` is valid JSON.
std::vector<std::string_view> element_texts(std::string_view array);

/// The id's source text: `request` is an object whose JSON text is `source`. Nothing when there is
/// no id or when it is no string, number or null.
std::optional<std::string> id_text(const json::Value& request, std::string_view source);

}  // namespace ptwop::rpc
