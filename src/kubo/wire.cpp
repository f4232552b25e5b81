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

namespace {

const json::Value* array_of(const json::Value& value, std::string_view name) {
  const json::Value* found = value.find(name);
  return found && found->is(json::Kind::array) ? found : nullptr;
}

std::string text_of(const json::Value& value, std::string_view name) {
  const json::Value* found = value.find(name);
  return found && found->is(json::Kind::string) ? found->text : "";
}

}  // namespace

Result<std::vector<Listener>> parse_listeners(std::string_view body) {
  auto parsed = json::parse(body, kDepthMax);
  const json::Value* all = parsed ? parsed->find("Listeners") : nullptr;
  if (!all || !(all->is(json::Kind::array) || all->is(json::Kind::null))) return odd("p2p/ls");
  std::vector<Listener> out;
  for (const json::Value& one : all->items) {
    Listener l{text_of(one, "Protocol"), text_of(one, "ListenAddress"),
               text_of(one, "TargetAddress")};
    if (!l.protocol.empty() && !l.listen.empty() && !l.target.empty()) out.push_back(std::move(l));
  }
  return out;
}

static std::string best_address(const SwarmPeer& peer, const json::Value& addresses) {
  const size_t host_end = peer.address.find('/', peer.address.find('/', 1) + 1);
  const std::string_view host = std::string_view(peer.address).substr(0, host_end + 1);
  std::string best = peer.address;
  for (const json::Value& one : addresses.items) {
    if (!one.is(json::Kind::string) || !is_address_of(one.text, peer.peer)) continue;
    if (one.text == peer.address) return one.text;
    if (best == peer.address && one.text.starts_with(host)) best = one.text;
  }
  return best;
}

Result<std::vector<SwarmPeer>> parse_swarm_peers(std::string_view body) {
  auto parsed = json::parse(body, kDepthMax);
  const json::Value* all = parsed ? parsed->find("Peers") : nullptr;
  if (!all || !(all->is(json::Kind::array) || all->is(json::Kind::null))) return odd("swarm/peers");
  std::vector<SwarmPeer> out;
  for (const json::Value& one : all->items) {
    SwarmPeer peer;
    peer.peer = text_of(one, "Peer");
    peer.address = text_of(one, "Addr") + "/p2p/" + peer.peer;
    if (!is_peer_id(peer.peer)) continue;
    if (!is_address_of(peer.address, peer.peer)) peer.address.clear();
    const json::Value* identify = one.find("Identify");
    const json::Value* protocols = identify ? array_of(*identify, "Protocols") : nullptr;
    if (protocols)
      for (const json::Value& protocol : protocols->items)
        peer.streams |= protocol.is(json::Kind::string) && protocol.text == "/x/";
    // Where it listens rather than where it called from, which nobody can call.
    const json::Value* addresses = identify ? array_of(*identify, "Addresses") : nullptr;
    if (addresses) peer.address = best_address(peer, *addresses);
    out.push_back(std::move(peer));
  }
  return out;
}

std::vector<std::string> parse_providers(std::string_view body) {
  std::vector<std::string> out;
  LineSplitter lines(kLineBytesMax);
  const auto take = [&](std::string_view line) {
    auto parsed = json::parse(line, kDepthMax);
    const json::Value* responses = parsed ? array_of(*parsed, "Responses") : nullptr;
    if (responses)
      for (const json::Value& one : responses->items)
        if (std::string id = text_of(one, "ID"); is_peer_id(id)) out.push_back(std::move(id));
    return true;
  };
  (void)lines.feed(body, take);
  (void)lines.feed("\n", take);
  return out;
}

bool is_peer_id(std::string_view text) {
  return !text.empty() && text.size() <= kWordBytesMax &&
         text.find_first_not_of("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz") ==
             std::string_view::npos;
}

bool is_address_of(std::string_view address, std::string_view peer) {
  constexpr size_t kAddressBytesMax = 512;
  return address.size() <= kAddressBytesMax && address.starts_with('/') && is_peer_id(peer) &&
         address.size() > peer.size() + 5 &&
         address.substr(address.size() - peer.size() - 5) == "/p2p/" + std::string(peer) &&
         address.find_first_not_of(
             "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz/.:_-") ==
             std::string_view::npos;
}

constexpr std::string_view kLoopback = "/ip4/127.0.0.1/tcp/";

uint16_t loopback_port(std::string_view address) {
  if (!address.starts_with(kLoopback)) return 0;
  address.remove_prefix(kLoopback.size());
  uint16_t port = 0;
  const auto [end, error] = std::from_chars(address.data(), address.data() + address.size(), port);
  return error == std::errc() && end == address.data() + address.size() ? port : 0;
}

std::string loopback_address(uint16_t port) {
  return std::string(kLoopback) + std::to_string(port);
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
