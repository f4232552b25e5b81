#include "access/body.h"

#include <doctest/doctest.h>
#include <zstd.h>

#include "base/limits.h"
#include "ipld/dag_cbor.h"

using namespace ptwop;

namespace {

Bytes text(std::string_view t) {
  ipld::CborWriter w;
  w.text(t);
  return w.take();
}

Bytes compressed(BytesView plain, bool with_size = true) {
  ZSTD_CCtx* context = ZSTD_createCCtx();
  ZSTD_CCtx_setParameter(context, ZSTD_c_contentSizeFlag, with_size);
  Bytes out(ZSTD_compressBound(plain.size()), '\0');
  out.resize(ZSTD_compress2(context, out.data(), out.size(), plain.data(), plain.size()));
  ZSTD_freeCCtx(context);
  return out;
}

Bytes framed(char form, BytesView data) { return Bytes(1, form).append(data); }

list::Node node() {
  list::Node n;
  n.channel = ipld::Cid::of("channel");
  n.number = 1;
  n.time = 77;
  n.epoch = ipld::Cid::of("epoch");
  n.nonce = Bytes(24, 'n');
  return n;
}

}  // namespace

TEST_CASE(
    "operations come back from their frame, compressed only where that is allowed and helps") {
  std::vector<Bytes> ops = {text("a"), text("b"), text("")};
  CHECK(access::frame_ops(ops, true) == framed(0,
                                               "\x83"
                                               "aaab`"));
  CHECK(*access::unframe_ops(access::frame_ops(ops, true)) == ops);
  ops.assign(100, text(std::string(50, 'x')));
  const Bytes small = access::frame_ops(ops, true), plain = access::frame_ops(ops, false);
  CHECK(small[0] == 1);
  CHECK(plain[0] == 0);
  CHECK(small.size() < plain.size() / 4);
  CHECK(*access::unframe_ops(small) == ops);
  CHECK(*access::unframe_ops(plain) == ops);
}

TEST_CASE("the void cases of a body") {
  const Bytes ops = "\x81" + text("x");
  REQUIRE(access::unframe_ops(framed(0, ops)).ok());
  REQUIRE(access::unframe_ops(framed(1, compressed(ops))).ok());
  const Bytes whole = compressed(ops);
  const Bytes bad[] = {
      "",
      framed(0, ""),
      framed(1, ""),
      framed(2, ops),
      framed(0, "\x80"),                        // no operation
      framed(0, text("x")),                     // no array
      framed(0, ops + '\0'),                    // something behind it
      framed(0, "\x82" + text("x")),            // one too few
      framed(0, BytesView("\x81\x18\x01", 3)),  // not canonical
      framed(0, BytesView("\x9f\x01\xff", 3)),  // indefinite
      framed(1, ops),                           // no frame
      framed(1, compressed(ops, false)),        // does not state its size
      framed(1, whole + whole),                 // two frames
      framed(1, whole + '\0'),
      framed(1, whole.substr(0, whole.size() - 1)),
      framed(1,
             Bytes("\x50\x2a\x4d\x18\x04\0\0\0skip", 12) + whole),  // a frame to be skipped first
  };
  for (const Bytes& body : bad) CHECK_MESSAGE(!access::unframe_ops(body).ok(), hex(body));
}

TEST_CASE("what would become too much in memory is void") {
  Bytes large = "\x81";
  ipld::CborWriter w;
  w.bytes(Bytes(limits::kBodyPlainBytesMax, '\0'));
  large += w.out();
  CHECK_FALSE(access::unframe_ops(framed(1, compressed(large))).ok());
  // A size that is a lie, in either direction: the content is longer or shorter than its frame
  // says.
  Bytes lie = compressed("\x81" + text(std::string(200, 'x')));
  const size_t size_at = 5;  // magic (4), descriptor, then the size in one byte
  REQUIRE(static_cast<unsigned char>(lie[size_at]) == 203);
  for (const char size : {'\xca', '\xcc', '\1'}) {
    lie[size_at] = size;
    CHECK_FALSE(access::unframe_ops(framed(1, lie)).ok());
  }
  // A few hundred bytes that hold millions of operations.
  ipld::CborWriter many;
  many.array(4'000'000);
  const Bytes bomb = framed(1, compressed(many.out() + Bytes(4'000'000, '\1')));
  CHECK(bomb.size() < 2'000);
  CHECK_FALSE(access::unframe_ops(bomb).ok());
}

TEST_CASE("as many operations as a local write can hold are read back") {
  const std::vector<Bytes> ops(limits::kBatchBytesMax / 6,
                               "\x82"
                               "cdelax");
  CHECK(access::unframe_ops(access::frame_ops(ops, true))->size() == ops.size());
}

TEST_CASE("a sealed body opens with its key and its node only") {
  const access::BodyKey key = access::body_key("secret"), other = access::body_key("secreT");
  list::Node n = node();
  n.body = access::seal_body(n, "framed", key);
  CHECK(n.body.find("framed") == Bytes::npos);
  CHECK(*access::open_body(n, key) == "framed");
  CHECK_FALSE(access::open_body(n, other).ok());
  const auto changed = [&](auto change) {
    list::Node c = n;
    change(c);
    return access::open_body(c, key).ok();
  };
  CHECK(changed([](list::Node& c) { c.signature.raw[0] = 1; }));  // not part of it
  CHECK_FALSE(changed([](list::Node& c) { c.time += 1; }));
  CHECK_FALSE(changed([](list::Node& c) { c.list.writer.raw[0] = 1; }));
  CHECK_FALSE(changed([](list::Node& c) { c.list.incarnation.raw[0] = 1; }));
  CHECK_FALSE(changed([](list::Node& c) { c.channel = ipld::Cid::of("other"); }));
  CHECK_FALSE(changed([](list::Node& c) { c.nonce[3] = 'x'; }));
  CHECK_FALSE(changed([](list::Node& c) { c.seen.push_back({}); }));
  for (size_t size = 0; size < n.body.size(); ++size)
    CHECK_FALSE(changed([&](list::Node& c) { c.body.resize(size); }));
}
