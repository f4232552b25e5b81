#include "types/log.h"

#include <fmt/format.h>

#include "ipld/dag_json.h"
#include "rpc/methods/channels.h"
#include "rpc/methods/methods.h"
#include "rpc/reply.h"

namespace ptwop::rpc {
namespace {

Result<void> append_entry(std::string& out, const types::LogEntry& entry) {
  out += R"({"id":")";
  out += types::log_id(entry.id);
  out += R"(","value":)";
  PTWOP_CHECK(ipld::append_json_from_cbor(out, entry.value));
  out += R"(,"writer":)";
  append_writer(out, entry.writer);
  out += R"(,"time_ms":)";
  out += std::to_string(entry.time_ms());
  out += '}';
  return {};
}

}  // namespace

Result<void> log_add(Request& request) {
  const std::string_view channel = request.text(kChannelParam);
  PTWOP_CHECK(check_channel(channel));
  PTWOP_TRY(const Bytes value, ipld::cbor_from_json(request.value(1)));
  PTWOP_CHECK(check_request_id(request, 2));
  Write write{std::string(channel),         &types::log_type(),      {},
              std::string(request.text(2)), check_value_size(value), {}};
  if (write.size.ok()) write.ops.push_back(types::log_add_op(value));
  submit_write(
      request, std::move(write),
      request.later().done<engine::Written>([](json::Writer& w, const engine::Written& written) {
        w.key("id").string(written.result.id.value_or("")).key("at").string(written.at);
      }));
  return {};
}

Result<void> log_del(Request& request) {
  const std::string_view channel = request.text(kChannelParam);
  PTWOP_CHECK(check_channel(channel));
  PTWOP_TRY(const Bytes op, types::log_del_op(request.text(1)));
  submit_write(
      request, {std::string(channel), &types::log_type(), {op}, {}, {}, {}},
      request.later().done<engine::Written>(
          [](json::Writer& w, const engine::Written& written) { w.key("at").string(written.at); }));
  return {};
}

Result<void> log_get(Request& request) {
  const std::string_view id = request.text(1);
  if (id.empty())
    return fail(Code::invalid_params, "An entry's \"id\" has at least one character.");
  PTWOP_TRY(const engine::ChannelRef channel, channel_to_read(request, types::log_type()));
  return read_point(request, channel, id,
                    [](const types::StateReader& state, std::string_view wanted,
                       std::string& out) -> Result<void> {
                      // Ids are opaque: one that is none names no entry.
                      const auto place = types::log_id_from(wanted);
                      if (!place)
                        return fail(Code::not_found,
                                    fmt::format("There is no entry \"{}\".", shown(wanted)));
                      PTWOP_TRY(const auto entry, types::log_get(state, *place));
                      return append_entry(out, entry);
                    });
}

Result<void> log_list(Request& request) {
  PTWOP_TRY(const Page page, page_to_read(request, types::log_type(),
                                          {.prefix = {}, .after = 1, .limit = 2, .reverse = 3}));
  std::optional<types::OpId> after;
  if (page.after) {
    after = types::log_id_from(*page.after);
    if (!after) return fail(Code::invalid_params, "\"after\" is no \"next\" of an earlier page.");
  }
  read_scan(
      request, page.channel,
      [page, after](const types::StateReader& state, std::string& out) -> Result<void> {
        PTWOP_TRY(const auto found, types::log_list(state, after, page.limit, page.reverse));
        out += R"({"entries":[)";
        for (const types::LogEntry& entry : found.entries) {
          if (out.back() == '}') out += ',';
          PTWOP_CHECK(append_entry(out, entry));
        }
        end_page(out, page,
                 found.more ? std::optional(types::log_id(found.entries.back().id)) : std::nullopt);
        return {};
      });
  return {};
}

}  // namespace ptwop::rpc
