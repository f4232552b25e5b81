#include "ctl/run.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <vector>

#include "base/limits.h"
#include "ctl/batch.h"
#include "ctl/completion.h"
#include "ctl/doctor.h"
#include "ctl/help.h"
#include "ctl/man.h"
#include "ctl/output.h"
#include "ctl/render.h"
#include "ctl/requests.h"
#include "ctl/session.h"
#include "ctl/status.h"
#include "ctl/values.h"

namespace ptwop::ctl {
namespace {

constexpr uint64_t kCompletionMs = 300;

int wrong_usage(std::string_view message) {
  complain(message);
  return kUsage;
}

int print_help(std::span<const Word> words, Output& out) {
  std::vector<std::string_view> names;
  for (const Word& word : words) names.push_back(word.text);
  const auto text = help_text(names);
  if (!text) return wrong_usage(text.error().message);
  out.write(*text);
  return kDone;
}

int print_completion(std::span<const Word> words, Output& out) {
  const auto script = words.size() == 1 ? completion_script(words[0].text) : std::nullopt;
  if (!script) return wrong_usage("Usage: ptwopctl completion bash|zsh|fish");
  out.write(*script);
  return kDone;
}

int print_man(std::span<const Word> words, Output& out) {
  const auto page = words.size() == 1 ? man_page(words[0].text) : std::nullopt;
  if (!page) return wrong_usage("Usage: ptwopctl man ptwopctl|ptwopd");
  out.write(*page);
  return kDone;
}

/// Asks the daemon that the begun command line means, for a moment only.
std::vector<std::string> channel_names(std::span<const std::string> begun) {
  Options options;
  const std::string_view given = "--socket=";
  for (size_t i = 0; i + 1 < begun.size(); ++i) {
    if (begun[i] == "--socket") options.socket = begun[i + 1];
    if (begun[i].starts_with(given)) options.socket = begun[i].substr(given.size());
  }
  options.timeout_ms = kCompletionMs;
  std::vector<std::string> names;
  auto session = Session::open(options);
  if (!session) return names;
  const auto answer = session->call("channel.list", object_value());
  const json::Value* channels = answer && answer->ok ? answer->body.find("channels") : nullptr;
  if (!channels) return names;
  for (const json::Value& channel : channels->items)
    names.emplace_back(member_text(channel, "name"));
  return names;
}

int print_candidates(std::span<const Word> words, Output& out) {
  std::vector<std::string> begun;
  for (const Word& word : words) begun.push_back(word.text);
  for (const std::string& candidate : complete(begun, [&] { return channel_names(begun); }))
    out.line(candidate);
  return kDone;
}

int connected(const Options& options, Output& out, int (*use)(Session&, const Options&, Output&)) {
  auto session = Session::open(options);
  if (session) return use(*session, options, out);
  complain(session.error().message);
  return session.error().code == Code::invalid_params ? kUsage : kUnreachable;
}

int print_status(Session& session, const Options& options, Output& out) {
  const auto overview = read_overview(session);
  if (!overview) {
    complain(overview.error().message);
    return kUnreachable;
  }
  if (options.json)
    out.line(status_json(*overview));
  else
    out.write(status_text(*overview, unix_now_ms(), out.columns()));
  return kDone;
}

int batch(Session& session, const Options&, Output& out) {
  return run_batch(session, STDIN_FILENO, out);
}

/// Flags that an extra command has no use for.
std::string_view unused_flag(const Options& options, bool may_json) {
  if (options.raw) return "--raw";
  if (options.bytes) return "--bytes";
  if (options.all) return "--all";
  if (options.fallback) return "--default";
  if (options.sync) return "--sync";
  if (options.json && !may_json) return "--json";
  return "";
}

/// ptwopd does it: the one beside this program, else the one in $PATH.
int run_restore(std::span<const Word> words, Output& out) {
  if (words.empty() || words.size() > 2) return wrong_usage("Usage: ptwopctl restore FROM [DIR]");
  std::error_code error;
  const auto own = std::filesystem::read_symlink("/proc/self/exe", error);
  // Installed they are in one folder, in a build folder in two.
  std::string program = "ptwopd";
  for (const auto& path : {own.parent_path() / "ptwopd", own.parent_path() / "../app/ptwopd"})
    if (!error && ::access(path.c_str(), X_OK) == 0) {
      program = path;
      break;
    }
  std::vector<std::string> arguments = {program, "--restore", words[0].text};
  if (words.size() == 2) arguments.insert(arguments.end(), {"--data", words[1].text});
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  out.flush();
  ::execvp(argv[0], argv.data());
  complain(fmt::format("Cannot run {}: {}", program, std::strerror(errno)));
  return kFailed;
}

int run_extra(const Options& options, Output& out) {
  const std::string& name = options.words[0].text;
  const auto rest = std::span(options.words).subspan(1);
  if (const auto flag =
          unused_flag(options, name == "status" || name == "doctor" || name == "batch");
      !flag.empty())
    return wrong_usage(fmt::format("{} does not go with {}.", flag, name));
  if (name == "help") return print_help(rest, out);
  if (name == "completion") return print_completion(rest, out);
  if (name == "restore") return run_restore(rest, out);
  if (!rest.empty()) return wrong_usage(fmt::format("{} takes no arguments.", name));
  if (name == "doctor") return run_doctor(options, out);
  return connected(options, out, name == "batch" ? batch : print_status);
}

int dispatch(const Options& options, Output& out) {
  if (options.version) {
    out.line("ptwopctl " PTWOP_VERSION);
    return kDone;
  }
  const auto& words = options.words;
  if (options.help)
    return print_help(std::span(words).first(std::min<size_t>(words.size(), 2)), out);
  if (words.empty()) return wrong_usage("A command is missing. ptwopctl help lists them.");
  const auto rest = std::span(words).subspan(1);
  if (words[0].text == "__complete") return print_candidates(rest, out);
  if (words[0].text == "man") return print_man(rest, out);
  if (words[0].text == "backup") {
    Options same = options;
    same.words[0].text = "system";
    same.words.insert(same.words.begin() + 1, Word{"backup"});
    return run_request(same, out);
  }
  if (words[0].text != "call" && find_extra(words[0].text)) return run_extra(options, out);
  return run_request(options, out);
}

}  // namespace

int run(std::span<const std::string> arguments) {
  Output out;
  const auto options = parse_options(arguments);
  if (!options) return wrong_usage(options.error().message);
  return out.finish(dispatch(*options, out));
}

}  // namespace ptwop::ctl
