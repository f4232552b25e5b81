// The text that goes to and comes from Kubo's RPC API. Pure; everything that comes in is checked.
// Source of the formats: https://docs.ipfs.tech/reference/kubo/rpc/ and a Kubo 0.43.0.
#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "engine/ports.h"

namespace ptwop::kubo {

inline constexpr size_t kBlockBytesMax = 2 << 20;  ///< Kubo exchanges none that is larger.
inline constexpr size_t kLineBytesMax = 2 << 20;   ///< Pubsub's 1 MiB in base64, with room.

/// Multibase `u`: base64url without padding.
std::string multibase(BytesView bytes);
Result<Bytes> from_multibase(std::string_view text);

/// What Kubo says of itself. Errors here and below: kubo_refused.
Result<std::string> parse_version(std::string_view body);
Result<std::string> parse_peer_id(std::string_view body);
/// Versions are compared by their first two numbers: "0.43.1-dev" is at least 0.43. False when
/// unreadable.
bool version_at_least(std::string_view version, unsigned major, unsigned minor);

/// Foreign text made fit for a log line: bounded, printable ASCII.
std::string printable(std::string_view text);
/// The sentence in an error answer, made fit for a log line; the HTTP status where there is none.
std::string error_text(int status, std::string_view body);

/// block/put's answer names exactly these CIDs, in order.
Result<void> check_stored(std::string_view body, const std::vector<engine::Block>& blocks);

struct PubsubMessage {
  std::string from;  ///< Peer id as text.
  Bytes data;
};
/// One line of pubsub/sub.
Result<PubsubMessage> parse_message(std::string_view line);

/// One line of p2p/ls: what comes in over libp2p under this name goes to `target` (`listen` is then
/// "/p2p/<own id>"), or what comes in at `listen` goes to the peer `target`.
struct Listener {
  std::string protocol, listen, target;
};
/// p2p/ls. Those that make no sense are left out.
Result<std::vector<Listener>> parse_listeners(std::string_view body);

struct SwarmPeer {
  std::string peer;      ///< Id as text.
  std::string address;   ///< With "/p2p/<id>".
  bool streams = false;  ///< It takes p2p streams (known with identify=true only).
};
/// swarm/peers. Those that make no sense are left out.
Result<std::vector<SwarmPeer>> parse_swarm_peers(std::string_view body);

/// routing/findprovs: the ids in it.
std::vector<std::string> parse_providers(std::string_view body);

/// A peer id as text: at most 128 letters and digits. It may stand in a URL.
bool is_peer_id(std::string_view text);
/// A multiaddr of letters, digits and ./:_- that ends with "/p2p/<peer>". It may stand in a URL.
bool is_address_of(std::string_view address, std::string_view peer);

/// "/ip4/127.0.0.1/tcp/<port>" and back; 0 for anything else.
uint16_t loopback_port(std::string_view address);
std::string loopback_address(uint16_t port);

/// Cuts a stream into lines of bounded length.
class LineSplitter {
 public:
  explicit LineSplitter(size_t bytes_max) : bytes_max_(bytes_max) {}
  /// Gives every complete line (without its end, never empty) to `take`, which returns false to
  /// stop early. False when a line is too long; the stream is of no use any more then.
  bool feed(BytesView data, const std::function<bool(std::string_view line)>& take);

 private:
  size_t bytes_max_;
  std::string rest_;
};

}  // namespace ptwop::kubo
