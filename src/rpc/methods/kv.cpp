#include "types/kv.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/limits.h"
#include "ipld/dag_json.h"
#include "rpc/methods/channels.h"
#include "rpc/methods/methods.h"
#include "rpc/reply.h"

namespace ptwop::rpc {
namespace {

Error not_there(std::string_view key) {
  return fail(Code::not_found, fmt::format("There is no key \"{}\".", shown(key)));
}

void render_at(json::Writer& w, const engine::Written& written) { w.key("at").string(written.at); }

/// Appends `"writer":…,"time_ms":…`.
void append_origin(std::string& out, const types::KvEntry& entry) {
  out += R"("writer":)";
  append_writer(out, entry.writer);
  out += R"(,"time_ms":)";
  out += std::to_string(entry.time_ms());
}

/// Appends `"value":…,"writer":…,"time_ms":…`.
Result<void> append_entry(std::string& out, const types::KvEntry& entry) {
  out += R"("value":)";
  PTWOP_CHECK(ipld::append_json_from_cbor(out, entry.value));
  out += ',';
  append_origin(out, entry);
  return {};
}

Result<void> render_siblings(const std::vector<types::KvEntry>& entries, uint64_t now_ms,
                             std::string_view key, std::string& out) {
  if (entries.empty() || !entries.front().live(now_ms)) return not_there(key);
  out += '{';
  PTWOP_CHECK(append_entry(out, entries.front()));
  out += R"(,"siblings":[)";
  bool first = true;
  for (size_t i = 1; i < entries.size(); ++i) {
    const types::KvEntry& entry = entries[i];
    if (!entry.deleted && !entry.live(now_ms)) continue;  // expired
    out += std::exchange(first, false) ? "{" : ",{";
    if (entry.deleted) {
      out += R"("deleted":true,)";
      append_origin(out, entry);
    } else {
      PTWOP_CHECK(append_entry(out, entry));
    }
    out += '}';
  }
  out += "]}";
  return {};
}

/// Needs the nodes themselves: the engine's thread has them.
void get_with_siblings(Request& request, const engine::ChannelRef& channel, std::string_view key) {
  request.backend.submit([later = request.later(AnswerSize::large), store = request.backend.store,
                          clock = request.backend.clock, channel,
                          key = std::string(key)](engine::Engine& engine) {
    const auto source = engine.source(channel);
    if (!source) return later.fail(fail(Code::no_channel, "The channel was left meanwhile."));
    const engine::StateView state(*store, channel->number);
    const auto entries = types::kv_siblings(state, *source, key);
    if (!entries.ok()) return later.fail(entries.error());
    std::string object;
    const auto rendered = render_siblings(*entries, clock->wall_ms(), key, object);
    later.settle(rendered, object);
  });
}

/// When a value written now with this time to live expires; nothing without one.
Result<std::optional<uint64_t>> expiry(const Clock& clock, const json::Value* ttl_ms) {
  if (!ttl_ms || ttl_ms->is(json::Kind::null)) return std::optional<uint64_t>();
  if (!ttl_ms->is(json::Kind::integer) || ttl_ms->integer < 1)
    return fail(Code::invalid_params, "\"ttl_ms\" is an integer from 1.");
  return std::optional(clock.wall_ms() + static_cast<uint64_t>(ttl_ms->integer));
}

/// Members of `object` by name, in the order of `names`; invalid_params for any other.
Result<std::vector<const json::Value*>> members(const json::Value& object,
                                                std::initializer_list<std::string_view> names) {
  if (!object.is(json::Kind::object))
    return fail(Code::invalid_params, "An operation is {\"put\":{…}} or {\"del\":{…}}.");
  std::vector<const json::Value*> out(names.size());
  for (const auto& [name, value] : object.members) {
    const auto place = std::ranges::find(names, name);
    if (place == names.end())
      return fail(Code::invalid_params,
                  fmt::format("An operation has no \"{}\" there.", shown(name)));
    out[static_cast<size_t>(place - names.begin())] = &value;
  }
  return out;
}

Result<std::string_view> op_key(const json::Value* key) {
  if (!key || !key->is(json::Kind::string))
    return fail(Code::invalid_params, "An operation needs a \"key\", a string.");
  PTWOP_CHECK(check_key(key->text));
  return std::string_view(key->text);
}

/// One element of kv.batch's `ops`, appended to the write.
Result<void> append_op(Write& write, const Clock& clock, const json::Value& op) {
  PTWOP_TRY(const auto either, members(op, {"put", "del"}));
  if (!either[0] == !either[1])
    return fail(Code::invalid_params, "An operation is {\"put\":{…}} or {\"del\":{…}}.");
  Result<void> size;
  if (either[1]) {
    PTWOP_TRY(const auto del, members(*either[1], {"key"}));
    PTWOP_TRY(const auto key, op_key(del[0]));
    size = check_key_size(key);
    write.ops.push_back(types::kv_del_op(key));
  } else {
    PTWOP_TRY(const auto put, members(*either[0], {"key", "value", "ttl_ms"}));
    PTWOP_TRY(const auto key, op_key(put[0]));
    if (!put[1]) return fail(Code::invalid_params, "A \"put\" needs a \"value\".");
    PTWOP_TRY(const Bytes value, ipld::cbor_from_json(*put[1]));
    PTWOP_TRY(const auto expires, expiry(clock, put[2]));
    size = check_key_size(key);
    if (size.ok()) size = check_value_size(value);
    write.ops.push_back(types::kv_put_op(key, value, expires));
  }
  if (write.size.ok()) write.size = size;
  return {};
}

}  // namespace

Result<void> kv_put(Request& request) {
  const std::string_view channel = request.text(kChannelParam), key = request.text(1);
  PTWOP_CHECK(check_channel(channel));
  PTWOP_CHECK(check_key(key));
  PTWOP_TRY(const Bytes value, ipld::cbor_from_json(request.value(2)));
  PTWOP_TRY(const auto expires,
            expiry(*request.backend.clock, request.has(3) ? &request.value(3) : nullptr));
  PTWOP_CHECK(check_request_id(request, 4));
  Write write{std::string(channel),         &types::kv_type(),   {},
              std::string(request.text(4)), check_key_size(key), {}};
  if (write.size.ok()) write.size = check_value_size(value);
  if (write.size.ok()) write.ops.push_back(types::kv_put_op(key, value, expires));
  submit_write(request, std::move(write), request.later().done<engine::Written>(render_at));
  return {};
}

Result<void> kv_get(Request& request) {
  const std::string_view key = request.text(1);
  PTWOP_CHECK(check_key(key));
  PTWOP_TRY(const engine::ChannelRef channel, channel_to_read(request, types::kv_type()));
  PTWOP_CHECK(check_key_size(key));
  if (request.boolean(2)) {
    get_with_siblings(request, channel, key);
    return {};
  }
  return read_point(
      request, channel, key,
      [clock = request.backend.clock](const types::StateReader& state, std::string_view wanted,
                                      std::string& out) -> Result<void> {
        PTWOP_TRY(const auto entry, types::kv_get(state, wanted));
        if (!entry || !entry->live(clock->wall_ms())) return not_there(wanted);
        out += '{';
        PTWOP_CHECK(append_entry(out, *entry));
        out += '}';
        return {};
      });
}

Result<void> kv_del(Request& request) {
  const std::string_view channel = request.text(kChannelParam), key = request.text(1);
  PTWOP_CHECK(check_channel(channel));
  PTWOP_CHECK(check_key(key));
  Write write{std::string(channel), &types::kv_type(), {}, {}, check_key_size(key), {}};
  if (write.size.ok()) write.ops.push_back(types::kv_del_op(key));
  // An expired put is no key any more; only the caller has a clock, so the type would let it pass.
  write.admit = [clock = request.backend.clock,
                 key = std::string(key)](const types::StateReader& state) -> Result<void> {
    PTWOP_TRY(const auto entry, types::kv_get(state, key));
    if (!entry || !entry->live(clock->wall_ms())) return not_there(key);
    return {};
  };
  submit_write(request, std::move(write), request.later().done<engine::Written>(render_at));
  return {};
}

Result<void> kv_batch(Request& request) {
  const std::string_view channel = request.text(kChannelParam);
  PTWOP_CHECK(check_channel(channel));
  PTWOP_CHECK(check_request_id(request, 2));
  const json::Value& ops = request.value(1);
  if (ops.items.empty()) return fail(Code::invalid_params, "\"ops\" has at least one operation.");
  Write write{std::string(channel), &types::kv_type(), {}, std::string(request.text(2)), {}, {}};
  for (const json::Value& op : ops.items) PTWOP_CHECK(append_op(write, *request.backend.clock, op));
  size_t bytes = 0;
  for (const Bytes& op : write.ops) bytes += op.size();
  if (write.size.ok() && bytes > limits::kBatchBytesMax)
    write.size = fail(Code::too_large,
                      fmt::format("The batch has {} bytes, and at most {} are allowed: split it.",
                                  bytes, limits::kBatchBytesMax));
  // A delete of what is not there is no error in a batch.
  write.admit = [](const types::StateReader&) { return Result<void>(); };
  submit_write(request, std::move(write), request.later().done<engine::Written>(render_at));
  return {};
}

Result<void> kv_list(Request& request) {
  PTWOP_TRY(const Page page, page_to_read(request, types::kv_type(),
                                          {.prefix = 1, .after = 2, .limit = 3, .reverse = 4}));
  read_scan(request, page.channel,
            [page, clock = request.backend.clock](const types::StateReader& state,
                                                  std::string& out) -> Result<void> {
              PTWOP_TRY(const auto found, types::kv_list(state, page.prefix, page.after, page.limit,
                                                         page.reverse, clock->wall_ms()));
              out += R"({"entries":[)";
              for (const auto& [key, entry] : found.entries) {
                if (out.back() == '}') out += ',';
                json::Writer(out).object().key("key").string(key).key("value");
                PTWOP_CHECK(ipld::append_json_from_cbor(out, entry.value));
                out += '}';
              }
              end_page(out, page,
                       found.more ? std::optional(found.entries.back().first) : std::nullopt);
              return {};
            });
  return {};
}

}  // namespace ptwop::rpc
