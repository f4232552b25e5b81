#include "rpc/reply.h"

#include "base/json.h"

namespace ptwop::rpc {

void begin_result(std::string& out, std::string_view id) {
  out += R"({"jsonrpc":"2.0","id":)";
  out += id;
  out += R"(,"result":)";
}

void append_error(std::string& out, std::string_view id, const Error& error) {
  const ErrorRow& row = error_row(error.code);
  out += R"({"jsonrpc":"2.0","id":)";
  out += id;
  out += R"(,"error":)";
  json::Writer w(out);
  w.object()
      .key("code")
      .number(static_cast<int64_t>(row.code))
      .key("message")
      .string(error.message);
  w.key("data").object().key("kind").string(row.kind).key("retryable").boolean(row.retryable);
  w.end_object().end_object();
  out += '}';
}

}  // namespace ptwop::rpc
