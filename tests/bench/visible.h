// How long a write takes to the other daemon, against what Kubo's pubsub alone takes between the
// same two nodes.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>

namespace bench {

struct Pair {
  std::string socket_a, socket_b;  ///< Daemons that share `channel`, a kv.
  std::string channel = "bench";
  uint16_t api_a = 0, api_b = 0;  ///< The HTTP APIs of their Kubo nodes, on loopback.
  std::string topic;              ///< Multibase; nobody else's.
  size_t count = 300;
  size_t value_bytes = 200;
};

/// Prints one JSON object: pubsub_us, get_us (kv.put sent → kv.get at B shows it), wait_us (kv.put
/// sent → channel.wait at B says it is durable there too), acknowledged_us (kv.put → its answer),
/// each with p50 and p99, and `lost` of pubsub.
void measure_visible(const Pair& pair);

/// Prints one JSON object: writes `count` new keys on A as fast as they are taken (64 connections),
/// then waits at B for all that A holds. write_s, per_s, lag_s (from the last acknowledgement until
/// B has all of it).
void measure_replicated(const Pair& pair);

}  // namespace bench
