// Knows all that ever happened in a simulation, and holds every single step of every replica
// against it: each commit as it is made, each message as it leaves, each answer as it is given,
// each folder as it is opened again.
#pragma once
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <unordered_map>
#include <vector>

#include "access/membership.h"
#include "disk.h"
#include "engine/engine.h"
#include "engine/records.h"
#include "list/node.h"
#include "list/pack.h"
#include "model.h"

namespace ptwop::sim {

struct Failure {
  std::string kind;  ///< Which promise was broken.
  std::string text;
};

/// What the checker may look at of a replica.
struct Subject {
  const Disk* disk = nullptr;
  const access::Identity* identity = nullptr;
  list::PublicKey key;
  std::function<uint64_t()> mono_ms, wall_ms;
};

enum class Reopened { after_a_crash, from_an_old_copy, from_a_backup };

/// A node that somebody really made, whoever has it.
struct Made {
  list::Node node;  ///< Without its body.
  bool hostile = false;
  bool exposed = false;   ///< It left the process that made it.
  bool readable = false;  ///< Its body opens, or is void for everybody.
  bool good = false;      ///< …and it is not void.
  bool fresh = false;     ///< Made in the present commit.
  uint64_t holders = 0;   ///< Replicas that ever held it, by bit.
  std::vector<Operation> operations;
  std::vector<ipld::Cid> again;  ///< Nodes of forked lists that it writes again…
  bool twice = false;            ///< …one of them more than once.
};

class Checker {
 public:
  explicit Checker(std::vector<Subject> subjects);

  const std::optional<Failure>& failure() const { return failure_; }
  void fail(std::string kind, std::string text);

  /// A node that an enemy made with a key of its own.
  void on_hostile_node(const Bytes& block);

  void on_commit(size_t replica, const engine::Changes& changes);
  void on_opened(size_t replica, Reopened how);
  void on_published(size_t replica, const ipld::Cid& channel, BytesView message);
  void on_put(size_t replica, const engine::Block& block);
  /// A message that was taken in without refusing anything of it. Only those who were restored need
  /// this.
  void on_heard(size_t replica, const ipld::Cid& channel, BytesView message);
  /// A fault of the disk may have made it forget what it heard.
  void on_fault(size_t replica);
  void on_turn_ended(size_t replica);
  void on_left(size_t replica, const ipld::Cid& channel);
  void on_acknowledged(size_t replica, const ipld::Cid& channel, const std::string& token,
                       const std::vector<Bytes>& operations);
  /// A write was answered with an error: it must never be seen.
  void on_refused(size_t replica, const std::vector<Bytes>& operations);
  void on_reached(size_t replica, const ipld::Cid& channel, const std::string& token,
                  std::optional<size_t> peer);

  // --- what a replica has to show now ---
  std::vector<engine::Member> members(size_t replica, const ipld::Cid& channel) const;
  /// By name: how many nodes count, the last one's CID, whether it is cut.
  std::map<std::string, std::tuple<uint64_t, std::string, bool>> lists(
      size_t replica, const ipld::Cid& channel) const;
  /// Some of what reading shows, or (without `random`) all siblings; empty: it is right.
  std::string look(size_t replica, const ipld::Cid& channel, const types::NodeSource& source,
                   Random* random) const;

  /// Empty if all these replicas hold and show the same of each channel that they have joined; else
  /// the first difference.
  std::string difference(const std::vector<size_t>& connected) const;
  /// After convergence: everything once more, in full.
  void check_all(const std::vector<size_t>& connected);

  // --- what enemies and the end of a run need to know ---
  const access::Membership& membership(const ipld::Cid& channel) const {
    return channels_.at(channel).membership;
  }
  std::optional<list::At> grant_of(const ipld::Cid& channel, const list::PublicKey& key) const;
  const Made* find(const ipld::Cid& cid) const;
  std::vector<ipld::Cid> heads(
      const ipld::Cid& channel) const;  ///< The last honest node of each list.
  uint64_t time_max_ms() const {
    return time_max_ms_;
  }  ///< The furthest stamp of all nodes that somebody held.
  std::string shown(const ipld::Cid& cid) const;
  /// The roots of all lists that it holds nodes of, and what each is the root of.
  std::map<ipld::Cid, std::string> roots(size_t replica) const;
  /// Channels of which it has the manifest.
  size_t known_channels(size_t replica) const;
  /// Lists that it holds nodes of.
  size_t known_lists(size_t replica) const;
  /// Lists of which it holds nodes that had seen more than it could apply.
  size_t unmet(size_t replica) const;
  bool was_restored(size_t replica) const { return replicas_[replica].restored; }
  size_t acknowledged() const { return acknowledged_; }

 private:
  struct ChannelFacts {
    std::string type;
    bool is_public = false;
    list::PublicKey creator;
    const access::Identity* identity;
    access::Membership membership;
    std::map<list::At, std::pair<list::PublicKey, bool>>
        grants;                              ///< To whom, and whether to write.
    std::optional<list::At> epoch;           ///< Where the key comes from.
    std::map<list::ListId, ipld::Cid> last;  ///< Of honest lists.
  };
  struct Unmet {
    uint64_t since_ms = 0;
    uint64_t number = 0;
  };
  /// Where one node counts: list, number, time.
  using Spot = std::tuple<list::ListId, uint64_t, uint64_t>;
  /// One channel of one replica, as its commits made it.
  struct Mirror {
    ipld::Cid channel;
    bool has_manifest = false;
    std::map<list::ListId, engine::ListRecord> lists;
    std::map<list::ListId, std::vector<ipld::Cid>> chains;
    std::map<list::ListId, Unmet>
        unmet;                    ///< What held nodes had seen and this replica has not applied.
    std::map<Bytes, Place> once;  ///< Operations that can only be there once.
    Model model;
    std::map<Spot, std::map<ipld::Cid, int>>
        again;  ///< What applied nodes write again, and how many of them do.
    std::map<Spot, ipld::Cid> counted;  ///< Whose operations the model has.
  };
  struct Acknowledged {
    ipld::Cid channel;
    list::At at;
    bool may_be_lost =
        false;  ///< The folder was replaced by a copy older than it, or the channel was left.
  };
  struct ReplicaFacts {
    std::map<uint32_t, Mirror> mirrors;
    std::vector<Acknowledged> acknowledged;
    std::map<std::pair<ipld::Cid, list::ListId>, uint64_t> promised;
    std::map<list::ListId, uint64_t> told;  ///< Of its own lists, by members, since it started…
    std::map<list::ListId, uint64_t>
        told_now;  ///< …and in the present turn, perhaps after its node was opened.
    std::set<Bytes> refused;
    std::set<ipld::Cid> left;
    bool restored = false;  ///< From an old copy or from a backup…
    bool copied = false;    ///< …from a copy, of which the engine was not told.
  };
  struct Step {
    const Made* made;
    bool undone;
  };

  const list::Node* read_node(const Bytes& block);
  Made* learn(const list::Node& node, bool hostile);
  void learn_control(Made& made, BytesView body, ChannelFacts& facts);
  void take_node(size_t replica, Mirror& mirror, BytesView key, const list::Node& node,
                 bool reopened);
  void take_record(size_t replica, Mirror& mirror, const list::ListId& id,
                   const engine::ListRecord& record, std::vector<Step>& steps);
  void check_grants(size_t replica, const Mirror& mirror);
  void check_steps(size_t replica, uint32_t number, Mirror& mirror, const std::vector<Step>& steps);
  void check_seen(size_t replica, const Mirror& mirror, const Made& made);
  bool replay(size_t replica, Mirror& mirror, const Made& made, bool undo);
  const Made* what_counts(const Mirror& mirror, const Spot& spot) const;
  bool count(size_t replica, Mirror& mirror, const std::vector<Step>& steps,
             std::set<const Made*>& changed);
  bool read_again(Made& made, const std::vector<Bytes>& ops);
  static Spot spot_of(const list::Node& node) { return {node.id, node.number, node.time}; }
  const Made* find(const list::At& at) const;
  bool may_hold_again(size_t replica, const list::At& at) const;
  bool has_again(const Mirror& mirror, const list::At& at) const;
  static bool written_again(const Mirror& mirror, const list::At& at);
  static bool grant_counts(const Mirror& mirror, const list::At& at);
  bool counts(const Mirror& mirror, const list::At& at) const;
  bool grant_forked(const Mirror& mirror, const list::ListId& list) const;
  bool waits_for_its_grant(size_t replica, const Mirror& mirror, const list::ListId& list) const;
  uint64_t applicable(const Mirror& mirror, const list::ListId& list,
                      const engine::ListRecord& record) const;
  std::string not_again(const std::vector<size_t>& connected) const;
  void check_own(size_t replica, const Mirror& mirror, const Made& made);
  bool admitted(const Mirror& mirror, const Made& first, const ChannelFacts& facts) const;
  void note_unmet(size_t replica, Mirror& mirror, const Made& made);
  void note_unapplied(size_t replica, Mirror& mirror);
  Mirror* mirror_of(size_t replica, const ipld::Cid& channel);
  const Mirror* mirror_of(size_t replica, const ipld::Cid& channel) const;
  uint32_t number_of(size_t replica, const ipld::Cid& channel) const;
  static bool holds(const Mirror& mirror, const list::At& at);
  bool forked(const list::ListId& list, uint64_t number) const;
  void learn_channel(size_t creator, const engine::ChannelRecord& record);
  bool reads(size_t replica, const Mirror& mirror) const;
  std::string rows(size_t replica) const;
  std::string name(size_t replica) const;
  std::string where(const Made& made) const;

  std::map<list::ListId, uint64_t> applied_now_;  ///< As the commit under way leaves it.
  std::vector<Subject> subjects_;
  std::vector<ReplicaFacts> replicas_;
  std::map<ipld::Cid, ChannelFacts> channels_;
  std::unordered_map<ipld::Cid, Made> made_;
  std::unordered_map<Bytes, list::Node> read_;  ///< By block.
  std::map<std::pair<list::ListId, uint64_t>, std::vector<ipld::Cid>>
      at_;                                  ///< All that were made for one place.
  std::map<list::ListId, uint64_t> forks_;  ///< The lowest place with two of them.
  std::optional<Failure> failure_;
  uint64_t time_max_ms_ = 0;
  size_t acknowledged_ = 0;
};

}  // namespace ptwop::sim
