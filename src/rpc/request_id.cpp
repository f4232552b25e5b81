#include "rpc/request_id.h"

namespace ptwop::rpc {
namespace {

/// Walks over JSON that is known to be valid.
class Walker {
 public:
  explicit Walker(std::string_view text) : text_(text) {}

  char peek() {
    at_ = std::min(text_.find_first_not_of(" \t\r\n", at_), text_.size());
    return at_ < text_.size() ? text_[at_] : '\0';
  }
  /// Consumes `c` if it is next.
  bool take(char c) {
    if (peek() != c) return false;
    ++at_;
    return true;
  }
  /// The text of the value that is next.
  std::string_view value() {
    const char first = peek();
    const size_t start = at_;
    if (first == '"') {
      skip_string();
    } else if (first == '{' || first == '[') {
      skip_brackets();
    } else {
      at_ = std::min(text_.find_first_of(" \t\r\n,]}:", at_), text_.size());
    }
    return text_.substr(start, at_ - start);
  }

 private:
  void skip_string() {
    for (++at_; at_ < text_.size() && text_[at_] != '"'; ++at_)
      if (text_[at_] == '\\') ++at_;
    ++at_;
  }
  void skip_brackets() {
    size_t depth = 0;
    do {
      const char c = text_[at_];
      if (c == '"') {
        skip_string();
        continue;
      }
      if (c == '{' || c == '[') ++depth;
      if (c == '}' || c == ']') --depth;
      ++at_;
    } while (depth > 0 && at_ < text_.size());
  }

  std::string_view text_;
  size_t at_ = 0;
};

/// The raw text of the member `id`, whose name may be written with escapes.
std::string_view raw_id(std::string_view object) {
  Walker walk(object);
  walk.take('{');
  while (walk.peek() == '"') {
    const std::string_view name = walk.value();
    walk.take(':');
    const std::string_view value = walk.value();
    if (name == "\"id\"") return value;
    if (name.find('\\') != std::string_view::npos) {
      const auto parsed = json::parse(name);
      if (parsed.ok() && parsed->text == "id") return value;
    }
    walk.take(',');
  }
  return {};
}

}  // namespace

std::vector<std::string_view> element_texts(std::string_view array) {
  std::vector<std::string_view> out;
  Walker walk(array);
  walk.take('[');
  while (walk.peek() != ']' && walk.peek() != '\0') {
    out.push_back(walk.value());
    walk.take(',');
  }
  return out;
}

std::optional<std::string> id_text(const json::Value& request, std::string_view source) {
  const json::Value* id = request.find("id");
  if (!id) return std::nullopt;
  switch (id->kind) {
    case json::Kind::null:
      return "null";
    case json::Kind::integer:
    case json::Kind::real:
    case json::Kind::out_of_range:
      return id->text;
    case json::Kind::string:
      break;
    default:
      return std::nullopt;
  }
  // Without a backslash in the whole text, a string's content is its source.
  if (source.find('\\') == std::string_view::npos) return '"' + id->text + '"';
  return std::string(raw_id(source));
}

}  // namespace ptwop::rpc
