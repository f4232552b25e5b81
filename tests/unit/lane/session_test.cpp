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

TEST_CASE_FIXTURE(Linked, "who sends more than it may is cut off") {
  // An honest session does not: one with a window of its own making stands for a bad one.
  size_t frames = 0;
  Result<void> fed;
  while (fed.ok() && frames < 100'000) {
    s.consumed(600 << 10);  // credit for what was never sent
    fed = d.feed(written(s), 0);
    ++frames;
  }
  CHECK(word(fed) == "damaged");
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
