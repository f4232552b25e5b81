#include "base/json.h"

#include <simdjson.h>

#include <algorithm>
#include <charconv>
#include <cstring>

#include "base/bytes.h"

namespace ptwop::json {
namespace {

namespace ondemand = simdjson::ondemand;

// Up to here a thread keeps parser and buffer for its next document; bigger ones are rare and give
// them back.
constexpr size_t kKeptBytesMax = 64 << 10;
// Up to here comparing every name with every other is faster than sorting.
constexpr size_t kCompareAllMax = 16;
// simdjson's own limit is 1024, our enclosing array included.
constexpr size_t kDepthMax = 1000;

Error refuse(std::string message) { return fail(Code::parse_error, std::move(message)); }
Error refuse(simdjson::error_code error) {
  return refuse(std::string("This is not valid JSON: ") + simdjson::error_message(error));
}

bool digit(char c) { return c >= '0' && c <= '9'; }

struct NumberForm {
  bool valid = false;
  bool integer = true;  ///< Neither fraction nor exponent.
};

/// The grammar of RFC 8259 §6 over the whole of `text`.
NumberForm number_form(std::string_view text) {
  NumberForm form;
  size_t at = 0;
  const auto digits = [&] {
    const size_t start = at;
    while (at < text.size() && digit(text[at])) ++at;
    return at > start;
  };
  if (at < text.size() && text[at] == '-') ++at;
  if (at < text.size() && text[at] == '0')
    ++at;
  else if (!digits())
    return form;
  if (at < text.size() && text[at] == '.') {
    ++at;
    form.integer = false;
    if (!digits()) return form;
  }
  if (at < text.size() && (text[at] == 'e' || text[at] == 'E')) {
    ++at;
    form.integer = false;
    if (at < text.size() && (text[at] == '+' || text[at] == '-')) ++at;
    if (!digits()) return form;
  }
  form.valid = at == text.size();
  return form;
}

/// The token without the white space that simdjson leaves behind it.
std::string_view trimmed(std::string_view token) {
  while (!token.empty() && (token.back() == ' ' || token.back() == '\t' || token.back() == '\n' ||
                            token.back() == '\r'))
    token.remove_suffix(1);
  return token;
}

bool unique_names(const std::vector<Member>& members) {
  if (members.size() <= kCompareAllMax) {
    for (size_t i = 1; i < members.size(); ++i)
      for (size_t j = 0; j < i; ++j)
        if (members[i].name == members[j].name) return false;
    return true;
  }
  std::vector<std::string_view> names;
  names.reserve(members.size());
  for (const auto& [name, value] : members) names.emplace_back(name);
  std::sort(names.begin(), names.end());
  return std::adjacent_find(names.begin(), names.end()) == names.end();
}

/// Copies one document into Values. On-demand checks only what is read: so everything is.
class Reader {
 public:
  explicit Reader(size_t depth_max) : depth_max_(depth_max) {}

  Result<void> read(ondemand::value source, Value& out, size_t depth) {
    const std::string_view token = source.raw_json_token();
    switch (token.empty() ? '\0' : token.front()) {
      case '{':
        return read_object(source, out, depth + 1);
      case '[':
        return read_array(source, out, depth + 1);
      case '"':
        return read_string(source, out);
      case 't':
      case 'f':
      case 'n':
        return read_literal(trimmed(token), out);
      default:
        return read_number(source, trimmed(token), out);
    }
  }

 private:
  Result<void> read_object(ondemand::value source, Value& out, size_t depth) {
    if (depth > depth_max_) return refuse("The JSON is nested too deep.");
    out.kind = Kind::object;
    ondemand::object object;
    if (auto error = source.get_object().get(object)) return refuse(error);
    for (auto field : object) {
      std::string_view name;
      if (auto error = field.unescaped_key().get(name)) return refuse(error);
      ondemand::value value;
      if (auto error = field.value().get(value)) return refuse(error);
      Member& member = out.members.emplace_back();
      member.name = name;
      PTWOP_CHECK(read(value, member.value, depth));
    }
    if (!unique_names(out.members)) return refuse("The JSON has an object that repeats a name.");
    return {};
  }

  Result<void> read_array(ondemand::value source, Value& out, size_t depth) {
    if (depth > depth_max_) return refuse("The JSON is nested too deep.");
    out.kind = Kind::array;
    ondemand::array array;
    if (auto error = source.get_array().get(array)) return refuse(error);
    for (auto item : array) {
      ondemand::value value;
      if (auto error = item.get(value)) return refuse(error);
      PTWOP_CHECK(read(value, out.items.emplace_back(), depth));
    }
    return {};
  }

  static Result<void> read_string(ondemand::value source, Value& out) {
    out.kind = Kind::string;
    std::string_view text;
    if (auto error = source.get_string().get(text)) return refuse(error);
    out.text = text;
    return {};
  }

  static Result<void> read_literal(std::string_view token, Value& out) {
    if (token == "null") {
      out.kind = Kind::null;
    } else if (token == "true" || token == "false") {
      out.kind = Kind::boolean;
      out.boolean = token == "true";
    } else {
      return refuse("This is not valid JSON: a word that is not true, false or null.");
    }
    return {};
  }

  static Result<void> read_number(ondemand::value source, std::string_view token, Value& out) {
    const NumberForm form = number_form(token);
    if (!form.valid) return refuse("This is not valid JSON: neither a value nor a number.");
    out.text = token;
    if (form.integer) {
      const auto parsed = std::from_chars(token.data(), token.data() + token.size(), out.integer);
      out.kind = parsed.ec == std::errc() ? Kind::integer : Kind::out_of_range;
    } else {
      out.kind = source.get_double().get(out.real) ? Kind::out_of_range : Kind::real;
    }
    return {};
  }

  size_t depth_max_;
};

/// A parser and the padded copy of the text that it needs.
struct Workspace {
  ondemand::parser parser;
  std::string buffer;

  Result<Value> parse(std::string_view text, size_t depth_max) {
    // Within an array of one, a document that is a single scalar, is empty, or has something after
    // it needs no rules of its own.
    buffer.clear();
    buffer.reserve(text.size() + 2 + simdjson::SIMDJSON_PADDING);
    buffer += '[';
    buffer += text;
    buffer += ']';
    const size_t size = buffer.size();
    buffer.append(simdjson::SIMDJSON_PADDING, ' ');

    ondemand::document document;
    const simdjson::padded_string_view padded(buffer.data(), size, buffer.size());
    if (auto error = parser.iterate(padded).get(document)) return refuse(error);
    ondemand::array array;
    if (auto error = document.get_array().get(array)) return refuse(error);
    Value out;
    bool seen = false;
    for (auto item : array) {
      ondemand::value value;
      if (auto error = item.get(value)) return refuse(error);
      if (seen) return refuse("There is more than one JSON value.");
      seen = true;
      PTWOP_CHECK(Reader(depth_max).read(value, out, 0));
    }
    if (!seen) return refuse("There is no JSON value.");
    if (document.current_location().error() != simdjson::OUT_OF_BOUNDS)
      return refuse("There is something after the JSON value.");
    return out;
  }
};

}  // namespace

const Value* Value::find(std::string_view name) const {
  for (const auto& [member_name, value] : members)
    if (member_name == name) return &value;
  return nullptr;
}

Result<Value> parse(std::string_view text, size_t depth_max) {
  depth_max = std::min(depth_max, kDepthMax);
  if (text.size() > kKeptBytesMax) return Workspace().parse(text, depth_max);
  static thread_local Workspace workspace;
  return workspace.parse(text, depth_max);
}

namespace {

/// True if none of the next 8 bytes needs an escape: none is `"`, `\` or below a space. One byte at
/// a time, this was a third of a read
/// (https://graphics.stanford.edu/~seander/bithacks.html#ZeroInWord).
bool plain_8(const char* bytes) {
  constexpr uint64_t kOnes = 0x0101010101010101, kHighs = 0x8080808080808080;
  uint64_t word;
  std::memcpy(&word, bytes, sizeof word);
  const auto has_zero = [](uint64_t w) { return (w - kOnes) & ~w & kHighs; };
  const uint64_t below_space = (word - kOnes * ' ') & ~word & kHighs;
  return (below_space | has_zero(word ^ kOnes * '"') | has_zero(word ^ kOnes * '\\')) == 0;
}

void append_escaped(std::string& out, std::string_view text) {
  constexpr char kDigits[] = "0123456789abcdef";
  size_t copied = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    while (i + 8 <= text.size() && plain_8(text.data() + i)) i += 8;
    if (i == text.size()) break;
    const auto byte = static_cast<unsigned char>(text[i]);
    if (byte >= ' ' && byte != '"' && byte != '\\') continue;
    out.append(text, copied, i - copied);
    copied = i + 1;
    out += '\\';
    switch (byte) {
      case '"':
      case '\\':
        out += text[i];
        break;
      case '\b':
        out += 'b';
        break;
      case '\f':
        out += 'f';
        break;
      case '\n':
        out += 'n';
        break;
      case '\r':
        out += 'r';
        break;
      case '\t':
        out += 't';
        break;
      default:
        out += "u00";
        out += kDigits[byte >> 4];
        out += kDigits[byte & 15];
    }
  }
  out.append(text, copied);
}

/// The length of the well-formed UTF-8 character at the front; 0 if there is none.
size_t character_size(std::string_view text) {
  for (size_t size = 1; size <= 4 && size <= text.size(); ++size)
    if (valid_utf8(text.substr(0, size))) return size;
  return 0;
}

}  // namespace

void append_string(std::string& out, std::string_view text) {
  out += '"';
  if (valid_utf8(text)) {
    append_escaped(out, text);
  } else {
    while (!text.empty()) {
      const size_t size = character_size(text);
      append_escaped(out, size ? text.substr(0, size) : "\xEF\xBF\xBD");
      text.remove_prefix(size ? size : 1);
    }
  }
  out += '"';
}

void append(std::string& out, const Value& value) {
  switch (value.kind) {
    case Kind::null:
      out += "null";
      break;
    case Kind::boolean:
      out += value.boolean ? "true" : "false";
      break;
    case Kind::integer:
    case Kind::real:
    case Kind::out_of_range:
      out += value.text;
      break;
    case Kind::string:
      append_string(out, value.text);
      break;
    case Kind::array:
      out += '[';
      for (size_t i = 0; i < value.items.size(); ++i) {
        if (i > 0) out += ',';
        append(out, value.items[i]);
      }
      out += ']';
      break;
    case Kind::object:
      out += '{';
      for (size_t i = 0; i < value.members.size(); ++i) {
        if (i > 0) out += ',';
        append_string(out, value.members[i].name);
        out += ':';
        append(out, value.members[i].value);
      }
      out += '}';
      break;
  }
}

}  // namespace ptwop::json
