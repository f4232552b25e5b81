#include "base/log.h"

#include <unistd.h>

#include <atomic>
#include <chrono>
#include <ctime>
#include <iterator>

#include "base/bytes.h"
#include "base/json.h"

namespace ptwop::log {
namespace {

constexpr std::string_view kNames[] = {"debug", "info", "warn", "error"};

std::atomic<Level> threshold{Level::info};

void append_time(std::string& line) {
  using namespace std::chrono;
  const auto now = system_clock::now();
  const std::time_t seconds = system_clock::to_time_t(now);
  const auto ms = duration_cast<milliseconds>(now.time_since_epoch()).count() % 1000;
  std::tm utc{};
  gmtime_r(&seconds, &utc);
  fmt::format_to(std::back_inserter(line), "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
                 utc.tm_year + 1900, utc.tm_mon + 1, utc.tm_mday, utc.tm_hour, utc.tm_min,
                 utc.tm_sec, ms);
}

bool plain(std::string_view text) {
  if (text.empty() || !valid_utf8(text)) return false;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte <= ' ' || byte == 0x7f || c == '"' || c == '\\') return false;
  }
  return true;
}

// What a stranger sent must not forge a second line or drive a terminal.
void append_message(std::string& line, std::string_view message) {
  for (const char c : message) {
    const auto byte = static_cast<unsigned char>(c);
    line += byte < ' ' || byte == 0x7f ? ' ' : c;
  }
}

}  // namespace

std::optional<Level> level_from(std::string_view name) {
  for (size_t i = 0; i < std::size(kNames); ++i)
    if (kNames[i] == name) return static_cast<Level>(i);
  return std::nullopt;
}

void set_level(Level level) { threshold = level; }
bool enabled(Level level) { return level >= threshold.load(std::memory_order_relaxed); }

void write(Level level, std::string_view where, std::string_view message,
           std::initializer_list<Field> fields) {
  std::string line;
  append_time(line);
  fmt::format_to(std::back_inserter(line), " {} {}: ", kNames[static_cast<size_t>(level)], where);
  append_message(line, message);
  for (const Field& field : fields) {
    line += ' ';
    line += field.name;
    line += '=';
    if (plain(field.value))
      line += field.value;
    else
      json::append_string(line, field.value);
  }
  line += '\n';
  // One call, so that lines of several threads do not mix; a log that cannot be written is nobody's
  // error.
  [[maybe_unused]] const auto written = ::write(STDERR_FILENO, line.data(), line.size());
}

}  // namespace ptwop::log
