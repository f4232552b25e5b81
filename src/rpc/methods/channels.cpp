#include "rpc/methods/channels.h"

#include <fmt/format.h>

#include <unordered_map>

#include "access/identity.h"
#include "base/limits.h"
#include "rpc/reply.h"

namespace ptwop::rpc {
namespace {

constexpr std::string_view kAddressPrefix = "/ptwop/";
constexpr size_t kWritersKept = 1024;

/// U+0000 to U+001F and U+007F to U+009F, in valid UTF-8.
bool has_control(std::string_view text) {
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if (byte < 0x20 || byte == 0x7f) return true;
    if (byte == 0xc2 && i + 1 < text.size() && static_cast<unsigned char>(text[i + 1]) < 0xa0)
      return true;
  }
  return false;
}

}  // namespace

Result<void> check_name(std::string_view name) {
  if (name.empty() || name.size() > limits::kNameBytesMax || name.front() == '/' ||
      has_control(name))
    return fail(Code::invalid_params,
                "A channel's name has 1 to 64 bytes, no control characters, and does not start "
                "with \"/\".");
  return {};
}

Result<void> check_address(std::string_view address) {
  if (!address.starts_with(kAddressPrefix) ||
      !ipld::Cid::from_text(address.substr(kAddressPrefix.size())).ok())
    return fail(Code::invalid_params,
                "A channel's address is \"/ptwop/\" and the CID of its manifest.");
  return {};
}

Result<void> check_channel(std::string_view channel) {
  return channel.starts_with('/') ? check_address(channel) : check_name(channel);
}

Error no_channel(std::string_view channel) {
  return fail(Code::no_channel,
              fmt::format("There is no channel \"{}\" here: create or join it first.", channel));
}

Result<std::vector<list::At>> tokens_from(const json::Value& value) {
  std::vector<list::At> out;
  const auto add = [&](const std::string& text) -> Result<void> {
    const auto at = list::At::from_token(text);
    if (!at)
      return fail(Code::invalid_params,
                  fmt::format("\"{}\" is no token: give the \"at\" of a write.", shown(text)));
    out.push_back(*at);
    return {};
  };
  if (value.is(json::Kind::string)) PTWOP_CHECK(add(value.text));
  for (const json::Value& item : value.items) PTWOP_CHECK(add(item.text));
  return out;
}

Result<void> check_path(std::string_view path) {
  constexpr size_t kPathBytesMax = 4095;
  if (!path.starts_with('/') || path.size() > kPathBytesMax || has_control(path))
    return fail(
        Code::invalid_params,
        fmt::format("\"{}\" is no path: give one that starts with \"/\", as the daemon sees "
                    "it.",
                    shown(path)));
  return {};
}

Result<void> check_key(std::string_view key) {
  if (key.empty()) return fail(Code::invalid_params, "A key has at least one byte.");
  return {};
}

Result<void> check_key_size(std::string_view key) {
  if (key.size() > limits::kKeyBytesMax)
    return fail(Code::too_large, fmt::format("The key has {} bytes, and at most {} are allowed.",
                                             key.size(), limits::kKeyBytesMax));
  return {};
}

Result<void> check_value_size(BytesView cbor) {
  if (cbor.size() > limits::kValueBytesMax)
    return fail(Code::too_large,
                fmt::format("The value has {} bytes as DAG-CBOR, and at most {} are allowed.",
                            cbor.size(), limits::kValueBytesMax));
  return {};
}

Result<void> check_request_id(const Request& request, size_t index) {
  const size_t size = request.text(index).size();
  if (request.has(index) && (size == 0 || size > limits::kRequestIdBytesMax))
    return fail(Code::invalid_params, "\"request\" has 1 to 64 bytes.");
  return {};
}

Result<engine::ChannelRef> channel_to_read(const Request& request, const types::Type& type) {
  const std::string_view name = request.text(kChannelParam);
  PTWOP_CHECK(check_channel(name));
  engine::ChannelRef channel = request.backend.directory->find(name);
  if (!channel) return no_channel(name);
  const types::Type* is = channel->type.load();
  if (!is)
    return fail(Code::no_manifest,
                fmt::format("The manifest of \"{}\" is not here yet: it comes from the first "
                            "reachable replica.",
                            channel->name));
  if (is != &type)
    return fail(Code::wrong_type, fmt::format("The channel \"{}\" is of type {}, not {}.",
                                              channel->name, is->name(), type.name()));
  if (!channel->readable.load())
    return fail(Code::no_read_key,
                fmt::format("The key to read \"{}\" is not here: an admin of the channel grants it "
                            "to this identity.",
                            channel->name));
  return channel;
}

void append_writer(std::string& out, const list::PublicKey& writer) {
  static thread_local std::unordered_map<list::PublicKey, std::string, list::PublicKey::Hash> known;
  auto found = known.find(writer);
  if (found == known.end()) {
    if (known.size() >= kWritersKept) known.clear();
    found = known.emplace(writer, access::did_from(writer)).first;
  }
  out += '"';
  out += found->second;
  out += '"';
}

Result<Page> page_to_read(const Request& request, const types::Type& type,
                          const PageParams& params) {
  const std::string_view name = request.text(kChannelParam);
  PTWOP_CHECK(check_channel(name));
  Page page;
  page.method = request.method();
  if (params.prefix) page.prefix = request.text(*params.prefix);
  if (params.reverse) page.reverse = request.boolean(*params.reverse);
  const int64_t limit = request.integer(params.limit);
  if (limit < 1 || limit > static_cast<int64_t>(limits::kPageMax))
    return fail(Code::invalid_params, fmt::format("\"limit\" is 1 to {}.", limits::kPageMax));
  page.limit = static_cast<size_t>(limit);
  if (request.has(params.after)) {
    // What no page of any channel gave is refused even when the channel is not here.
    const engine::ChannelRef channel = request.backend.directory->find(name);
    PTWOP_TRY(page.after,
              place_from({page.method, page.prefix, page.reverse},
                         channel ? &channel->cid : nullptr, request.text(params.after)));
  }
  PTWOP_TRY(page.channel, channel_to_read(request, type));
  return page;
}

void end_page(std::string& out, const Page& page, const std::optional<std::string>& last) {
  out += R"(],"next":)";
  json::Writer w(out);
  if (last)
    w.string(cursor_from({page.method, page.prefix, page.reverse}, page.channel->cid, *last));
  else
    w.null();
  out += '}';
}

void submit_write(Request& request, Write write, engine::Done<engine::Written> done) {
  request.backend.submit(
      [write = std::move(write), done = std::move(done)](engine::Engine& engine) mutable {
        engine::Engine::Admit admit = std::move(write.admit);
        if (!write.size.ok()) admit = [&](const types::StateReader&) { return write.size; };
        engine.write(write.channel, *write.type, std::move(write.ops), std::move(write.request),
                     std::move(done), admit);
      });
}

}  // namespace ptwop::rpc
