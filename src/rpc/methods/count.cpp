#include "types/count.h"

#include "rpc/methods/channels.h"
#include "rpc/methods/methods.h"

namespace ptwop::rpc {

Result<void> count_add(Request& request) {
  const std::string_view channel = request.text(kChannelParam), key = request.text(1);
  PTWOP_CHECK(check_channel(channel));
  PTWOP_CHECK(check_key(key));
  PTWOP_CHECK(check_request_id(request, 3));
  Write write{std::string(channel),         &types::count_type(), {},
              std::string(request.text(3)), check_key_size(key),  {}};
  if (write.size.ok()) write.ops.push_back(types::count_add_op(key, request.integer(2)));
  submit_write(
      request, std::move(write),
      request.later().done<engine::Written>([](json::Writer& w, const engine::Written& written) {
        w.key("value").number(written.result.value.value_or(0)).key("at").string(written.at);
      }));
  return {};
}

Result<void> count_get(Request& request) {
  const std::string_view key = request.text(1);
  PTWOP_CHECK(check_key(key));
  PTWOP_TRY(const engine::ChannelRef channel, channel_to_read(request, types::count_type()));
  PTWOP_CHECK(check_key_size(key));
  return read_point(request, channel, key,
                    [](const types::StateReader& state, std::string_view wanted,
                       std::string& out) -> Result<void> {
                      PTWOP_TRY(const auto count, types::count_get(state, wanted));
                      json::Writer w(out);
                      w.object().key("value").number(count.value);
                      if (count.saturated) w.key("saturated").boolean(true);
                      w.end_object();
                      return {};
                    });
}

Result<void> count_list(Request& request) {
  PTWOP_TRY(const Page page, page_to_read(request, types::count_type(),
                                          {.prefix = 1, .after = 2, .limit = 3, .reverse = {}}));
  read_scan(
      request, page.channel,
      [page](const types::StateReader& state, std::string& out) -> Result<void> {
        PTWOP_TRY(const auto found, types::count_list(state, page.prefix, page.after, page.limit));
        json::Writer w(out);
        w.object().key("entries").array();
        for (const auto& [key, count] : found.entries)
          w.object().key("key").string(key).key("value").number(count.value).end_object();
        end_page(out, page, found.more ? std::optional(found.entries.back().first) : std::nullopt);
        return {};
      });
  return {};
}

}  // namespace ptwop::rpc
