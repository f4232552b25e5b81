// One stream between two daemons as a state machine without I/O: bytes in, bytes out. Kubo carries
// them (p2p/listen, p2p/forward) and any local process can reach the port behind it, so both sides
// prove their identities first; what follows is encrypted, in order, and bounded.
//
// The handshake (all fixed lengths; X25519, Ed25519, BLAKE2b, ChaCha20-Poly1305 of libsodium):
//   1  dialler   magic(8) e_d(32) knock(16)
//   2  acceptor  e_a(32) sealed(key 1: identity(32) signature(64))
//   3  dialler   sealed(key 2: identity(32) signature(64))
// The knock shows that the dialler knows whom it calls, or which channel both are in: it is a keyed
// hash of what stands before it, under that secret (knock_of). Without it nothing is ever
// answered. Keys come from both ephemeral keys and the hash of messages 1 and e_a and the knock's
// secret, so they go with the session. Signatures (kind "stream", so "ptwop/stream/1\0") cover that
// hash, the signer's role and identity, and the dialler's also the acceptor's identity.
//
// Then frames: length(4, big-endian, of the sealed part) sealed(kind(1) payload), keys 3 and 4, the
// nonce counts frames: what is cut out, repeated or moved ends the session.
#pragma once
#include <array>
#include <deque>
#include <functional>
#include <optional>
#include <vector>

#include "access/identity.h"
#include "base/clock.h"
#include "base/result.h"
#include "ipld/cid.h"

namespace ptwop::lane {

using access::PublicKey;

inline constexpr size_t kMessageBytesMax = 1 << 20;
/// Messages that the other side may have on their way to us and not taken yet.
inline constexpr size_t kWindowBytes = 2 << 20;
/// Messages that wait here for the other side, urgent ones and others.
inline constexpr size_t kUrgentBytesMax = 4 << 20, kBulkBytesMax = 8 << 20;
inline constexpr uint64_t kHandshakeMs = 5'000;
inline constexpr uint64_t kPingMs = 10'000;  ///< Silence for so long is asked about…
inline constexpr uint64_t kDeadMs = 30'000;  ///< …and for so long is the end.

/// Secret of a knock: 32 bytes that whoever knows the identity, or the channel's address, can make.
using Knock = std::array<uint8_t, 32>;
Knock knock_of(const PublicKey& identity);
Knock knock_of(const ipld::Cid& channel);
/// The name under which it can be called: 22 characters that say nothing to who does not know it.
std::string name_of(const Knock& knock);

class Session {
 public:
  /// Which of our secrets, if any, gives this hash.
  using Answers = std::function<const Knock*(const std::function<bool(const Knock&)>& fits)>;

  /// The side that calls. `expected`: who has to answer, where that is known.
  static Session dial(const access::Identity& me, const Knock& knock,
                      std::optional<PublicKey> expected, Entropy& entropy, uint64_t now_ms);
  /// The side that is called. `answers` is used in `feed` only.
  static Session accept(const access::Identity& me, Answers answers, Entropy& entropy,
                        uint64_t now_ms);
  ~Session();
  Session(Session&&) noexcept;
  Session& operator=(Session&&) noexcept;
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  /// What came. An error ends the session: its message is a short word for counting
  /// ("stranger": did not knock; "forged", "damaged", "oversized", "flooded").
  Result<void> feed(BytesView bytes, uint64_t now_ms);
  /// Time passed. Errors: timed_out.
  Result<void> tick(uint64_t now_ms);

  bool established() const { return state_ == State::open; }
  bool dialled() const { return dialler_; }
  const PublicKey& peer() const { return peer_; }  ///< Once established.
  /// 32 bytes that only the two of this session know.
  const Bytes& binding() const { return binding_; }

  /// Queues a message; urgent ones overtake others, else all keep their order. False: no room.
  bool send(uint64_t ticket, Bytes message, bool urgent);
  /// Messages that came since the last call, in order.
  std::vector<Bytes> take_received() { return std::exchange(received_, {}); }
  /// One of them, of this size, was dealt with: the other side may send as much more.
  void consumed(size_t message_bytes);
  /// Appends to `out` what may be sent now, until it holds about `bytes_max`.
  void write(Bytes& out, size_t bytes_max);
  /// Messages that were written since the last call.
  std::vector<uint64_t> take_sent() { return std::exchange(sent_, {}); }
  /// Messages that were not, when the session ends.
  std::vector<uint64_t> take_unsent();
  size_t queued_bytes() const { return urgent_.bytes + bulk_.bytes; }

 private:
  enum class State : uint8_t { knocked, called, proving, open };
  struct Queue {
    std::deque<std::pair<uint64_t, Bytes>> items;
    size_t bytes = 0;
  };
  Session(const access::Identity& me, bool dialler, Entropy& entropy, uint64_t now_ms);
  Result<void> on_call(BytesView message);
  Result<void> on_answer(BytesView message);
  Result<void> on_proof(BytesView message);
  Result<void> on_frame(BytesView plain);
  Result<void> agree(BytesView other, const Knock& knock);
  Bytes prove(char role, const PublicKey* other) const;
  Result<void> check_proof(BytesView plain, char role, const PublicKey* other);
  void seal_frame(Bytes& out, char kind, BytesView payload);
  void open();
  size_t expected_bytes() const;

  const access::Identity* me_;
  bool dialler_;
  State state_;
  Answers answers_;
  Knock knock_{};
  std::optional<PublicKey> expected_;
  PublicKey peer_;
  std::array<uint8_t, 32> ephemeral_secret_{}, ephemeral_{}, master_{};
  std::array<uint8_t, 32> seal_key_{}, open_key_{};
  uint64_t sealed_ = 0, opened_ = 0;  ///< Frames so far: the nonces.
  Bytes transcript_;                  ///< Message 1 and, once agreed, the hash that is signed.
  Bytes binding_;
  Bytes in_, handshake_out_;
  std::vector<Bytes> received_;
  std::vector<uint64_t> sent_;
  Queue urgent_, bulk_;
  size_t may_send_ = kWindowBytes;
  size_t may_receive_ = kWindowBytes;
  size_t to_credit_ = 0;
  bool ping_due_ = false, pong_due_ = false;
  uint64_t began_ms_, heard_ms_, pinged_ms_ = 0;
};

}  // namespace ptwop::lane
