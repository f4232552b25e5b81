// Kubo's RPC API in this process: what a Kubo 0.43 answers to the calls that the daemon makes, with
// faults on demand. The conformance suite (tests/kubo) holds it to what a real one does.
#pragma once
#include <boost/asio/io_context.hpp>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/bytes.h"

namespace ptwop::test {

/// What goes wrong; probabilities from 0 to 1. May be changed at any time on the loop's thread.
struct Faults {
  // Each pubsub delivery to one node
  double drop = 0;
  double duplicate = 0;
  double reorder = 0;  ///< Held back until up to `delay_ms_max` later, so that others overtake it.
  uint64_t delay_ms_max = 20;
  // Answers
  uint64_t answer_delay_ms = 0;  ///< Before every answer.
  double refuse = 0;             ///< HTTP 500 with an error.
  double cut = 0;                ///< The connection ends in the middle of the answer.
  bool hang = false;             ///< No answer at all.
  bool pubsub_off = false;
  bool streams_off = false;
  std::vector<std::string> providers;  ///< routing/findprovs names these, whatever is asked.
  bool alone = false;                  ///< swarm/peers shows nobody.
  bool stall = false;                  ///< p2p streams pass nothing on.
  bool wrong_bytes = false;   ///< block/get gives other bytes; block/put names another CID.
  bool garbage = false;       ///< Good status, nonsense for a body.
  std::string authorization;  ///< The header that is asked for: "Bearer …". Empty: none.
  std::string version = "0.43.0";
};

struct NetState;

/// The network that links fake nodes: blocks and messages reach every node of it. All on one loop's
/// thread.
class FakeNet {
 public:
  FakeNet(boost::asio::io_context& loop, uint64_t seed);
  ~FakeNet();
  /// Nodes of different groups do not reach each other. Every node begins in group 0.
  void set_group(size_t node, int group);

 private:
  friend class FakeKubo;
  std::shared_ptr<NetState> state_;
};

class FakeKubo {
 public:
  /// Listens on a free loopback port, or on a unix socket when a path is given.
  explicit FakeKubo(FakeNet& net, std::string unix_path = "");
  ~FakeKubo();
  FakeKubo(const FakeKubo&) = delete;
  FakeKubo& operator=(const FakeKubo&) = delete;

  std::string api() const;  ///< The API's multiaddr; the same after a restart.
  Faults& faults();
  /// Ends all connections and listens no more; blocks and pins stay.
  void stop();
  void start();
  /// Forgets what is not pinned, as `ipfs repo gc`.
  void collect_garbage();
  /// Ends all p2p streams that touch this node; it goes on listening.
  void cut_streams();
  bool has_block(const std::string& cid) const;
  size_t requests() const;     ///< Answered or not, since it was made.
  size_t connections() const;  ///< Accepted since it was made.
  /// Sends raw text to every pubsub stream of this node, as if Kubo had written it.
  void write_to_streams(BytesView text);

  struct Node;

 private:
  std::shared_ptr<Node> node_;
};

}  // namespace ptwop::test
