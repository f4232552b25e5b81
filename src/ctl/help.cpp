#include "ctl/help.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <vector>

#include "ctl/arguments.h"
#include "ctl/schemas.h"
#include "ctl/text.h"
#include "ctl/values.h"

namespace ptwop::ctl {
namespace {

using rpc::Method;
using rpc::Param;

constexpr size_t kColumns = 100;

constexpr std::array kExtras = {
    Extra{"status", "status", "One screen: identity, Kubo, channels, peers, what is pending", ""},
    Extra{"doctor", "doctor",
          "Look for what keeps replicas from syncing, with a remedy for each finding",
          "Checks the daemon and its socket, Kubo, pubsub, p2p streams, clocks, disk space, peers, "
          "and each "
          "channel.\n"
          "Exits with 0 where all is well and with 1 where something was found."},
    Extra{
        "backup", "backup TO", "Back up the daemon's whole data folder while it runs",
        "The same as system backup. TO is a new folder, or that of the last backup: then only what "
        "is new\n"
        "is copied, and until that is complete the last backup stays usable. The private key is in "
        "it,\n"
        "unless it is kept out of the data folder: keep the backup as secret as that."},
    Extra{
        "restore", "restore FROM [DIR]", "Make a data folder from a backup",
        "Runs ptwopd --restore FROM, with --data DIR if DIR is given. The data folder must be "
        "empty "
        "or\n"
        "missing, and no daemon may use it. Every file is held against its hash: if one is wrong "
        "it "
        "is\n"
        "named, and nothing is restored. In every channel the restored daemon goes on with new "
        "lists "
        "of\n"
        "its own, so that nothing it wrote after the backup is contradicted: that comes back from "
        "the\n"
        "other replicas. Do not start the original again."},
    Extra{"call", "call METHOD [JSON|@file|-]",
          "Call a method with parameters as JSON (an object or a list)",
          "The result is printed as JSON, whatever standard output is."},
    Extra{"batch", "batch", "Run the requests on standard input, one a line, over one connection",
          "A line is a command without `ptwopctl` (kv put notes a 1), quoted as in a shell, or a "
          "JSON object\n"
          "{\"method\":…,\"params\":…}, with an \"id\" if you like. Empty lines and lines that "
          "start with # are\n"
          "skipped. Up to 64 requests are under way at once; each sees what the lines before it "
          "did: writes\n"
          "are pipelined with writes, reads with reads.\n"
          "Every request is answered by one line of JSON-RPC, in order, with its own \"id\" or "
          "else the\n"
          "number of its line. Exits with 1 if any of them failed."},
    Extra{"help", "help [NOUN [VERB]]", "Help for all, for a noun, or for one command", ""},
    Extra{"completion", "completion bash|zsh|fish", "Print a completion script for a shell",
          "bash:  source <(ptwopctl completion bash)\n"
          "zsh:   source <(ptwopctl completion zsh)\n"
          "fish:  ptwopctl completion fish | source"},
};

constexpr std::array<std::string_view, 6> kArgumentRules = {
    "name=value sets that parameter; all other words fill, in order, those that were not set by "
    "name. Only the "
    "command's own parameters count as names: the key a=b is a key.",
    "Texts (channels, keys, ids) are taken as they are: the key 123 is the text 123. A value is "
    "JSON where it parses as JSON, "
    "else text; '\"123\"' is the text 123.",
    "Where a value or JSON is asked for, @FILE stands for a file's content and - for standard "
    "input, without its last line end.",
    "With --bytes the value is sent as bytes, exactly as given; get it back with --raw.",
    "After -- every word is data: no flag, no name=, no @FILE, no -. Write `kv put notes key -- "
    "\"$text\"` in scripts.",
    "A result is a table or fields on a terminal, and one line of JSON in a pipe or with --json.",
};

constexpr std::array<std::string_view, 5> kExitCodes = {
    "0  done",
    "1  the daemon answered with an error (doctor: found something; batch: a request failed)",
    "2  the daemon cannot be reached, or did not answer in time",
    "3  wrong usage: nothing was sent",
    "4  there is no such key or entry",
};

std::string_view noun_of(const Method& method) {
  return method.name.substr(0, method.name.find('.'));
}

/// Rows of two columns.
std::string rows_of(const std::vector<std::pair<std::string, std::string>>& rows) {
  size_t first = 0;
  for (const auto& [left, right] : rows) first = std::max(first, std::min<size_t>(width(left), 50));
  std::string out;
  for (const auto& [left, right] : rows) {
    const size_t blanks = first - std::min(first, width(left));
    out += fmt::format("  {}{}  {}\n", left, std::string(blanks, ' '),
                       wrapped(right, kColumns, first + 4));
  }
  return out;
}

std::string overview() {
  std::string out =
      "ptwopctl: talk to ptwopd, a database beside your Kubo (IPFS) node\n\n"
      "Usage: ptwopctl NOUN VERB [VALUE … | NAME=VALUE …] [FLAG …]\n";
  std::vector<std::pair<std::string, std::string>> rows;
  for (const Extra& extra : kExtras) rows.emplace_back(extra.usage, extra.summary);
  out += "\n" + rows_of(rows);
  rows.clear();
  for (const Method& method : rpc::methods()) rows.emplace_back(words_of(method), method.summary);
  out += "\n" + rows_of(rows);
  rows.clear();
  for (const Flag& flag : flags())
    rows.emplace_back(flag.takes == Takes::nothing ? std::string(flag.name)
                      : flag.takes == Takes::optional
                          ? fmt::format("{}[={}]", flag.name, flag.value)
                          : fmt::format("{} {}", flag.name, flag.value),
                      flag.summary);
  out += "\nFlags:\n" + rows_of(rows) + "\nArguments:\n";
  for (const std::string_view rule : kArgumentRules)
    out += "  " + wrapped(rule, kColumns, 2) + '\n';
  out += "\nExit codes:\n";
  for (const std::string_view code : kExitCodes) out += fmt::format("  {}\n", code);
  return out + "\nptwopctl help NOUN VERB tells parameters, defaults, errors, and an example.\n";
}

std::string extra_help(const Extra& extra) {
  return fmt::format("ptwopctl {}\n\n{}.\n{}{}{}", extra.usage, extra.summary,
                     extra.details.empty() ? "" : "\n", extra.details,
                     extra.details.empty() ? "" : "\n");
}

}  // namespace

std::span<const Extra> extras() { return kExtras; }
const Extra* find_extra(std::string_view name) {
  const auto found = std::ranges::find(kExtras, name, &Extra::name);
  return found == kExtras.end() ? nullptr : found;
}
std::span<const std::string_view> argument_rules() { return kArgumentRules; }
std::span<const std::string_view> exit_codes() { return kExitCodes; }

std::string wrapped(std::string_view text, size_t columns, size_t indent) {
  std::string out;
  size_t used = indent;
  while (!text.empty()) {
    const size_t end = std::min(text.find(' '), text.size());
    const std::string_view word = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    const size_t size = width(word);
    if (used > indent && used + 1 + size > columns) {
      out += '\n' + std::string(indent, ' ');
      used = indent;
    } else if (used > indent) {
      out += ' ';
      ++used;
    }
    out += word;
    used += size;
  }
  return out;
}

std::string presence(const Param& param) {
  if (param.required) return "required";
  return param.fallback.empty() ? "optional" : fmt::format("default {}", param.fallback);
}

std::string takes(const Method& method, const Param& param) {
  const auto choices = Schemas::get().choices(method.name, param.name);
  return choices.empty() ? std::string(type_name(param.type))
                         : fmt::format("{}", fmt::join(choices, "|"));
}

std::string method_help(const Method& method) {
  const Schemas& schemas = Schemas::get();
  std::string out = fmt::format("{}\n\n{}.", usage_of(method), method.summary);
  if (const std::string_view more = schemas.description(method.name); !more.empty())
    out += ' ' + std::string(more);
  out = out.substr(0, out.find("\n\n") + 2) +
        wrapped(out.substr(out.find("\n\n") + 2), kColumns, 0) + '\n';
  std::vector<std::pair<std::string, std::string>> rows;
  for (const Param& param : method.params)
    rows.emplace_back(
        fmt::format("{:<10} {:<15} {:<17}", param.name, takes(method, param), presence(param)),
        param.summary);
  if (!rows.empty()) out += "\nParameters:\n" + rows_of(rows);
  out += fmt::format("\nResult: {}\n", fmt::join(schemas.result_members(method.name), ", "));
  rows.clear();
  for (const ErrorText& error : schemas.errors(method.name))
    rows.emplace_back(fmt::format("{:>6} {}", error.code, error.kind), error.message);
  if (!rows.empty()) out += "\nErrors:\n" + rows_of(rows);
  for (const Example& example : schemas.examples(method.name))
    out += fmt::format("\nExample: {}\n  $ ptwopctl {}\n  {}\n", example.name,
                       command_line(method, example.params),
                       cut(clean_json(to_json(example.result)), 400));
  return out;
}

Result<std::string> help_text(std::span<const std::string_view> words) {
  if (words.empty()) return overview();
  if (const Extra* extra = find_extra(words[0])) return extra_help(*extra);
  std::vector<Word> command;
  for (const std::string_view word : words) command.push_back({std::string(word)});
  if (command.size() == 1) {
    std::vector<std::pair<std::string, std::string>> rows;
    for (const Method& method : rpc::methods())
      if (noun_of(method) == words[0])
        rows.emplace_back(usage_of(method).substr(9), method.summary);
    if (!rows.empty()) return rows_of(rows);
  }
  PTWOP_TRY(const Method* method, find_command(command));
  return method_help(*method);
}

}  // namespace ptwop::ctl
