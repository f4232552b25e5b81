#include "support/kubo_replica.h"

#include "ipld/dag_cbor.h"

#include <sodium.h>

namespace ptwop::test {
namespace {

struct SystemChance : Entropy {
  void fill(unsigned char* out, size_t size) override { randombytes_buf(out, size); }
};

}  // namespace

const list::PublicKey& KuboReplica::open_streams() {
  static SystemChance chance;
  auto me = access::Identity::make(chance);
  key = me.key();
  client.open_streams(std::move(me), chance);
  client.start();
  return key;
}

Bytes numbered_block(uint64_t number, const std::vector<ipld::Cid>& links, size_t padding) {
  ipld::CborWriter out;
  out.map(3);
  out.key("l").array(links.size());
  for (const auto& link : links) out.link(link);
  out.key("n").unsigned_integer(number);
  out.key("p").bytes(Bytes(padding, 'p'));
  return std::move(out).take();
}

}  // namespace ptwop::test
