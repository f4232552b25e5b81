// Result<T>: a value or an Error. (std::expected is C++23.)
#pragma once
#include <cassert>
#include <optional>
#include <utility>
#include <variant>

#include "base/error.h"

namespace ptwop {

template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : data_(std::in_place_index<0>, std::move(value)) {}      // NOLINT: implicit
  Result(Error error) : data_(std::in_place_index<1>, std::move(error)) {}  // NOLINT: implicit
  bool ok() const { return data_.index() == 0; }
  explicit operator bool() const { return ok(); }
  T& value() {
    assert(ok());
    return std::get<0>(data_);
  }
  const T& value() const {
    assert(ok());
    return std::get<0>(data_);
  }
  T& operator*() { return value(); }
  const T& operator*() const { return value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }
  const Error& error() const {
    assert(!ok());
    return std::get<1>(data_);
  }

 private:
  std::variant<T, Error> data_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : error_(std::move(error)) {}  // NOLINT: implicit
  bool ok() const { return !error_; }
  explicit operator bool() const { return ok(); }
  const Error& error() const {
    assert(error_);
    return *error_;
  }

 private:
  std::optional<Error> error_;
};

inline Error fail(Code code, std::string message) { return Error{code, std::move(message)}; }

// PTWOP_CHECK(expr): returns the error of a Result expression, if it is one.
// PTWOP_TRY(declaration, expr): the same, else binds the value: PTWOP_TRY(auto cid,
// Cid::from_text(s));
#define PTWOP_CONCAT_(a, b) a##b
#define PTWOP_CONCAT(a, b) PTWOP_CONCAT_(a, b)
#define PTWOP_CHECK(expr)                                                \
  do {                                                                   \
    if (auto checked_ = (expr); !checked_.ok()) return checked_.error(); \
  } while (false)
#define PTWOP_TRY_(result, declaration, expr) \
  auto result = (expr);                       \
  if (!result.ok()) return result.error();    \
  declaration = std::move(*result)
#define PTWOP_TRY(declaration, expr) PTWOP_TRY_(PTWOP_CONCAT(result_, __LINE__), declaration, expr)

}  // namespace ptwop
