// The manifest of a channel: public, immutable; its CID is the channel's address (formats.md,
// "Manifest").
#pragma once
#include "access/identity.h"
#include "ipld/cid.h"

namespace ptwop::access {

struct Manifest {
  std::string type;  ///< "kv"; a type that this version does not know is kept.
  bool is_public = false;
  PublicKey creator;
  Bytes salt;               ///< 16 random bytes
  uint64_t created_ms = 0;  ///< Unix time
  ipld::Cid cid;            ///< Of the block; set by the two functions below.
};

/// The signed block; sets `manifest.cid`.
Bytes seal_manifest(Manifest& manifest, const Identity& creator);
/// Strict form and signature.
Result<Manifest> read_manifest(BytesView block);

}  // namespace ptwop::access
