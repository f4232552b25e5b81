#include <fmt/format.h>

#include "access/identity.h"
#include "list/position.h"
#include "rpc/methods/channels.h"
#include "rpc/methods/methods.h"
#include "rpc/reply.h"

namespace ptwop::rpc {
namespace {

using engine::ChannelView;

json::Writer& text_or_null(json::Writer& w, std::string_view text) {
  return text.empty() ? w.null() : w.string(text);
}

/// Appends name, address and type.
void render_opened(json::Writer& w, const ChannelView& channel) {
  const types::Type* type = channel.type.load();
  w.key("name").string(channel.name).key("address").string(channel.address).key("type");
  text_or_null(w, type ? type->name() : std::string_view());
}

void render_summary(json::Writer& w, const ChannelView& channel) {
  render_opened(w, channel);
  w.key("nodes").number(channel.nodes.load()).key("readable").boolean(channel.readable.load());
  w.key("writable").boolean(channel.writable.load());
}

void render_info(json::Writer& w, const engine::ChannelInfo& info) {
  render_summary(w, *info.channel);
  w.key("lists").array();
  for (const engine::ListInfo& list : info.lists) {
    w.object().key("list").string(list.list).key("writer").string(list.writer);
    w.key("count").number(list.count).key("head").string(list.head);
    if (list.control) w.key("control").boolean(true);
    if (!list.cut.empty()) w.key("cut").string(list.cut);
    if (!list.root.empty()) w.key("root").string(list.root);
    w.end_object();
  }
  w.end_array().key("peers").array();
  for (const engine::PeerInfo& peer : info.peers)
    w.object()
        .key("id")
        .string(peer.id)
        .key("last_seen_ms")
        .number(peer.last_seen_ms)
        .key("clock_lead_ms")
        .number(peer.clock_lead_ms)
        .key("lane")
        .string(peer.stream ? "stream" : "pubsub")
        .end_object();
  w.end_array().key("epoch").number(info.epoch).key("missing").number(info.missing).key("root");
  text_or_null(w, info.root);
  if (!info.damaged.empty()) w.key("damaged").string(info.damaged);
}

/// Runs `use(engine, channel)` on the engine's thread for a method whose only check here is the
/// channel's form.
template <class Use>
Result<void> with_channel(Request& request, Use use) {
  PTWOP_CHECK(check_channel(request.text(kChannelParam)));
  request.backend.submit([channel = std::string(request.text(kChannelParam)),
                          later = request.later(),
                          use](engine::Engine& engine) { use(engine, channel, later); });
  return {};
}

}  // namespace

Result<void> channel_create(Request& request) {
  PTWOP_CHECK(check_name(request.text(0)));
  const std::string_view type = request.text(1);
  if (!types::find_type(type))
    return fail(Code::invalid_params,
                fmt::format("There is no type \"{}\": log, count or kv.", shown(type)));
  request.backend.submit([name = std::string(request.text(0)), type = std::string(type),
                          is_public = request.boolean(2),
                          later = request.later()](engine::Engine& engine) {
    engine.create(name, type, is_public,
                  later.done<engine::ChannelRef>(
                      [](json::Writer& w, const auto& channel) { render_opened(w, *channel); }));
  });
  return {};
}

Result<void> channel_join(Request& request) {
  PTWOP_CHECK(check_address(request.text(0)));
  PTWOP_CHECK(check_name(request.text(1)));
  request.backend.submit([address = std::string(request.text(0)),
                          name = std::string(request.text(1)),
                          later = request.later()](engine::Engine& engine) {
    engine.join(address, name,
                later.done<engine::ChannelRef>(
                    [](json::Writer& w, const auto& channel) { render_opened(w, *channel); }));
  });
  return {};
}

Result<void> channel_list(Request& request) {
  json::Writer w(request.result());
  w.object().key("channels").array();
  for (const auto& [name, channel] : request.backend.directory->all()) {
    w.object();
    render_summary(w, *channel);
    w.end_object();
  }
  w.end_array().end_object();
  return {};
}

Result<void> channel_info(Request& request) {
  return with_channel(request,
                      [](engine::Engine& engine, const std::string& channel, const Later& later) {
                        engine.info(channel, later.done<engine::ChannelInfo>(render_info));
                      });
}

Result<void> channel_leave(Request& request) {
  return with_channel(
      request, [](engine::Engine& engine, const std::string& channel, const Later& later) {
        engine.leave(channel,
                     later.done<bool>([](json::Writer& w, bool) { w.key("left").boolean(true); }));
      });
}

Result<void> channel_grant(Request& request) {
  const std::string_view id = request.text(1), role = request.text(2);
  PTWOP_CHECK(access::key_from_did(id));
  if (role != "read" && role != "write" && role != "send" && role != "admin")
    return fail(Code::invalid_params,
                fmt::format("There is no role \"{}\": read, write, send or admin.", shown(role)));
  return with_channel(
      request, [id = std::string(id), role = std::string(role)](
                   engine::Engine& engine, const std::string& channel, const Later& later) {
        engine.grant(channel, id, role,
                     later.done<std::string>(
                         [](json::Writer& w, const std::string& at) { w.key("at").string(at); }));
      });
}

Result<void> channel_members(Request& request) {
  return with_channel(request, [](engine::Engine& engine, const std::string& channel,
                                  const Later& later) {
    engine.members(
        channel, later.done<std::vector<engine::Member>>([](json::Writer& w, const auto& members) {
          w.key("members").array();
          for (const engine::Member& member : members)
            w.object()
                .key("id")
                .string(member.id)
                .key("role")
                .string(member.role)
                .key("since_ms")
                .number(member.since_ms)
                .end_object();
          w.end_array();
        }));
  });
}

Result<void> channel_wait(Request& request) {
  std::vector<std::string> tokens;
  const json::Value& at = request.value(1);
  if (at.is(json::Kind::string)) tokens.push_back(at.text);
  for (const json::Value& item : at.items) tokens.push_back(item.text);
  PTWOP_CHECK(tokens_from(at));
  const int64_t timeout_ms = request.integer(2);
  if (timeout_ms < 0) return fail(Code::invalid_params, "\"timeout_ms\" is an integer from 0.");
  const std::string_view peer = request.text(3);
  if (request.has(3) && peer != "any") PTWOP_CHECK(access::key_from_did(peer));
  return with_channel(request, [tokens = std::move(tokens), timeout_ms, peer = std::string(peer)](
                                   engine::Engine& engine, const std::string& channel,
                                   const Later& later) {
    engine.wait(channel, tokens, static_cast<uint64_t>(timeout_ms), peer,
                later.done<bool>([](json::Writer& w, bool) { w.key("reached").boolean(true); }));
  });
}

Result<void> channel_clock(Request& request) {
  return with_channel(
      request, [](engine::Engine& engine, const std::string& channel, const Later& later) {
        engine.clock(channel,
                     later.done<std::vector<std::string>>([](json::Writer& w, const auto& tokens) {
                       w.key("at").array();
                       for (const std::string& token : tokens) w.string(token);
                       w.end_array();
                     }));
      });
}

}  // namespace ptwop::rpc
