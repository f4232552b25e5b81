#include "rpc/methods/methods.h"
#include "rpc/schema.h"

namespace ptwop::rpc {

Result<void> rpc_discover(Request& request) {
  request.result() += openrpc_document();
  return {};
}

}  // namespace ptwop::rpc
