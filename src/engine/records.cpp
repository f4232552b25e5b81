#include "engine/records.h"

#include "ipld/dag_cbor.h"

namespace ptwop::engine {
namespace {

using ipld::CborReader;
using ipld::CborWriter;
using list::read_cid;
using list::read_octets;

list::Position read_position(CborReader& r) {
  list::Position p;
  r.array(2);
  p.number = r.unsigned_integer();
  const BytesView tag = r.bytes(8);
  if (r.ok()) p.tag = read_be64(tag);
  return p;
}

void write_position(CborWriter& w, const list::Position& p) {
  w.array(2).unsigned_integer(p.number).bytes(list::tag_bytes(p.tag));
}

}  // namespace

Bytes encode(const ChannelRecord& record) {
  CborWriter w;
  w.array(5).text(record.name).bytes(record.cid.bytes()).bytes(record.manifest);
  w.bytes(record.data.view()).bytes(record.control.view());
  return w.take();
}

Result<ChannelRecord> decode_channel(BytesView bytes) {
  CborReader r(bytes);
  ChannelRecord record;
  r.array(5);
  record.name = std::string(r.text());
  record.cid = read_cid(r);
  record.manifest = Bytes(r.bytes());
  record.data = read_octets<list::Incarnation>(r);
  record.control = read_octets<list::Incarnation>(r);
  PTWOP_CHECK(r.finish("channel record", Code::corrupt));
  return record;
}

Bytes encode(const ListRecord& record) {
  CborWriter w;
  w.array(8)
      .bytes(record.name.writer.view())
      .bytes(record.name.incarnation.view())
      .boolean(record.name.control);
  write_position(w, record.held);
  w.bytes(record.head.bytes()).unsigned_integer(record.time);
  write_position(w, record.applied);
  w.unsigned_integer(record.cut);
  return w.take();
}

Result<ListRecord> decode_list(BytesView bytes) {
  CborReader r(bytes);
  ListRecord record;
  r.array(8);
  record.name.writer = read_octets<list::PublicKey>(r);
  record.name.incarnation = read_octets<list::Incarnation>(r);
  record.name.control = r.boolean();
  record.held = read_position(r);
  record.head = read_cid(r);
  record.time = r.unsigned_integer();
  record.applied = read_position(r);
  record.cut = r.unsigned_integer();
  PTWOP_CHECK(r.finish("list record", Code::corrupt));
  return record;
}

Bytes encode(const RequestRecord& record) {
  CborWriter w;
  const auto& [id, value] = record.written.result;
  w.array(4).unsigned_integer(record.wall_ms).text(record.written.at);
  if (id)
    w.text(*id);
  else
    w.null();
  if (value)
    w.integer(*value);
  else
    w.null();
  return w.take();
}

Result<RequestRecord> decode_request(BytesView bytes) {
  CborReader r(bytes);
  RequestRecord record;
  r.array(4);
  record.wall_ms = r.unsigned_integer();
  record.written.at = std::string(r.text());
  if (r.peek() == ipld::CborKind::text)
    record.written.result.id = std::string(r.text());
  else
    r.null();
  if (r.peek() == ipld::CborKind::null)
    r.null();
  else
    record.written.result.value = r.integer();
  PTWOP_CHECK(r.finish("request record", Code::corrupt));
  return record;
}

Bytes channel_prefix(uint32_t channel) {
  Bytes key;
  append_be32(key, channel);
  return key;
}

Bytes node_key(uint32_t channel, const list::ListId& list, uint64_t number) {
  Bytes key = channel_prefix(channel);
  key += list.view();
  append_be64(key, number);
  return key;
}

Bytes meta_key(char kind, uint32_t channel, BytesView rest) {
  Bytes key(1, kind);
  append_be32(key, channel);
  key += rest;
  return key;
}

Bytes after_prefix(BytesView prefix) {
  Bytes key(prefix);
  while (!key.empty() && static_cast<unsigned char>(key.back()) == 0xff) key.pop_back();
  if (!key.empty()) ++key.back();
  return key;
}

}  // namespace ptwop::engine
