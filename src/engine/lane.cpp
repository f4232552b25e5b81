#include "engine/lane.h"

#include <algorithm>

#include "engine/world.h"
#include "ipld/dag_cbor.h"

namespace ptwop::engine {
namespace {

using ipld::CborReader;
using ipld::CborWriter;

constexpr char kHello = 'h', kChannel = 'c';
constexpr size_t kTagBytes = 16;
constexpr size_t kTagsMax = 16384;
constexpr size_t kWantedMax = 64;
constexpr size_t kKnownMax = 1024;
constexpr uint64_t kKnownMs = 30ull * 24 * 3600 * 1000;
constexpr uint64_t kSeenAgainMs = 24ull * 3600 * 1000;  // how exactly the store knows it
constexpr size_t kOnWayBytesMax = 4 << 20;
constexpr size_t kIdBytesMax = 128;
constexpr uint64_t kStrangerMs = 10'000;

Bytes key_of(const list::PublicKey& peer) { return "w" + Bytes(peer.view()); }

}  // namespace

// --- who is known, and where ---------------------------------------------------------------------

Result<void> Lane::open() {
  known_.clear();
  return world_.ports.store.scan(Table::meta, "w", "x", false, [&](BytesView key, BytesView value) {
    CborReader r(value);
    r.array(3);
    Known known;
    known.id = std::string(r.text());
    known.address = std::string(r.text());
    known.seen_ms = r.unsigned_integer();
    known.member = true;
    // It is a hint: what cannot be read is heard again.
    if (key.size() == 1 + list::PublicKey::kSize && r.finish("peer") &&
        known.seen_ms + kKnownMs > world_.wall_ms() && known_.size() < kKnownMax)
      known_[list::PublicKey::from(key.substr(1))] = std::move(known);
    return true;
  });
}

void Lane::save(const list::PublicKey& peer, const Known& known) {
  CborWriter w;
  w.array(3).text(known.id).text(known.address).unsigned_integer(known.seen_ms);
  world_.txn.put(Table::meta, key_of(peer), w.take());
}

void Lane::learn(const list::PublicKey& peer, const std::string& id, bool member) {
  if (peer == world_.me.key()) return;  // an echo of our last life
  const auto it = known_.find(peer);
  const uint64_t now = world_.wall_ms();
  if (id.empty() || id.size() > kIdBytesMax || !world_.ports.streams) {
    if (it != known_.end() && id.empty()) it->second.id.clear();
    return;
  }
  if (it == known_.end() && known_.size() >= kKnownMax) {
    const auto oldest =
        std::min_element(known_.begin(), known_.end(), [](const auto& a, const auto& b) {
          return std::pair(a.second.member, a.second.seen_ms) <
                 std::pair(b.second.member, b.second.seen_ms);
        });
    if (oldest->second.member && !member) return;
    world_.txn.erase(Table::meta, key_of(oldest->first));
    known_.erase(oldest);
  }
  Known& known = known_[peer];
  const bool moved = known.id != id;
  const bool news = moved || (member && !known.member);
  if (moved) {
    const auto open = peers_.find(peer);
    known.address = open != peers_.end() && open->second.id == id ? open->second.address : "";
  }
  known.id = id;
  known.member |= member;
  const bool old = now > known.seen_ms + kSeenAgainMs;
  if (news || old) known.seen_ms = now;
  if (known.member && (news || old)) save(peer, known);
  unwanted_ |= news;
}

void Lane::on_address(const list::PublicKey& peer, const std::string& id,
                      const std::string& address) {
  if (const auto open = peers_.find(peer); open != peers_.end()) {
    open->second.id = id;
    open->second.address = address;
  }
  const auto it = known_.find(peer);
  if (it == known_.end() || (it->second.id == id && it->second.address == address)) return;
  if (!it->second.id.empty() && it->second.id != id) return;
  it->second.id = id;
  it->second.address = address;
  if (it->second.member) save(peer, it->second);
  unwanted_ = true;
}

void Lane::want() {
  std::vector<std::pair<std::pair<bool, uint64_t>, PeerAddress>> all;
  for (const auto& [key, known] : known_)
    if (!known.id.empty())
      all.push_back({{known.member, known.seen_ms}, {key, known.id, known.address}});
  const size_t count = std::min(all.size(), kWantedMax);
  std::partial_sort(all.begin(), all.begin() + static_cast<ptrdiff_t>(count), all.end(),
                    [](const auto& a, const auto& b) { return a.first > b.first; });
  std::vector<PeerAddress> wanted;
  for (size_t i = 0; i < count; ++i) wanted.push_back(std::move(all[i].second));
  world_.ports.streams->want(std::move(wanted));
}

bool Lane::world_has_streams() const { return world_.ports.streams != nullptr; }

// --- streams -------------------------------------------------------------------------------------

void Lane::on_streams(bool on, const std::string& peer_id) {
  own_id_ = on ? peer_id : "";
  stale_ = unwanted_ = true;
}

void Lane::on_peer(const list::PublicKey& key, bool up, BytesView binding) {
  peers_.erase(key);
  std::erase_if(on_way_, [&](const auto& item) { return item.second.peer == key; });
  stale_ = true;  // what is sought depends on it
  if (!up) return;
  Peer& peer = peers_[key];
  peer.binding = Bytes(binding);
  peer.since_ms = world_.now_ms();
  greet(key, peer);
}

Lane::Tag Lane::tag_of(const Peer& peer, const list::PublicKey& sender,
                       const ipld::Cid& channel) const {
  return Bytes(BytesView(ipld::sha256(peer.binding + Bytes(sender.view()) + Bytes(channel.bytes())))
                   .substr(0, kTagBytes));
}

void Lane::greet(const list::PublicKey& key, Peer& peer) {
  Bytes tags;
  for (const ipld::Cid& channel : channels_) tags += tag_of(peer, world_.me.key(), channel);
  CborWriter w;
  w.map(2).key("pubsub").boolean(world_.kubo.connected && world_.kubo.pubsub);
  w.key("channels").bytes(tags);
  transmit(key, peer, kHello + w.take(), true);
}

// Which of our channels are among those that it told.
std::vector<ipld::Cid> Lane::match(const list::PublicKey& key, Peer& peer) {
  std::vector<ipld::Cid> met;
  const auto before = std::exchange(peer.channels, {});
  peer.shared.clear();
  for (const ipld::Cid& channel : channels_) {
    const Tag tag = tag_of(peer, key, channel);
    if (!peer.told.contains(tag)) continue;
    peer.shared[tag] = channel;
    peer.channels.insert(channel);
    if (!before.contains(channel)) met.push_back(channel);
  }
  stale_ |= peer.channels != before;
  return met;
}

Lane::Heard Lane::receive(const list::PublicKey& from, BytesView message) {
  Heard heard;
  const auto it = peers_.find(from);
  if (it == peers_.end()) return heard;
  Peer& peer = it->second;
  const auto refuse = [&] {
    world_.refuse("malformed_message");
    return heard;
  };
  if (message.empty()) return refuse();
  const BytesView rest = message.substr(1);
  if (message[0] == kChannel) {
    if (rest.size() < kTagBytes) return refuse();
    const auto channel = peer.shared.find(Bytes(rest.substr(0, kTagBytes)));
    // It may have been left here a moment ago.
    if (channel != peer.shared.end())
      heard.messages.push_back({channel->second, rest.substr(kTagBytes)});
    return heard;
  }
  if (message[0] != kHello) return refuse();
  CborReader r(rest);
  r.map(2);
  r.expect_key("pubsub");
  const bool pubsub = r.boolean();
  r.expect_key("channels");
  const BytesView tags = r.bytes();
  if (!r.finish("hello") || tags.size() % kTagBytes != 0 || tags.size() > kTagsMax * kTagBytes)
    return refuse();
  peer.told.clear();
  for (size_t i = 0; i < tags.size(); i += kTagBytes)
    peer.told.insert(Bytes(tags.substr(i, kTagBytes)));
  const bool deaf = peer.pubsub && !pubsub;
  peer.pubsub = pubsub;
  peer.greeted = true;
  heard.met = match(from, peer);
  if (deaf) heard.met.assign(peer.channels.begin(), peer.channels.end());
  return heard;
}

bool Lane::reaches(const list::PublicKey& peer, const ipld::Cid& channel) const {
  const auto it = peers_.find(peer);
  return it != peers_.end() && it->second.channels.contains(channel);
}

std::vector<list::PublicKey> Lane::listeners(const ipld::Cid& channel) const {
  std::vector<list::PublicKey> out;
  const bool pubsub = world_.kubo.connected && world_.kubo.pubsub;
  for (const auto& [key, peer] : peers_)
    if (!(pubsub && peer.pubsub) && peer.channels.contains(channel)) out.push_back(key);
  return out;
}

bool Lane::has_listeners(const ipld::Cid& channel) const {
  return std::any_of(peers_.begin(), peers_.end(),
                     [&](const auto& item) { return item.second.channels.contains(channel); });
}

bool Lane::room(const list::PublicKey& key, const ipld::Cid& channel) {
  const auto it = peers_.find(key);
  if (it == peers_.end()) return false;
  if (it->second.on_way < kOnWayBytesMax) return true;
  it->second.waiting.insert(channel);
  return false;
}

void Lane::send(const list::PublicKey& key, const ipld::Cid& channel, BytesView message,
                bool urgent) {
  const auto it = peers_.find(key);
  if (it == peers_.end()) return;
  Bytes bytes(1, kChannel);
  bytes += tag_of(it->second, world_.me.key(), channel);
  bytes += message;
  ++world_.stats.stream_messages_sent;
  world_.stats.stream_bytes_sent += bytes.size();
  transmit(key, it->second, std::move(bytes), urgent);
}

void Lane::transmit(const list::PublicKey& key, Peer& peer, Bytes message, bool urgent) {
  const uint64_t ticket = ++tickets_;
  peer.on_way += message.size();
  on_way_[ticket] = {key, message.size()};
  world_.ports.streams->send(key, ticket, std::move(message), urgent);
}

std::set<ipld::Cid> Lane::on_sent(const list::PublicKey& key, uint64_t ticket) {
  const auto sent = on_way_.find(ticket);
  if (sent == on_way_.end()) return {};
  const size_t bytes = sent->second.bytes;
  on_way_.erase(sent);
  const auto it = peers_.find(key);
  if (it == peers_.end()) return {};
  it->second.on_way -= bytes;
  if (it->second.on_way >= kOnWayBytesMax) return {};
  return std::exchange(it->second.waiting, {});
}

void Lane::settle(const std::vector<ipld::Cid>& channels) {
  settled_ms_ = world_.now_ms();
  if (std::exchange(stale_, false)) {
    const bool pubsub = world_.kubo.connected && world_.kubo.pubsub;
    if (channels != channels_ || pubsub != told_pubsub_) {
      channels_ = channels;
      told_pubsub_ = pubsub;
      for (auto& [key, peer] : peers_) {
        (void)match(key, peer);
        greet(key, peer);
      }
      stale_ = false;
    }
    drop_strangers();
    // Where pubsub works members hear of each other on the topic.
    std::vector<ipld::Cid> alone;
    if (!pubsub && !own_id_.empty())
      for (const ipld::Cid& channel : channels_)
        if (!has_listeners(channel)) alone.push_back(channel);
    world_.ports.streams->meet(channels_, std::move(alone));
  }
  if (std::exchange(unwanted_, false)) want();
}

// Who turns out to share nothing (any more) is not called again until a channel's message names it.
void Lane::drop_strangers() {
  const uint64_t now = world_.now_ms();
  for (const auto& [key, peer] : peers_) {
    if (!peer.greeted || !peer.channels.empty()) continue;
    if (now - peer.since_ms < kStrangerMs) {
      stale_ = true;  // it may be joining
      continue;
    }
    known_.erase(key);
    world_.txn.erase(Table::meta, key_of(key));
    unwanted_ = true;
    world_.ports.streams->drop(key);
  }
}

}  // namespace ptwop::engine
