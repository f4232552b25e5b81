// A node's body: the batch of operations, compressed where that helps, encrypted with the epoch's
// key.
//
// Plain form: a strict DAG-CBOR array of operations. Framed form: one byte (0 as it is, 1 one zstd
// frame that states its size) and the data. Sealed form: XChaCha20-Poly1305 over the framed form
// with the node's nonce; associated data is the node's clear part. A public channel's and a control
// list's bodies are the framed form.
#pragma once
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "list/node.h"

namespace ptwop::access {

/// 32 bytes: derived from an epoch's secret.
using BodyKey = list::Octets<32, struct BodyKeyTag>;
BodyKey body_key(BytesView epoch_secret);

inline constexpr size_t kNonceBytes = 24;

/// The framed form. Compress only what one client wrote: lengths would tell one client's secret to
/// another.
Bytes frame_ops(const std::vector<Bytes>& ops, bool may_compress);
/// Back to operations. Errors: the void cases of formats.md.
Result<std::vector<Bytes>> unframe_ops(BytesView framed);

/// `node` is complete but for body and signature.
Bytes seal_body(const list::Node& node, BytesView framed, const BodyKey& key);
Result<Bytes> open_body(const list::Node& node, const BodyKey& key);

}  // namespace ptwop::access
