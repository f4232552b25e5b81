// `ptwopctl batch`: requests from lines, pipelined over one connection.
#pragma once
#include <string>
#include <string_view>

#include "ctl/command.h"
#include "ctl/output.h"
#include "ctl/session.h"

namespace ptwop::ctl {

/// One line of a batch: a request, or why it is none. `id`: JSON text, what the answer bears.
struct BatchLine {
  std::string id;
  Result<Call> call;
};
/// `number`: of the line, from 1; the id of what has none of its own.
BatchLine read_batch_line(std::string_view line, uint64_t number, Input& input);
/// Empty lines and comments are no requests.
bool is_skipped(std::string_view line);

/// Reads file descriptor `in` to its end. Returns the exit code.
int run_batch(Session& session, int in, Output& out);

}  // namespace ptwop::ctl
