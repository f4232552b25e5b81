// Outgoing pubsub messages: in order within a topic, topics beside each other, never behind block
// transfers.
#pragma once
#include <deque>
#include <functional>
#include <unordered_map>

#include "ipld/cid.h"
#include "kubo/api.h"

namespace ptwop::kubo {

class Publisher {
 public:
  using Told = std::function<void(const ipld::Cid& channel, bool ok)>;
  /// `told` hears the outcome of each message, from the loop.
  Publisher(Api& api, Told told) : api_(api), told_(std::move(told)) {}

  /// False when there is no room: then nothing is told.
  bool add(const ipld::Cid& channel, Bytes message);
  /// Gives up on everything; the outcomes are told before this returns.
  void fail_all();

 private:
  struct Topic {
    std::deque<Bytes> waiting;
    net::HttpClient::Id in_flight = 0;
  };
  void send_next(const ipld::Cid& channel, Topic& topic);
  void on_sent(const ipld::Cid& channel, bool ok);

  Api& api_;
  Told told_;
  std::unordered_map<ipld::Cid, Topic> topics_;
  size_t waiting_bytes_ = 0;
};

}  // namespace ptwop::kubo
