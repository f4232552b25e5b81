#include "ctl/arguments.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <optional>
#include <vector>

#include "base/bytes.h"
#include "ctl/text.h"
#include "ctl/values.h"

namespace ptwop::ctl {
namespace {

using rpc::Method;
using rpc::Param;
using rpc::ParamType;

Error wrong(std::string message) { return fail(Code::invalid_params, std::move(message)); }

/// Answers and values may be nested deeper than a request.
constexpr size_t kDepthMax = 1000;

bool reads_sources(ParamType type) {
  return type == ParamType::value || type == ParamType::object || type == ParamType::array ||
         type == ParamType::tokens;
}

json::Value bytes_value(BytesView bytes) {
  json::Value inner = object_value();
  set(inner, "bytes", text_value(base64(bytes)));
  json::Value outer = object_value();
  set(outer, "/", std::move(inner));
  return outer;
}

Result<json::Value> json_or_text(const Param& param, std::string text) {
  if (auto parsed = json::parse(text, kDepthMax)) return parsed;
  if (!valid_utf8(text))
    return wrong(fmt::format(
        "{} is no valid UTF-8: nothing was sent. With --bytes it is sent as bytes.", param.name));
  return text_value(std::move(text));
}

Result<json::Value> tokens(const Param& param, const std::string& text) {
  PTWOP_TRY(json::Value value, json_or_text(param, text));
  if (const json::Value* at = value.find("at")) return json::Value(*at);
  if (value.is(json::Kind::array) || value.is(json::Kind::string)) return value;
  return text_value(text);  // A token may look like a number.
}

/// The daemon has another working directory than whoever types.
Result<json::Value> path(const Param& param, const std::string& text) {
  std::error_code error;
  const auto whole = std::filesystem::absolute(text, error).lexically_normal();
  if (text.empty() || error) return wrong(fmt::format("{} is no path.", param.name));
  if (!valid_utf8(whole.native()))
    return wrong(fmt::format("{} is no valid UTF-8: \"{}\".", param.name, clean(whole.native())));
  return text_value(whole.string());
}

/// The content of one argument as the JSON that its type asks for.
Result<json::Value> typed(const Param& param, std::string text) {
  switch (param.type) {
    case ParamType::string:
      if (!valid_utf8(text)) return wrong(fmt::format("{} is no valid UTF-8.", param.name));
      return text_value(std::move(text));
    case ParamType::path:
      return path(param, text);
    case ParamType::value:
      return json_or_text(param, std::move(text));
    case ParamType::tokens:
      return tokens(param, text);
    default:
      break;
  }
  const auto parsed = json::parse(text, kDepthMax);
  const auto is = [&](json::Kind kind) { return parsed.ok() && parsed->is(kind); };
  if (param.type == ParamType::integer && !is(json::Kind::integer))
    return wrong(fmt::format("{} takes an integer of 64 bits, not \"{}\".", param.name,
                             clean(cut(text, 60))));
  if (param.type == ParamType::boolean && !is(json::Kind::boolean))
    return wrong(
        fmt::format("{} takes true or false, not \"{}\".", param.name, clean(cut(text, 60))));
  if (param.type == ParamType::object && !is(json::Kind::object))
    return wrong(fmt::format("{} takes a JSON object{}", param.name,
                             parsed ? "." : ": " + parsed.error().message));
  if (param.type == ParamType::array && !is(json::Kind::array))
    return wrong(fmt::format("{} takes a JSON list{}", param.name,
                             parsed ? "." : ": " + parsed.error().message));
  return *parsed;
}

Result<json::Value> argument(const Param& param, std::string text, bool literal, bool bytes,
                             Input& input) {
  bool from_source = false;
  if (!literal && reads_sources(param.type) && (text == "-" || text.starts_with('@'))) {
    PTWOP_TRY(text, text == "-" ? input.standard_input() : input.file(text.substr(1)));
    from_source = true;
  }
  if (bytes && param.type == ParamType::value) return bytes_value(text);
  if (from_source && text.ends_with('\n')) text.pop_back();
  return typed(param, std::move(text));
}

/// The parameter that `name=value` means, or null.
const Param* named(const Method& method, const Word& word) {
  const size_t equals = word.text.find('=');
  return word.literal || equals == std::string::npos
             ? nullptr
             : find_param(method, word.text.substr(0, equals));
}

size_t distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t above = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, diagonal + (a[i - 1] == b[j - 1] ? 0 : 1)});
      diagonal = above;
    }
  }
  return row.back();
}

Error unknown_noun(std::string_view word) {
  std::vector<std::string_view> nouns = {"status", "call",    "batch", "doctor",
                                         "backup", "restore", "help",  "completion"};
  for (const Method& method : rpc::methods())
    if (const auto noun = method.name.substr(0, method.name.find('.'));
        std::ranges::find(nouns, noun) == nouns.end())
      nouns.push_back(noun);
  const std::string_view near = nearest(word, nouns);
  return wrong(
      near.empty()
          ? fmt::format("There is no command \"{}\". ptwopctl help lists them.", clean(word))
          : fmt::format("There is no command \"{}\". Did you mean {}?", clean(word), near));
}

}  // namespace

std::string_view nearest(std::string_view word, std::span<const std::string_view> candidates) {
  std::string_view best;
  size_t best_distance = 3;
  if (word.size() <= 64)
    for (const std::string_view candidate : candidates)
      if (const size_t d = distance(word, candidate); d < best_distance && d < candidate.size()) {
        best = candidate;
        best_distance = d;
      }
  return best;
}

Result<const Method*> find_command(std::span<const Word> words) {
  if (words.empty()) return wrong("A command is missing. ptwopctl help lists them.");
  const std::string prefix = words[0].text + '.';
  std::vector<std::string_view> verbs;
  for (const Method& method : rpc::methods())
    if (method.name.starts_with(prefix)) verbs.push_back(method.name.substr(prefix.size()));
  if (verbs.empty()) return unknown_noun(words[0].text);
  if (words.size() < 2)
    return wrong(fmt::format("{} what? One of: {}.", words[0].text, fmt::join(verbs, ", ")));
  if (const Method* method = rpc::find_method(prefix + words[1].text)) return method;
  const std::string_view near = nearest(words[1].text, verbs);
  return wrong(fmt::format("There is no command \"{} {}\". {}", words[0].text, clean(words[1].text),
                           near.empty()
                               ? fmt::format("{} has: {}.", words[0].text, fmt::join(verbs, ", "))
                               : fmt::format("Did you mean {} {}?", words[0].text, near)));
}

Result<json::Value> read_arguments(const Method& method, std::span<const Word> words, bool bytes,
                                   Input& input) {
  if (bytes && !param_of_type(method, ParamType::value))
    return wrong(fmt::format("{} takes no value that --bytes could send.", words_of(method)));
  std::vector<std::optional<json::Value>> given(method.params.size());
  std::vector<const Word*> positional;
  for (const Word& word : words) {
    const Param* param = named(method, word);
    if (!param) {
      positional.push_back(&word);
      continue;
    }
    auto& slot = given[static_cast<size_t>(param - method.params.data())];
    if (slot) return wrong(fmt::format("{} is given twice.", param->name));
    PTWOP_TRY(slot,
              argument(*param, word.text.substr(param->name.size() + 1), false, bytes, input));
  }
  size_t at = 0;
  for (const Word* word : positional) {
    while (at < given.size() && given[at]) ++at;
    if (at == given.size())
      return wrong(fmt::format("There is no parameter left for \"{}\".\nUsage: {}",
                               clean(cut(word->text, 60)), usage_of(method)));
    PTWOP_TRY(given[at], argument(method.params[at], word->text, word->literal, bytes, input));
  }
  json::Value params = object_value();
  for (size_t i = 0; i < given.size(); ++i) {
    if (!given[i] && method.params[i].required)
      return wrong(
          fmt::format("{} is missing.\nUsage: {}", method.params[i].name, usage_of(method)));
    if (given[i]) set(params, method.params[i].name, std::move(*given[i]));
  }
  return params;
}

const Param* find_param(const Method& method, std::string_view name) {
  const auto param = std::ranges::find(method.params, name, &Param::name);
  return param == method.params.end() ? nullptr : &*param;
}

const Param* param_of_type(const Method& method, ParamType type) {
  const auto param = std::ranges::find(method.params, type, &Param::type);
  return param == method.params.end() ? nullptr : &*param;
}

std::string words_of(const Method& method) {
  std::string out(method.name);
  std::ranges::replace(out, '.', ' ');
  return out;
}

std::string_view type_name(ParamType type) {
  switch (type) {
    case ParamType::string:
      return "TEXT";
    case ParamType::path:
      return "PATH";
    case ParamType::integer:
      return "INTEGER";
    case ParamType::boolean:
      return "true|false";
    case ParamType::value:
      return "JSON|TEXT";
    case ParamType::object:
      return "JSON-OBJECT";
    case ParamType::array:
      return "JSON-LIST";
    case ParamType::tokens:
      return "TOKEN|JSON-LIST";
  }
  return "";
}

std::string usage_of(const Method& method) {
  std::string out = "ptwopctl " + words_of(method);
  for (const Param& param : method.params) {
    std::string upper(param.name);
    for (char& c : upper)
      if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
    out +=
        param.required ? " " + upper : fmt::format(" [{}={}]", param.name, type_name(param.type));
  }
  return out;
}

std::string command_line(const Method& method, const json::Value& params) {
  std::string out = words_of(method);
  for (const Param& param : method.params) {
    const json::Value* value = params.find(param.name);
    if (!value) continue;
    const bool source =
        reads_sources(param.type) && (value->text == "-" || value->text.starts_with('@'));
    const bool bare =
        value->is(json::Kind::string) && !source &&
        (param.type == ParamType::string || param.type == ParamType::path ||
         param.type == ParamType::tokens || !json::parse(value->text, kDepthMax).ok());
    const std::string text = bare ? value->text : to_json(*value);
    const bool ambiguous = named(method, {text}) || text.starts_with('-');
    out += ' ';
    if (!param.required || ambiguous) out += std::string(param.name) + '=';
    out += shell_quoted(text);
  }
  return out;
}

}  // namespace ptwop::ctl
