// Fetches long stretches of lists from Kubo, by a root that a peer named: packs come in parallel
// and are taken in order, so a newcomer is limited by bandwidth alone. A root is a hint: what it
// leads to is checked like any other node, and who cannot get on this way asks for nodes inline.
#pragma once
#include <deque>
#include <map>
#include <vector>

#include "engine/lists.h"
#include "engine/world.h"
#include "list/pack.h"

namespace ptwop::engine {

class Bulk {
 public:
  Bulk(World& world, const ipld::Cid& channel, Lists& lists)
      : world_(world), channel_(channel), lists_(lists) {}
  ~Bulk();
  Bulk(const Bulk&) = delete;
  Bulk& operator=(const Bulk&) = delete;

  /// A root of a list that is missing here, as `peer` named it. True if the list is being fetched
  /// by it, or by another; false as long as nothing comes that way: then it is to be asked for.
  bool fetch(const list::ListId& list, const list::PublicKey& peer, const ipld::Cid& root,
             uint64_t number);
  bool wants(const ipld::Cid& cid) const { return asked_.contains(cid); }
  void on_block(const ipld::Cid& cid, const Result<Bytes>& block);
  /// Takes in what is here, a bounded part of it in one turn, and asks for what comes next.
  void advance(const access::Membership& membership);
  /// When more of what is here can be taken in (mono).
  uint64_t due_ms() const;
  bool fetches(const list::ListId& list) const { return jobs_.contains(list); }
  size_t jobs() const { return jobs_.size(); }
  /// Kubo went away, and with it what was on its way.
  void stop();

 private:
  enum class Kind : uint8_t { root, runs, node, items };
  /// A block on the way to nodes first…last, in the order of the list. Kind runs: a pack or an
  /// index.
  struct Slot {
    Kind kind;
    uint64_t first = 0, last = 0;
    ipld::Cid cid;
    unsigned depth = 0;  ///< Below the root.
    bool asked = false, here = false;
    Bytes block;
    std::vector<Bytes> items;  ///< Kind items.
    unsigned tries = 0;
  };
  struct Job {
    list::PublicKey peer;  ///< Who named the root…
    uint64_t number = 0;   ///< …and up to where it goes.
    std::deque<Slot> slots;
    uint64_t moved_ms = 0;        ///< When something last came (mono).
    uint64_t waits_until_ms = 0;  ///< What is here has to wait for the list's grant.
  };
  struct Failed {
    uint64_t until_ms = 0;  ///< mono
    unsigned times = 0;
  };
  using Jobs = std::map<list::ListId, Job>;
  /// False: the job came to nothing.
  bool step(const list::ListId& list, Job& job, const access::Membership& membership);
  bool open_front(const list::ListId& list, Job& job);
  bool take_items(const list::ListId& list, Job& job, const access::Membership& membership);
  void ask(const list::ListId& list, Job& job);
  void drop_slot(Slot& slot);
  void end(Jobs::iterator job, bool failed);
  bool is_penalised(const list::ListId& list, const list::PublicKey& peer) const;
  uint64_t held(const list::ListId& list) const;

  World& world_;
  ipld::Cid channel_;
  Lists& lists_;
  Jobs jobs_;
  std::multimap<ipld::Cid, list::ListId> asked_;  ///< Blocks on their way, and for which list.
  /// Whose root of a list came to nothing: another's is tried first.
  std::map<std::pair<list::ListId, list::PublicKey>, Failed> failed_;
};

}  // namespace ptwop::engine
