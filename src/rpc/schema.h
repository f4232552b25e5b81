// The OpenRPC document (https://spec.open-rpc.org), bundled from rpc-schema/ at build time.
#pragma once
#include <string_view>

namespace ptwop::rpc {

/// One JSON object without optional whitespace: what rpc.discover answers, and what help texts are
/// made of.
std::string_view openrpc_document();

}  // namespace ptwop::rpc
