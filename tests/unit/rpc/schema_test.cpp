// The OpenRPC document against the method table, the error table, and the daemon itself.
#include <algorithm>
#include <set>

#include "daemon.h"
#include "rpc/method.h"
#include "rpc/methods/methods.h"
#include "rpc/schema.h"

using namespace ptwop;
using namespace ptwop::test;
using json::Kind;
using json::Value;

namespace {

const Value& document() {
  static const Value parsed = [] {
    auto result = json::parse(rpc::openrpc_document());
    REQUIRE_MESSAGE(result.ok(), (result.ok() ? "" : result.error().message));
    return *result;
  }();
  return parsed;
}

const Value& need(const Value& object, std::string_view name) {
  const Value* found = object.find(name);
  REQUIRE_MESSAGE(found, name);
  return *found;
}

std::string text_of(const Value& value) {
  std::string out;
  json::append(out, value);
  return out;
}

/// Follows `$ref` and a lone `allOf`.
const Value& resolved(const Value& schema) {
  const std::string_view prefix = "#/components/schemas/";
  if (const Value* ref = schema.find("$ref")) {
    REQUIRE(std::string_view(ref->text).starts_with(prefix));
    return resolved(
        need(need(need(document(), "components"), "schemas"), ref->text.substr(prefix.size())));
  }
  if (const Value* all = schema.find("allOf")) return resolved(all->items.at(0));
  return schema;
}

std::string schema_type(rpc::ParamType type) {
  switch (type) {
    case rpc::ParamType::string:
    case rpc::ParamType::path:
      return "string";
    case rpc::ParamType::integer:
      return "integer";
    case rpc::ParamType::boolean:
      return "boolean";
    case rpc::ParamType::object:
      return "object";
    case rpc::ParamType::array:
      return "array";
    case rpc::ParamType::tokens:
    case rpc::ParamType::value:
      break;
  }
  return "";
}

void check_params(const rpc::Method& method, const Value& params) {
  REQUIRE(params.items.size() == method.params.size());
  CHECK(params.items.size() <= rpc::kParamsMax);
  for (size_t i = 0; i < method.params.size(); ++i) {
    const rpc::Param& row = method.params[i];
    const Value& param = params.items[i];
    CAPTURE(row.name);
    CHECK(need(param, "name").text == row.name);
    CHECK(need(param, "summary").text == row.summary);
    CHECK(need(param, "required").boolean == row.required);
    const Value& schema = need(param, "schema");
    const Value* fallback = schema.find("default");
    CHECK((fallback ? text_of(*fallback) : "") == row.fallback);
    const Value* type = resolved(schema).find("type");
    CHECK((type ? type->text : "") == schema_type(row.type));
  }
}

/// The value at a JSON pointer of plain names and numbers; null when there is none.
Value* at_pointer(Value& root, std::string_view pointer) {
  Value* here = &root;
  while (!pointer.empty() && here) {
    pointer.remove_prefix(1);
    const std::string_view part = pointer.substr(0, pointer.find('/'));
    pointer.remove_prefix(part.size());
    if (here->is(Kind::array)) {
      const size_t index = std::stoul(std::string(part));
      here = index < here->items.size() ? &here->items[index] : nullptr;
    } else {
      here = const_cast<Value*>(here->find(part));
    }
  }
  return here;
}

/// Sets what changes from run to run to null in both; complains when the answer lacks it.
void forget_volatile(const Value& example, Value& expected, Value& answer) {
  const Value* pointers = example.find("x-volatile");
  if (!pointers) return;
  for (const Value& pointer : pointers->items) {
    Value* wanted = at_pointer(expected, pointer.text);
    Value* got = at_pointer(answer, pointer.text);
    REQUIRE(wanted);
    REQUIRE_MESSAGE(got, pointer.text);
    if (!pointer.text.empty()) CHECK(got->kind == wanted->kind);
    *wanted = *got = Value{};
  }
}

}  // namespace

TEST_CASE("the document has the table's methods, and the table the document's") {
  CHECK(need(document(), "openrpc").text.starts_with("1."));
  CHECK(need(need(document(), "info"), "version").text == PTWOP_VERSION);
  std::set<std::string, std::less<>> described;
  for (const Value& schema : need(document(), "methods").items) {
    const std::string& name = need(schema, "name").text;
    CAPTURE(name);
    const rpc::Method* method = rpc::find_method(name);
    REQUIRE_MESSAGE(method, "a schema without a method");
    described.insert(name);
    CHECK(need(schema, "summary").text == method->summary);
    CHECK(!need(schema, "description").text.empty());
    CHECK(!need(schema, "examples").items.empty());
    CHECK(resolved(need(need(schema, "result"), "schema")).find("type")->text == "object");
    check_params(*method, need(schema, "params"));
    CHECK(bool(rpc::handler_of(*method).run));
  }
  for (const rpc::Method& method : rpc::methods())
    CHECK_MESSAGE(described.contains(method.name), method.name);
  CHECK(rpc::find_method("") == nullptr);
  CHECK(rpc::find_method("zz") == nullptr);
}

TEST_CASE("the document's errors are the error table's") {
  const Value& errors = need(need(document(), "components"), "errors");
  size_t rows = 0;
  for (const ErrorRow& row : ErrorTable()) {
    CAPTURE(row.kind);
    const Value& error = need(errors, row.kind);
    CHECK(need(error, "code").integer == static_cast<int>(row.code));
    CHECK(need(need(error, "data"), "kind").text == row.kind);
    CHECK(need(need(error, "data"), "retryable").boolean == row.retryable);
    ++rows;
  }
  CHECK(errors.members.size() == rows);
  for (const Value& method : need(document(), "methods").items)
    for (const Value& error : need(method, "errors").items) {
      const std::string_view ref = need(error, "$ref").text;
      CHECK_MESSAGE(errors.find(ref.substr(ref.rfind('/') + 1)), ref);
    }
}

TEST_CASE("every example works, in the order given") {
  Daemon daemon;
  Client client(daemon);
  std::map<std::string, Value, std::less<>> last_result;
  std::set<std::string> called;
  for (const Value& name : need(document(), "x-example-order").items) {
    const auto& methods = need(document(), "methods").items;
    const auto schema = std::ranges::find_if(
        methods, [&](const Value& m) { return need(m, "name").text == name.text; });
    REQUIRE_MESSAGE(schema != methods.end(), name.text);
    called.insert(name.text);
    for (const Value& example : need(*schema, "examples").items) {
      CAPTURE(name.text);
      CAPTURE(need(example, "name").text);
      std::string params = "{";
      for (const Value& param : need(example, "params").items) {
        const std::string& param_name = need(param, "name").text;
        Value value = need(param, "value");
        if (const Value* uses = example.find("x-uses"); uses && uses->find(param_name)) {
          const std::string& from = uses->find(param_name)->text;  // method#/pointer
          const size_t hash = from.find('#');
          value = *at_pointer(last_result.at(from.substr(0, hash)), from.substr(hash + 1));
        }
        if (params.size() > 1) params += ',';
        json::append_string(params, param_name);
        params += ':';
        json::append(params, value);
      }
      // Examples keep their files on a disk of their own.
      for (size_t at = 0; (at = params.find("/media/disk", at)) != std::string::npos;)
        params.replace(at, std::string_view("/media/disk").size(), daemon.folder.path);
      const std::string text = client.call(name.text, params + "}");
      auto answer = json::parse(text);
      REQUIRE_MESSAGE(answer.ok(), text);
      last_result[name.text] = *answer;
      Value expected = need(need(example, "result"), "value");
      forget_volatile(example, expected, *answer);
      CHECK(text_of(*answer) == text_of(expected));
    }
  }
  CHECK(called.size() == rpc::methods().size());
  CHECK(daemon.stopped);
}
