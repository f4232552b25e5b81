// Anti-entropy for one channel as a state machine: what peers say they hold comes in, clocks and
// wants to send go out. It knows nothing of what nodes hold, of stores or sockets; time and chance
// are given to it.
//
// Pubsub loses messages, so no message is trusted to arrive. Replicas exchange clocks: on join,
// soon after a change (at most one a second), when a peer lacks something, and at random intervals
// when all is quiet. Whoever sees a position beyond its own asks one replica that has it; when no
// answer comes it asks another, less and less often.
#pragma once
#include <functional>
#include <map>
#include <set>
#include <vector>

#include "sync/message.h"

namespace ptwop::sync {

/// Which messages of one boot of a peer were seen.
struct Window {
  uint64_t boot = 0;
  uint64_t count_max = 0;   ///< The highest counter…
  uint64_t count_seen = 0;  ///< …and which of the 64 up to it were seen, newest in bit 0.
  bool admit(uint64_t count);
};

struct Peer {
  bool member = false;
  uint64_t boot = 0;  ///< Of its last message.
  /// The two latest boots: a copied folder makes two daemons of one identity, and both must be
  /// heard.
  Window windows[2];
  uint64_t last_seen_ms = 0;  ///< mono
  uint64_t last_seen_wall_ms = 0;
  int64_t wall_lead_ms = 0;  ///< The peer's wall clock minus ours, when its last clock came.
  bool has_manifest = false;
  std::map<list::ListId, ClockEntry> clock;
  uint64_t told_version = 0;  ///< What we held when its clock was last answered with ours…
  uint64_t told_ms = 0;       ///< …and when that was.
  uint64_t same_version = 0;  ///< What we held when its digest was last compared with ours.
};

/// Small deterministic generator (splitmix64, https://prng.di.unimi.it/splitmix64.c) for jitter:
/// not for secrets.
class Jitter {
 public:
  explicit Jitter(uint64_t seed) : state_(seed) {}
  uint64_t next();
  uint64_t between(uint64_t low, uint64_t high);  ///< inclusive

 private:
  uint64_t state_;
};

class Replicator {
 public:
  /// `holdings` belongs to the caller and outlives this.
  Replicator(const Holdings& holdings, uint64_t jitter_seed)
      : holdings_(holdings), jitter_(jitter_seed) {}

  /// A verified message: false if it was seen before or belongs to an earlier boot (a replay).
  /// `live`: it came over a stream, where nothing comes twice, but late beside what the topic
  /// brings.
  bool admit(const Message& message, bool member, uint64_t now_ms, uint64_t wall_ms,
             bool live = false);

  void on_clock(const Message& message, bool member, uint64_t now_ms, uint64_t wall_ms);
  /// `nodes` from a peer: it holds what it sends. `last`: its answer to our want ends here.
  void on_nodes(const list::PublicKey& sender, const std::map<list::ListId, list::At>& held_there,
                bool last, uint64_t now_ms);
  /// Something that we hold names this position: it exists somewhere.
  void on_claim(const list::At& at, uint64_t now_ms);
  /// Another branch of this list exists at this number: its node there is the proof of a fork.
  void on_branch(const list::At& at, uint64_t now_ms);
  /// What to say of our lists, in a clock.
  void fill(ClockMessage& clock, uint64_t now_ms);
  /// How many channels this daemon has: with many of them, each speaks less often when it is quiet.
  void set_channels(uint64_t count) { channels_ = count; }
  /// This list grew here, or is known to be forked.
  void on_held(const list::ListId& list, bool by_us, uint64_t now_ms);
  /// Subscribed (again): whatever was said meanwhile was missed.
  void on_connected(uint64_t now_ms);

  /// A message of ours did not get out: the next clock says what it carried.
  void on_lost(uint64_t now_ms);

  /// Somebody here waits for what others hold: they are asked for their clocks.
  void ask(uint64_t now_ms);

  struct Output {
    bool send_clock = false;
    bool ask = false;
    std::vector<Want> wants;
  };
  /// Fetches a list by a root that a peer named; false: it cannot be done so, or that peer is no
  /// member.
  using Fetch = std::function<bool(const list::ListId& list, const list::PublicKey& peer,
                                   const ipld::Cid& root, uint64_t number)>;
  /// What to send now. `need_manifest`: this replica has none yet. What is far behind is fetched by
  /// its root, and asked for only where that is not possible.
  Output tick(uint64_t now_ms, bool need_manifest, const Fetch& fetch);
  uint64_t next_tick_ms() const;

  /// Nodes known from clocks and claims, not here.
  uint64_t missing() const;
  /// Lists that are asked for.
  size_t wanted() const { return wanted_.size(); }
  const std::map<list::PublicKey, Peer>& peers() const { return peers_; }
  /// A peer says that it has this. (Of a fork that it knows nothing of it may have the other
  /// branch.)
  bool peer_has(const list::PublicKey& peer, const list::At& at) const;

 private:
  struct Wanted {
    uint64_t to = 0;  ///< Highest number known to exist.
    /// Forks that we have no proof of, and branches to compare. Some may be lies: none may keep
    /// another from being asked for.
    std::set<uint64_t> cuts;
    uint64_t ask_at_ms = 0;
    unsigned tries = 0;
    list::PublicKey asked;
    uint64_t held_when_asked = 0;
    bool asked_any = false;
    bool claimed = false;  ///< Named by something that we hold: also those who do not say that they
                           ///< have it are asked.
    bool by_member = false;  ///< A member, or something that we hold, says that it exists.
  };
  void want(const list::ListId& list, uint64_t to, uint64_t cut, bool by_member, uint64_t now_ms,
            uint64_t delay_ms);
  void forget(std::map<list::ListId, Wanted>::iterator& it);  ///< Moves on to the next.
  bool satisfied(const list::ListId& list, const Wanted& wanted) const;
  bool fetch_by_root(const list::ListId& list, const Wanted& wanted, uint64_t now_ms,
                     const Fetch& fetch) const;
  const list::PublicKey* choose(const list::ListId& list, const Wanted& wanted, uint64_t now_ms);
  void clock_within(uint64_t now_ms, uint64_t delay_ms);
  bool room_for_peer(bool member);
  uint64_t held(const list::ListId& list) const;
  bool compare(const Digest& theirs, bool member, Peer& peer, std::set<size_t>& differing);
  uint64_t quiet_ms();
  void give_up(std::map<list::ListId, Wanted>::iterator& it, uint64_t now_ms);

  const Holdings& holdings_;
  Jitter jitter_;
  std::map<list::PublicKey, Peer> peers_;
  std::map<list::ListId, Wanted> wanted_;
  size_t wanted_by_strangers_ = 0;
  std::map<list::ListId, uint64_t>
      given_up_;          ///< Lists nobody could give, and until when they are not asked for.
  uint64_t version_ = 1;  ///< Rises when what we hold changes.
  std::set<list::ListId> changed_;  ///< Since the last clock.
  std::set<size_t> tell_;           ///< Parts whose entries the next clock has.
  uint64_t channels_ = 1;
  uint64_t clock_at_ms_ = 0;
  uint64_t clock_sent_ms_ = 0;
  unsigned suppressed_ = 0;
  bool ask_ = false;
  uint64_t manifest_at_ms_ = 0;
};

}  // namespace ptwop::sync
