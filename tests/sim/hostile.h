// Those who mean harm: a member with a grant and a stranger without one. They hear all that is
// said, know no key that was not given to them, and sign with their own.
#pragma once
#include <map>
#include <unordered_map>
#include <vector>

#include "access/identity.h"
#include "list/node.h"
#include "plan.h"
#include "sync/message.h"

namespace ptwop::sim {

class World;

class Hostile {
 public:
  Hostile(World& world, uint64_t seed);
  const access::Identity& member() const { return member_; }
  /// What goes by on a topic.
  void overhear(const ipld::Cid& channel, const Bytes& message);
  void act(const Action& action);
  /// One of those that its roots lead to; none: it has not got it.
  const Bytes* block(const ipld::Cid& cid) const;

 private:
  struct List {
    list::ListName name;
    std::vector<list::Node> nodes;
    std::vector<Bytes> blocks;
  };
  using Body = std::variant<sync::Nodes, sync::ClockMessage, sync::Want>;
  void say(const access::Identity& who, Body body, const list::PublicKey* in_whose_name = nullptr);
  void say_nodes(std::vector<Bytes> blocks);
  void fork(Random& random);
  void again(Random& random);
  void flood(Random& random);
  void claim(Random& random);
  void forge(Random& random);
  void roots(Random& random, uint64_t kind);
  ipld::Cid offer(Bytes block);
  List& own_list(Random& random, unsigned percent_new = 5);
  /// The next node of a list of the member's, not yet signed.
  list::Node next(List& list, Random& random);
  Bytes seal(list::Node& node, const access::Identity& signer,
             const std::vector<Bytes>& operations);
  Bytes operation(Random& random, bool good);
  void keep(List& list, const list::Node& node, Bytes block);

  World& world_;
  access::Identity member_, stranger_;
  std::map<size_t, std::vector<List>> lists_;      ///< By channel.
  std::map<size_t, std::vector<Bytes>> branches_;  ///< Of forks, by channel.
  std::map<ipld::Cid, std::vector<Bytes>> heard_;
  std::vector<std::pair<ipld::Cid, Bytes>> withheld_;
  std::unordered_map<ipld::Cid, Bytes> offered_;  ///< Below its roots.
  size_t channel_ = 0;                            ///< Of the present action.
  uint64_t count_ = 0;
  uint64_t boot_ = 1;
};

}  // namespace ptwop::sim
