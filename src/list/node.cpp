#include "list/node.h"

#include <algorithm>
#include <set>

#include "base/limits.h"
#include "ipld/dag_cbor.h"

namespace ptwop::list {
namespace {

constexpr size_t kNonceBytes = 24;
// Everything but the body: 64 positions and the fixed members stay far below this.
constexpr size_t kNodeBytesMax = limits::kBodyBytesMax + (16 << 10);

enum class Part { clear, all_but_signature, all };

// Members in canonical order: shorter names first, then by bytes.
Bytes encode_part(const Node& node, Part part) {
  const bool sealed = static_cast<bool>(node.epoch);
  size_t pairs = 7;  // kind, list, seen, time, number, channel, version
  pairs += part != Part::clear;
  pairs += part == Part::all;
  pairs += node.number > 1;
  pairs += node.grant.has_value();
  pairs += sealed ? 2 : 0;
  ipld::CborWriter w;
  w.map(pairs);
  if (part != Part::clear) w.key("body").bytes(node.body);
  w.key("kind").text("node");
  w.key("list").map(3);
  w.key("kind").text(node.list.control ? "control" : "data");
  w.key("writer").bytes(node.list.writer.view());
  w.key("incarnation").bytes(node.list.incarnation.view());
  if (node.number > 1) w.key("prev").bytes(node.prev.bytes());
  w.key("seen").array(node.seen.size());
  for (const At& at : node.seen) write_at(w, at);
  w.key("time").unsigned_integer(node.time);
  if (sealed) w.key("epoch").bytes(node.epoch.bytes());
  if (node.grant) write_at(w.key("grant"), *node.grant);
  if (sealed) w.key("nonce").bytes(node.nonce);
  w.key("number").unsigned_integer(node.number);
  w.key("channel").bytes(node.channel.bytes());
  w.key("version").unsigned_integer(1);
  if (part == Part::all) w.key("signature").bytes(node.signature.view());
  return w.take();
}

}  // namespace

ListId list_id(const ipld::Cid& channel, const ListName& name) {
  Bytes text("ptwop/list/1\0", 13);
  text += channel.bytes();
  text += name.writer.view();
  text += name.incarnation.view();
  text += name.control ? '\1' : '\0';
  return ListId::from(BytesView(ipld::sha256(text)).substr(0, ListId::kSize));
}

ipld::Cid read_cid(ipld::CborReader& in) {
  const auto cid = ipld::Cid::from_bytes(in.bytes());
  if (!cid) in.fail();
  return cid ? *cid : ipld::Cid{};
}

Bytes tag_bytes(uint64_t tag) {
  Bytes out;
  append_be64(out, tag);
  return out;
}

void write_at(ipld::CborWriter& out, const At& at) {
  out.array(3)
      .bytes(at.list.view())
      .unsigned_integer(at.position.number)
      .bytes(tag_bytes(at.position.tag));
}

At read_at(ipld::CborReader& in) {
  At at;
  in.array(3);
  at.list = read_octets<ListId>(in);
  at.position.number = in.unsigned_integer();
  if (at.position.number > limits::kNumberMax) in.fail();
  const BytesView tag = in.bytes(8);
  if (in.ok()) at.position.tag = read_be64(tag);
  return at;
}

Bytes encode_clear(const Node& node) { return encode_part(node, Part::clear); }
Bytes encode_unsigned(const Node& node) { return encode_part(node, Part::all_but_signature); }
Bytes encode(const Node& node) { return encode_part(node, Part::all); }

Result<Node> decode(BytesView block) {
  if (block.size() > kNodeBytesMax)
    return fail(Code::too_large, "a node is larger than the format allows");
  ipld::CborReader r(block);
  Node node;
  r.map();
  r.expect_key("body");
  node.body = Bytes(r.bytes());
  r.expect_key("kind");
  if (r.text() != "node") r.fail();
  r.expect_key("list");
  r.map(3);
  r.expect_key("kind");
  const std::string_view kind = r.text();
  if (kind != "data" && kind != "control") r.fail();
  node.list.control = kind == "control";
  r.expect_key("writer");
  node.list.writer = read_octets<PublicKey>(r);
  r.expect_key("incarnation");
  node.list.incarnation = read_octets<Incarnation>(r);
  if (r.try_key("prev")) node.prev = read_cid(r);
  r.expect_key("seen");
  const size_t seen = r.array();
  if (seen > limits::kSeenMax) r.fail();
  for (size_t i = 0; i < seen && r.ok(); ++i) node.seen.push_back(read_at(r));
  r.expect_key("time");
  node.time = r.unsigned_integer();
  if (r.try_key("epoch")) node.epoch = read_cid(r);
  if (r.try_key("grant")) node.grant = read_at(r);
  if (r.try_key("nonce")) node.nonce = Bytes(r.bytes(kNonceBytes));
  r.expect_key("number");
  node.number = r.unsigned_integer();
  r.expect_key("channel");
  node.channel = read_cid(r);
  r.expect_key("version");
  if (r.unsigned_integer() != 1) r.fail();
  r.expect_key("signature");
  node.signature = read_octets<Signature>(r);
  PTWOP_CHECK(r.finish("node"));

  std::set<ListId> lists;
  bool positions = !node.grant || node.grant->position.number > 0;
  for (const At& at : node.seen) {
    lists.insert(at.list);
    positions &= at.position.number > 0;
  }
  const bool sound = positions && node.number >= 1 && node.number <= limits::kNumberMax &&
                     node.body.size() <= limits::kBodyBytesMax &&
                     static_cast<bool>(node.prev) == (node.number > 1) &&
                     !(node.grant && node.number > 1) && node.nonce.empty() == !node.epoch &&
                     !(node.epoch && node.list.control) && lists.size() == node.seen.size();
  // The number of pairs is checked by encoding again: what does not come out the same was not
  // canonical.
  if (!sound || encode(node) != block) return fail(Code::invalid_params, "not a well-formed node");
  node.id = list_id(node.channel, node.list);
  node.cid = ipld::Cid::of(block);
  return node;
}

}  // namespace ptwop::list
