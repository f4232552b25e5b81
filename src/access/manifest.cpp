#include "access/manifest.h"

#include "ipld/dag_cbor.h"

namespace ptwop::access {
namespace {

constexpr size_t kSaltBytes = 16;
constexpr size_t kTypeBytesMax = 32;

Bytes encode(const Manifest& m, const Signature* signature) {
  ipld::CborWriter w;
  w.map(signature ? 8 : 7);
  w.key("kind").text("manifest");
  w.key("salt").bytes(m.salt);
  w.key("type").text(m.type);
  w.key("public").boolean(m.is_public);
  w.key("created").unsigned_integer(m.created_ms);
  w.key("creator").bytes(m.creator.view());
  w.key("version").unsigned_integer(1);
  if (signature) w.key("signature").bytes(signature->view());
  return w.take();
}

}  // namespace

Bytes seal_manifest(Manifest& manifest, const Identity& creator) {
  const Signature signature = creator.sign("manifest", encode(manifest, nullptr));
  Bytes block = encode(manifest, &signature);
  manifest.cid = ipld::Cid::of(block);
  return block;
}

Result<Manifest> read_manifest(BytesView block) {
  ipld::CborReader r(block);
  Manifest m;
  r.map(8);
  r.expect_key("kind");
  if (r.text() != "manifest") r.fail();
  r.expect_key("salt");
  m.salt = Bytes(r.bytes(kSaltBytes));
  r.expect_key("type");
  m.type = std::string(r.text());
  r.expect_key("public");
  m.is_public = r.boolean();
  r.expect_key("created");
  m.created_ms = r.unsigned_integer();
  r.expect_key("creator");
  const BytesView creator = r.bytes(PublicKey::kSize);
  if (r.ok()) m.creator = PublicKey::from(creator);
  r.expect_key("version");
  if (r.unsigned_integer() != 1) r.fail();
  r.expect_key("signature");
  const BytesView signature = r.bytes(Signature::kSize);
  PTWOP_CHECK(r.finish("manifest"));
  if (m.type.empty() || m.type.size() > kTypeBytesMax)
    return fail(Code::invalid_params, "a manifest's type is out of bounds");
  if (!verify(m.creator, "manifest", encode(m, nullptr), Signature::from(signature)))
    return fail(Code::invalid_params, "a manifest's signature does not verify");
  m.cid = ipld::Cid::of(block);
  return m;
}

}  // namespace ptwop::access
