// Time and randomness come in through these two, so that the domain can run under a simulator.
#pragma once
#include <cstdint>

#include "base/bytes.h"

namespace ptwop {

class Clock {
 public:
  virtual ~Clock() = default;
  virtual uint64_t wall_ms() const = 0;  ///< Unix time; may jump.
  virtual uint64_t mono_ms() const = 0;  ///< Never goes back; for time-outs.
};

class Entropy {
 public:
  virtual ~Entropy() = default;
  virtual void fill(unsigned char* out, size_t size) = 0;
  Bytes bytes(size_t size) {
    Bytes out(size, '\0');
    fill(u8(out), size);
    return out;
  }
};

}  // namespace ptwop
