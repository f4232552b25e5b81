#include "kubo/adapter.h"

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <mutex>
#include <utility>

namespace ptwop::kubo {

struct Adapter::Queue {
  Queue(boost::asio::io_context& io, Client& to) : loop(io), client(&to) {}
  boost::asio::io_context& loop;
  Client* client;  ///< Used on the loop's thread only; null once the adapter is gone.
  std::mutex mutex;
  std::vector<Call> calls;
};

Adapter::Adapter(boost::asio::io_context& loop, Client& client)
    : queue_(std::make_shared<Queue>(loop, client)) {}
Adapter::~Adapter() { queue_->client = nullptr; }

void Adapter::enqueue(Call call) {
  {
    const std::lock_guard lock(queue_->mutex);
    queue_->calls.push_back(std::move(call));
    if (queue_->calls.size() > 1) return;  // a post is under way
  }
  boost::asio::post(queue_->loop, [queue = queue_] {
    std::vector<Call> calls;
    {
      const std::lock_guard lock(queue->mutex);
      calls.swap(queue->calls);
    }
    for (auto& each : calls) {
      if (queue->client) each(*queue->client);
    }
  });
}

void Adapter::subscribe(const ipld::Cid& channel) {
  enqueue([channel](Client& client) { client.subscribe(channel); });
}
void Adapter::unsubscribe(const ipld::Cid& channel) {
  enqueue([channel](Client& client) { client.unsubscribe(channel); });
}
void Adapter::publish(const ipld::Cid& channel, Bytes message) {
  enqueue([channel, message = std::move(message)](Client& client) mutable {
    client.publish(channel, std::move(message));
  });
}
void Adapter::put(uint64_t ticket, std::vector<engine::Block> blocks) {
  enqueue([ticket, blocks = std::move(blocks)](Client& client) mutable {
    client.put(ticket, std::move(blocks));
  });
}
void Adapter::get(const ipld::Cid& cid) {
  enqueue([cid](Client& client) { client.get(cid); });
}
void Adapter::pin(const ipld::Cid& last, const ipld::Cid& next) {
  enqueue([last, next](Client& client) { client.pin(last, next); });
}
void Adapter::unpin(const ipld::Cid& cid) {
  enqueue([cid](Client& client) { client.unpin(cid); });
}
void Adapter::want(std::vector<engine::PeerAddress> peers) {
  enqueue([peers = std::move(peers)](Client& client) mutable { client.want(std::move(peers)); });
}
void Adapter::meet(std::vector<ipld::Cid> channels, std::vector<ipld::Cid> sought) {
  enqueue([channels = std::move(channels), sought = std::move(sought)](Client& client) mutable {
    client.meet(std::move(channels), std::move(sought));
  });
}
void Adapter::send(const list::PublicKey& to, uint64_t ticket, Bytes message, bool urgent) {
  enqueue([to, ticket, message = std::move(message), urgent](Client& client) mutable {
    client.send(to, ticket, std::move(message), urgent);
  });
}
void Adapter::drop(const list::PublicKey& peer) {
  enqueue([peer](Client& client) { client.drop(peer); });
}

}  // namespace ptwop::kubo
