// All chance of a simulation: generators that follow from one seed. Each part of the world draws
// from its own, so that leaving an action out of a schedule disturbs the rest as little as
// possible.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

namespace ptwop::sim {

/// Stirs (splitmix64, https://prng.di.unimi.it/splitmix64.c).
inline uint64_t mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}
inline uint64_t mix(uint64_t a, uint64_t b) { return mix(mix(a) ^ b); }

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t next() {
    const uint64_t out = mix(state_);
    state_ += 0x9e3779b97f4a7c15u;
    return out;
  }
  uint64_t below(uint64_t n) { return next() % n; }
  uint64_t between(uint64_t low, uint64_t high) { return low + below(high - low + 1); }
  bool percent(uint64_t p) { return below(100) < p; }
  template <class T>
  const T& pick(const std::vector<T>& items) {
    return items[below(items.size())];
  }
  void fill(unsigned char* out, size_t size) {
    for (size_t i = 0; i < size; ++i) out[i] = static_cast<unsigned char>(next() >> 56);
  }

 private:
  uint64_t state_;
};

}  // namespace ptwop::sim
