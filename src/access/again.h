// `again`: how the owner of a forked list makes cut-off nodes of its own count after all
// (formats.md, "Fork").
//
// A node of a later list of the same writer, and of the same sort (data or control), holds nothing
// but operations
//   ["again", block]
// each with one cut-off node as it was, signature and all. Such a node applies with its own time
// and ids, once for each CID, wherever it is written. formats.md names the nodes by CID only; here
// they travel along, so that they are there wherever the list is that names them, whoever else may
// have dropped a branch that did not count.
#pragma once
#include "access/body.h"

namespace ptwop::access {

Bytes again_op(BytesView block);
/// A node of these operations writes others again (read_again says whether it may).
bool is_again(const std::vector<Bytes>& ops);

/// A node that is written again, and its block.
struct Repeated {
  list::Node node;
  Bytes block;
};

/// What `ops` of `outer` write again. Errors (the outer node is void): an operation of another
/// kind, a node of another channel, writer or sort, of the same list, not older, of no valid
/// signature, or that itself writes again.
Result<std::vector<Repeated>> read_again(const list::Node& outer, const std::vector<Bytes>& ops);

}  // namespace ptwop::access
