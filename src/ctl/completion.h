// Completion: three small scripts that ask `ptwopctl __complete`.
#pragma once
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace ptwop::ctl {

/// The script for bash, zsh or fish; nothing for another shell.
std::optional<std::string_view> completion_script(std::string_view shell);

/// Names of the channels here; may ask the daemon.
using ChannelNames = std::function<std::vector<std::string>()>;
/// What can stand in the place of the last of `words` (those after `ptwopctl`; the last is the one
/// begun, or "").
std::vector<std::string> complete(std::span<const std::string> words, const ChannelNames& channels);

}  // namespace ptwop::ctl
