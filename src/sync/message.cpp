#include "sync/message.h"

#include "base/limits.h"
#include "ipld/dag_cbor.h"

namespace ptwop::sync {
namespace {

using ipld::CborReader;
using ipld::CborWriter;
using list::read_cid;
using list::read_octets;

std::string_view kind_of(const Message& m) {
  constexpr std::string_view kKinds[] = {"nodes", "clock", "want"};
  return kKinds[m.body.index()];
}

void write_body(CborWriter& w, const Nodes& n) {
  w.map(4).key("last").boolean(n.last).key("large").array(n.large.size());
  for (const LargeNode& l : n.large)
    w.array(3).bytes(l.list.view()).unsigned_integer(l.number).bytes(l.cid.bytes());
  w.key("nodes").array(n.nodes.size());
  for (const Bytes& node : n.nodes) w.bytes(node);
  w.key("manifest").bytes(n.manifest);
}

void write_body(CborWriter& w, const ClockMessage& c) {
  w.map(6).key("ask").boolean(c.ask).key("peer").text(c.peer);
  w.key("wall").unsigned_integer(c.wall_ms).key("clock").array(c.entries.size());
  for (const ClockEntry& e : c.entries) {
    w.array(e.root ? 4 : 2);
    list::write_at(w, e.at);
    w.unsigned_integer(e.cut);
    if (e.root) w.unsigned_integer(e.root_number).bytes(e.root.bytes());
  }
  Bytes digest;
  for (const uint64_t part : c.digest.value_or(Digest{})) append_be64(digest, part);
  w.key("digest").bytes(c.digest ? digest : Bytes{});
  w.key("manifest").boolean(c.has_manifest);
}

void write_body(CborWriter& w, const Want& want) {
  w.map(4).key("to").bytes(want.to.view()).key("boot").unsigned_integer(want.to_boot);
  w.key("ranges").array(want.ranges.size());
  for (const Range& r : want.ranges)
    w.array(3).bytes(r.list.view()).unsigned_integer(r.from).unsigned_integer(r.to);
  w.key("manifest").boolean(want.manifest);
}

Nodes read_nodes(CborReader& r) {
  Nodes n;
  r.map(4);
  r.expect_key("last");
  n.last = r.boolean();
  r.expect_key("large");
  const size_t large = r.array();
  for (size_t i = 0; i < large && r.ok(); ++i) {
    LargeNode l;
    r.array(3);
    l.list = read_octets<list::ListId>(r);
    l.number = r.unsigned_integer();
    l.cid = read_cid(r);
    n.large.push_back(l);
  }
  r.expect_key("nodes");
  const size_t nodes = r.array();
  for (size_t i = 0; i < nodes && r.ok(); ++i) n.nodes.emplace_back(r.bytes());
  r.expect_key("manifest");
  n.manifest = Bytes(r.bytes());
  return n;
}

ClockMessage read_clock(CborReader& r) {
  ClockMessage c;
  r.map(6);
  r.expect_key("ask");
  c.ask = r.boolean();
  r.expect_key("peer");
  c.peer = std::string(r.text());
  if (c.peer.size() > kPeerBytesMax) r.fail();
  r.expect_key("wall");
  c.wall_ms = r.unsigned_integer();
  r.expect_key("clock");
  const size_t entries = r.array();
  if (entries > kClockEntriesMax) r.fail();
  for (size_t i = 0; i < entries && r.ok(); ++i) {
    ClockEntry e;
    const size_t members = r.array();
    e.at = list::read_at(r);
    e.cut = r.unsigned_integer();
    if (members == 4) {
      e.root_number = r.unsigned_integer();
      e.root = read_cid(r);
    } else if (members != 2) {
      r.fail();
    }
    if (e.at.position.number == 0 || e.root_number > e.at.position.number) r.fail();
    c.entries.push_back(e);
  }
  r.expect_key("digest");
  if (const BytesView digest = r.bytes(); digest.size() == kDigestParts * 8) {
    c.digest.emplace();
    for (size_t i = 0; i < kDigestParts; ++i) (*c.digest)[i] = read_be64(digest.substr(8 * i));
  } else if (!digest.empty()) {
    r.fail();
  }
  r.expect_key("manifest");
  c.has_manifest = r.boolean();
  return c;
}

Want read_want(CborReader& r) {
  Want want;
  r.map(4);
  r.expect_key("to");
  want.to = read_octets<list::PublicKey>(r);
  r.expect_key("boot");
  want.to_boot = r.unsigned_integer();
  r.expect_key("ranges");
  const size_t ranges = r.array();
  if (ranges > kRangesMax) r.fail();
  for (size_t i = 0; i < ranges && r.ok(); ++i) {
    Range range;
    r.array(3);
    range.list = read_octets<list::ListId>(r);
    range.from = r.unsigned_integer();
    range.to = r.unsigned_integer();
    if (range.from < 1 || range.to < range.from) r.fail();
    want.ranges.push_back(range);
  }
  r.expect_key("manifest");
  want.manifest = r.boolean();
  return want;
}

Bytes encode(const Message& m, bool with_signature) {
  CborWriter w;
  w.map(with_signature ? 8 : 7).key("body");
  std::visit([&](const auto& body) { write_body(w, body); }, m.body);
  w.key("boot").unsigned_integer(m.boot);
  w.key("kind").text(kind_of(m));
  w.key("count").unsigned_integer(m.count);
  w.key("sender").bytes(m.sender.view());
  w.key("channel").bytes(m.channel.bytes());
  w.key("version").unsigned_integer(1);
  if (with_signature) w.key("signature").bytes(m.signature.view());
  return w.take();
}

}  // namespace

Bytes encode_unsigned(const Message& message) { return encode(message, false); }
Bytes encode_signed(const Message& message) { return encode(message, true); }

Result<Message> decode(BytesView bytes, Bytes& unsigned_part) {
  if (bytes.size() > limits::kMessageBytesMax)
    return fail(Code::too_large, "a message over the limit");
  CborReader r(bytes);
  Message m;
  r.map(8);
  r.expect_key("body");
  CborReader body(r.item());
  r.expect_key("boot");
  m.boot = r.unsigned_integer();
  r.expect_key("kind");
  const std::string_view kind = r.text();
  r.expect_key("count");
  m.count = r.unsigned_integer();
  r.expect_key("sender");
  m.sender = read_octets<list::PublicKey>(r);
  r.expect_key("channel");
  m.channel = read_cid(r);
  r.expect_key("version");
  if (r.unsigned_integer() != 1) r.fail();
  r.expect_key("signature");
  m.signature = read_octets<list::Signature>(r);
  PTWOP_CHECK(r.finish("message"));
  if (kind == "nodes")
    m.body = read_nodes(body);
  else if (kind == "clock")
    m.body = read_clock(body);
  else if (kind == "want")
    m.body = read_want(body);
  else
    return fail(Code::invalid_params, "a message of an unknown kind");
  PTWOP_CHECK(body.finish("message body"));
  // The signature is the last member: the covered text is the rest under a map head of one pair
  // less.
  constexpr size_t kSignatureMember = 1 + 9 + 2 + list::Signature::kSize;
  unsigned_part.assign(bytes.substr(0, bytes.size() - kSignatureMember));
  unsigned_part[0] = static_cast<char>(0xa7);
  return m;
}

}  // namespace ptwop::sync
