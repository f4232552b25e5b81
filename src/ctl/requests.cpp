#include "ctl/requests.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/limits.h"
#include "ctl/command.h"
#include "ctl/help.h"
#include "ctl/progress.h"
#include "ctl/render.h"
#include "ctl/schemas.h"
#include "ctl/session.h"
#include "ctl/text.h"
#include "ctl/values.h"

namespace ptwop::ctl {
namespace {

constexpr uint64_t kSyncDefaultMs = 10'000;

class Request {
 public:
  Request(const Options& options, const Call& call, Session& session, Output& out)
      : options_(options), call_(call), session_(session), out_(out) {}

  int run() {
    if (options_.all) return all_pages();
    std::optional<Progress> progress;
    if (const json::Value* channel = call_.params.find("channel");
        call_.method == "channel.wait" && channel && channel->is(json::Kind::string))
      progress.emplace(session_.client().path(), std::string(member_text(call_.params, "channel")));
    const auto answer = session_.call(call_.method, call_.params, answer_ms(call_));
    progress.reset();
    if (!answer) return lost(answer.error());
    if (!answer->ok) return refused(answer->body);
    show(answer->body);
    return options_.sync ? sync(answer->body) : kDone;
  }

 private:
  int lost(const Error& error) {
    complain(error.message);
    return kUnreachable;
  }

  /// Says what the daemon's error means. Exit codes come from the error table.
  int refused(const json::Value& error) {
    const auto code =
        static_cast<Code>(member_integer(error, "code", static_cast<int>(Code::internal)));
    if (code == Code::not_found && options_.fallback) {
      show_fallback();
      return kDone;
    }
    const json::Value* data = error.find("data");
    const std::string_view kind = data ? member_text(*data, "kind") : "";
    if (options_.json) {
      note(clean_json(to_json(error)));
    } else {
      complain(fmt::format("{}: {} ({}{}{})", call_.method, member_text(error, "message"),
                           static_cast<int>(code), kind.empty() ? "" : " ", kind));
      if (const std::string_view next = next_step(code); !next.empty()) note(next);
    }
    return error_row(code).exit_code;
  }

  void show_fallback() {
    if (options_.raw || (out_.terminal() && !options_.json && !call_.direct))
      return out_.line(*options_.fallback);
    auto value = json::parse(*options_.fallback);
    json::Value result = object_value();
    set(result, "value", value ? std::move(*value) : text_value(*options_.fallback));
    show(result);
  }

  void show(const json::Value& result) {
    if (options_.raw) {
      const std::string raw = render_raw(result);
      // What was stored must not act on a terminal; a file or a pipe gets it as it is.
      out_.write(out_.terminal() ? clean_lines(raw) : raw);
    } else if (out_.terminal() && !options_.json && !call_.direct) {
      out_.write(render_human(result, out_.columns()));
      if (const std::string_view next = member_text(result, "next"); !next.empty())
        note(fmt::format("There are more: --all, or after={}", next));
    } else {
      out_.line(clean_json(to_json(result)));
    }
  }

  /// Entries one a line, page after page.
  int all_pages() {
    json::Value params = call_.params;
    if (!params.find("limit")) set(params, "limit", integer_value(limits::kPageMax));
    for (;;) {
      const auto answer = session_.call(call_.method, params);
      if (!answer) return lost(answer.error());
      if (!answer->ok) return refused(answer->body);
      const json::Value* entries = answer->body.find("entries");
      if (!entries) return lost(fail(Code::internal, "The answer holds no entries."));
      for (const json::Value& entry : entries->items) show_entry(entry);
      const std::string_view next = member_text(answer->body, "next");
      if (next.empty() || !out_.flush()) return kDone;
      if (next == member_text(params, "after"))
        return lost(fail(Code::internal, "The daemon answers the same page again and again."));
      set(params, "after", text_value(std::string(next)));
    }
  }

  void show_entry(const json::Value& entry) {
    if (!options_.raw) return out_.line(clean_json(to_json(entry)));
    const std::string raw = render_raw(entry);
    out_.write(out_.terminal() ? clean_lines(raw) : raw);
  }

  int sync(const json::Value& written) {
    out_.flush();
    const std::string token(member_text(written, "at"));
    const uint64_t limit_ms = options_.timeout_ms.value_or(kSyncDefaultMs);
    json::Value params = object_value();
    set(params, "channel", *call_.params.find("channel"));
    set(params, "at", text_value(token));
    set(params, "timeout_ms", integer_value(static_cast<int64_t>(limit_ms)));
    set(params, "peer", text_value(*options_.sync));
    constexpr uint64_t kGraceMs = 5'000;
    const auto answer =
        session_.client().call("channel.wait", to_json(params), in_ms(limit_ms + kGraceMs));
    if (answer && answer->ok) return kDone;
    const std::string_view whom =
        *options_.sync == "any" ? "any other replica" : std::string_view(*options_.sync);
    complain(fmt::format(
        "Written and kept here, but not known to be at {} within {} s: {}", whom,
        static_cast<double>(limit_ms) / 1000,
        answer ? member_text(answer->body, "message") : std::string_view(answer.error().message)));
    note(
        "It goes there on its own once both can reach each other. ptwopctl doctor looks for what "
        "is in the way.");
    return answer ? kFailed : kUnreachable;
  }

  const Options& options_;
  const Call& call_;
  Session& session_;
  Output& out_;
};

bool shows_value(std::string_view method) {
  const auto members = Schemas::get().result_members(method);
  return std::ranges::find(members, "value") != members.end();
}

/// Why the flags do not fit the method; "" if they do.
std::string misfit(const Options& options, const Call& call) {
  const Schemas& schemas = Schemas::get();
  if (options.all && !schemas.has_pages(call.method))
    return fmt::format("--all does not go with {}: it has no pages.", call.method);
  if (options.all && call.params.is(json::Kind::array)) return "--all needs parameters by name.";
  if (options.sync && !schemas.is_write(call.method))
    return fmt::format("--sync does not go with {}: it writes nothing.", call.method);
  if (options.sync && !call.params.find("channel")) return "--sync needs the channel by name.";
  if (options.fallback &&
      !(schemas.can_fail_with(call.method, "not_found") && shows_value(call.method)))
    return fmt::format("--default does not go with {}: it is for reading one key or entry.",
                       call.method);
  return "";
}

}  // namespace

int run_request(const Options& options, Output& out) {
  SystemInput input;
  const auto call = read_call(options, input);
  if (!call) {
    complain(call.error().message);
    return kUsage;
  }
  if (const std::string why = misfit(options, *call); !why.empty()) {
    complain(why);
    return kUsage;
  }
  auto session = Session::open(options);
  if (session) return Request(options, *call, *session, out).run();
  complain(session.error().message);
  return session.error().code == Code::invalid_params ? kUsage : kUnreachable;
}

}  // namespace ptwop::ctl
