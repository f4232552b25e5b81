// Any bytes as a node, a manifest and a body: what is accepted encodes to the same bytes.
#include "list/node.h"
#include "access/again.h"
#include "access/manifest.h"
#include "fuzz.h"

using namespace ptwop;

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const BytesView in = fuzz::view(data, size);
  if (const auto node = list::decode(in)) {
    fuzz::expect(list::encode(*node) == in, "a node has one encoding");
    fuzz::expect(node->cid == ipld::Cid::of(in), "and one CID");
    fuzz::expect((node->number == 1) == !node->prev, "the first node alone has no predecessor");
    if (const auto ops = access::unframe_ops(node->body)) (void)access::read_again(*node, *ops);
    (void)access::open_body(*node, access::BodyKey{});
  }
  if (const auto manifest = access::read_manifest(in))
    fuzz::expect(manifest->cid == ipld::Cid::of(in), "a manifest's CID");
  if (const auto ops = access::unframe_ops(in)) {
    const auto again = access::unframe_ops(access::frame_ops(*ops, true));
    fuzz::expect(again.ok() && *again == *ops, "operations framed and read again");
  }
  return 0;
}
