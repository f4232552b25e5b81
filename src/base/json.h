// JSON for the socket, the CLI, Kubo's answers: a strict reader (simdjson underneath) and a writer.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/limits.h"
#include "base/result.h"

namespace ptwop::json {

enum class Kind : uint8_t { null, boolean, integer, real, out_of_range, string, array, object };

struct Member;

/// One parsed value; owns all of its text. Numbers keep their source text:
/// `integer` was written without fraction or exponent and fits int64; `real` had one of them and is
/// finite; `out_of_range` is any other number (legal as a request id only).
struct Value {
  Kind kind = Kind::null;
  bool boolean = false;
  int64_t integer = 0;
  double real = 0;
  std::string text;  ///< A string's unescaped content, or a number's source text.
  std::vector<Value> items;
  std::vector<Member> members;  ///< In source order.

  bool is(Kind k) const { return kind == k; }
  /// The member of that name, or null when there is none (or this is no object).
  const Value* find(std::string_view name) const;
};

struct Member {
  std::string name;
  Value value;
};

/// Parses exactly one document. Refused with parse_error: anything that is not RFC 8259 JSON,
/// duplicate names in any object, invalid UTF-8, lone surrogates, more than `depth_max` (and ever
/// more than 1000) brackets, trailing text.
Result<Value> parse(std::string_view text, size_t depth_max = limits::kRequestDepthMax);

/// Appends `text` as a JSON string with quotes. Invalid UTF-8 is replaced by U+FFFD.
void append_string(std::string& out, std::string_view text);

/// Appends a value in its shortest form, names in the order held, numbers as their source text.
void append(std::string& out, const Value& value);

/// Writes compact JSON by appending to a string: commas are its business, nesting the caller's.
///   Writer w(out); w.object(); w.key("at").string(at); w.end_object();
class Writer {
 public:
  explicit Writer(std::string& out) : out_(out) {}
  Writer& object() {
    before();
    out_ += '{';
    first_ = true;
    return *this;
  }
  Writer& end_object() {
    out_ += '}';
    first_ = false;
    return *this;
  }
  Writer& array() {
    before();
    out_ += '[';
    first_ = true;
    return *this;
  }
  Writer& end_array() {
    out_ += ']';
    first_ = false;
    return *this;
  }
  Writer& key(std::string_view name) {
    before();
    append_string(out_, name);
    out_ += ':';
    first_ = true;
    return *this;
  }
  Writer& string(std::string_view text) {
    before();
    append_string(out_, text);
    return *this;
  }
  Writer& number(int64_t value) {
    before();
    out_ += std::to_string(value);
    return *this;
  }
  Writer& number(uint64_t value) {
    before();
    out_ += std::to_string(value);
    return *this;
  }
  Writer& boolean(bool value) {
    before();
    out_ += value ? "true" : "false";
    return *this;
  }
  Writer& null() {
    before();
    out_ += "null";
    return *this;
  }
  /// Text that already is one JSON value.
  Writer& raw(std::string_view text) {
    before();
    out_ += text;
    return *this;
  }

 private:
  void before() {
    if (!first_) out_ += ',';
    first_ = false;
  }
  std::string& out_;
  bool first_ = true;
};

}  // namespace ptwop::json
