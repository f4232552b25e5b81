// Multibase (https://github.com/multiformats/multibase), as far as CIDs and did:keys need it.
#pragma once
#include <optional>
#include <string>

#include "base/bytes.h"

namespace ptwop::ipld {

/// RFC 4648 base32, lower case, without padding; without the prefix `b`. Reading takes either case,
/// and refuses stray bits.
std::string to_base32(BytesView bytes);
std::optional<Bytes> from_base32(std::string_view text);

/// base58btc, without the prefix `z`. Reading takes at most 256 characters: its cost grows with
/// their square.
std::string to_base58(BytesView bytes);
std::optional<Bytes> from_base58(std::string_view text);

/// Text with its prefix: b, B (base32), k, K (base36), z (base58btc).
std::optional<Bytes> from_multibase(std::string_view text);

}  // namespace ptwop::ipld
