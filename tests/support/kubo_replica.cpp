#include "support/kubo_replica.h"

#include "ipld/dag_cbor.h"

namespace ptwop::test {

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
