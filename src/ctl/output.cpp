#include "ctl/output.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "ctl/options.h"
#include "ctl/text.h"

namespace ptwop::ctl {
namespace {

constexpr size_t kFlushBytes = 64 << 10;

/// 0, or errno.
int write_all(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t count = ::write(fd, text.data(), text.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return errno;
    text.remove_prefix(static_cast<size_t>(count));
  }
  return 0;
}

}  // namespace

Output::Output() : terminal_(::isatty(STDOUT_FILENO) == 1) {}

void Output::write(std::string_view text) {
  buffer_ += text;
  if (buffer_.size() >= kFlushBytes) flush();
}

bool Output::flush() {
  if (error_ == 0) error_ = write_all(STDOUT_FILENO, buffer_);
  buffer_.clear();
  return error_ == 0;
}

int Output::finish(int code) {
  if (flush() || error_ == EPIPE) return code;
  complain(fmt::format(
      "The answer could not be written to standard output: {}. What ptwopd did before stays done.",
      std::strerror(error_)));
  return code == kDone ? kFailed : code;
}

size_t Output::columns() const {
  winsize size{};
  return terminal_ && ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0
             ? size.ws_col
             : 100;
}

void complain(std::string_view message) { note("ptwopctl: " + std::string(message)); }

void note(std::string_view message) { write_all(STDERR_FILENO, clean_lines(message) + "\n"); }

std::string_view next_step(Code code) {
  switch (code) {
    case Code::starting:
      return "Try again in a moment, or use --wait.";
    case Code::overloaded:
      return "Nothing was done. Try again in a moment.";
    case Code::not_permitted:
      return "Run ptwopctl as the user that ptwopd runs as, or as a member of its group.";
    case Code::method_not_found:
      return "This ptwopd does not know the command: is it older than ptwopctl?";
    case Code::no_channel:
      return "ptwopctl channel list shows the channels here.";
    case Code::wrong_type:
      return "ptwopctl channel list shows each channel's type.";
    case Code::no_manifest:
      return "ptwopctl doctor looks for what keeps this replica from syncing.";
    case Code::not_reached:
      return "What is written stays written. ptwopctl doctor looks for what keeps replicas from "
             "syncing.";
    case Code::no_read_key:
    case Code::no_write_role:
      return "An admin of the channel runs: ptwopctl channel grant CHANNEL ID ROLE, with the ID "
             "that "
             "ptwopctl identity show prints here.";
    case Code::kubo_offline:
      return "ptwopctl doctor tells more.";
    case Code::disk_full:
      return "Free some space, then write again: reading goes on meanwhile.";
    default:
      return "";
  }
}

}  // namespace ptwop::ctl
