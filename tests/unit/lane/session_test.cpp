#include "lane/session.h"

#include <doctest/doctest.h>
#include <sodium.h>

#include <random>

using namespace ptwop;
using lane::Knock;
using lane::Session;

namespace {

struct Chance : Entropy {
  std::mt19937_64 random{7};
  void fill(unsigned char* out, size_t size) override {
    for (size_t i = 0; i < size; ++i) out[i] = static_cast<unsigned char>(random());
  }
};

struct Two {
  Two() : a(access::Identity::make(chance)), b(access::Identity::make(chance)) {
    knocks = {lane::knock_of(ipld::Cid::of("a channel")), lane::knock_of(b.key())};
  }
  Session dial() { return Session::dial(a, knocks[1], b.key(), chance, 0); }
  Session accept() { return accept(b); }
  Session accept(const access::Identity& me) {
    return Session::accept(
        me,
        [this](const auto& fits) -> const Knock* {
          for (const Knock& knock : knocks)
            if (fits(knock)) return &knock;
          return nullptr;
        },
        chance, 0);
  }
  Chance chance;
  access::Identity a, b;
  std::vector<Knock> knocks;
};

Bytes written(Session& s, size_t bytes_max = 64 << 20) {
  Bytes out;
  s.write(out, bytes_max);
  return out;
}

/// To and fro until both are silent; false when one of them ends the session.
bool run(Session& x, Session& y, uint64_t now_ms = 0) {
  for (;;) {
    const Bytes there = written(x), back = written(y);
    if (there.empty() && back.empty()) return true;
    if (!y.feed(there, now_ms) || !x.feed(back, now_ms)) return false;
  }
}

struct Linked : Two {
  Linked() { REQUIRE(run(d, s)); }
  Session d = dial(), s = accept();
};

std::string word(const Result<void>& result) { return result ? "" : result.error().message; }

}  // namespace

TEST_CASE_FIXTURE(Two, "both learn who the other is, and share what nobody else knows") {
  Session d = dial(), s = accept();
  CHECK_FALSE(d.established());
  REQUIRE(run(d, s));
  REQUIRE(d.established());
  REQUIRE(s.established());
  CHECK(d.peer() == b.key());
  CHECK(s.peer() == a.key());
  CHECK(d.binding() == s.binding());
  CHECK(d.binding().size() == 32);
  Session d2 = dial(), s2 = accept();
  REQUIRE(run(d2, s2));
  CHECK(d2.binding() != d.binding());
}

TEST_CASE_FIXTURE(Two, "who knows the channel alone is answered too, and learns who answers") {
  Session d = Session::dial(a, knocks[0], {}, chance, 0), s = accept();
  REQUIRE(run(d, s));
  CHECK(d.peer() == b.key());
}

TEST_CASE_FIXTURE(Two, "a stranger gets nothing at all") {
  // Another channel, another identity, noise, and the right knock for other bytes.
  Session other = Session::dial(a, lane::knock_of(ipld::Cid::of("other")), {}, chance, 0);
  Session wrong = Session::dial(a, lane::knock_of(a.key()), {}, chance, 0);
  Bytes moved = [&] {
    Session d = dial();
    return written(d);
  }();
  moved[10] = static_cast<char>(moved[10] ^ 1);
  for (const Bytes& call :
       {written(other), written(wrong), moved, Bytes(500, 'x'),
        Bytes("GET / HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n" + Bytes(30, ' '))}) {
    Session s = accept();
    CHECK(word(s.feed(call, 0)) == "stranger");
    CHECK(written(s).empty());
  }
  Session s = accept();
  CHECK(s.feed("ptwop", 0).ok());
  CHECK(written(s).empty());
  CHECK(s.tick(lane::kHandshakeMs - 1).ok());
  CHECK(word(s.tick(lane::kHandshakeMs)) == "late");
}

TEST_CASE_FIXTURE(Two, "nobody else can answer, or prove to be somebody") {
  const auto c = access::Identity::make(chance);
  Session d = dial(), s = accept(c);  // it knows whom to be, but has not the key
  CHECK_FALSE(run(d, s));
  CHECK_FALSE(d.established());
  // By the channel's knock anybody who has the address may answer, as himself.
  Session by_channel = Session::dial(a, knocks[0], b.key(), chance, 0), other = accept(c);
  CHECK_FALSE(run(by_channel, other));
  CHECK_FALSE(by_channel.established());
  // Oneself is nobody to talk to.
  Session self = Session::dial(b, knocks[1], {}, chance, 0), me = accept();
  CHECK_FALSE(run(self, me));
}

TEST_CASE_FIXTURE(Two, "a handshake that was changed, cut, or played again leads nowhere") {
  for (int step = 0; step < 3; ++step)
    for (size_t at = 0; at < 144; ++at) {
      Session d = dial(), s = accept();
      Bytes call = written(d);
      const auto spoil = [&](Bytes& bytes) { bytes[at % bytes.size()] ^= 0x40; };
      if (step == 0) spoil(call);
      if (!s.feed(call, 0)) continue;
      Bytes answer = written(s);
      CHECK(answer.size() == 144);
      if (step == 1) spoil(answer);
      if (!d.feed(answer, 0)) continue;
      Bytes proof = written(d);
      CHECK(proof.size() == 112);
      if (step == 2) spoil(proof);
      const bool cut = s.feed(BytesView(proof).substr(0, proof.size() - 1), 0).ok();
      CHECK(cut);
      CHECK_FALSE(s.established());
      CHECK_FALSE(s.feed(BytesView(proof).substr(proof.size() - 1), 0).ok());
      CHECK_FALSE(s.established());
    }
  // A recording of a whole good session.
  Session d = dial(), s = accept();
  const Bytes call = written(d);
  REQUIRE(s.feed(call, 0).ok());
  REQUIRE(d.feed(written(s), 0).ok());
  const Bytes proof = written(d);
  REQUIRE(s.feed(proof, 0).ok());
  Session again = accept();
  REQUIRE(again.feed(call, 0).ok());
  CHECK(word(again.feed(proof, 0)) == "forged");
}

TEST_CASE_FIXTURE(Linked, "messages come in order, urgent ones first, however the bytes are cut") {
  CHECK(d.send(1, "bulk one", false));
  CHECK(d.send(2, "bulk two", false));
  CHECK(d.send(3, "urgent", true));
  CHECK(d.send(4, "", false));
  CHECK(d.send(5, Bytes(lane::kMessageBytesMax, 'x'), false));
  CHECK_FALSE(d.send(6, Bytes(lane::kMessageBytesMax + 1, 'x'), false));
  const Bytes bytes = written(d);
  CHECK(d.take_sent() == std::vector<uint64_t>{3, 1, 2, 4, 5});
  std::mt19937 random(3);
  for (size_t at = 0; at < bytes.size();) {
    const size_t size = std::min<size_t>(bytes.size() - at, 1 + random() % (at < 500 ? 3 : 9000));
    REQUIRE(s.feed(BytesView(bytes).substr(at, size), 0).ok());
    at += size;
  }
  const auto got = s.take_received();
  REQUIRE(got.size() == 5);
  CHECK(got[0] == "urgent");
  CHECK(got[1] == "bulk one");
  CHECK(got[2] == "bulk two");
  CHECK(got[3].empty());
  CHECK(got[4] == Bytes(lane::kMessageBytesMax, 'x'));
  CHECK(bytes.find("bulk") == Bytes::npos);
}

TEST_CASE_FIXTURE(Linked,
                  "a frame that was changed, moved, repeated or left out ends the session") {
  for (int way = 0; way < 4; ++way) {
    Session x = dial(), y = accept();
    REQUIRE(run(x, y));
    CHECK(x.send(1, "one", true));
    Bytes one = written(x);
    CHECK(x.send(2, "two", true));
    const Bytes two = written(x);
    Bytes sent = way == 0 ? one + one : way == 1 ? two + one : way == 2 ? two : one;
    if (way == 3) sent[sent.size() - 1] ^= 1;
    CHECK(word(y.feed(sent, 0)) == "damaged");
    CHECK(y.take_received().size() == (way == 0 ? 1 : 0));
  }
  // What goes one way is nothing that could come back.
  CHECK(d.send(1, "hello", true));
  CHECK(word(d.feed(written(d), 0)) == "damaged");
  // Lengths that no frame has.
  for (const BytesView length : {BytesView("\0\0\0\0", 4), BytesView("\0\0\0\x10", 4),
                                 BytesView("\0\x10\0\x12", 4), BytesView("\xff\xff\xff\xff", 4)}) {
    Session x = dial(), y = accept();
    REQUIRE(run(x, y));
    CHECK(word(y.feed(length, 0)) == "oversized");
  }
}

TEST_CASE_FIXTURE(Linked, "a slow reader holds the sender back, and only so much waits") {
  const Bytes part(100 << 10, 'p');
  uint64_t ticket = 0;
  while (d.send(++ticket, part, false)) {
  }
  CHECK(d.queued_bytes() <= lane::kBulkBytesMax);
  CHECK(d.send(1000, "urgent", true));  // has its own room
  const Bytes first = written(d);
  CHECK(first.size() <= lane::kWindowBytes + 10'000);
  CHECK(first.size() > lane::kWindowBytes - part.size() - 10'000);
  CHECK(written(d).empty());
  REQUIRE(s.feed(first, 0).ok());
  size_t got = 0;
  for (const Bytes& message : s.take_received()) {
    ++got;
    s.consumed(message.size());
  }
  while (got < ticket) {
    REQUIRE(d.feed(written(s), 0).ok());
    const Bytes more = written(d);
    if (more.empty()) break;
    REQUIRE(s.feed(more, 0).ok());
    for (const Bytes& message : s.take_received()) {
      ++got;
      s.consumed(message.size());
    }
  }
  CHECK(got == ticket);  // the last of them was refused, the urgent one came
  CHECK(d.queued_bytes() == 0);
  CHECK(d.take_unsent().empty());
}

namespace {

using Key = std::array<uint8_t, 32>;

Bytes blake(const Bytes& bytes, size_t size, BytesView key = {}) {
  Bytes out(size, '\0');
  crypto_generichash(u8(out), size, u8(BytesView(bytes)), bytes.size(),
                     key.empty() ? nullptr : u8(key), key.size());
  return out;
}

/// The protocol once more, from its description in session.h, with whatever identity and signature
/// one likes.
struct ByHand {
  explicit ByHand(Chance& chance) {
    chance.fill(secret.data(), secret.size());
    crypto_scalarmult_base(ephemeral.data(), secret.data());
  }
  Bytes own() const { return Bytes(reinterpret_cast<const char*>(ephemeral.data()), 32); }
  Bytes call(const Knock& knock) {
    first = Bytes("ptwopst\x01") + own();
    first += blake(first, 16, BytesView(reinterpret_cast<const char*>(knock.data()), 32));
    return first;
  }
  void agree(BytesView theirs, const Bytes& acceptors, const Knock& knock) {
    Bytes shared(32, '\0');
    REQUIRE(crypto_scalarmult(u8(shared), secret.data(), u8(theirs)) == 0);
    hash = blake(first + acceptors + Bytes(reinterpret_cast<const char*>(knock.data()), 32), 32);
    master = blake(hash, 32, shared);
  }
  Key key(uint64_t id) const {
    Key out;
    crypto_kdf_derive_from_key(out.data(), 32, id, "ptwopst1", u8(BytesView(master)));
    return out;
  }
  Bytes seal(uint64_t id, const Bytes& plain, const Bytes& clear = {}, uint8_t count = 0) const {
    Bytes out(plain.size() + 16, '\0');
    std::array<uint8_t, 12> nonce{};
    nonce[11] = count;
    crypto_aead_chacha20poly1305_ietf_encrypt(u8(out), nullptr, u8(BytesView(plain)), plain.size(),
                                              u8(BytesView(clear)), clear.size(), nullptr,
                                              nonce.data(), key(id).data());
    return out;
  }
  /// As the dialler: what follows the acceptor's answer.
  Bytes proof(const Bytes& answer, const Knock& knock, const list::PublicKey& claimed,
              const access::Identity& signer, const list::PublicKey& acceptor) {
    agree(BytesView(answer).substr(0, 32), answer.substr(0, 32), knock);
    const Bytes covered = "d" + hash + Bytes(claimed.view()) + Bytes(acceptor.view());
    return seal(2, Bytes(claimed.view()) + Bytes(signer.sign("stream", covered).view()));
  }
  /// As the acceptor.
  Bytes answer(const Bytes& call, const Knock& knock, const list::PublicKey& claimed,
               const access::Identity& signer) {
    first = call;
    agree(BytesView(call).substr(8, 32), own(), knock);
    const Bytes covered = "a" + hash + Bytes(claimed.view());
    return own() + seal(1, Bytes(claimed.view()) + Bytes(signer.sign("stream", covered).view()));
  }
  Bytes frame(const Bytes& plain) {
    Bytes length;
    append_be32(length, static_cast<uint32_t>(plain.size() + 16));
    return length + seal(3, plain, length, sent++);
  }
  Key secret, ephemeral;
  Bytes first, hash, master;
  uint8_t sent = 0;
};

}  // namespace

TEST_CASE_FIXTURE(Two, "by its description the protocol is what it is; only the right key proves") {
  const auto c = access::Identity::make(chance);
  for (const bool honest : {true, false}) {
    ByHand hand(chance);
    Session s = accept();
    REQUIRE(s.feed(hand.call(knocks[1]), 0).ok());
    const auto fed = s.feed(hand.proof(written(s), knocks[1], a.key(), honest ? a : c, b.key()), 0);
    CHECK(word(fed) == (honest ? "" : "forged"));
    CHECK(s.established() == honest);
    if (honest) CHECK(s.peer() == a.key());
  }
  for (const bool honest : {true, false}) {
    ByHand hand(chance);
    Session d = Session::dial(a, knocks[0], {}, chance, 0);
    const auto fed = d.feed(hand.answer(written(d), knocks[0], b.key(), honest ? b : c), 0);
    CHECK(word(fed) == (honest ? "" : "forged"));
    CHECK(d.established() == honest);
  }
  // A proof that was made towards somebody else.
  ByHand hand(chance);
  Session s = accept();
  REQUIRE(s.feed(hand.call(knocks[1]), 0).ok());
  CHECK(word(s.feed(hand.proof(written(s), knocks[1], a.key(), a, c.key()), 0)) == "forged");
}

TEST_CASE_FIXTURE(Two, "who sends more than it may is cut off") {
  for (const size_t size : {size_t{0}, size_t{100}, size_t{1} << 20}) {
    ByHand hand(chance);
    Session s = accept();
    REQUIRE(s.feed(hand.call(knocks[1]), 0).ok());
    REQUIRE(s.feed(hand.proof(written(s), knocks[1], a.key(), a, b.key()), 0).ok());
    const Bytes plain = "\x01" + Bytes(size, 'x');
    size_t taken = 0;
    Result<void> fed;
    while (fed.ok() && hand.sent < 255) {
      fed = s.feed(hand.frame(plain), 0);
      taken += s.take_received().size() * (size + 64);
    }
    CHECK(taken <= lane::kWindowBytes);
    if (size == 1 << 20) {
      CHECK(word(fed) == "flooded");
      CHECK(hand.sent == 2);  // 64 bytes more a message than it has
    }
  }
}

TEST_CASE_FIXTURE(Linked, "credit for what was never sent ends the session") {
  size_t frames = 0;
  Result<void> fed;
  while (fed.ok() && frames < 100) {
    s.consumed(600 << 10);
    fed = d.feed(written(s), 0);
    ++frames;
  }
  CHECK(word(fed) == "damaged");
}

TEST_CASE_FIXTURE(Two, "frames of no kind, and a dialler's own words played back") {
  for (const Bytes& plain : {Bytes("\x05"), Bytes("\x02"), Bytes("\x03x"), Bytes(1, '\0')}) {
    ByHand hand(chance);
    Session s = accept();
    REQUIRE(s.feed(hand.call(knocks[1]), 0).ok());
    REQUIRE(s.feed(hand.proof(written(s), knocks[1], a.key(), a, b.key()), 0).ok());
    CHECK(word(s.feed(hand.frame(plain), 0)) == "damaged");
  }
}

TEST_CASE_FIXTURE(Linked, "silence is asked about, and then it is the end") {
  CHECK(d.tick(lane::kPingMs - 1).ok());
  CHECK(written(d).empty());
  CHECK(d.tick(lane::kPingMs).ok());
  const Bytes ping = written(d);
  CHECK_FALSE(ping.empty());
  CHECK(d.tick(lane::kPingMs + 1).ok());
  CHECK(written(d).empty());
  REQUIRE(s.feed(ping, lane::kPingMs).ok());
  REQUIRE(d.feed(written(s), lane::kPingMs + 50).ok());
  CHECK(d.tick(lane::kPingMs + lane::kDeadMs).ok());
  CHECK(word(d.tick(lane::kPingMs + 50 + lane::kDeadMs)) == "silent");
}

TEST_CASE_FIXTURE(Two, "names and knocks of different things differ") {
  CHECK(lane::knock_of(a.key()) != lane::knock_of(b.key()));
  CHECK(lane::name_of(knocks[0]) != lane::name_of(knocks[1]));
  CHECK(lane::name_of(knocks[0]).size() == 22);
}
