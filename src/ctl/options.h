// The flags of ptwopctl, and what a command line is made of.
#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace ptwop::ctl {

/// What ptwopctl exits with; for an error of the daemon see `ErrorRow::exit_code`.
enum Exit : int { kDone = 0, kFailed = 1, kUnreachable = 2, kUsage = 3 };

enum class Takes : uint8_t {
  nothing,
  optional /* only as --flag=V */,
  required /* --flag V or --flag=V */
};

struct Flag {
  std::string_view name;  ///< With its dashes.
  Takes takes;
  std::string_view value;  ///< How its value is called in help; "" = none.
  std::string_view summary;
};

/// In the order of the help.
std::span<const Flag> flags();

/// One word that is no flag. `literal`: it came after `--`, so it is neither name=value nor @file
/// nor -.
struct Word {
  std::string text;
  bool literal = false;
};

struct Options {
  std::string socket;  ///< --socket; empty = not given.
  std::optional<uint64_t> wait_ms;
  std::optional<uint64_t> timeout_ms;
  bool json = false;
  bool raw = false;
  bool bytes = false;
  bool all = false;
  bool help = false;
  bool version = false;
  std::optional<std::string> fallback;  ///< --default
  std::optional<std::string> sync;      ///< --sync: a did:key, or "any".
  std::vector<Word> words;
};

/// Flags may stand anywhere before `--`. A lone `-` and what starts with one dash and is no flag
/// (`-5`) are words.
Result<Options> parse_options(std::span<const std::string> arguments);

}  // namespace ptwop::ctl
