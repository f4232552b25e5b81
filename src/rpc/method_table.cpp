#include <algorithm>
#include <array>

#include "rpc/method.h"

namespace ptwop::rpc {
namespace {

using enum ParamType;

constexpr Param kChannel{"channel", string, true, "", "Local name or address of the channel"};
constexpr Param kKey{"key", string, true, "", "The key"};
constexpr Param kValue{"value", ParamType::value, true, "", "Any JSON value (DAG-JSON)"};
constexpr Param kRequest{"request", string, false, "",
                         "Exactly-once id: the same again within a day writes nothing"};
constexpr Param kAfter{"after", string, false, "", "Continue after this `next` of an earlier page"};
constexpr Param kLimit{"limit", integer, false, "100", "Entries in a page, 1 to 1000"};
constexpr Param kPrefix{"prefix", string, false, "", "Only keys that start with this"};
constexpr Param kReverse{"reverse", boolean, false, "false", "Last entry first"};
constexpr Param kCountKey{"key", string, false, "\"default\"", "Which counter"};

constexpr std::array kOnlyChannel = {kChannel};

constexpr std::array kChannelCreate = {
    Param{"name", string, true, "", "Local name of the new channel"},
    Param{"type", string, true, "", "log, count or kv"},
    Param{"public", boolean, false, "false", "Readable by everyone, not encrypted"}};
constexpr std::array kChannelExport = {
    kChannel, Param{"to", path, true, "", "The file to write; one of that name is replaced"},
    Param{"list", string, false, "", "Of the lists of data only this one"},
    Param{"since", tokens, false, "",
          "Only what comes after these: channel.clock of who has the rest"}};
constexpr std::array kChannelImport = {
    Param{"from", path, true, "", "A file of channel.export"},
    Param{"name", string, false, "", "Local name for the channel, where it is not here yet"}};
constexpr std::array kChannelGrant = {
    kChannel, Param{"id", string, true, "", "Whom: a did:key"},
    Param{"role", string, true, "", "read, write, send or admin"}};
constexpr std::array kChannelJoin = {
    Param{"address", string, true, "", "Address of the channel: /ptwop/…"},
    Param{"name", string, true, "", "Local name for it"}};
constexpr std::array kChannelWait = {
    kChannel, Param{"at", tokens, true, "", "Token or list of tokens to wait for"},
    Param{"timeout_ms", integer, false, "10000", "How long to wait at most"},
    Param{"peer", string, false, "", "Wait until this peer (a did:key, or any) has it too"}};

constexpr std::array kSystemBackup = {
    Param{"to", path, true, "", "Folder for the backup: a new one, or that of the last one"}};

constexpr std::array kCountAdd = {
    kChannel, kCountKey, Param{"by", integer, false, "1", "How much to add; may be negative"},
    kRequest};
constexpr std::array kCountGet = {kChannel, kCountKey};
constexpr std::array kCountList = {kChannel, kPrefix, kAfter, kLimit};

constexpr Param kTtl{"ttl_ms", integer, false, "", "Time to live in milliseconds"};
constexpr std::array kKvBatch = {
    kChannel, Param{"ops", array, true, "", "List of {put: {key, value, ttl_ms}} or {del: {key}}"},
    kRequest};
constexpr std::array kKvDel = {kChannel, kKey};
constexpr std::array kKvGet = {
    kChannel, kKey, Param{"siblings", boolean, false, "false", "Show concurrent writes too"}};
constexpr std::array kKvList = {kChannel, kPrefix, kAfter, kLimit, kReverse};
constexpr std::array kKvPut = {kChannel, kKey, kValue, kTtl, kRequest};

constexpr Param kEntryId{"id", string, true, "", "Id of the entry"};
constexpr std::array kLogAdd = {kChannel, kValue, kRequest};
constexpr std::array kLogEntry = {kChannel, kEntryId};
constexpr std::array kLogList = {kChannel, kAfter, kLimit, kReverse};

constexpr std::array kMethods = {
    Method{"channel.clock", "Tokens of all that this replica has applied", kOnlyChannel},
    Method{"channel.create", "Create a channel", kChannelCreate},
    Method{"channel.export", "Write a channel to a file", kChannelExport},
    Method{"channel.grant", "Give somebody a role in a channel", kChannelGrant},
    Method{"channel.import", "Take in a channel from a file", kChannelImport},
    Method{"channel.info", "Show one channel with its lists and peers", kOnlyChannel},
    Method{"channel.join", "Join somebody's channel by its address", kChannelJoin},
    Method{"channel.leave", "Leave a channel and remove its local data", kOnlyChannel},
    Method{"channel.list", "Show the channels of this replica", {}},
    Method{"channel.members", "Show who may do what in a channel", kOnlyChannel},
    Method{"channel.wait", "Wait until what tokens name is here", kChannelWait},
    Method{"count.add", "Add to a counter", kCountAdd},
    Method{"count.get", "Read a counter", kCountGet},
    Method{"count.list", "List counters", kCountList},
    Method{"identity.show", "Show who this daemon is", {}},
    Method{"kv.batch", "Put and delete several keys, all or nothing", kKvBatch},
    Method{"kv.del", "Delete a key", kKvDel},
    Method{"kv.get", "Read a key", kKvGet},
    Method{"kv.list", "List keys and values", kKvList},
    Method{"kv.put", "Set a key", kKvPut},
    Method{"log.add", "Append an entry", kLogAdd},
    Method{"log.del", "Hide an entry", kLogEntry},
    Method{"log.get", "Read an entry", kLogEntry},
    Method{"log.list", "List entries in the channel's order", kLogList},
    Method{"rpc.discover", "The OpenRPC document of this interface", {}},
    Method{"system.backup", "Back up the whole data folder while it is in use", kSystemBackup},
    Method{"system.info", "Show version, identity, Kubo and what is pending", {}},
    Method{"system.ready", "Tell whether the daemon is ready", {}},
    Method{"system.stats", "Counters since start", {}},
    Method{"system.stop", "Stop the daemon", {}},
};
static_assert(std::ranges::is_sorted(kMethods, {}, &Method::name));

}  // namespace

std::span<const Method> methods() { return kMethods; }

const Method* find_method(std::string_view name) {
  const auto* row = std::ranges::lower_bound(kMethods, name, {}, &Method::name);
  return row != kMethods.end() && row->name == name ? row : nullptr;
}

}  // namespace ptwop::rpc
