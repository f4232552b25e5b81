// What the fuzz targets share. A target aborts where what it holds to be true is not.
#pragma once
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "base/bytes.h"

namespace ptwop::fuzz {

inline BytesView view(const uint8_t* data, size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

inline void expect(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "does not hold: %s\n", what);
  std::abort();
}

}  // namespace ptwop::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);
