// Any bytes as a message between replicas: what is accepted encodes to the same bytes.
#include "sync/message.h"
#include "access/identity.h"
#include "fuzz.h"
#include "sync/replicator.h"

using namespace ptwop;

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Bytes covered;
  const auto message = sync::decode(fuzz::view(data, size), covered);
  if (!message) return 0;
  fuzz::expect(sync::encode_unsigned(*message) == covered, "the signature covers what is there");
  fuzz::expect(sync::encode_signed(*message) == fuzz::view(data, size),
               "a message has one encoding");
  (void)access::verify(message->sender, "message", covered, message->signature);
  // And what a replica makes of it, had it been signed.
  const sync::Holdings nothing;
  sync::Replicator replicator(nothing, 1);
  const auto no_root = [](const list::ListId&, const list::PublicKey&, const ipld::Cid&, uint64_t) {
    return false;
  };
  for (const bool member : {false, true}) {
    if (!replicator.admit(*message, member, 1'000, 1'000)) continue;
    if (std::holds_alternative<sync::ClockMessage>(message->body))
      replicator.on_clock(*message, member, 1'000, 1'000);
    for (uint64_t now = 1'000; now < 5'000; now += 500) (void)replicator.tick(now, true, no_root);
    (void)replicator.missing();
  }
  return 0;
}
