// Any bytes as what Kubo answers: errors, NDJSON, pubsub lines, addresses.
#include "fuzz.h"
#include "kubo/address.h"
#include "kubo/wire.h"

using namespace ptwop;

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const BytesView in = fuzz::view(data, size);
  (void)kubo::parse_version(in);
  (void)kubo::parse_peer_id(in);
  (void)kubo::version_at_least(in, 0, 43);
  const std::string text = kubo::error_text(500, in);
  for (const unsigned char c : text)
    fuzz::expect(c >= 0x20 && c < 0x7f, "an error is fit for a log line");
  const std::vector<engine::Block> blocks{{ipld::Cid::of("a"), "a"}, {ipld::Cid::of("b"), "b"}};
  (void)kubo::check_stored(in, blocks);
  if (const auto bytes = kubo::from_multibase(in))
    fuzz::expect(kubo::multibase(*bytes) == in, "multibase has one form");
  (void)kubo::parse_api_address(std::string(in));
  (void)kubo::parse_listeners(in);
  if (const auto peers = kubo::parse_swarm_peers(in))
    for (const kubo::SwarmPeer& peer : *peers)
      fuzz::expect(kubo::is_peer_id(peer.peer) &&
                       (peer.address.empty() || kubo::is_address_of(peer.address, peer.peer)),
                   "what may stand in a URL is all that passes");
  for (const std::string& id : kubo::parse_providers(in))
    fuzz::expect(kubo::is_peer_id(id), "what may stand in a URL is all that passes");
  if (const uint16_t port = kubo::loopback_port(in))
    fuzz::expect(kubo::loopback_port(kubo::loopback_address(port)) == port, "a port comes back");
  // In one piece or in many, lines are the same.
  std::vector<std::string> whole, pieces;
  kubo::LineSplitter one(256), many(256);
  const bool fits = one.feed(in, [&](std::string_view line) {
    whole.emplace_back(line);
    (void)kubo::parse_message(line);
    return true;
  });
  bool fits_too = true;
  for (size_t i = 0; i < size && fits_too; i += 3)
    fits_too = many.feed(in.substr(i, 3), [&](std::string_view line) {
      pieces.emplace_back(line);
      return true;
    });
  if (fits && fits_too) fuzz::expect(whole == pieces, "lines do not depend on how they come");
  return 0;
}
