#include "rpc/methods/methods.h"

#include <array>
#include <cassert>

namespace ptwop::rpc {
namespace {

struct Row {
  std::string_view name;
  MethodHandler handler;
};

constexpr uint8_t kAlways =
    in_phase(Phase::starting) | in_phase(Phase::ready) | in_phase(Phase::stopping);
constexpr uint8_t kUnlessStopping = in_phase(Phase::starting) | in_phase(Phase::ready);

// In the order of the method table, so that a row's place finds its function.
constexpr std::array kRows = {
    Row{"channel.clock", {channel_clock}},
    Row{"channel.create", {channel_create}},
    Row{"channel.export", {channel_export}},
    Row{"channel.grant", {channel_grant}},
    Row{"channel.import", {channel_import}},
    Row{"channel.info", {channel_info}},
    Row{"channel.join", {channel_join}},
    Row{"channel.leave", {channel_leave}},
    Row{"channel.list", {channel_list}},
    Row{"channel.members", {channel_members}},
    Row{"channel.wait", {channel_wait}},
    Row{"count.add", {count_add}},
    Row{"count.get", {count_get}},
    Row{"count.list", {count_list}},
    Row{"identity.show", {identity_show}},
    Row{"kv.batch", {kv_batch}},
    Row{"kv.del", {kv_del}},
    Row{"kv.get", {kv_get}},
    Row{"kv.list", {kv_list}},
    Row{"kv.put", {kv_put}},
    Row{"log.add", {log_add}},
    Row{"log.del", {log_del}},
    Row{"log.get", {log_get}},
    Row{"log.list", {log_list}},
    Row{"rpc.discover", {rpc_discover, kUnlessStopping}},
    Row{"system.backup", {system_backup}},
    Row{"system.info", {system_info, kUnlessStopping}},
    Row{"system.ready", {system_ready, kAlways}},
    Row{"system.stats", {system_stats}},
    Row{"system.stop", {system_stop, kUnlessStopping}},
};

}  // namespace

const MethodHandler& handler_of(const Method& method) {
  const auto place = static_cast<size_t>(&method - methods().data());
  assert(place < kRows.size() && kRows[place].name == method.name);
  return kRows[place].handler;
}

}  // namespace ptwop::rpc
