// Encryption of RocksDB's files: XChaCha20 as a stream, block counter = offset / 64, so that any
// range of a file can be read alone (https://doc.libsodium.org/advanced/stream_ciphers/xchacha20).
// Internal to this room.
#pragma once
#include <rocksdb/env_encryption.h>

#include "base/bytes.h"

namespace ptwop::store {

/// Each file starts with its own random nonce; everything after it is encrypted. Not authenticated:
/// RocksDB's checksums find accidents, the nodes' signatures find malice (formats.md).
inline constexpr size_t kNonceBytes = 24;

/// `key`: 32 bytes.
std::shared_ptr<rocksdb::EncryptionProvider> make_encryption(BytesView key);

}  // namespace ptwop::store
