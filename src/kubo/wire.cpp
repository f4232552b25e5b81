#include "kubo/wire.h"

#include <charconv>

#include "base/json.h"
#include "base/limits.h"

namespace ptwop::kubo {
namespace {

constexpr size_t kDepthMax = 8;
constexpr size_t kWordBytesMax = 128;
constexpr size_t kErrorBytesMax = 300;

Error odd(std::string_view what) {
  return fail(Code::kubo_refused, "Kubo's answer to " + std::string(what) + " makes no sense");
}

// A short word of printable ASCII, so that it may be logged and shown as it is.
Result<std::string> word_of(std::string_view body, std::string_view name, std::string_view what) {
  auto parsed = json::parse(body, kDepthMax);
  const json::Value* word = parsed ? parsed->find(name) : nullptr;
  if (!word || !word->is(json::Kind::string) || word->text.empty() ||
      word->text.size() > kWordBytesMax)
    return odd(what);
  for (const char c : word->text) {
    if (c <= ' ' || c > '~') return odd(what);
  }
  return word->text;
}

}  // namespace

std::string multibase(BytesView bytes) { return "u" + base64url(bytes); }

Result<Bytes> from_multibase(std::string_view text) {
  if (!text.starts_with('u')) return odd("pubsub/sub");
  auto bytes = from_base64url(text.substr(1));
  if (!bytes) return odd("pubsub/sub");
  return std::move(*bytes);
}

Result<std::string> parse_version(std::string_view body) {
  return word_of(body, "Version", "version");
}
Result<std::string> parse_peer_id(std::string_view body) { return word_of(body, "ID", "id"); }

bool version_at_least(std::string_view version, unsigned major, unsigned minor) {
  unsigned numbers[2] = {};
  const char* at = version.data();
  const char* end = at + version.size();
  for (unsigned& number : numbers) {
    auto [next, error] = std::from_chars(at, end, number);
    if (error != std::errc()) return false;
    at = next == end ? next : next + 1;
  }
  return numbers[0] != major ? numbers[0] > major : numbers[1] >= minor;
}

std::string printable(std::string_view text) {
  std::string out(text.substr(0, kErrorBytesMax));
  for (char& c : out) {
    if (c < ' ' || c > '~') c = '?';
  }
  return out;
}

std::string error_text(int status, std::string_view body) {
  auto parsed = json::parse(body, kDepthMax);
  const json::Value* message = parsed ? parsed->find("Message") : nullptr;
  if (!message || !message->is(json::Kind::string))
    return "Kubo answered HTTP " + std::to_string(status);
  return printable(message->text);
}

Result<void> check_stored(std::string_view body, const std::vector<engine::Block>& blocks) {
  size_t count = 0;
  bool equal = true;
  LineSplitter lines(kWordBytesMax * 4);
  const bool cut = lines.feed(body, [&](std::string_view line) {
    auto key = word_of(line, "Key", "block/put");
    equal = key && count < blocks.size() && *key == blocks[count].cid.text();
    ++count;
    return equal;
  });
  if (!cut || !equal || count != blocks.size()) return odd("block/put");
  return {};
}

Result<PubsubMessage> parse_message(std::string_view line) {
  auto parsed = json::parse(line, kDepthMax);
  if (!parsed) return odd("pubsub/sub");
  const json::Value* from = parsed->find("from");
  const json::Value* data = parsed->find("data");
  const bool typed = from && from->is(json::Kind::string) && data && data->is(json::Kind::string);
  if (!typed || from->text.empty() || from->text.size() > kWordBytesMax) return odd("pubsub/sub");
  PTWOP_TRY(Bytes bytes, from_multibase(data->text));
  if (bytes.size() > limits::kMessageBytesMax)
    return fail(Code::too_large, "a pubsub message is too large");
  return PubsubMessage{from->text, std::move(bytes)};
}

bool LineSplitter::feed(BytesView data, const std::function<bool(std::string_view)>& take) {
  while (!data.empty()) {
    const size_t end = data.find('\n');
    const BytesView piece = data.substr(0, end);
    if (rest_.size() + piece.size() > bytes_max_) return false;
    if (end == BytesView::npos) {
      rest_ += piece;
      return true;
    }
    data.remove_prefix(end + 1);
    std::string joined;
    joined.swap(rest_);
    if (!joined.empty()) joined += piece;
    const std::string_view line = joined.empty() ? piece : std::string_view(joined);
    if (!line.empty() && !take(line)) return true;
  }
  return true;
}

}  // namespace ptwop::kubo
