#include "store/encryption.h"

#include <sodium.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <cstring>

namespace ptwop::store {
namespace {

using Key = std::array<unsigned char, crypto_stream_xchacha20_KEYBYTES>;
using Nonce = std::array<unsigned char, crypto_stream_xchacha20_NONCEBYTES>;
static_assert(std::tuple_size_v<Nonce> == kNonceBytes);
constexpr size_t kBlock = 64;

class Cipher final : public rocksdb::BlockAccessCipherStream {
 public:
  Cipher(std::shared_ptr<const Key> key, const Nonce& nonce)
      : key_(std::move(key)), nonce_(nonce) {}

  size_t BlockSize() override { return kBlock; }
  rocksdb::Status Encrypt(uint64_t offset, char* data, size_t size) override {
    apply(offset, reinterpret_cast<unsigned char*>(data), size);
    return rocksdb::Status::OK();
  }
  rocksdb::Status Decrypt(uint64_t offset, char* data, size_t size) override {
    return Encrypt(offset, data, size);
  }

 protected:
  // Only the base class's Encrypt and Decrypt call these three, and they are replaced above.
  void AllocateScratch(std::string&) override {}
  rocksdb::Status EncryptBlock(uint64_t index, char* data, char*) override {
    return Encrypt(index * kBlock, data, kBlock);
  }
  rocksdb::Status DecryptBlock(uint64_t index, char* data, char*) override {
    return Encrypt(index * kBlock, data, kBlock);
  }

 private:
  void apply(uint64_t offset, unsigned char* data, size_t size) const {
    const size_t skip = offset % kBlock;
    uint64_t counter = offset / kBlock;
    if (skip != 0) {
      // The stream starts on whole blocks: what stands before `offset` in the first one is padding
      // here.
      unsigned char block[kBlock] = {};
      const size_t part = std::min(size, kBlock - skip);
      std::memcpy(block + skip, data, part);
      stream(block, kBlock, counter++);
      std::memcpy(data, block + skip, part);
      data += part;
      size -= part;
    }
    if (size != 0) stream(data, size, counter);
  }
  void stream(unsigned char* data, size_t size, uint64_t counter) const {
    crypto_stream_xchacha20_xor_ic(data, data, size, nonce_.data(), counter, key_->data());
  }

  std::shared_ptr<const Key> key_;
  Nonce nonce_;
};

class Provider final : public rocksdb::EncryptionProvider {
 public:
  explicit Provider(BytesView key)
      : key_(new Key, [](const Key* old) {
          sodium_memzero(const_cast<Key*>(old), sizeof(Key));
          delete old;
        }) {
    std::memcpy(const_cast<Key*>(key_.get()), key.data(), sizeof(Key));
  }

  const char* Name() const override { return "ptwop-xchacha20"; }
  size_t GetPrefixLength() const override { return kNonceBytes; }
  rocksdb::Status CreateNewPrefix(const std::string&, char* prefix, size_t size) const override {
    randombytes_buf(prefix, size);
    return rocksdb::Status::OK();
  }
  rocksdb::Status AddCipher(const std::string&, const char*, size_t, bool) override {
    return rocksdb::Status::NotSupported("the key is given once");
  }
  rocksdb::Status CreateCipherStream(
      const std::string& name, const rocksdb::EnvOptions&, rocksdb::Slice& prefix,
      std::unique_ptr<rocksdb::BlockAccessCipherStream>* result) override {
    if (prefix.size() < kNonceBytes)
      return rocksdb::Status::Corruption("file is shorter than its nonce", name);
    Nonce nonce;
    std::memcpy(nonce.data(), prefix.data(), nonce.size());
    *result = std::make_unique<Cipher>(key_, nonce);
    return rocksdb::Status::OK();
  }

 private:
  std::shared_ptr<const Key> key_;
};

}  // namespace

std::shared_ptr<rocksdb::EncryptionProvider> make_encryption(BytesView key) {
  assert(key.size() == std::tuple_size_v<Key>);
  [[maybe_unused]] const int ready = sodium_init();  // 1: done before
  assert(ready >= 0);
  return std::make_shared<Provider>(key);
}

}  // namespace ptwop::store
