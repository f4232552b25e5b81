#include "access/again.h"

#include "access/identity.h"
#include "base/mutant.h"
#include "ipld/dag_cbor.h"

namespace ptwop::access {
namespace {

constexpr std::string_view kWord = "again";

}  // namespace

Bytes again_op(BytesView block) {
  ipld::CborWriter w;
  w.array(2).text(kWord).bytes(block);
  return w.take();
}

bool is_again(const std::vector<Bytes>& ops) {
  static const Bytes head = ipld::CborWriter().array(2).text(kWord).take();
  return !ops.empty() && ops.front().starts_with(head);
}

Result<std::vector<Repeated>> read_again(const list::Node& outer, const std::vector<Bytes>& ops) {
  std::vector<Repeated> out;
  for (const Bytes& op : ops) {
    ipld::CborReader r(op);
    r.array(2);
    if (r.text() != kWord) r.fail();
    const BytesView block = r.bytes();
    PTWOP_CHECK(r.finish("again"));
    PTWOP_TRY(list::Node node, list::decode(block));
    if (node.channel != outer.channel ||
        (node.list.writer != outer.list.writer && !PTWOP_MUTANT(anybodys_again)) ||
        node.list.control != outer.list.control ||
        (node.id == outer.id && !PTWOP_MUTANT(again_in_place)) ||
        (node.time >= outer.time && !PTWOP_MUTANT(again_of_later)))
      return fail(Code::invalid_params, "a node that may not be written again here");
    out.push_back({std::move(node), Bytes(block)});
  }
  // As in a list: a hash-successor's signature covers the nodes before it.
  const ipld::Cid* covered = nullptr;
  for (auto it = out.rbegin(); it != out.rend(); ++it) {
    const list::Node& node = it->node;
    if (!(covered && *covered == node.cid) && !PTWOP_MUTANT(again_unsigned) &&
        !verify(node.list.writer, "node", list::encode_unsigned(node), node.signature))
      return fail(Code::invalid_params, "a node without a valid signature is written again");
    covered = &node.prev;
  }
  return out;
}

}  // namespace ptwop::access
