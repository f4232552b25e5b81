// A node: one signed element of a list (formats.md, "Node"). Building, reading and the checks that
// need no other state.
#pragma once
#include <optional>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "ipld/cid.h"
#include "ipld/dag_cbor.h"
#include "list/position.h"

namespace ptwop::list {

using Signature = Octets<64, struct SignatureTag>;

/// Who writes a list, and which of the writer's lists it is. Its hash with the channel is the
/// ListId.
struct ListName {
  PublicKey writer;
  Incarnation incarnation;
  bool control = false;  ///< Carries membership, not data.
  auto operator<=>(const ListName&) const = default;
};
ListId list_id(const ipld::Cid& channel, const ListName& name);

struct Node {
  ipld::Cid channel;
  ListName list;
  uint64_t number = 0;      ///< From 1.
  ipld::Cid prev;           ///< None exactly if number is 1. In the encoding bytes, not a link.
  uint64_t time = 0;        ///< ms << 16 | logical; strictly rising in a list.
  std::vector<At> seen;     ///< At most kSeenMax, one a list.
  std::optional<At> grant;  ///< Only in a first node: the grant under which the list is written.
                            ///< The creator needs none.
  ipld::Cid epoch;  ///< The control node that opened the key's epoch; none: the body is in clear.
  Bytes nonce;      ///< 24 bytes with an epoch, else empty.
  Bytes body;       ///< See access/body.h. At most kBodyBytesMax.
  Signature signature;

  // Not part of the encoding:
  ListId id;      ///< list_id(channel, list)
  ipld::Cid cid;  ///< Of the whole encoding; set by decode and by `seal`.

  Position position() const { return {number, cid.tag()}; }
  At at() const { return {id, position()}; }
  uint64_t time_ms() const { return time >> 16; }
};

/// The encoding without body and signature: associated data of the body's encryption.
Bytes encode_clear(const Node& node);
/// What the signature covers (kind "node"): everything but the signature.
Bytes encode_unsigned(const Node& node);
/// The block. `node.signature` must be set.
Bytes encode(const Node& node);

/// Reads a block strictly: canonical form, kind, version, limits, prev/number and grant/number
/// agreement. Does not check the signature.
Result<Node> decode(BytesView block);

/// A byte string of just that length.
template <class O>
O read_octets(ipld::CborReader& in) {
  const BytesView bytes = in.bytes(O::kSize);
  return in.ok() ? O::from(bytes) : O{};
}

/// The bytes of one of our own CIDs.
ipld::Cid read_cid(ipld::CborReader& in);

// Positions inside other structures: [list bytes, number, tag bytes].
void write_at(ipld::CborWriter& out, const At& at);
At read_at(ipld::CborReader& in);
Bytes tag_bytes(uint64_t tag);

}  // namespace ptwop::list
