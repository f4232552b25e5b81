#include "ctl/completion.h"

#include <algorithm>
#include <filesystem>

#include "ctl/arguments.h"
#include "ctl/help.h"
#include "ctl/schemas.h"

namespace ptwop::ctl {
namespace {

using rpc::Method;
using rpc::Param;

// The line is split at blanks and not at bash's own word breaks, which are = and : too; what bash
// then replaces is only the part after the last of those.
constexpr std::string_view kBash =
    R"sh(# bash completion for ptwopctl:  source <(ptwopctl completion bash)
_ptwopctl() {
  local line="${COMP_LINE:0:COMP_POINT}" current="" kept candidate
  local -a words
  read -ra words <<<"$line"
  [[ $line == *[[:blank:]] ]] || current="${words[-1]}"
  [[ $line == *[[:blank:]] ]] && words+=("")
  kept="${current%"${current##*[=:]}"}"
  COMPREPLY=()
  while IFS= read -r candidate; do
    candidate="${candidate#"$kept"}"
    [[ $candidate == *[=/] ]] && compopt -o nospace
    COMPREPLY+=("$(printf %q "$candidate")")
  done < <("${words[0]}" __complete -- "${words[@]:1}" 2>/dev/null)
  if ((${#COMPREPLY[@]} == 0)); then
    local at=""
    current="${current##*=}"
    if [[ $current == @* ]]; then
      at=@ current="${current#@}"
    elif [[ ${words[-2]} != --socket ]]; then
      return
    fi
    while IFS= read -r candidate; do
      [[ -d $candidate ]] && candidate+=/ && compopt -o nospace
      COMPREPLY+=("$at$(printf %q "$candidate")")
    done < <(compgen -f -- "$current")
  fi
}
complete -F _ptwopctl ptwopctl
)sh";

constexpr std::string_view kZsh = R"sh(#compdef ptwopctl
# zsh completion for ptwopctl:  source <(ptwopctl completion zsh)
_ptwopctl() {
  local -a candidates
  candidates=("${(@f)$("${words[1]}" __complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)}")
  candidates=(${candidates:#})
  if (($#candidates == 0)); then
    [[ $words[CURRENT-1] == --socket ]] || compset -P '(*=|)@' || return 1
    _files
    return
  fi
  compadd -S '' -- ${(M)candidates:#*[=/]}
  compadd -- ${candidates:#*[=/]}
}
if [[ ${funcstack[1]} == _ptwopctl ]]; then
  _ptwopctl "$@"
else
  compdef _ptwopctl ptwopctl
fi
)sh";

constexpr std::string_view kFish =
    R"sh(# fish completion for ptwopctl:  ptwopctl completion fish | source
function __ptwopctl_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    command ptwopctl __complete -- $words[2..-1] "$current" 2>/dev/null
    if set -l before (string match -r -- '^(?:[a-z_]+=)?@' $current)
        for file in (__fish_complete_path (string replace -- "$before" '' $current))
            echo $before$file
        end
    else if test "$words[-1]" = --socket
        __fish_complete_path $current
    end
end
complete -c ptwopctl -f -a '(__ptwopctl_complete)'
)sh";

/// The words without flags and their values; the last one stays whatever it is.
std::vector<std::string> without_flags(std::span<const std::string> words) {
  std::vector<std::string> out;
  for (size_t i = 0; i + 1 < words.size(); ++i) {
    const auto flag = std::ranges::find(flags(), words[i], &Flag::name);
    if (flag != flags().end() && flag->takes == Takes::required)
      ++i;
    else if (!words[i].starts_with("--"))
      out.push_back(words[i]);
  }
  out.push_back(words.back());
  return out;
}

/// What is in the folder that `begun` names up to its last slash.
std::vector<std::string> paths_like(std::string_view begun) {
  const std::string folder(begun.substr(0, begun.rfind('/') + 1));
  std::vector<std::string> out;
  std::error_code error;
  for (const auto& entry :
       std::filesystem::directory_iterator(folder.empty() ? "." : folder, error)) {
    const std::string name = entry.path().filename();
    const bool hidden = name.starts_with('.') && begun.substr(folder.size()).empty();
    if (!hidden) out.push_back(folder + name + (entry.is_directory(error) ? "/" : ""));
  }
  return out;
}

/// `begun`: what there is of the value.
std::vector<std::string> values_of(const Method& method, const Param& param, std::string_view begun,
                                   const ChannelNames& channels) {
  if (param.name == "channel") return channels();
  return param.type == rpc::ParamType::path ? paths_like(begun)
                                            : Schemas::get().choices(method.name, param.name);
}

std::vector<std::string> arguments_of(const Method& method, std::span<const std::string> words,
                                      const ChannelNames& channels) {
  const std::string& current = words.back();
  std::vector<std::string> out;
  const size_t equals = current.find('=');
  if (const Param* param =
          equals == std::string::npos ? nullptr : find_param(method, current.substr(0, equals))) {
    for (const std::string& value :
         values_of(method, *param, std::string_view(current).substr(equals + 1), channels))
      out.push_back(std::string(param->name) + '=' + value);
    return out;
  }
  std::vector<bool> set(method.params.size());
  size_t positional = 0;
  for (const std::string& word : words.first(words.size() - 1)) {
    const Param* param = word.find('=') == std::string::npos
                             ? nullptr
                             : find_param(method, word.substr(0, word.find('=')));
    if (param)
      set[static_cast<size_t>(param - method.params.data())] = true;
    else
      ++positional;
  }
  bool is_next = true;
  for (size_t i = 0; i < set.size(); ++i) {
    if (set[i]) continue;
    if (positional > 0) {
      --positional;
      continue;
    }
    const Param& param = method.params[i];
    if (is_next)
      for (std::string& value : values_of(method, param, current, channels))
        out.push_back(std::move(value));
    if (!is_next || !param.required) out.push_back(std::string(param.name) + '=');
    is_next = false;
  }
  return out;
}

std::vector<std::string> candidates(std::span<const std::string> all,
                                    const ChannelNames& channels) {
  std::vector<std::string> out;
  if (all.back().starts_with("-")) {
    for (const Flag& flag : flags()) out.emplace_back(flag.name);
    return out;
  }
  std::vector<std::string> words = without_flags(all);
  if (words.size() > 1 && words.front() == "help") words.erase(words.begin());
  if (words.size() == 1) {
    for (const Extra& extra : extras()) out.emplace_back(extra.name);
    for (const Method& method : rpc::methods())
      out.emplace_back(method.name.substr(0, method.name.find('.')));
    return out;
  }
  if (words.front() == "completion") return {"bash", "zsh", "fish"};
  if (words.front() == "backup" || words.front() == "restore") return paths_like(words.back());
  if (words.front() == "call")
    for (const Method& method : rpc::methods())
      if (words.size() == 2) out.emplace_back(method.name);
  if (words.size() == 2) {
    for (const Method& method : rpc::methods())
      if (method.name.starts_with(words.front() + '.'))
        out.emplace_back(method.name.substr(words.front().size() + 1));
    return out;
  }
  const Method* method = rpc::find_method(words[0] + '.' + words[1]);
  return method ? arguments_of(*method, std::span(words).subspan(2), channels) : out;
}

}  // namespace

std::optional<std::string_view> completion_script(std::string_view shell) {
  if (shell == "bash") return kBash;
  if (shell == "zsh") return kZsh;
  if (shell == "fish") return kFish;
  return std::nullopt;
}

std::vector<std::string> complete(std::span<const std::string> words,
                                  const ChannelNames& channels) {
  if (words.empty()) return {};
  std::vector<std::string> out = candidates(words, channels);
  std::erase_if(out,
                [&](const std::string& candidate) { return !candidate.starts_with(words.back()); });
  std::ranges::sort(out);
  out.erase(std::unique(out.begin(), out.end()), out.end());
  return out;
}

}  // namespace ptwop::ctl
