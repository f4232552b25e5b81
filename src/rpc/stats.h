// The rpc room's counters since start. On the loop's thread.
#pragma once
#include <cstdint>
#include <map>

#include "base/error.h"

namespace ptwop::rpc {

struct Stats {
  uint64_t requests = 0;       ///< All, those in batches one by one.
  uint64_t notifications = 0;  ///< Those of them without an id.
  uint64_t batches = 0;
  uint64_t connections = 0;  ///< Now.
  uint64_t in_flight = 0;    ///< Now.
  std::map<Code, uint64_t> refused;

  void refuse(Code code) { ++refused[code]; }
};

}  // namespace ptwop::rpc
