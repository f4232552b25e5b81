// Every method's function, in one explicit table (static initialisers would vanish from a static
// library).
#pragma once
#include <cstdint>

#include "rpc/request.h"

namespace ptwop::rpc {

/// Bits of the phases in which a method may be called.
constexpr uint8_t in_phase(Phase phase) {
  return static_cast<uint8_t>(1u << static_cast<uint8_t>(phase));
}

struct MethodHandler {
  Handler run;
  uint8_t phases = in_phase(Phase::ready);
};

/// The function of a row of the method table.
const MethodHandler& handler_of(const Method& method);

Result<void> channel_clock(Request& request);
Result<void> channel_create(Request& request);
Result<void> channel_export(Request& request);
Result<void> channel_grant(Request& request);
Result<void> channel_import(Request& request);
Result<void> channel_info(Request& request);
Result<void> channel_join(Request& request);
Result<void> channel_leave(Request& request);
Result<void> channel_list(Request& request);
Result<void> channel_members(Request& request);
Result<void> channel_wait(Request& request);
Result<void> count_add(Request& request);
Result<void> count_get(Request& request);
Result<void> count_list(Request& request);
Result<void> identity_show(Request& request);
Result<void> kv_batch(Request& request);
Result<void> kv_del(Request& request);
Result<void> kv_get(Request& request);
Result<void> kv_list(Request& request);
Result<void> kv_put(Request& request);
Result<void> log_add(Request& request);
Result<void> log_del(Request& request);
Result<void> log_get(Request& request);
Result<void> log_list(Request& request);
Result<void> rpc_discover(Request& request);
Result<void> system_backup(Request& request);
Result<void> system_info(Request& request);
Result<void> system_ready(Request& request);
Result<void> system_stats(Request& request);
Result<void> system_stop(Request& request);

}  // namespace ptwop::rpc
