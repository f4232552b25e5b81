// Clients that each keep a number of requests in flight: the same code for both sides.
#pragma once
#include <cstddef>
#include <cstdint>
#include <deque>
#include <random>
#include <string>
#include <vector>

#include "target.h"

namespace bench {

struct Load {
  Op op = Op::get;
  size_t connections = 1;
  size_t depth = 1;       ///< Requests in flight a connection.
  size_t count = 1000;    ///< Requests a round.
  uint64_t keys = 1000;   ///< Random ones among these, unless in_order.
  uint64_t first = 0;     ///< The lowest key.
  bool in_order = false;  ///< Every key once, from `first` up, going on in the next round.
  size_t value_bytes = 200;
};

struct Round {
  double seconds = 0;
  std::vector<uint32_t>
      latencies_ns;  ///< Sorted. From send to reply, in the order of requests on a connection.

  double percentile_us(double share) const;
  double per_second() const { return static_cast<double>(latencies_ns.size()) / seconds; }
};

/// Connections stay open from round to round.
class ClosedLoop {
 public:
  ClosedLoop(Target target, const Load& load);
  ~ClosedLoop();
  ClosedLoop(const ClosedLoop&) = delete;
  ClosedLoop& operator=(const ClosedLoop&) = delete;
  Round run();

 private:
  struct Client {
    Connection connection;
    std::string input;
    std::deque<SteadyTime> sent;
  };
  void start_requests(Client& client, size_t wanted);
  void take_replies(Client& client);
  uint64_t next_key();

  Target target_;
  Load load_;
  std::deque<Client> clients_;
  int epoll_ = -1;
  std::mt19937_64 random_{7};
  uint64_t next_ = 0;
  size_t unsent_ = 0;
  Round round_;
  std::string output_;
};

}  // namespace bench
