// The method table: one row a method. Everything that has to know the methods (dispatcher,
// ptwopctl, rpc.discover, the tests) reads it from here.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace ptwop::rpc {

enum class ParamType : uint8_t {
  string,
  integer,
  boolean,
  value,
  object,
  array,
  tokens, /* string or array of strings */
  path    /* string: absolute, on the daemon's machine */
};

struct Param {
  std::string_view name;
  ParamType type;
  bool required;
  std::string_view fallback;  ///< The default as JSON text; "" = none.
  std::string_view summary;
};

struct Method {
  std::string_view name;  ///< "kv.put"
  std::string_view summary;
  std::span<const Param> params;  ///< In positional order.
};

/// Sorted by name.
std::span<const Method> methods();
/// Null when there is none.
const Method* find_method(std::string_view name);

}  // namespace ptwop::rpc
