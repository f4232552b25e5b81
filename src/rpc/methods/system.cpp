#include "engine/engine.h"
#include "rpc/methods/channels.h"
#include "rpc/methods/methods.h"

namespace ptwop::rpc {
namespace {

json::Writer& text_or_null(json::Writer& w, std::string_view text) {
  return text.empty() ? w.null() : w.string(text);
}

/// All of it but the outbox, which the engine counts.
std::string info_head(const Backend& backend) {
  std::string out;
  json::Writer w(out);
  const uint64_t uptime_ms = backend.clock->mono_ms() - backend.started_mono_ms;
  w.object().key("version").string(PTWOP_VERSION).key("identity");
  text_or_null(w, backend.identity).key("uptime_s").number(uptime_ms / 1000);
  const KuboSnapshot& kubo = backend.kubo;
  w.key("kubo")
      .object()
      .key("state")
      .string(kubo.connected ? "connected" : "offline")
      .key("version");
  text_or_null(w, kubo.connected ? kubo.version : "").key("peer_id");
  text_or_null(w, kubo.connected ? kubo.peer_id : "").key("pubsub");
  if (kubo.connected && kubo.pubsub)
    w.boolean(*kubo.pubsub);
  else
    w.null();
  w.key("streams");
  if (kubo.connected && kubo.streams)
    w.boolean(*kubo.streams);
  else
    w.null();
  w.key("trouble");
  text_or_null(w, backend.kubo_trouble ? backend.kubo_trouble() : "").end_object();
  w.key("work");
  if (const char* method = backend.progress->method)
    w.object()
        .key("method")
        .string(method)
        .key("done_bytes")
        .number(backend.progress->done_bytes.load())
        .key("bytes")
        .number(backend.progress->bytes.load())
        .end_object();
  else
    w.null();
  w.key("channels")
      .number(uint64_t{backend.directory ? backend.directory->all().size() : 0})
      .key("data")
      .string(backend.data)
      .key("outbox");
  return out;
}

struct Counter {
  std::string_view name;
  uint64_t value;
};

void group(json::Writer& w, std::string_view name, std::initializer_list<Counter> counters) {
  w.key(name).object();
  for (const Counter& counter : counters) w.key(counter.name).number(counter.value);
  w.end_object();
}

/// Requests refused by the kind of their error, what came from other replicas by the engine's
/// kinds, and what was no good before the engine saw it.
void refused_group(json::Writer& w, const Stats& rpc, uint64_t kubo,
                   const engine::EngineStats& engine) {
  std::map<std::string, uint64_t> all = engine.refused;
  if (kubo > 0) all["kubo"] = kubo;
  for (const auto& [code, count] : rpc.refused) all[std::string(error_row(code).kind)] += count;
  w.key("refused").object();
  for (const auto& [kind, count] : all) w.key(kind).number(count);
  w.end_object();
}

/// What was counted outside of the engine.
struct Outside {
  uint64_t kubo_refused = 0, messages_dropped = 0, streams_open = 0;
  std::map<std::string, uint64_t> streams_refused;
};

std::string render_stats(const Stats& rpc, const Outside& outside,
                         const engine::EngineStats& engine) {
  std::string out;
  json::Writer w(out);
  w.object();
  group(w, "requests",
        {{"total", rpc.requests}, {"notifications", rpc.notifications}, {"batches", rpc.batches}});
  group(w, "writes",
        {{"operations", engine.writes}, {"nodes", engine.nodes_written}, {"turns", engine.turns}});
  refused_group(w, rpc, outside.kubo_refused, engine);
  group(w, "messages",
        {{"sent", engine.messages_sent},
         {"received", engine.messages_received},
         {"nodes", engine.nodes_received},
         {"dropped", outside.messages_dropped}});
  group(w, "blocks", {{"put", engine.blocks_put}, {"fetched", engine.blocks_fetched}});
  group(w, "bytes", {{"sent", engine.bytes_sent}, {"received", engine.bytes_received}});
  uint64_t refused = 0;
  for (const auto& [kind, count] : outside.streams_refused) refused += count;
  group(w, "streams",
        {{"open", outside.streams_open},
         {"refused", refused},
         {"messages_sent", engine.stream_messages_sent},
         {"messages_received", engine.stream_messages_received},
         {"bytes_sent", engine.stream_bytes_sent},
         {"bytes_received", engine.stream_bytes_received}});
  group(w, "queues",
        {{"connections", rpc.connections},
         {"in_flight", rpc.in_flight},
         {"waiting_nodes", engine.waiting_nodes},
         {"outbox", engine.outbox},
         {"outgoing", engine.outgoing},
         {"waiters", engine.waiters}});
  w.end_object();
  return out;
}

}  // namespace

Result<void> system_backup(Request& request) {
  PTWOP_CHECK(check_path(request.text(0)));
  request.backend.work(
      [&backend = request.backend, later = request.later(), to = std::string(request.text(0))] {
        backend.progress->begin("system.backup");
        const auto done = backend.backup(to);
        backend.progress->end();
        if (!done) return later.fail(done.error());
        std::string out;
        json::Writer(out)
            .object()
            .key("files")
            .number(done->files)
            .key("bytes")
            .number(done->bytes)
            .key("copied_files")
            .number(done->copied_files)
            .key("copied_bytes")
            .number(done->copied_bytes)
            .key("private_key")
            .boolean(done->identity)
            .end_object();
        later.result(out);
      });
  return {};
}

Result<void> system_info(Request& request) {
  std::string head = info_head(request.backend);
  if (request.backend.phase != Phase::ready) {
    request.result() += head += "0}";
    return {};
  }
  request.backend.submit([later = request.later(), head = std::move(head)](engine::Engine& engine) {
    later.result(head + std::to_string(engine.stats().outbox) + '}');
  });
  return {};
}

Result<void> system_ready(Request& request) {
  const Backend& backend = request.backend;
  const bool ready = backend.phase == Phase::ready;
  json::Writer(request.result())
      .object()
      .key("ready")
      .boolean(ready)
      .key("reason")
      .string(ready ? "" : backend.reason)
      .end_object();
  return {};
}

Result<void> system_stats(Request& request) {
  const auto count = [](const std::function<uint64_t()>& of) { return of ? of() : 0; };
  const Backend& backend = request.backend;
  Outside outside{count(backend.kubo_refused),
                  count(backend.messages_dropped),
                  count(backend.streams_open),
                  {}};
  if (backend.streams_refused) outside.streams_refused = backend.streams_refused();
  request.backend.submit(
      [later = request.later(), rpc = request.stats, outside](engine::Engine& engine) {
        later.result(render_stats(rpc, outside, engine.stats()));
      });
  return {};
}

Result<void> system_stop(Request& request) {
  json::Writer(request.result()).object().key("stopping").boolean(true).end_object();
  request.backend.stop();
  return {};
}

}  // namespace ptwop::rpc
