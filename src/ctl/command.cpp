#include "ctl/command.h"

#include <algorithm>

#include "ctl/arguments.h"
#include "ctl/values.h"

namespace ptwop::ctl {
namespace {

constexpr size_t kDepthMax = 1000;
constexpr int64_t kAnswerMsMax = 7LL * 24 * 3600 * 1000;

Error wrong(std::string message) { return fail(Code::invalid_params, std::move(message)); }

Result<Call> read_direct(const Options& options, Input& input) {
  const auto& words = options.words;
  if (words.size() < 2 || words.size() > 3)
    return wrong("Usage: ptwopctl call METHOD [JSON|@file|-]");
  if (options.bytes)
    return wrong("--bytes does not go with call: write {\"/\":{\"bytes\":\"…\"}}.");
  Call call{words[1].text, object_value(), true};
  if (words.size() == 2) return call;
  std::string text = words[2].text;
  if (!words[2].literal && (text == "-" || text.starts_with('@'))) {
    PTWOP_TRY(text, text == "-" ? input.standard_input() : input.file(text.substr(1)));
  }
  auto params = json::parse(text, kDepthMax);
  if (!params) return wrong("The parameters of call: " + params.error().message);
  if (!params->is(json::Kind::object) && !params->is(json::Kind::array))
    return wrong("The parameters of call are a JSON object or list.");
  call.params = std::move(*params);
  return call;
}

}  // namespace

Result<Call> read_call(const Options& options, Input& input) {
  if (!options.words.empty() && options.words[0].text == "call") return read_direct(options, input);
  PTWOP_TRY(const rpc::Method* method, find_command(options.words));
  PTWOP_TRY(json::Value params,
            read_arguments(*method, std::span(options.words).subspan(2), options.bytes, input));
  return Call{std::string(method->name), std::move(params)};
}

Result<std::vector<std::string>> split_words(std::string_view line) {
  std::vector<std::string> words;
  bool open = false;  // a word has begun, perhaps an empty one
  char quote = 0;
  for (size_t i = 0; i < line.size(); ++i) {
    const char c = line[i];
    const bool blank = c == ' ' || c == '\t' || c == '\r';
    if (quote == 0 && blank) {
      open = false;
      continue;
    }
    if (!open) words.emplace_back();
    open = true;
    if (c == quote)
      quote = 0;
    else if (quote == 0 && (c == '\'' || c == '"'))
      quote = c;
    else if (c == '\\' && quote == 0 && i + 1 < line.size())
      words.back() += line[++i];
    else if (c == '\\' && quote == '"' && i + 1 < line.size() &&
             (line[i + 1] == '"' || line[i + 1] == '\\'))
      words.back() += line[++i];
    else
      words.back() += c;
  }
  if (quote != 0) return wrong(std::string("The quote ") + quote + " is not closed.");
  return words;
}

uint64_t answer_ms(const Call& call) {
  // What works on files takes as long as it takes.
  const rpc::Method* method = rpc::find_method(call.method);
  if (method && param_of_type(*method, rpc::ParamType::path)) return kAnswerMsMax;
  return static_cast<uint64_t>(
      std::clamp<int64_t>(member_integer(call.params, "timeout_ms"), 0, kAnswerMsMax));
}

}  // namespace ptwop::ctl
