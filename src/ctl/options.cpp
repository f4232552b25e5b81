#include "ctl/options.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>

namespace ptwop::ctl {
namespace {

constexpr std::array kFlags = {
    Flag{"--json", Takes::nothing, "", "The result as one line of JSON (what a pipe gets anyway)"},
    Flag{"--raw", Takes::nothing, "", "Only the value: text without quotes, bytes as they are"},
    Flag{"--all", Takes::nothing, "", "Every page of a list, one entry a line"},
    Flag{"--bytes", Takes::nothing, "",
         "Send the value's argument, @file or - as bytes, not as JSON or text"},
    Flag{"--default", Takes::required, "V",
         "Print V, and exit with 0, where there is no such key or entry"},
    Flag{"--sync", Takes::optional, "PEER",
         "After a write, wait until PEER (a did:key), or any peer, has it"},
    Flag{"--wait", Takes::optional, "SEC",
         "Wait up to SEC (30) seconds for a daemon that is still starting"},
    Flag{"--timeout", Takes::required, "SEC", "Wait at most SEC (30) seconds for an answer"},
    Flag{"--socket", Takes::required, "PATH", "The daemon's socket (also PTWOP_SOCKET)"},
    Flag{"--help", Takes::nothing, "", "Help, also for a noun or a command"},
    Flag{"--version", Takes::nothing, "", "Print the version"},
};

constexpr uint64_t kWaitDefaultMs = 30'000;
constexpr double kSecondsMax = 7 * 24 * 3600;

Error wrong(std::string message) { return fail(Code::invalid_params, std::move(message)); }

Result<uint64_t> milliseconds(std::string_view flag, std::string_view text) {
  double seconds = 0;
  const auto [end, error] =
      std::from_chars(text.data(), text.data() + text.size(), seconds, std::chars_format::fixed);
  if (error != std::errc() || end != text.data() + text.size() ||
      !(seconds >= 0 && seconds <= kSecondsMax))
    return wrong(fmt::format("{} takes seconds from 0 to {}, not \"{}\".", flag,
                             static_cast<int>(kSecondsMax), text));
  return static_cast<uint64_t>(seconds * 1000);
}

Result<void> apply(Options& options, std::string_view flag,
                   const std::optional<std::string>& value) {
  if (flag == "--json") options.json = true;
  if (flag == "--raw") options.raw = true;
  if (flag == "--bytes") options.bytes = true;
  if (flag == "--all") options.all = true;
  if (flag == "--help") options.help = true;
  if (flag == "--version") options.version = true;
  if (flag == "--default") options.fallback = value;
  if (flag == "--sync") options.sync = value.value_or("any");
  if (flag == "--sync" && options.sync->empty())
    return wrong("--sync= takes a did:key; --sync alone means any peer.");
  if (flag == "--socket") options.socket = *value;
  if (flag == "--socket" && value->empty())
    return wrong("--socket takes a path, not an empty word.");
  if (flag == "--wait") {
    options.wait_ms = kWaitDefaultMs;
    if (value) {
      PTWOP_TRY(options.wait_ms, milliseconds(flag, *value));
    }
  }
  if (flag == "--timeout") {
    PTWOP_TRY(options.timeout_ms, milliseconds(flag, *value));
  }
  return {};
}

}  // namespace

std::span<const Flag> flags() { return kFlags; }

Result<Options> parse_options(std::span<const std::string> arguments) {
  Options options;
  for (size_t i = 0; i < arguments.size(); ++i) {
    const std::string& argument = arguments[i];
    if (argument == "--") {
      for (++i; i < arguments.size(); ++i) options.words.push_back({arguments[i], true});
      break;
    }
    if (!argument.starts_with("--") && argument != "-h") {
      options.words.push_back({argument});
      continue;
    }
    const size_t equals = argument.find('=');
    const std::string name = argument == "-h" ? "--help" : argument.substr(0, equals);
    std::optional<std::string> value;
    if (equals != std::string::npos) value = argument.substr(equals + 1);
    const auto flag = std::ranges::find(kFlags, name, &Flag::name);
    if (flag == kFlags.end())
      return wrong(
          fmt::format("There is no flag {}. Data that starts with dashes goes after --.", name));
    if (flag->takes == Takes::nothing && value)
      return wrong(fmt::format("{} takes no value.", name));
    if (flag->takes == Takes::required && !value) {
      if (++i == arguments.size())
        return wrong(fmt::format("{} needs {} after it.", name, flag->value));
      value = arguments[i];
    }
    PTWOP_CHECK(apply(options, name, value));
  }
  if (options.json && options.raw) return wrong("--json and --raw exclude each other.");
  return options;
}

}  // namespace ptwop::ctl
