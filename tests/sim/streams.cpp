#include "streams.h"

#include <algorithm>

#include "world.h"

namespace ptwop::sim {
namespace {

constexpr uint64_t kLookMs = 400;

}  // namespace

// A third of all worlds have none. In some of the others pubsub is off at one replica, or at all.
Streams::Streams(World& world, size_t replicas, uint64_t seed)
    : world_(world), random_(seed), on_(replicas), pubsub_off_(replicas), wishes_(replicas) {
  if (random_.percent(33)) return;
  const uint64_t way = random_.below(10);
  for (size_t i = 0; i < replicas; ++i) {
    on_[i] = way < 4 || random_.percent(70);
    pubsub_off_[i] = way < 2;
  }
  if (way == 2 || way == 3) pubsub_off_[random_.below(replicas)] = true;
}

std::optional<size_t> Streams::replica_of(const list::PublicKey& key) const {
  for (size_t i = 0; i < world_.replicas_.size(); ++i)
    if (world_.replicas_[i]->identity().key() == key) return i;
  return std::nullopt;
}

void Streams::want(size_t from, std::vector<engine::PeerAddress> peers) {
  wishes_[from].peers.clear();
  for (const engine::PeerAddress& peer : peers)
    if (const auto to = replica_of(peer.identity); to && peer.peer == "kubo" + std::to_string(*to))
      wishes_[from].peers.insert(*to);
}

void Streams::meet(size_t from, std::vector<ipld::Cid> channels, std::vector<ipld::Cid> sought) {
  wishes_[from].met = {channels.begin(), channels.end()};
  wishes_[from].sought = {sought.begin(), sought.end()};
}

bool Streams::possible(size_t a, size_t b) const {
  for (const size_t each : {a, b})
    if (!on_[each] || !world_.replicas_[each]->up() ||
        world_.condition(Act::kubo_down, each).has_value())
      return false;
  return !world_.cut(a, b) && !world_.cut(b, a);
}

bool Streams::wanted(size_t a, size_t b) const {
  const Wishes &x = wishes_[a], &y = wishes_[b];
  const auto finds = [](const Wishes& who, const Wishes& whom) {
    return std::any_of(who.sought.begin(), who.sought.end(),
                       [&](const ipld::Cid& channel) { return whom.met.contains(channel); });
  };
  return x.peers.contains(b) || y.peers.contains(a) || finds(x, y) || finds(y, x);
}

void Streams::look() {
  const size_t count = world_.replicas_.size();
  for (size_t a = 0; a < count; ++a)
    for (size_t b = a + 1; b < count; ++b) {
      const auto link = links_.find({a, b});
      const bool hangs =
          world_.condition(Act::kubo_hangs, a) || world_.condition(Act::kubo_hangs, b);
      if (link == links_.end()) {
        if (!hangs && possible(a, b) && wanted(a, b) && random_.percent(60)) open(a, b);
      } else if (!possible(a, b) || (!world_.healed_ && random_.percent(hangs ? 10 : 1))) {
        cut(a, b);
      }
    }
  world_.at(world_.now_ms_ + kLookMs, [this] { look(); });
}

void Streams::open(size_t a, size_t b) {
  Link& link = links_[{a, b}];
  link.id = ++last_id_;
  Bytes binding(32, '\0');
  random_.fill(u8(binding), binding.size());
  world_.trace([&] {
    return world_.stamp() + " a stream opens: " + std::to_string(a) + "-" + std::to_string(b);
  });
  const auto tell = [&](size_t who, size_t whom) {
    world_.at(world_.now_ms_ + 1 + random_.below(20), who,
              [this, who, whom, binding, pair = Pair(a, b), id = link.id] {
                const auto still = links_.find(pair);
                if (still == links_.end() || still->second.id != id) return;
                still->second.told[who > whom] = true;
                world_.replicas_[who]->on_peer(world_.replicas_[whom]->identity().key(), true,
                                               binding);
              });
  };
  tell(a, b);
  tell(b, a);
}

void Streams::cut(size_t a, size_t b) {
  const auto link = links_.extract({a, b});
  if (link.empty()) return;
  world_.trace([&] {
    return world_.stamp() + " a stream ends: " + std::to_string(a) + "-" + std::to_string(b);
  });
  const auto tell = [&](size_t who, size_t whom) {
    world_.at(world_.now_ms_ + 1 + random_.below(20), who, [this, who, whom] {
      if (!links_.contains({std::min(who, whom), std::max(who, whom)}))
        world_.replicas_[who]->on_peer(world_.replicas_[whom]->identity().key(), false, {});
    });
  };
  tell(a, b);
  tell(b, a);
}

void Streams::end(size_t replica, bool told) {
  if (!told) wishes_[replica] = {};
  for (size_t other = 0; other < wishes_.size(); ++other)
    if (other != replica) cut(std::min(replica, other), std::max(replica, other));
}

void Streams::send(size_t from, const list::PublicKey& key, uint64_t ticket, Bytes message) {
  const auto to = replica_of(key);
  const Pair pair{std::min(from, *to), std::max(from, *to)};
  const auto link = links_.find(pair);
  if (link == links_.end())
    return world_.at(world_.now_ms_ + 1, from, [this, from, key, ticket] {
      world_.replicas_[from]->on_sent(key, ticket, false);
    });
  auto& queue = link->second.on_way[from > *to];
  const uint64_t most = std::max<uint64_t>(world_.plan_.latency_ms_max,
                                           static_cast<uint64_t>(world_.level(Act::delay, *to)));
  const uint64_t before = queue.empty() ? 0 : queue.back().at_ms;
  const uint64_t at_ms = std::max(before, world_.now_ms_ + 1 + random_.below(most));
  queue.push_back({ticket, at_ms, std::move(message)});
  world_.at(at_ms, *to,
            [this, pair, back = from > *to, id = link->second.id] { deliver(pair, back, id); });
}

// The oldest: what is busy or hangs keeps the rest waiting.
void Streams::deliver(Pair pair, bool back, uint64_t id) {
  const auto link = links_.find(pair);
  if (link == links_.end() || link->second.id != id) return;
  const size_t from = back ? pair.second : pair.first, to = back ? pair.first : pair.second;
  for (const size_t each : {from, to})
    if (const auto hangs = world_.condition(Act::kubo_hangs, each))
      return world_.at(hangs->until_ms + 1, to,
                       [this, pair, back, id] { deliver(pair, back, id); });
  if (!link->second.told[!back])
    return world_.at(world_.now_ms_ + 1, to, [this, pair, back, id] { deliver(pair, back, id); });
  auto& queue = link->second.on_way[back];
  const Message message = std::move(queue.front());
  queue.pop_front();
  const auto& keys = world_.replicas_;
  world_.at(world_.now_ms_ + 1, from, [this, from, to, ticket = message.ticket] {
    world_.replicas_[from]->on_sent(world_.replicas_[to]->identity().key(), ticket, true);
  });
  keys[to]->hear(keys[from]->identity().key(), message.bytes);
}

void Streams::drop(size_t from, const list::PublicKey& key) {
  if (const auto to = replica_of(key)) cut(std::min(from, *to), std::max(from, *to));
}

}  // namespace ptwop::sim
