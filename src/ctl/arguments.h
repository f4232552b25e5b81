// The grammar `<noun> <verb> [positional or name=value …]`, derived from the method table.
#pragma once
#include <span>
#include <string>

#include "base/json.h"
#include "ctl/input.h"
#include "ctl/options.h"
#include "rpc/method.h"

namespace ptwop::ctl {

/// The method that the first two words name. The error lists what there is, or what is near.
Result<const rpc::Method*> find_command(std::span<const Word> words);

/// The parameters (an object) that the words after noun and verb stand for:
/// - `name=value` sets that parameter if the method has one of that name; all other words fill, in
/// order, the
///   parameters that were not set by name.
/// - A string is taken as it is, never as JSON. A value is JSON if it parses as JSON, else text.
/// Tokens are one token, a JSON
///   list of them, or a result that holds them as `at`.
/// - For values, tokens, objects and lists `@path` stands for a file's content and `-` for standard
/// input, without a final line
///   end.
/// - After `--` a word is data: no name=value, no @file, no -.
/// With `bytes` the method's value is the raw content, sent as {"/":{"bytes":…}}.
Result<json::Value> read_arguments(const rpc::Method& method, std::span<const Word> words,
                                   bool bytes, Input& input);

/// `ptwopctl kv put CHANNEL KEY VALUE [ttl_ms=INTEGER] …`
std::string usage_of(const rpc::Method& method);
/// The words of a command that read_arguments turns into `params`, quoted for a shell: `kv put
/// notes greeting hello`.
std::string command_line(const rpc::Method& method, const json::Value& params);
/// "kv.put" → "kv put"
std::string words_of(const rpc::Method& method);
/// How a type is called in help: TEXT, INTEGER, …
std::string_view type_name(rpc::ParamType type);
/// The parameter of that type, or null.
const rpc::Param* param_of_type(const rpc::Method& method, rpc::ParamType type);
const rpc::Param* find_param(const rpc::Method& method, std::string_view name);

/// The nearest of `candidates` where it could be a slip of the pen, else "".
std::string_view nearest(std::string_view word, std::span<const std::string_view> candidates);

}  // namespace ptwop::ctl
