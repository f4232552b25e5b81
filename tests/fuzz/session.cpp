// Any bytes to either end of a stream: nobody gets through the handshake by chance, and what comes
// after it ends the session or is bounded. The first byte says how far the handshake has come and
// which end hears the rest.
#include "lane/session.h"
#include "fuzz.h"
#include "ports.h"

using namespace ptwop;
using lane::Session;

namespace {

struct Ends {
  fuzz::Chance chance;
  access::Identity a = access::Identity::make(chance), b = access::Identity::make(chance);
  lane::Knock knock = lane::knock_of(b.key());
  Session dialler = Session::dial(a, knock, b.key(), chance, 0);
  Session acceptor = Session::accept(
      b, [this](const auto& fits) -> const lane::Knock* { return fits(knock) ? &knock : nullptr; },
      chance, 0);
};

Bytes written(Session& session) {
  Bytes out;
  session.write(out, 64 << 20);
  return out;
}

}  // namespace

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  Ends ends;
  const unsigned steps = data[0] & 3;
  Session& end = data[0] & 4 ? ends.dialler : ends.acceptor;
  Bytes good[3];
  for (unsigned step = 0; step < steps; ++step) {
    Session& from = step % 2 ? ends.acceptor : ends.dialler;
    Session& to = step % 2 ? ends.dialler : ends.acceptor;
    good[step] = written(from);
    fuzz::expect(to.feed(good[step], 0).ok(), "an honest handshake goes on");
  }
  const bool proven = end.established();
  // Bit 3: the next honest message is bent by what was given rather than replaced.
  Bytes bytes(fuzz::view(data + 1, size - 1));
  Session& other = &end == &ends.dialler ? ends.acceptor : ends.dialler;
  bool honest = bytes.empty(), honest_step = honest;
  if (data[0] & 8) {
    if (other.established()) (void)other.send(1, Bytes(200, 'm'), true);
    Bytes next = written(other);
    // What the end waits for of the handshake; what is sealed may follow it.
    constexpr size_t kStepBytes[] = {56, 144, 112, 0};
    bool bent = false;
    honest_step = true;
    for (size_t i = 0; i < next.size() && i < bytes.size(); ++i) {
      bent |= bytes[i] != 0;
      if (i < kStepBytes[steps]) honest_step &= bytes[i] == 0;
      next[i] = static_cast<char>(next[i] ^ bytes[i]);
    }
    honest = !bent;
    bytes = next;
  }
  size_t fed = 0;
  for (size_t at = 0; at < bytes.size(); at += 97) {
    if (!end.feed(BytesView(bytes).substr(at, 97), 1)) break;
    fed += end.take_received().size();
  }
  fuzz::expect(proven || honest_step || !end.established(), "nobody gets in by chance");
  fuzz::expect(honest || fed == 0, "nothing is heard of what was not sealed");
  (void)written(end);
  (void)end.tick(2);
  return 0;
}
