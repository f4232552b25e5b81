// What a block links to: what a recursive pin keeps.
#pragma once
#include <set>
#include <unordered_map>

#include "ipld/dag_cbor.h"

namespace ptwop::test {

template <class Use>
void each_link(ipld::CborReader& in, const Use& use) {
  using ipld::CborKind;
  switch (in.peek()) {
    case CborKind::link:
      if (const auto cid = ipld::Cid::from_bytes(in.link())) use(*cid);
      return;
    case CborKind::array:
      for (size_t left = in.array(); left > 0 && in.ok(); --left) each_link(in, use);
      return;
    case CborKind::map:
      for (size_t left = in.map(); left > 0 && in.ok(); --left) {
        (void)in.key();
        each_link(in, use);
      }
      return;
    default:
      (void)in.item();
  }
}

/// Adds `cid` and all below it to `out`; false if a block is missing.
inline bool collect(const std::unordered_map<ipld::Cid, Bytes>& blocks, const ipld::Cid& cid,
                    std::set<ipld::Cid>& out) {
  const auto it = blocks.find(cid);
  if (it == blocks.end()) return false;
  if (!out.insert(cid).second) return true;
  bool complete = true;
  ipld::CborReader in(it->second);
  each_link(in, [&](const ipld::Cid& link) { complete &= collect(blocks, link, out); });
  return complete;
}

/// A Kubo's pins and its garbage collection.
class PinSet {
 public:
  /// False if something below `next` is missing: then nothing changes.
  bool pin(const std::unordered_map<ipld::Cid, Bytes>& blocks, const ipld::Cid& last,
           const ipld::Cid& next) {
    std::set<ipld::Cid> below;
    if (!collect(blocks, next, below)) return false;
    pins_.erase(last);
    pins_.insert(next);
    return true;
  }
  void unpin(const ipld::Cid& cid) { pins_.erase(cid); }
  const std::set<ipld::Cid>& all() const { return pins_; }
  void collect_garbage(std::unordered_map<ipld::Cid, Bytes>& blocks) const {
    std::set<ipld::Cid> kept;
    for (const ipld::Cid& cid : pins_) collect(blocks, cid, kept);
    std::erase_if(blocks, [&](const auto& item) { return !kept.contains(item.first); });
  }

 private:
  std::set<ipld::Cid> pins_;
};

}  // namespace ptwop::test
