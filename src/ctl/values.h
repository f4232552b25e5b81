// Making json::Values.
#pragma once
#include <string>
#include <utility>

#include "base/json.h"

namespace ptwop::ctl {

inline json::Value text_value(std::string text) {
  json::Value value;
  value.kind = json::Kind::string;
  value.text = std::move(text);
  return value;
}
inline json::Value integer_value(int64_t integer) {
  json::Value value;
  value.kind = json::Kind::integer;
  value.integer = integer;
  value.text = std::to_string(integer);
  return value;
}
inline json::Value object_value() {
  json::Value value;
  value.kind = json::Kind::object;
  return value;
}
/// Sets the member of that name, new or not.
inline void set(json::Value& object, std::string_view name, json::Value value) {
  for (auto& [member, held] : object.members)
    if (member == name) {
      held = std::move(value);
      return;
    }
  object.members.push_back({std::string(name), std::move(value)});
}
inline std::string to_json(const json::Value& value) {
  std::string out;
  json::append(out, value);
  return out;
}
/// The text of a string member; "" when there is none.
inline std::string_view member_text(const json::Value& object, std::string_view name) {
  const json::Value* member = object.find(name);
  return member && member->is(json::Kind::string) ? std::string_view(member->text)
                                                  : std::string_view();
}
/// An integer member; `fallback` when there is none.
inline int64_t member_integer(const json::Value& object, std::string_view name,
                              int64_t fallback = 0) {
  const json::Value* member = object.find(name);
  return member && member->is(json::Kind::integer) ? member->integer : fallback;
}
inline bool member_true(const json::Value& object, std::string_view name) {
  const json::Value* member = object.find(name);
  return member && member->is(json::Kind::boolean) && member->boolean;
}

}  // namespace ptwop::ctl
