#include "ctl/schemas.h"

#include <algorithm>
#include <cassert>

#include "ctl/values.h"
#include "rpc/schema.h"

namespace ptwop::ctl {
namespace {

constexpr size_t kDepthMax = 1000;

const json::Value kNothing;

const json::Value& member(const json::Value& value, std::string_view name) {
  const json::Value* found = value.find(name);
  return found ? *found : kNothing;
}

const json::Value& by_name(const json::Value& list, std::string_view name) {
  for (const json::Value& item : list.items)
    if (member_text(item, "name") == name) return item;
  return kNothing;
}

}  // namespace

const Schemas& Schemas::get() {
  static const Schemas schemas = [] {
    auto parsed = json::parse(rpc::openrpc_document(), kDepthMax);
    assert(parsed.ok());
    return Schemas(parsed ? std::move(*parsed) : json::Value());
  }();
  return schemas;
}

const json::Value& Schemas::method_object(std::string_view name) const {
  return by_name(member(document_, "methods"), name);
}

const json::Value& Schemas::resolved(const json::Value& schema) const {
  const json::Value* at = &schema;
  for (int steps = 0; steps < 8; ++steps) {
    const std::string_view ref = member_text(*at, "$ref");
    const json::Value& all = member(*at, "allOf");
    if (ref.starts_with("#/")) {
      const json::Value* target = &document_;
      for (std::string_view rest = ref.substr(2); !rest.empty();) {
        const size_t slash = std::min(rest.find('/'), rest.size());
        target = &member(*target, rest.substr(0, slash));
        rest.remove_prefix(std::min(slash + 1, rest.size()));
      }
      at = target;
    } else if (all.items.size() == 1) {
      at = &all.items.front();
    } else {
      break;
    }
  }
  return *at;
}

std::string_view Schemas::description(std::string_view name) const {
  return member_text(method_object(name), "description");
}

std::vector<ErrorText> Schemas::errors(std::string_view name) const {
  std::vector<ErrorText> out;
  for (const json::Value& ref : member(method_object(name), "errors").items) {
    const json::Value& error = resolved(ref);
    out.push_back({member_integer(error, "code"),
                   std::string(member_text(member(error, "data"), "kind")),
                   std::string(member_text(error, "message"))});
  }
  return out;
}

std::vector<Example> Schemas::examples(std::string_view name) const {
  std::vector<Example> out;
  for (const json::Value& pairing : member(method_object(name), "examples").items) {
    Example example{std::string(member_text(pairing, "name")), object_value(),
                    member(member(pairing, "result"), "value")};
    for (const json::Value& param : member(pairing, "params").items)
      set(example.params, member_text(param, "name"), member(param, "value"));
    out.push_back(std::move(example));
  }
  return out;
}

std::vector<std::string> Schemas::choices(std::string_view name, std::string_view param) const {
  const json::Value& schema =
      resolved(member(by_name(member(method_object(name), "params"), param), "schema"));
  if (member_text(schema, "type") == "boolean") return {"true", "false"};
  std::vector<std::string> out;
  for (const json::Value& choice : member(schema, "enum").items) out.push_back(choice.text);
  return out;
}

const json::Value& Schemas::result_properties(std::string_view name) const {
  return member(resolved(member(member(method_object(name), "result"), "schema")), "properties");
}

std::vector<std::string> Schemas::result_members(std::string_view name) const {
  std::vector<std::string> out;
  for (const auto& [property, schema] : result_properties(name).members) out.push_back(property);
  return out;
}

bool Schemas::can_fail_with(std::string_view name, std::string_view kind) const {
  return std::ranges::any_of(errors(name),
                             [&](const ErrorText& error) { return error.kind == kind; });
}

bool Schemas::is_write(std::string_view name) const {
  const json::Value& at = member(result_properties(name), "at");
  return member_text(resolved(at), "type") == "string";
}

bool Schemas::has_pages(std::string_view name) const {
  return result_properties(name).find("next") != nullptr;
}

}  // namespace ptwop::ctl
