// What the embedded OpenRPC document says of the methods: for help, completion, man pages, and what
// flags apply.
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "rpc/method.h"

namespace ptwop::ctl {

struct ErrorText {
  int64_t code = 0;
  std::string kind;
  std::string message;
};

struct Example {
  std::string name;
  json::Value params;  ///< An object.
  json::Value result;
};

/// Parsed once, when first needed. Everything is empty for a method that the document does not
/// describe.
class Schemas {
 public:
  static const Schemas& get();

  bool is_known(std::string_view method) const {
    return !method_object(method).is(json::Kind::null);
  }
  std::string_view description(std::string_view method) const;
  std::vector<ErrorText> errors(std::string_view method) const;
  std::vector<Example> examples(std::string_view method) const;
  /// The words that a parameter is one of.
  std::vector<std::string> choices(std::string_view method, std::string_view param) const;
  std::vector<std::string> result_members(std::string_view method) const;
  bool can_fail_with(std::string_view method, std::string_view kind) const;
  /// Its result holds `at`, one token: a write.
  bool is_write(std::string_view method) const;
  /// Its result has a `next`.
  bool has_pages(std::string_view method) const;

 private:
  explicit Schemas(json::Value document) : document_(std::move(document)) {}
  const json::Value& method_object(std::string_view name) const;
  /// Follows a `$ref` within the document, and an `allOf` of one.
  const json::Value& resolved(const json::Value& schema) const;
  const json::Value& result_properties(std::string_view method) const;
  json::Value document_;
};

}  // namespace ptwop::ctl
