// Packs and roots (formats.md, "Pack and root"): the blocks in which a list rests in Kubo. Where
// packs are cut depends on the nodes alone, from the list's start, so every replica that holds a
// list makes the same packs with the same CIDs.
//
//   item   a node as it is, or, over kInlineNodeBytesMax, a link to its own block
//   pack   [item, …]: consecutive nodes. A small one closes before it would grow over 32 KiB (one
//          node may be larger); kSmallMax small ones make a large one of the same nodes
//   run    [first number, last number, tag of the last node, link]: a block and the nodes below it
//   index  {kind, runs, version}: kIndexMax large packs, or indexes, make one
//   root   {kind, list, tail, index, channel, version, position}: `index` has the runs that are not
//          part of a larger one yet, by level, the small packs first; `tail` the items after them
//
// A root needs no signature: the nodes below it prove themselves. Unverified it is a hint.
#pragma once
#include <functional>
#include <vector>

#include "list/node.h"

namespace ptwop::list {

inline constexpr size_t kSmallPackBytes = 32 << 10;
inline constexpr size_t kSmallMax = 16;  ///< Small packs in a large one.
inline constexpr size_t kIndexMax = 64;  ///< Large packs, or indexes, in an index.
inline constexpr size_t kLevelsMax = 8;
inline constexpr size_t kRootBytesMax = 128 << 10;
inline constexpr size_t kPackBytesMax = (1 << 20) + (1 << 10);

/// A block and the nodes that stand in it or below it.
struct Run {
  uint64_t first = 0;
  Position last;
  ipld::Cid cid;
  bool operator==(const Run&) const = default;
};

/// Level 0: small packs; 1: large packs; 2: indexes of large packs; 3: indexes of those; …
using Levels = std::vector<std::vector<Run>>;

/// The closed part of a list.
struct Packed {
  Levels levels;
  /// The last node in a closed pack; 0: none is closed.
  uint64_t number() const;
};

struct Root {
  ipld::Cid channel;
  ListId list;
  Position position;  ///< Of the last node.
  Levels levels;
  std::vector<Bytes> tail;  ///< Items.
};

/// How a node stands in a pack or a tail.
Bytes item_of(BytesView node);
/// The block of an item that is a link; none: the item is the node.
ipld::Cid linked(BytesView item);

Bytes encode_pack(const std::vector<Bytes>& items);
Bytes encode_index(const std::vector<Run>& runs);
Bytes encode(const Root& root);

/// Strict and bounded; no more is known of the items than that each is one map or one link.
Result<std::vector<Bytes>> decode_pack(BytesView block);
/// Runs follow one another without a gap.
Result<std::vector<Run>> decode_index(BytesView block);
/// Runs, the larger ones first, and then the tail follow one another from node 1 to the position.
Result<Root> decode_root(BytesView block);

void write_levels(ipld::CborWriter& out, const Levels& levels);
Levels read_levels(ipld::CborReader& in);

/// Takes the nodes of a list one after the other and closes packs and indexes where they close.
class Packer {
 public:
  /// Reads items first…last again, for a large pack of small ones.
  using Read = std::function<Result<std::vector<Bytes>>(uint64_t first, uint64_t last)>;
  /// A block was closed, which makes those of `inner` superfluous.
  using Closed =
      std::function<void(const ipld::Cid& cid, Bytes block, const std::vector<Run>& inner)>;
  Packer(Packed packed, Read read, Closed closed)
      : packed_(std::move(packed)), read_(std::move(read)), closed_(std::move(closed)) {}

  /// The next node; the first one is number packed.number() + 1.
  Result<void> add(Bytes item, Position position);
  const Packed& packed() const { return packed_; }
  const std::vector<Bytes>& tail() const { return tail_; }
  Position position() const { return position_; }

 private:
  Result<void> close_small();
  Result<void> add_run(size_t level, Run run);

  Packed packed_;
  Read read_;
  Closed closed_;
  std::vector<Bytes> tail_;
  size_t tail_bytes_ = 0;
  Position position_;
};

}  // namespace ptwop::list
