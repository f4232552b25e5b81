#include "rpc/request.h"

#include <fmt/format.h>

#include <atomic>
#include <charconv>

#include "rpc/reply.h"

namespace ptwop::rpc {
namespace {

using json::Kind;

std::string_view type_words(ParamType type) {
  switch (type) {
    case ParamType::string:
    case ParamType::path:
      return "a string";
    case ParamType::integer:
      return "an integer from -2^63 to 2^63-1";
    case ParamType::boolean:
      return "true or false";
    case ParamType::object:
      return "an object";
    case ParamType::array:
      return "a list";
    case ParamType::tokens:
      return "a string or a list of strings";
    case ParamType::value:
      break;
  }
  return "a value";
}

bool fits(ParamType type, const json::Value& value) {
  switch (type) {
    case ParamType::string:
    case ParamType::path:
      return value.is(Kind::string);
    case ParamType::integer:
      return value.is(Kind::integer);
    case ParamType::boolean:
      return value.is(Kind::boolean);
    case ParamType::object:
      return value.is(Kind::object);
    case ParamType::array:
      return value.is(Kind::array);
    case ParamType::value:
      return true;
    case ParamType::tokens:
      break;
  }
  if (value.is(Kind::string)) return true;
  if (!value.is(Kind::array)) return false;
  for (const json::Value& item : value.items)
    if (!item.is(Kind::string)) return false;
  return true;
}

size_t index_of(const Method& method, std::string_view name) {
  size_t index = 0;
  while (index < method.params.size() && method.params[index].name != name) ++index;
  return index;
}

}  // namespace

Result<Bound> bind_params(const Method& method, const json::Value* params) {
  Bound bound{};
  if (params && params->is(Kind::array)) {
    if (params->items.size() > method.params.size())
      return fail(Code::invalid_params, fmt::format("{} takes at most {} parameters.", method.name,
                                                    method.params.size()));
    for (size_t i = 0; i < params->items.size(); ++i) bound[i] = &params->items[i];
  } else if (params) {
    for (const auto& [name, value] : params->members) {
      const size_t index = index_of(method, name);
      if (index == method.params.size())
        return fail(Code::invalid_params,
                    fmt::format("{} has no parameter \"{}\".", method.name, shown(name)));
      bound[index] = &value;
    }
  }
  for (size_t i = 0; i < method.params.size(); ++i) {
    const Param& param = method.params[i];
    if (bound[i] && bound[i]->is(Kind::null) && param.type != ParamType::value) bound[i] = nullptr;
    if (!bound[i] && param.required)
      return fail(Code::invalid_params,
                  fmt::format("{} needs the parameter \"{}\".", method.name, param.name));
    if (bound[i] && !fits(param.type, *bound[i]))
      return fail(Code::invalid_params,
                  fmt::format("\"{}\" is {}.", param.name, type_words(param.type)));
  }
  return bound;
}

// --- Later ---------------------------------------------------------------------------------------

struct Later::State {
  State(std::shared_ptr<Mailbox> mailbox_in, std::shared_ptr<Caller> caller_in, uint64_t tag_in,
        AnswerSize size_in, std::optional<std::string> id_in)
      : mailbox(std::move(mailbox_in)),
        caller(std::move(caller_in)),
        tag(tag_in),
        size(size_in),
        id(std::move(id_in)) {}
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  ~State() {
    fail(ptwop::fail(Code::shutting_down,
                     "The daemon is stopping: this was not done, or not for sure."));
  }

  void fail(const Error& error) {
    if (settled.exchange(true)) return;
    std::string text;
    if (id) append_error(text, *id, error);
    mailbox->put({std::move(caller), tag, size, std::move(text), error.code});
  }

  void result(std::string_view object) {
    if (settled.exchange(true)) return;
    std::string text;
    if (id) {
      begin_result(text, *id);
      text += object;
      text += '}';
    }
    mailbox->put({std::move(caller), tag, size, std::move(text), std::nullopt});
  }

  std::shared_ptr<Mailbox> mailbox;
  std::shared_ptr<Caller> caller;
  uint64_t tag;
  AnswerSize size;
  std::optional<std::string> id;  ///< Nothing: a notification.
  std::atomic<bool> settled{false};
};

Later::Later(std::shared_ptr<Mailbox> mailbox, std::shared_ptr<Caller> caller, uint64_t tag,
             AnswerSize size, std::optional<std::string> id)
    : state_(std::make_shared<State>(std::move(mailbox), std::move(caller), tag, size,
                                     std::move(id))) {}
void Later::result(std::string_view object) const { state_->result(object); }
void Later::fail(const Error& error) const { state_->fail(error); }
void Later::settle(const Result<void>& outcome, std::string_view object) const {
  outcome.ok() ? result(object) : fail(outcome.error());
}

// --- Request -------------------------------------------------------------------------------------

std::string_view Request::text(size_t index) const {
  if (bound_[index]) return bound_[index]->text;
  std::string_view fallback =
      method_.params[index].fallback;  // "\"default\"": nothing to unescape in our own table
  if (fallback.empty()) return {};
  return fallback.substr(1, fallback.size() - 2);
}

int64_t Request::integer(size_t index) const {
  if (bound_[index]) return bound_[index]->integer;
  const std::string_view fallback = method_.params[index].fallback;
  int64_t number = 0;
  std::from_chars(fallback.data(), fallback.data() + fallback.size(), number);
  return number;
}

bool Request::boolean(size_t index) const {
  return bound_[index] ? bound_[index]->boolean : method_.params[index].fallback == "true";
}

std::string& Request::result() {
  if (id_) begin_result(out_, *id_);
  return out_;
}

void Request::take_back() { out_.resize(mark_); }

Later Request::later(AnswerSize size) {
  later_ = size;
  return {context_.mailbox, context_.caller, context_.tag, size, id_};
}

}  // namespace ptwop::rpc
