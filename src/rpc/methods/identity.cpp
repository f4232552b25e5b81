#include "rpc/methods/methods.h"

namespace ptwop::rpc {

Result<void> identity_show(Request& request) {
  json::Writer(request.result()).object().key("id").string(request.backend.identity).end_object();
  return {};
}

}  // namespace ptwop::rpc
