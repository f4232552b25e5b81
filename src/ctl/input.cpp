#include "ctl/input.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/limits.h"

namespace ptwop::ctl {
namespace {

Result<std::string> read_all(int fd, std::string_view name) {
  std::string out;
  char chunk[64 << 10];
  for (;;) {
    const ssize_t got = ::read(fd, chunk, sizeof chunk);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0)
      return fail(Code::invalid_params,
                  fmt::format("{} cannot be read: {}.", name, std::strerror(errno)));
    if (got == 0) return out;
    out.append(chunk, static_cast<size_t>(got));
    if (out.size() > limits::kRequestBytesMax)
      return fail(
          Code::invalid_params,
          fmt::format("{} holds more than the {} MiB of a request: nothing was sent. Split it.",
                      name, limits::kRequestBytesMax >> 20));
  }
}

}  // namespace

Result<std::string> SystemInput::file(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0)
    return fail(Code::invalid_params,
                fmt::format("{} cannot be opened: {}. (Text that starts with @ goes after --.)",
                            path, std::strerror(errno)));
  auto content = read_all(fd, path);
  ::close(fd);
  return content;
}

Result<std::string> SystemInput::standard_input() {
  if (used_) return fail(Code::invalid_params, "Standard input (-) can be read only once.");
  used_ = true;
  return read_all(STDIN_FILENO, "standard input");
}

Result<std::string> BatchInput::standard_input() {
  return fail(Code::invalid_params,
              "In a batch, - is not available: standard input holds the lines. Use @file.");
}

}  // namespace ptwop::ctl
