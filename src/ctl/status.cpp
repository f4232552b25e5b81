#include "ctl/status.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "ctl/render.h"
#include "ctl/text.h"
#include "ctl/values.h"

namespace ptwop::ctl {
namespace {

constexpr size_t kRowsShown = 20;

Result<json::Value> part(Session& session, std::string_view method,
                         const json::Value& params = object_value()) {
  PTWOP_TRY(Answer answer, session.call(method, params));
  return answer.ok ? std::move(answer.body) : json::Value();
}

std::string plural(int64_t count, std::string_view one) {
  return fmt::format("{} {}{}", count, one, count == 1 ? "" : "s");
}

std::string access_of(const json::Value& channel) {
  const bool read = member_true(channel, "readable"), write = member_true(channel, "writable");
  return read && write ? "read, write" : read ? "read" : write ? "write" : "none yet";
}

std::string last_heard(const json::Value& channel, int64_t now_ms) {
  int64_t newest = 0;
  if (const json::Value* peers = channel.find("peers"))
    for (const json::Value& peer : peers->items)
      newest = std::max(newest, member_integer(peer, "last_seen_ms"));
  return newest == 0 ? "never" : duration(std::max<int64_t>(0, now_ms - newest)) + " ago";
}

std::string channel_table(const Overview& overview, int64_t now_ms, size_t columns) {
  std::vector<std::vector<std::string>> rows;
  for (const json::Value& channel : overview.channels) {
    if (rows.size() == kRowsShown) break;
    const std::string_view type = member_text(channel, "type");
    const json::Value* peers = channel.find("peers");
    rows.push_back({clean(member_text(channel, "name")), type.empty() ? "unknown yet" : clean(type),
                    std::to_string(member_integer(channel, "nodes")),
                    std::to_string(member_integer(channel, "missing")), access_of(channel),
                    std::to_string(peers ? peers->items.size() : 0), last_heard(channel, now_ms)});
  }
  if (rows.empty()) return "No channels yet: ptwopctl channel create NAME log|count|kv\n";
  std::string out = render_table(
      {"channel", "type", "nodes", "missing", "access", "peers", "heard"}, rows, columns);
  const size_t more = overview.channels.size() - rows.size() + overview.channels_left;
  return more == 0 ? out : out + fmt::format("and {} more: ptwopctl channel list\n", more);
}

}  // namespace

int64_t unix_now_ms() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

std::string duration(int64_t ms) {
  const int64_t s = ms / 1000;
  if (s < 120) return fmt::format("{} s", s);
  if (s < 120 * 60) return fmt::format("{} min", s / 60);
  if (s < 48 * 3600) return fmt::format("{} h", s / 3600);
  return fmt::format("{} days", s / 86400);
}

Result<Overview> read_overview(Session& session) {
  Overview out;
  PTWOP_TRY(out.ready, part(session, "system.ready"));
  PTWOP_TRY(out.info, part(session, "system.info"));
  PTWOP_TRY(out.stats, part(session, "system.stats"));
  PTWOP_TRY(const json::Value list, part(session, "channel.list"));
  const json::Value* channels = list.find("channels");
  if (!channels) return out;
  for (const json::Value& channel : channels->items) {
    if (out.channels.size() == kChannelsShown) {
      out.channels_left = channels->items.size() - kChannelsShown;
      break;
    }
    json::Value params = object_value();
    // By address: a name may be used again meanwhile.
    set(params, "channel", text_value(std::string(member_text(channel, "address"))));
    PTWOP_TRY(json::Value info, part(session, "channel.info", params));
    out.channels.push_back(info.is(json::Kind::object) ? std::move(info) : channel);
  }
  return out;
}

std::string status_text(const Overview& overview, int64_t now_ms, size_t columns) {
  const json::Value nothing;
  const json::Value* kubo = overview.info.find("kubo");
  const json::Value* queues = overview.stats.find("queues");
  if (!kubo) kubo = &nothing;
  if (!queues) queues = &nothing;
  int64_t missing = 0;
  for (const json::Value& channel : overview.channels)
    missing += member_integer(channel, "missing");

  const std::string_view identity = member_text(overview.info, "identity");
  std::string out =
      fmt::format("Identity  {}\n", identity.empty() ? "not read yet" : clean(identity));
  out += fmt::format("Daemon    {}, up {}, {}\n", clean(member_text(overview.info, "version")),
                     duration(member_integer(overview.info, "uptime_s") * 1000),
                     member_true(overview.ready, "ready")
                         ? "ready"
                         : "not ready: " + clean(member_text(overview.ready, "reason")));
  const bool connected = member_text(*kubo, "state") == "connected";
  out += connected
             ? fmt::format(
                   "Kubo      connected, {}, peer {}{}\n", clean(member_text(*kubo, "version")),
                   clean(member_text(*kubo, "peer_id")),
                   kubo->find("pubsub") && !member_true(*kubo, "pubsub") ? ", pubsub is off" : "")
             : "Kubo      offline: reading and writing go on, syncing waits\n";
  if (const json::Value* work = overview.info.find("work"); work && work->is(json::Kind::object)) {
    const int64_t all = member_integer(*work, "bytes");
    out += fmt::format("Working   {}, {} MiB{}\n", clean(member_text(*work, "method")),
                       member_integer(*work, "done_bytes") >> 20,
                       all > 0 ? fmt::format(" of {}", all >> 20) : "");
  }
  out += fmt::format("Pending   {} to go into Kubo, {} missing here, {} waiting for others\n\n",
                     plural(member_integer(overview.info, "outbox"), "node"), missing,
                     member_integer(*queues, "waiting_nodes"));
  return out + channel_table(overview, now_ms, columns);
}

std::string status_json(const Overview& overview) {
  std::string out;
  json::Writer w(out);
  w.object()
      .key("ready")
      .raw(to_json(overview.ready))
      .key("info")
      .raw(to_json(overview.info))
      .key("stats")
      .raw(to_json(overview.stats))
      .key("channels")
      .array();
  for (const json::Value& channel : overview.channels) w.raw(to_json(channel));
  w.end_array().end_object();
  return out;
}

}  // namespace ptwop::ctl
