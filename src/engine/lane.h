// The streams to other replicas (PeerStream) as the engine sees them: who is known and where, which
// channels a peer shares with us, and what is on its way to it.
//
// What travels in a stream's messages, by the first byte:
//   'h'  hello: strict DAG-CBOR {"pubsub": bool, "channels": bytes}, the sender's channels as tags
//   of
//        16 bytes each. A tag is a hash of what only the two ends know, of the sender and of the
//        channel: nobody learns of a channel from it. Sent when the stream opens and at each
//        change.
//   'c'  a channel's message (sync/message.h), after the sender's tag of the channel
#pragma once
#include <map>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "engine/ports.h"
#include "ipld/cid.h"

namespace ptwop::engine {

struct World;

class Lane {
 public:
  explicit Lane(World& world) : world_(world) {}

  /// Reads where peers were when they were last seen.
  Result<void> open();

  // What comes in.
  void on_streams(bool on, const std::string& peer_id);
  void on_peer(const list::PublicKey& peer, bool up, BytesView binding);
  void on_address(const list::PublicKey& peer, const std::string& id, const std::string& address);
  /// Gives the channels that may speak to it again.
  std::set<ipld::Cid> on_sent(const list::PublicKey& peer, uint64_t ticket);
  struct Incoming {
    ipld::Cid channel;
    BytesView message;
  };
  struct Heard {
    std::vector<Incoming> messages;
    std::vector<ipld::Cid> met;  ///< Channels that the peer has turned out to share.
  };
  Heard receive(const list::PublicKey& from, BytesView message);
  /// A signed message says where its sender is. `id` empty: it has no streams.
  void learn(const list::PublicKey& peer, const std::string& id, bool member);

  /// Our Kubo's peer id while it takes streams; else empty.
  const std::string& own_id() const { return own_id_; }
  /// A stream to it is open, and it has this channel.
  bool reaches(const list::PublicKey& peer, const ipld::Cid& channel) const;
  /// Who has to be told over streams what others hear on the channel's topic.
  std::vector<list::PublicKey> listeners(const ipld::Cid& channel) const;
  bool has_listeners(const ipld::Cid& channel) const;
  /// What is on its way to this peer leaves room for more; else the channel is told when it does.
  bool room(const list::PublicKey& peer, const ipld::Cid& channel);
  void send(const list::PublicKey& peer, const ipld::Cid& channel, BytesView message, bool urgent);

  /// Channels came or went; Kubo's pubsub did.
  void refresh() { stale_ = true; }
  /// When `settle` is wanted (mono): soon after something changed, never while nothing does.
  uint64_t due_ms() const {
    return world_has_streams() && (stale_ || unwanted_) ? settled_ms_ + kSettleMs : UINT64_MAX;
  }
  /// Before the commit: tells peers and port what has changed. `channels`: all of ours.
  void settle(const std::vector<ipld::Cid>& channels);

  size_t open_streams() const { return peers_.size(); }

 private:
  static constexpr uint64_t kSettleMs = 500;
  using Tag = Bytes;
  struct Peer {
    Bytes binding;
    bool pubsub = true;               ///< It hears what is said on topics.
    bool greeted = false;             ///< Its hello came.
    std::map<Tag, ipld::Cid> shared;  ///< Its tags of the channels that both have.
    std::set<ipld::Cid> channels;     ///< The same.
    std::set<Tag> told;               ///< All its tags: a channel may be joined here later.
    uint64_t since_ms = 0;
    std::string id, address;      ///< Where it was found, until it says who it is.
    size_t on_way = 0;            ///< Bytes not yet sent.
    std::set<ipld::Cid> waiting;  ///< Channels to be told of room.
  };
  struct Known {
    std::string id, address;
    bool member = false;
    uint64_t seen_ms = 0;  ///< wall
  };
  struct OnWay {
    list::PublicKey peer;
    size_t bytes = 0;
  };
  Tag tag_of(const Peer& peer, const list::PublicKey& sender, const ipld::Cid& channel) const;
  void greet(const list::PublicKey& key, Peer& peer);
  std::vector<ipld::Cid> match(const list::PublicKey& key, Peer& peer);
  void transmit(const list::PublicKey& key, Peer& peer, Bytes message, bool urgent);
  void save(const list::PublicKey& peer, const Known& known);
  void want();
  void drop_strangers();
  bool world_has_streams() const;

  World& world_;
  std::string own_id_;
  std::vector<ipld::Cid> channels_;
  std::map<list::PublicKey, Peer> peers_;  ///< Those with an open stream.
  std::map<list::PublicKey, Known> known_;
  std::unordered_map<uint64_t, OnWay> on_way_;
  uint64_t tickets_ = 0;
  bool stale_ = true;     ///< Hellos and names have to be made anew…
  bool unwanted_ = true;  ///< …and whom we call.
  bool told_pubsub_ = false;
  uint64_t settled_ms_ = 0;
};

}  // namespace ptwop::engine
