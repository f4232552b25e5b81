#include "rpc/dispatcher.h"

#include <fmt/format.h>

#include "base/log.h"
#include "rpc/methods/methods.h"
#include "rpc/reply.h"
#include "rpc/request_id.h"

namespace ptwop::rpc {
namespace {

using json::Kind;

/// The members of a request object; each null when absent.
struct Envelope {
  const json::Value* version = nullptr;
  const json::Value* method = nullptr;
  const json::Value* params = nullptr;
  const json::Value* id = nullptr;
};

Envelope open(const json::Value& request) {
  Envelope out;
  for (const auto& [name, value] : request.members) {
    if (name == "jsonrpc")
      out.version = &value;
    else if (name == "method")
      out.method = &value;
    else if (name == "params")
      out.params = &value;
    else if (name == "id")
      out.id = &value;
  }
  return out;
}

/// What is wrong with it as a request, or nothing.
std::string_view fault(const Envelope& envelope, bool usable_id) {
  if (!envelope.version || !envelope.version->is(Kind::string) || envelope.version->text != "2.0")
    return "A request has \"jsonrpc\":\"2.0\".";
  if (!envelope.method || !envelope.method->is(Kind::string))
    return "A request has a \"method\", a string.";
  if (envelope.params && !envelope.params->is(Kind::object) && !envelope.params->is(Kind::array))
    return "\"params\" is an object or a list.";
  if (!usable_id) return "An \"id\" is a string, a number or null.";
  return {};
}

}  // namespace

Dispatcher::Dispatcher(Backend& backend, std::shared_ptr<Mailbox> mailbox, Stats& stats)
    : backend_(backend), mailbox_(std::move(mailbox)), stats_(stats) {}

void Dispatcher::refuse(Code code, std::string message, std::string& out) {
  stats_.refuse(code);
  if (const auto times = refusals_.due())
    log::warn("rpc", "refused what is no request", {{"last", message}, {"times", *times}});
  append_error(out, "null", fail(code, std::move(message)));
}

Dispatcher::Outcome Dispatcher::start(const json::Value& request, std::string_view source,
                                      const std::shared_ptr<Caller>& caller, uint64_t tag,
                                      std::string& out) {
  ++stats_.requests;
  if (!request.is(Kind::object)) {
    refuse(Code::invalid_request, "A request is an object.", out);
    return Outcome::answered;
  }
  const Envelope envelope = open(request);
  const std::optional<std::string> id = envelope.id ? id_text(request, source) : std::nullopt;
  if (const std::string_view wrong = fault(envelope, !envelope.id || id); !wrong.empty()) {
    stats_.refuse(Code::invalid_request);
    append_error(out, id.value_or("null"), fail(Code::invalid_request, std::string(wrong)));
    return Outcome::answered;
  }
  if (!id) ++stats_.notifications;

  const size_t mark = out.size();
  const auto refused = [&](const Error& error) {
    stats_.refuse(error.code);
    out.resize(mark);
    if (id) append_error(out, *id, error);
    return Outcome::answered;
  };
  const Method* method = find_method(envelope.method->text);
  if (!method)
    return refused(fail(Code::method_not_found,
                        fmt::format("There is no method \"{}\".", shown(envelope.method->text))));
  const auto bound = bind_params(*method, envelope.params);
  if (!bound.ok()) return refused(bound.error());
  const MethodHandler& handler = handler_of(*method);
  if (!(handler.phases & in_phase(backend_.phase))) return refused(unready());

  const Request::Context context{backend_, stats_, mailbox_, caller, tag};
  Request call(context, *method, *bound, id, out);
  const Result<void> outcome = handler.run(call);
  if (const auto size = call.taken_later()) {
    ++stats_.in_flight;
    return *size == AnswerSize::large ? Outcome::later_large : Outcome::later;
  }
  if (!outcome.ok()) return refused(outcome.error());
  if (id)
    out += '}';
  else
    out.resize(mark);
  return Outcome::answered;
}

Error Dispatcher::unready() const {
  if (backend_.phase == Phase::stopping)
    return fail(Code::shutting_down, "The daemon is stopping.");
  return fail(
      Code::starting,
      fmt::format("The daemon is still starting: {}. Try again in a moment.", backend_.reason));
}

}  // namespace ptwop::rpc
