#include "access/body.h"

#include <sodium.h>
#include <zstd.h>

#include "base/limits.h"
#include "ipld/dag_cbor.h"

namespace ptwop::access {
namespace {

constexpr char kPlain = 0, kZstd = 1;
constexpr size_t kCompressFrom = 256;
constexpr int kZstdLevel = 1;

Error void_body(const char* why) { return fail(Code::invalid_params, why); }

Result<Bytes> unframe(BytesView framed) {
  if (framed.empty()) return void_body("an empty body");
  const BytesView data = framed.substr(1);
  if (framed[0] == kPlain) return Bytes(data);
  if (framed[0] != kZstd) return void_body("an unknown body form");
  const auto size = ZSTD_getFrameContentSize(data.data(), data.size());
  if (size == ZSTD_CONTENTSIZE_UNKNOWN || size == ZSTD_CONTENTSIZE_ERROR ||
      size > limits::kBodyPlainBytesMax ||
      ZSTD_findFrameCompressedSize(data.data(), data.size()) != data.size())
    return void_body("a compressed body is not one bounded frame");
  Bytes plain(size, '\0');
  if (ZSTD_decompress(plain.data(), plain.size(), data.data(), data.size()) != size)
    return void_body("a compressed body does not decompress");
  return plain;
}

}  // namespace

BodyKey body_key(BytesView epoch_secret) {
  constexpr std::string_view kContext = "ptwop/body-key/1";
  BodyKey key;
  crypto_generichash(key.raw.data(), BodyKey::kSize, u8(kContext), kContext.size(),
                     u8(epoch_secret), epoch_secret.size());
  return key;
}

Bytes frame_ops(const std::vector<Bytes>& ops, bool may_compress) {
  ipld::CborWriter w;
  w.array(ops.size());
  for (const Bytes& op : ops) w.raw(op);
  const Bytes& plain = w.out();
  if (may_compress && plain.size() >= kCompressFrom) {
    Bytes packed(1 + ZSTD_compressBound(plain.size()), kZstd);
    const size_t size =
        ZSTD_compress(packed.data() + 1, packed.size() - 1, plain.data(), plain.size(), kZstdLevel);
    if (!ZSTD_isError(size) && size < plain.size() - plain.size() / 16) {
      packed.resize(1 + size);
      return packed;
    }
  }
  return Bytes(1, kPlain) + plain;
}

Result<std::vector<Bytes>> unframe_ops(BytesView framed) {
  PTWOP_TRY(const Bytes plain, unframe(framed));
  ipld::CborReader r(plain);
  std::vector<Bytes> ops;
  const size_t count = r.array();
  if (count > limits::kNodeOpsMax)
    return void_body("a body with more operations than the format allows");
  ops.reserve(count);
  for (size_t i = 0; i < count && r.ok(); ++i) ops.emplace_back(r.item());
  PTWOP_CHECK(r.finish("body"));
  if (ops.empty()) return void_body("a body without operations");
  return ops;
}

Bytes seal_body(const list::Node& node, BytesView framed, const BodyKey& key) {
  const Bytes clear = list::encode_clear(node);
  Bytes out(framed.size() + crypto_aead_xchacha20poly1305_ietf_ABYTES, '\0');
  crypto_aead_xchacha20poly1305_ietf_encrypt(u8(out), nullptr, u8(framed), framed.size(),
                                             u8(BytesView(clear)), clear.size(), nullptr,
                                             u8(BytesView(node.nonce)), key.raw.data());
  return out;
}

Result<Bytes> open_body(const list::Node& node, const BodyKey& key) {
  constexpr size_t kMac = crypto_aead_xchacha20poly1305_ietf_ABYTES;
  if (node.body.size() < kMac) return void_body("a sealed body is too short");
  const Bytes clear = list::encode_clear(node);
  Bytes out(node.body.size() - kMac, '\0');
  if (crypto_aead_xchacha20poly1305_ietf_decrypt(
          u8(out), nullptr, nullptr, u8(BytesView(node.body)), node.body.size(),
          u8(BytesView(clear)), clear.size(), u8(BytesView(node.nonce)), key.raw.data()) != 0)
    return void_body("a body does not decrypt");
  return out;
}

}  // namespace ptwop::access
