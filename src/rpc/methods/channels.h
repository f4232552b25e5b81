// What the methods of log, count and kv share: finding the channel, reading its state, writing to
// it.
#pragma once
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/directory.h"
#include "engine/engine.h"
#include "list/position.h"
#include "rpc/cursor.h"
#include "rpc/request.h"
#include "types/type.h"

namespace ptwop::rpc {

/// Where `channel` stands in every method's row that has it.
inline constexpr size_t kChannelParam = 0;

/// invalid_params unless it is a local name (1 to 64 bytes of UTF-8, no control characters, no
/// leading `/`).
Result<void> check_name(std::string_view name);
/// invalid_params unless it is `/ptwop/<cid>`.
Result<void> check_address(std::string_view address);
/// invalid_params unless it is one of both.
Result<void> check_channel(std::string_view channel);
/// invalid_params for an empty key. Too long is another error, and later in the order: see
/// `key_size`.
Result<void> check_key(std::string_view key);
Result<void> check_key_size(std::string_view key);  ///< too_large
Result<void> check_value_size(BytesView cbor);      ///< too_large
/// invalid_params unless it is an absolute path.
Result<void> check_path(std::string_view path);
/// Tokens: a string or a list of them. invalid_params for what is none.
Result<std::vector<list::At>> tokens_from(const json::Value& value);
Error no_channel(std::string_view channel);
Result<void> check_request_id(const Request& request, size_t index);

/// The channel for a read of that type. Errors in the contract's order: -32602, 101, 301, 103, 401.
Result<engine::ChannelRef> channel_to_read(const Request& request, const types::Type& type);

/// Appends the did:key as a JSON string. Kept for the next time: base58 is slow.
void append_writer(std::string& out, const list::PublicKey& writer);

/// A point read: at once when the data is in memory, else on the reader's thread.
/// `render(const types::StateReader&, std::string_view key, std::string& out) -> Result<void>`
/// appends one object; it is copied to the other thread, so it holds nothing of the request.
template <class Render>
Result<void> read_point(Request& request, const engine::ChannelRef& channel, std::string_view key,
                        Render render) {
  const engine::StateStore& store = *request.backend.store;
  const engine::StateView memory(store, channel->number, engine::ReadMode::memory);
  const Result<void> outcome = render(memory, key, request.result());
  if (outcome.ok() || outcome.error().code != Code::overloaded) return outcome;
  request.take_back();
  request.backend.read(
      [later = request.later(AnswerSize::large), &store, channel, key = std::string(key), render] {
        std::string object;
        const engine::StateView any(store, channel->number);
        const Result<void> read = render(any, key, object);
        later.settle(read, object);
      });
  return {};
}

/// A scan: on the reader's thread. `render(const types::StateReader&, std::string& out) ->
/// Result<void>`.
template <class Render>
void read_scan(Request& request, const engine::ChannelRef& channel, Render render) {
  const engine::StateStore& store = *request.backend.store;
  request.backend.read([later = request.later(AnswerSize::large), &store, channel, render] {
    std::string object;
    const engine::StateView any(store, channel->number);
    const Result<void> read = render(any, object);
    later.settle(read, object);
  });
}

/// What a list method was asked for: a page of a channel, from a place on.
struct Page {
  engine::ChannelRef channel;
  std::string_view method;  ///< Of the method table.
  std::string prefix;
  bool reverse = false;
  std::optional<std::string> after;
  size_t limit = 0;
};
/// Where the parameters stand in the method's row.
struct PageParams {
  std::optional<size_t> prefix;
  size_t after, limit;
  std::optional<size_t> reverse;
};
/// As channel_to_read, with the page's own -32602 before the rest.
Result<Page> page_to_read(const Request& request, const types::Type& type,
                          const PageParams& params);

/// Ends `{"entries":[…` that was written to `out`: `last` is the place of its last entry, if
/// another follows.
void end_page(std::string& out, const Page& page, const std::optional<std::string>& last);

/// One write. `size` is the first 105 among its parts, or ok: it counts only after 101, 301, 103
/// and 402, so it is looked at on the engine's thread, where writes have their order.
struct Write {
  std::string channel;
  const types::Type* type;
  std::vector<Bytes> ops;
  std::string request;
  Result<void> size;
  /// The last check, on the state that this write meets; without it, the type's own.
  engine::Engine::Admit admit;
};
void submit_write(Request& request, Write write, engine::Done<engine::Written> done);

}  // namespace ptwop::rpc
