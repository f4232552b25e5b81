// One request as a method sees it: its parameters, what it stands on, and where its answer goes.
#pragma once
#include <array>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/json.h"
#include "base/result.h"
#include "rpc/backend.h"
#include "rpc/mailbox.h"
#include "rpc/method.h"

namespace ptwop::rpc {

inline constexpr size_t kParamsMax = 8;

/// The parameters of one request in the order of the method's row; null where absent.
using Bound = std::array<const json::Value*, kParamsMax>;

/// Sorts `params` (an object, an array, or null when there are none) into the method's row.
/// invalid_params for unknown names, too many, missing ones and wrong types. A null counts as
/// absent but for the type `value`.
Result<Bound> bind_params(const Method& method, const json::Value* params);

/// An answer that comes later, from any thread. Copies share one answer: the first call settles it.
/// When all copies are gone unsettled, the answer is -32000: what it was waiting for will not run
/// any more.
class Later {
 public:
  Later(std::shared_ptr<Mailbox> mailbox, std::shared_ptr<Caller> caller, uint64_t tag,
        AnswerSize size, std::optional<std::string> id);

  void result(std::string_view object) const;  ///< One JSON object.
  void fail(const Error& error) const;
  void settle(const Result<void>& outcome, std::string_view object) const;

  /// A callback that renders what it is given: `render(json::Writer&, T&)` inside an open object.
  template <class T, class Render>
  std::function<void(Result<T>)> done(Render render) const {
    return [later = *this, render](Result<T> outcome) {
      if (!outcome.ok()) return later.fail(outcome.error());
      std::string object;
      json::Writer w(object);
      w.object();
      render(w, *outcome);
      w.end_object();
      later.result(object);
    };
  }

 private:
  struct State;
  std::shared_ptr<State> state_;
};

/// Valid while the method's function runs. The function writes one object to `result()` and
/// returns, or takes `later()` and returns, or returns an error.
class Request {
 public:
  struct Context {
    Backend& backend;
    const Stats& stats;
    const std::shared_ptr<Mailbox>& mailbox;
    const std::shared_ptr<Caller>& caller;
    uint64_t tag;
  };
  Request(const Context& context, const Method& method, const Bound& bound,
          const std::optional<std::string>& id, std::string& out)
      : backend(context.backend),
        stats(context.stats),
        context_(context),
        method_(method),
        bound_(bound),
        id_(id),
        out_(out),
        mark_(out.size()) {}

  Backend& backend;
  const Stats& stats;

  // Parameters by their place in the row; the row's default where they are absent.
  bool has(size_t index) const { return bound_[index] != nullptr; }
  std::string_view text(size_t index) const;  ///< Empty when absent without a default.
  int64_t integer(size_t index) const;
  bool boolean(size_t index) const;
  const json::Value& value(size_t index) const { return *bound_[index]; }
  std::string_view method() const { return method_.name; }

  std::string& result();
  void take_back();  ///< Undoes `result()`.
  Later later(AnswerSize size = AnswerSize::small);
  /// The size given to `later`; nothing when it was not called.
  std::optional<AnswerSize> taken_later() const { return later_; }

 private:
  const Context& context_;
  const Method& method_;
  const Bound& bound_;
  const std::optional<std::string>& id_;
  std::string& out_;
  size_t mark_;
  std::optional<AnswerSize> later_;
};

/// What every file in methods/ offers.
using Handler = Result<void> (*)(Request& request);

}  // namespace ptwop::rpc
