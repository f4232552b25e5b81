#include "store/encryption.h"

#include <doctest/doctest.h>
#include <sodium.h>

namespace ptwop::store {
namespace {

struct Stream {
  Bytes prefix = Bytes(kNonceBytes, '\0');
  std::unique_ptr<rocksdb::BlockAccessCipherStream> stream;
  explicit Stream(rocksdb::EncryptionProvider& provider) {
    REQUIRE(provider.CreateNewPrefix("same-name", prefix.data(), prefix.size()).ok());
    rocksdb::Slice slice(prefix);
    REQUIRE(provider.CreateCipherStream("same-name", {}, slice, &stream).ok());
  }
};

TEST_CASE("any range decrypts alone, and the stream is libsodium's XChaCha20") {
  const Bytes key(32, 'k');
  const auto provider = make_encryption(key);
  const Stream file(*provider);
  const Bytes plain(1000, 'p');
  Bytes expected = plain;
  crypto_stream_xchacha20_xor(u8(expected), u8(plain), plain.size(), u8(file.prefix), u8(key));

  for (const size_t size : {1u, 63u, 64u, 65u, 200u})
    for (size_t from = 0; from + size <= plain.size(); from += 13) {
      Bytes part = plain.substr(from, size);
      REQUIRE(file.stream->Encrypt(from, part.data(), part.size()).ok());
      REQUIRE(part == expected.substr(from, size));
      REQUIRE(file.stream->Decrypt(from, part.data(), part.size()).ok());
      REQUIRE(part == plain.substr(from, size));
    }
}

TEST_CASE("every file has its own nonce, whatever its name; a short one is refused") {
  const auto provider = make_encryption(Bytes(32, 'k'));
  CHECK(provider->GetPrefixLength() == 24);
  CHECK(Stream(*provider).prefix != Stream(*provider).prefix);
  const Bytes torn(23, 'x');
  rocksdb::Slice slice(torn);
  std::unique_ptr<rocksdb::BlockAccessCipherStream> stream;
  CHECK(provider->CreateCipherStream("name", {}, slice, &stream).IsCorruption());
}

}  // namespace
}  // namespace ptwop::store
