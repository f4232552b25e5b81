#include "lane/session.h"

#include <sodium.h>

#include <algorithm>
#include <cassert>
#include <utility>

namespace ptwop::lane {
namespace {

constexpr std::string_view kMagic("ptwopst\x01", 8);
constexpr size_t kKeyBytes = crypto_scalarmult_BYTES;
constexpr size_t kKnockBytes = 16;
constexpr size_t kCallBytes = kMagic.size() + kKeyBytes + kKnockBytes;
constexpr size_t kTagBytes = crypto_aead_chacha20poly1305_ietf_ABYTES;
constexpr size_t kProofBytes = PublicKey::kSize + access::Signature::kSize;
constexpr size_t kAnswerBytes = kKeyBytes + kProofBytes + kTagBytes;
constexpr size_t kLengthBytes = 4;
constexpr size_t kCreditBytes = 4;
constexpr char kMessage = 1, kCredit = 2, kPing = 3, kPong = 4;
constexpr char kContext[crypto_kdf_CONTEXTBYTES + 1] = "ptwopst1";
enum KeyId : uint64_t { kAnswerKey = 1, kProofKey, kDialled, kAccepted, kBinding };

static_assert(crypto_kdf_KEYBYTES == 32 && crypto_aead_chacha20poly1305_ietf_KEYBYTES == 32);

// Empty messages are not free.
constexpr size_t cost(size_t message_bytes) { return message_bytes + 64; }

Error bad(const char* kind) { return fail(Code::not_permitted, kind); }

Bytes hashed(BytesView bytes, size_t size, BytesView key) {
  Bytes out(size, '\0');
  crypto_generichash(u8(out), size, u8(bytes), bytes.size(), key.empty() ? nullptr : u8(key),
                     key.size());
  return out;
}

BytesView view(const auto& array) {
  return {reinterpret_cast<const char*>(array.data()), array.size()};
}

Knock knock_from(BytesView domain, BytesView secret) {
  Knock out;
  const Bytes hash = hashed(Bytes(domain) + Bytes(secret), out.size(), {});
  std::copy(hash.begin(), hash.end(), out.begin());
  return out;
}

std::array<uint8_t, 12> nonce_of(uint64_t count) {
  std::array<uint8_t, 12> nonce{};
  for (int i = 0; i < 8; ++i) nonce[11 - i] = static_cast<uint8_t>(count >> (8 * i));
  return nonce;
}

void seal_to(Bytes& out, BytesView plain, BytesView clear, uint64_t count, const uint8_t* key) {
  const size_t at = out.size();
  out.resize(at + plain.size() + kTagBytes);
  crypto_aead_chacha20poly1305_ietf_encrypt(u8(out) + at, nullptr, u8(plain), plain.size(),
                                            u8(clear), clear.size(), nullptr,
                                            nonce_of(count).data(), key);
}

std::optional<Bytes> unseal(BytesView sealed, BytesView clear, uint64_t count, const uint8_t* key) {
  if (sealed.size() < kTagBytes) return std::nullopt;
  Bytes plain(sealed.size() - kTagBytes, '\0');
  if (crypto_aead_chacha20poly1305_ietf_decrypt(u8(plain), nullptr, nullptr, u8(sealed),
                                                sealed.size(), u8(clear), clear.size(),
                                                nonce_of(count).data(), key) != 0)
    return std::nullopt;
  return plain;
}

void derive(std::array<uint8_t, 32>& out, KeyId id, const std::array<uint8_t, 32>& master) {
  crypto_kdf_derive_from_key(out.data(), out.size(), id, kContext, master.data());
}

}  // namespace

Knock knock_of(const PublicKey& identity) {
  return knock_from(BytesView("ptwop/knock/identity/1", 23), identity.view());
}
Knock knock_of(const ipld::Cid& channel) {
  return knock_from(BytesView("ptwop/knock/channel/1", 22), channel.bytes());
}
std::string name_of(const Knock& knock) {
  return base64url(hashed(BytesView("ptwop/knock/name/1", 19), 16, view(knock)));
}

Session::Session(const access::Identity& me, bool dialler, Entropy& entropy, uint64_t now_ms)
    : me_(&me),
      dialler_(dialler),
      state_(dialler ? State::called : State::knocked),
      began_ms_(now_ms),
      heard_ms_(now_ms) {
  entropy.fill(ephemeral_secret_.data(), ephemeral_secret_.size());
  crypto_scalarmult_base(ephemeral_.data(), ephemeral_secret_.data());
}

Session::~Session() {
  for (auto* secret : {&ephemeral_secret_, &master_, &seal_key_, &open_key_})
    sodium_memzero(secret->data(), secret->size());
}
Session::Session(Session&&) noexcept = default;
Session& Session::operator=(Session&&) noexcept = default;

Session Session::dial(const access::Identity& me, const Knock& knock,
                      std::optional<PublicKey> expected, Entropy& entropy, uint64_t now_ms) {
  Session s(me, true, entropy, now_ms);
  s.knock_ = knock;
  s.expected_ = std::move(expected);
  s.transcript_ = Bytes(kMagic) + Bytes(view(s.ephemeral_));
  s.transcript_ += hashed(s.transcript_, kKnockBytes, view(knock));
  s.handshake_out_ = s.transcript_;
  return s;
}

Session Session::accept(const access::Identity& me, Answers answers, Entropy& entropy,
                        uint64_t now_ms) {
  Session s(me, false, entropy, now_ms);
  s.answers_ = std::move(answers);
  return s;
}

// --- the handshake -------------------------------------------------------------------------------

size_t Session::expected_bytes() const {
  switch (state_) {
    case State::knocked:
      return kCallBytes;
    case State::called:
      return kAnswerBytes;
    case State::proving:
      return kProofBytes + kTagBytes;
    case State::open:
      break;
  }
  return 0;
}

// Both sides have both ephemeral keys and the knock's secret: keys follow.
Result<void> Session::agree(BytesView other, const Knock& knock) {
  unsigned char shared[crypto_scalarmult_BYTES];
  if (crypto_scalarmult(shared, ephemeral_secret_.data(), u8(other)) != 0) return bad("forged");
  transcript_ += dialler_ ? other : view(ephemeral_);
  transcript_ += view(knock);
  transcript_ = hashed(transcript_, 32, {});
  const Bytes master = hashed(transcript_, master_.size(),
                              BytesView(reinterpret_cast<const char*>(shared), sizeof shared));
  std::copy(master.begin(), master.end(), master_.begin());
  sodium_memzero(shared, sizeof shared);
  sodium_memzero(ephemeral_secret_.data(), ephemeral_secret_.size());
  return {};
}

Bytes Session::prove(char role, const PublicKey* other) const {
  Bytes covered = role + transcript_ + Bytes(me_->key().view());
  if (other) covered += other->view();
  return Bytes(me_->key().view()) + Bytes(me_->sign("stream", covered).view());
}

Result<void> Session::check_proof(BytesView plain, char role, const PublicKey* other) {
  peer_ = PublicKey::from(plain);
  const auto signature = access::Signature::from(plain.substr(PublicKey::kSize));
  Bytes covered = role + transcript_ + Bytes(peer_.view());
  if (other) covered += other->view();
  if ((expected_ && *expected_ != peer_) || peer_ == me_->key()) return bad("stranger");
  if (!access::verify(peer_, "stream", covered, signature)) return bad("forged");
  return {};
}

Result<void> Session::on_call(BytesView message) {
  const BytesView before = message.substr(0, kCallBytes - kKnockBytes);
  const BytesView given = message.substr(kCallBytes - kKnockBytes);
  const Knock* knock = message.starts_with(kMagic) ? answers_([&](const Knock& ours) {
    const Bytes right = hashed(before, kKnockBytes, view(ours));
    return sodium_memcmp(right.data(), given.data(), kKnockBytes) == 0;
  })
                                                   : nullptr;
  if (!knock) return bad("stranger");
  answers_ = nullptr;
  transcript_ = Bytes(message);
  PTWOP_CHECK(agree(before.substr(kMagic.size()), *knock));
  std::array<uint8_t, 32> key;
  derive(key, kAnswerKey, master_);
  handshake_out_ = Bytes(view(ephemeral_));
  seal_to(handshake_out_, prove('a', nullptr), {}, 0, key.data());
  sodium_memzero(key.data(), key.size());
  state_ = State::proving;
  return {};
}

Result<void> Session::on_answer(BytesView message) {
  PTWOP_CHECK(agree(message.substr(0, kKeyBytes), knock_));
  std::array<uint8_t, 32> key;
  derive(key, kAnswerKey, master_);
  const auto plain = unseal(message.substr(kKeyBytes), {}, 0, key.data());
  if (!plain) return bad("forged");
  PTWOP_CHECK(check_proof(*plain, 'a', nullptr));
  derive(key, kProofKey, master_);
  seal_to(handshake_out_, prove('d', &peer_), {}, 0, key.data());
  sodium_memzero(key.data(), key.size());
  open();
  return {};
}

Result<void> Session::on_proof(BytesView message) {
  std::array<uint8_t, 32> key;
  derive(key, kProofKey, master_);
  const auto plain = unseal(message, {}, 0, key.data());
  sodium_memzero(key.data(), key.size());
  if (!plain) return bad("forged");
  PTWOP_CHECK(check_proof(*plain, 'd', &me_->key()));
  open();
  return {};
}

void Session::open() {
  derive(seal_key_, dialler_ ? kDialled : kAccepted, master_);
  derive(open_key_, dialler_ ? kAccepted : kDialled, master_);
  std::array<uint8_t, 32> binding;
  derive(binding, kBinding, master_);
  binding_ = Bytes(view(binding));
  sodium_memzero(master_.data(), master_.size());
  transcript_.clear();
  state_ = State::open;
}

// --- frames --------------------------------------------------------------------------------------

Result<void> Session::feed(BytesView bytes, uint64_t now_ms) {
  heard_ms_ = now_ms;
  pinged_ms_ = 0;
  // Before the proof no more is kept than the next step needs; afterwards a frame at most.
  while (!bytes.empty() || state_ == State::open) {
    if (state_ != State::open) {
      const size_t wanted = expected_bytes() - in_.size();
      in_ += bytes.substr(0, wanted);
      bytes.remove_prefix(std::min(wanted, bytes.size()));
      if (in_.size() < expected_bytes()) return {};
      const Bytes step = std::exchange(in_, {});
      PTWOP_CHECK(state_ == State::knocked  ? on_call(step)
                  : state_ == State::called ? on_answer(step)
                                            : on_proof(step));
      continue;
    }
    // Frames are taken from where they lie when they are there as a whole.
    const auto fill = [&](size_t size) {
      if (in_.size() < size) {
        const size_t take = std::min(size - in_.size(), bytes.size());
        in_ += bytes.substr(0, take);
        bytes.remove_prefix(take);
      }
      return in_.size() >= size;
    };
    if (!fill(kLengthBytes)) return {};
    const size_t length = read_be32(in_);
    if (length < kTagBytes + 1 || length > kTagBytes + 1 + kMessageBytesMax)
      return bad("oversized");
    if (!fill(kLengthBytes + length)) return {};
    const auto plain = unseal(BytesView(in_).substr(kLengthBytes),
                              BytesView(in_).substr(0, kLengthBytes), opened_++, open_key_.data());
    in_.clear();
    if (in_.capacity() > 64 << 10) in_.shrink_to_fit();
    if (!plain) return bad("damaged");
    PTWOP_CHECK(on_frame(*plain));
  }
  return {};
}

Result<void> Session::on_frame(BytesView plain) {
  const BytesView payload = plain.substr(1);
  switch (plain[0]) {
    case kMessage:
      if (cost(payload.size()) > may_receive_) return bad("flooded");
      may_receive_ -= std::min(cost(payload.size()), may_receive_);
      received_.emplace_back(payload);
      return {};
    case kCredit:
      if (payload.size() != kCreditBytes || read_be32(payload) > kWindowBytes - may_send_)
        return bad("damaged");
      may_send_ += read_be32(payload);
      return {};
    case kPing:
    case kPong:
      if (!payload.empty()) return bad("damaged");
      pong_due_ |= plain[0] == kPing;
      return {};
    default:
      return bad("damaged");
  }
}

void Session::seal_frame(Bytes& out, char kind, BytesView payload) {
  Bytes length;
  append_be32(length, static_cast<uint32_t>(1 + payload.size() + kTagBytes));
  out += length;
  Bytes plain;
  plain.reserve(1 + payload.size());
  plain += kind;
  plain += payload;
  seal_to(out, plain, length, sealed_++, seal_key_.data());
}

bool Session::send(uint64_t ticket, Bytes message, bool urgent) {
  Queue& queue = urgent ? urgent_ : bulk_;
  if (state_ != State::open || message.size() > kMessageBytesMax ||
      queue.bytes + cost(message.size()) > (urgent ? kUrgentBytesMax : kBulkBytesMax))
    return false;
  queue.bytes += cost(message.size());
  queue.items.emplace_back(ticket, std::move(message));
  return true;
}

void Session::consumed(size_t message_bytes) { to_credit_ += cost(message_bytes); }

void Session::write(Bytes& out, size_t bytes_max) {
  out += std::exchange(handshake_out_, {});
  if (state_ != State::open) return;
  if (std::exchange(ping_due_, false)) seal_frame(out, kPing, {});
  if (std::exchange(pong_due_, false)) seal_frame(out, kPong, {});
  if (to_credit_ >= kWindowBytes / 4) {
    Bytes credit;
    append_be32(credit, static_cast<uint32_t>(to_credit_));
    may_receive_ += std::exchange(to_credit_, 0);
    seal_frame(out, kCredit, credit);
  }
  while (out.size() < bytes_max) {
    Queue& queue = urgent_.items.empty() ? bulk_ : urgent_;
    if (queue.items.empty() || cost(queue.items.front().second.size()) > may_send_) return;
    const auto [ticket, message] = std::move(queue.items.front());
    queue.items.pop_front();
    queue.bytes -= cost(message.size());
    may_send_ -= cost(message.size());
    seal_frame(out, kMessage, message);
    sent_.push_back(ticket);
  }
}

std::vector<uint64_t> Session::take_unsent() {
  std::vector<uint64_t> tickets;
  for (Queue* queue : {&urgent_, &bulk_}) {
    for (const auto& [ticket, message] : queue->items) tickets.push_back(ticket);
    *queue = {};
  }
  return tickets;
}

Result<void> Session::tick(uint64_t now_ms) {
  if (state_ != State::open) {
    if (now_ms - began_ms_ >= kHandshakeMs) return fail(Code::timed_out, "late");
    return {};
  }
  if (now_ms - heard_ms_ >= kDeadMs) return fail(Code::timed_out, "silent");
  if (now_ms - heard_ms_ >= kPingMs && !pinged_ms_) {
    pinged_ms_ = now_ms;
    ping_due_ = true;
  }
  return {};
}

}  // namespace ptwop::lane
