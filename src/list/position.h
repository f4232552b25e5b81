// Names of lists and places in them (formats.md).
#pragma once
#include <array>
#include <compare>
#include <cstring>
#include <functional>
#include <map>

#include "base/bytes.h"
#include "ipld/cid.h"

namespace ptwop::list {

/// A fixed number of octets with order and hash. `Tag` only keeps kinds apart.
template <size_t N, class Tag>
struct Octets {
  static constexpr size_t kSize = N;
  std::array<uint8_t, N> raw{};
  auto operator<=>(const Octets&) const = default;
  BytesView view() const { return {reinterpret_cast<const char*>(raw.data()), N}; }
  /// The caller checked that the length is N.
  static Octets from(BytesView bytes) {
    Octets out;
    std::memcpy(out.raw.data(), bytes.data(), N);
    return out;
  }
  struct Hash {
    size_t operator()(const Octets& o) const noexcept {
      size_t h;
      std::memcpy(&h, o.raw.data(), sizeof h);
      return h;
    }
  };
};

/// The first 16 bytes of a SHA-256 over channel, writer, incarnation and kind: names one list in
/// one channel.
using ListId = Octets<16, struct ListIdTag>;
/// An Ed25519 public key: one identity.
using PublicKey = Octets<32, struct PublicKeyTag>;
/// Random; a new one for each list that a writer opens in a channel.
using Incarnation = Octets<8, struct IncarnationTag>;

/// A place in a list: the node's number (from 1; 0 = before the first) and the first 8 bytes of its
/// CID's digest.
struct Position {
  uint64_t number = 0;
  uint64_t tag = 0;
  auto operator<=>(const Position&) const = default;
};

/// A position and the list it is in; as text it is the token `at` (base64url: list, varint number,
/// 8 bytes of tag).
struct At {
  ListId list;
  Position position;
  auto operator<=>(const At&) const = default;
  std::string token() const;
  static std::optional<At> from_token(std::string_view token);
};

/// Positions by list; held and checked. Only grows.
using ClockMap = std::map<ListId, Position>;

}  // namespace ptwop::list
