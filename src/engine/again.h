// The nodes of one channel that were written again (access/again.h): which of them count, and where
// they are found.
//
// A place is (list, number, time). A node that is accepted where it stands counts at its place;
// else, of those that applied nodes write again for that place, the one with the smallest CID. So
// what counts is a function of the set of nodes held, whatever came first. (Two of them at one
// place need one list to have made two nodes with one number and one stamp: malice, or two copies
// of a folder that wrote in the same millisecond.)
#pragma once
#include <optional>
#include <set>

#include "access/again.h"
#include "base/mutant.h"
#include "engine/records.h"
#include "engine/world.h"

namespace ptwop::engine {

struct Place {
  list::ListId list;
  uint64_t number = 0;
  uint64_t time = 0;
  explicit Place(const list::Node& node) : list(node.id), number(node.number), time(node.time) {}
  explicit Place(const types::OpId& id) : list(id.list), number(id.number), time(id.time) {}
  bool operator==(const Place&) const = default;
};

class Again {
 public:
  Again(World& world, uint32_t channel) : world_(world), channel_(channel) {}
  Result<void> load();

  /// False: nothing of this list was written again, so nobody has to look.
  bool any(const list::ListId& list) const { return lists_.contains(list); }
  const std::set<list::ListId>& lists() const { return lists_; }
  /// `by`: the node that writes it again.
  void add(const access::Repeated& node, const list::At& by);
  void remove(const list::Node& node, const list::At& by);

  Result<std::optional<list::Node>> at(const Place& place) const {
    return at(world_.txn, channel_, place);
  }
  /// As `reader` (a store, or a transaction over it) has it.
  template <class Reader>
  static Result<std::optional<list::Node>> at(const Reader& reader, uint32_t channel,
                                              const Place& place);
  Result<bool> has(const list::At& at) const;
  Result<std::optional<list::Node>> node(const list::At& at) const;
  /// Where that node was written again, wherever that was (without the tag: 0).
  Result<std::vector<list::At>> writers(const list::At& at) const;
  /// All nodes of a list that were written again; one that several wrote again more than once.
  Result<void> each(const list::ListId& list, const std::function<void(list::Node)>& use) const;
  Result<void> each(const list::ListId& list, uint64_t number,
                    const std::function<void(list::Node)>& use) const;

 private:
  Result<void> each_under(const Bytes& prefix, const list::ListId& list,
                          const std::function<void(list::Node)>& use) const;
  static Bytes place_key(uint32_t channel, const Place& place);
  Bytes key(const list::Node& node, const list::At& by) const;

  World& world_;
  uint32_t channel_;
  std::set<list::ListId> lists_;
};

template <class Reader>
Result<std::optional<list::Node>> Again::at(const Reader& reader, uint32_t channel,
                                            const Place& place) {
  std::optional<Bytes> first;
  const Bytes prefix = place_key(channel, place);
  PTWOP_CHECK(reader.scan(Table::meta, prefix, after_prefix(prefix), false,
                          [&](BytesView, BytesView block) {
                            first = Bytes(block);
                            return PTWOP_MUTANT(again_biggest);
                          }));
  if (!first) return std::optional<list::Node>();
  PTWOP_TRY(list::Node node, list::decode(*first));
  return std::optional(std::move(node));
}

}  // namespace ptwop::engine
