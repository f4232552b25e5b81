// Blocks into Kubo, many in one request, and out of it, many at once.
#pragma once
#include <deque>
#include <functional>
#include <memory>
#include <unordered_map>
#include <vector>

#include "engine/ports.h"
#include "kubo/api.h"

namespace ptwop::kubo {

/// One request at a time; whatever came meanwhile makes up the next.
class BlockPuts {
 public:
  using Told = std::function<void(uint64_t ticket, bool ok)>;
  BlockPuts(Api& api, Told told, std::function<void()> refused)
      : api_(api), told_(std::move(told)), refused_(std::move(refused)) {}

  /// False when a block is too large or there is no room: then nothing is told.
  bool add(uint64_t ticket, std::vector<engine::Block> blocks);
  void fail_all();

 private:
  /// A call of add(); told when none of its blocks is left.
  struct Job {
    uint64_t ticket;
    size_t left;
    bool ok = true;
  };
  struct Item {
    std::shared_ptr<Job> job;
    engine::Block block;
  };
  void send_next();
  void on_answer(const Result<Bytes>& body);
  void settle(const std::vector<std::shared_ptr<Job>>& jobs, bool ok);

  Api& api_;
  Told told_;
  std::function<void()> refused_;  ///< Kubo stored something else than was sent.
  std::deque<Item> waiting_;
  size_t waiting_bytes_ = 0;
  net::HttpClient::Id in_flight_ = 0;
  std::vector<std::shared_ptr<Job>> sent_jobs_;  ///< One for each block in flight.
  std::vector<engine::Block> sent_;              ///< Their CIDs; the bytes are with the request.
};

/// A bounded number in flight; each is checked against its hash.
class BlockGets {
 public:
  using Told = std::function<void(const ipld::Cid& cid, Result<Bytes> block)>;
  BlockGets(Api& api, uint64_t timeout_ms, Told told, std::function<void()> refused)
      : api_(api), timeout_ms_(timeout_ms), told_(std::move(told)), refused_(std::move(refused)) {}

  /// False when there is no room: then nothing is told.
  bool add(const ipld::Cid& cid);
  void fail_all();

 private:
  void send_next();
  void on_answer(net::HttpClient::Id id, const ipld::Cid& cid, Result<Bytes> body);

  Api& api_;
  uint64_t timeout_ms_;
  Told told_;
  std::function<void()> refused_;
  std::deque<ipld::Cid> waiting_;
  std::unordered_map<net::HttpClient::Id, ipld::Cid> in_flight_;
};

}  // namespace ptwop::kubo
