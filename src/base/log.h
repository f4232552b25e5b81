// Structured log lines on stderr: `2026-01-02T03:04:05.678Z info kubo: connected peer=12D3…
// version=0.43.0`.
#pragma once
#include <fmt/format.h>

#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>

namespace ptwop::log {

enum class Level { debug, info, warn, error };

/// "debug", "info", "warn", "error".
std::optional<Level> level_from(std::string_view name);
void set_level(Level level);
bool enabled(Level level);

struct Field {
  std::string_view name;
  std::string value;
  Field(std::string_view field_name, std::string_view text) : name(field_name), value(text) {}
  template <class Number>
  requires std::is_arithmetic_v<Number> Field(std::string_view field_name, Number number)
      : name(field_name), value(fmt::format("{}", number)) {}
};

/// One line; `where` is the room ("kubo", "engine"). Thread-safe. Values with spaces or control
/// characters are quoted and escaped. Never pass secrets, keys or stored values.
void write(Level level, std::string_view where, std::string_view message,
           std::initializer_list<Field> fields = {});

inline void debug(std::string_view where, std::string_view message,
                  std::initializer_list<Field> fields = {}) {
  if (enabled(Level::debug)) write(Level::debug, where, message, fields);
}
inline void info(std::string_view where, std::string_view message,
                 std::initializer_list<Field> fields = {}) {
  if (enabled(Level::info)) write(Level::info, where, message, fields);
}
inline void warn(std::string_view where, std::string_view message,
                 std::initializer_list<Field> fields = {}) {
  if (enabled(Level::warn)) write(Level::warn, where, message, fields);
}
inline void error(std::string_view where, std::string_view message,
                  std::initializer_list<Field> fields = {}) {
  write(Level::error, where, message, fields);
}

}  // namespace ptwop::log
