// The engine's ports on top of kubo::Client: takes calls on the engine's thread, makes them on the
// loop's.
#pragma once
#include <functional>
#include <memory>

#include "engine/ports.h"
#include "kubo/client.h"

namespace ptwop::kubo {

/// Calls keep their order; a burst of them costs one post. Outcomes are the client's Events.
/// Destroy it where the loop no longer runs, or on its thread; calls that are still waiting are
/// dropped.
class Adapter final : public engine::Gossip, public engine::BlockStore, public engine::PeerStream {
 public:
  Adapter(boost::asio::io_context& loop, Client& client);
  ~Adapter() override;

  void subscribe(const ipld::Cid& channel) override;
  void unsubscribe(const ipld::Cid& channel) override;
  void publish(const ipld::Cid& channel, Bytes message) override;
  void put(uint64_t ticket, std::vector<engine::Block> blocks) override;
  void get(const ipld::Cid& cid) override;
  void pin(const ipld::Cid& last, const ipld::Cid& next) override;
  void unpin(const ipld::Cid& cid) override;
  void want(std::vector<engine::PeerAddress> peers) override;
  void meet(std::vector<ipld::Cid> channels, std::vector<ipld::Cid> sought) override;
  void send(const list::PublicKey& to, uint64_t ticket, Bytes message, bool urgent) override;
  void drop(const list::PublicKey& peer) override;

 private:
  using Call = std::function<void(Client&)>;
  struct Queue;
  void enqueue(Call call);
  std::shared_ptr<Queue> queue_;
};

}  // namespace ptwop::kubo
