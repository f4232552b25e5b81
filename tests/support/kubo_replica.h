// A kubo::Client with everything it told, for tests that drive one loop by hand.
#pragma once
#include <boost/asio/io_context.hpp>
#include <chrono>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "kubo/client.h"

namespace ptwop::test {

/// Runs the loop until `what` holds; false when it does not in time.
inline bool run_until(boost::asio::io_context& loop, const std::function<bool()>& what,
                      uint64_t limit_ms = 10'000) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(limit_ms);
  while (!what()) {
    if (std::chrono::steady_clock::now() > end) return false;
    loop.restart();
    loop.run_one_for(std::chrono::milliseconds(20));
  }
  return true;
}

inline void run_for(boost::asio::io_context& loop, uint64_t ms) {
  run_until(
      loop, [] { return false; }, ms);
}

struct KuboReplica {
  struct Message {
    ipld::Cid channel;
    std::string from;
    Bytes data;
  };
  KuboReplica(boost::asio::io_context& io, kubo::Options options, bool start = true)
      : loop(io), client(io, std::move(options), events()) {
    if (start) client.start();
  }

  kubo::Events events() {
    kubo::Events out;
    out.on_state = [this](bool connected, bool pubsub) { states.emplace_back(connected, pubsub); };
    out.on_message = [this](const ipld::Cid& channel, std::string_view from, Bytes data) {
      messages.push_back({channel, std::string(from), std::move(data)});
    };
    out.on_published = [this](const ipld::Cid&, bool ok) { published.push_back(ok); };
    out.on_stored = [this](uint64_t ticket, bool ok) { stored[ticket].push_back(ok); };
    out.on_block = [this](const ipld::Cid& cid, Result<Bytes> block) {
      blocks[cid].push_back(std::move(block));
      ++blocks_told;
    };
    out.on_peer = [this](const list::PublicKey& peer, bool up, Bytes binding) {
      peers[peer] = binding;
      peer_news.emplace_back(peer, up);
    };
    out.on_peer_message = [this](const list::PublicKey&, uint64_t link, Bytes message) {
      bytes_received += message.size();
      if (keep_received) received.push_back(message);
      if (take_received) client.consumed(link, message.size());
    };
    out.on_sent = [this](const list::PublicKey&, uint64_t ticket, bool ok) {
      sent.emplace_back(ticket, ok);
    };
    return out;
  }
  bool connect(uint64_t limit_ms = 10'000) {
    return run_until(
        loop, [this] { return client.snapshot().connected; }, limit_ms);
  }
  /// Stores and waits; true when Kubo has them.
  bool put(std::vector<engine::Block> those) {
    const uint64_t ticket = ++last_ticket;
    client.put(ticket, std::move(those));
    return run_until(loop, [&] { return !stored[ticket].empty(); }) && stored[ticket].back();
  }
  Result<Bytes> get(const ipld::Cid& cid) {
    blocks[cid].clear();
    client.get(cid);
    if (!run_until(
            loop, [&] { return !blocks[cid].empty(); }, 30'000))
      return fail(Code::internal, "no outcome");
    return blocks[cid].back();
  }
  /// Begins to have streams, as somebody new.
  const list::PublicKey& open_streams();
  /// Wants one to it, as its own replica says where it is.
  void want(const KuboReplica& other) {
    client.want({{other.key, other.client.snapshot().peer_id, ""}});
  }
  bool linked(const KuboReplica& other) const {
    const auto found = peers.find(other.key);
    return found != peers.end() && !found->second.empty();
  }
  size_t count(const ipld::Cid& channel, const Bytes& data) const {
    size_t found = 0;
    for (const auto& message : messages)
      found += message.channel == channel && message.data == data;
    return found;
  }

  boost::asio::io_context& loop;
  std::vector<std::pair<bool, bool>> states;
  std::vector<Message> messages;
  std::vector<bool> published;
  std::map<uint64_t, std::vector<bool>> stored;
  std::map<ipld::Cid, std::vector<Result<Bytes>>> blocks;
  size_t blocks_told = 0;
  uint64_t last_ticket = 0;
  // Streams
  list::PublicKey key;
  std::map<list::PublicKey, Bytes> peers;  ///< What the session is bound to; empty: it is gone.
  std::vector<std::pair<list::PublicKey, bool>> peer_news;
  std::vector<Bytes> received;
  uint64_t bytes_received = 0;
  bool keep_received = true, take_received = true;
  std::vector<std::pair<uint64_t, bool>> sent;
  kubo::Client client;
};

/// A small strict DAG-CBOR block, different for each number: {"n": number} or with links {"l":
/// [...], "n": number}.
Bytes numbered_block(uint64_t number, const std::vector<ipld::Cid>& links = {}, size_t padding = 0);
inline engine::Block block_of(Bytes bytes) { return {ipld::Cid::of(bytes), bytes}; }

}  // namespace ptwop::test
