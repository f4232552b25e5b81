// Standard output for data, standard error for messages.
#pragma once
#include <string>
#include <string_view>

#include "base/error.h"

namespace ptwop::ctl {

/// Collects data for standard output. Where its reader has gone away (`| head`), writing stops
/// quietly.
class Output {
 public:
  Output();
  void write(std::string_view text);
  void line(std::string_view text) { write(text), write("\n"); }
  /// Sends what was collected. False: nobody takes it any more, so there is no use in going on.
  bool flush();
  /// What to exit with after `code`: the same, unless data could not be written.
  int finish(int code);
  bool terminal() const { return terminal_; }
  /// Columns of the terminal; 100 where there is none.
  size_t columns() const;

 private:
  std::string buffer_;
  bool terminal_;
  int error_ = 0;  ///< errno of the first write that failed
};

/// `ptwopctl: message` on standard error, with nothing in it that a terminal would act on.
void complain(std::string_view message);
/// A message without the name in front.
void note(std::string_view message);

/// What a person can do about an error of the daemon; "" where its own message says it all.
std::string_view next_step(Code code);

}  // namespace ptwop::ctl
