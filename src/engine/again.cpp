#include "engine/again.h"

namespace ptwop::engine {
namespace {

constexpr char kKind = 'a';

constexpr size_t kCidHeadBytes = 4;  // the same in all of our CIDs; the digest follows

}  // namespace

Bytes Again::place_key(uint32_t channel, const Place& place) {
  Bytes key = meta_key(kKind, channel, place.list.view());
  append_be64(key, place.number);
  append_be64(key, place.time);
  return key;
}

Result<void> Again::load() {
  lists_.clear();
  const Bytes prefix = meta_key(kKind, channel_);
  return world_.ports.store.scan(Table::meta, prefix, after_prefix(prefix), false, [&](BytesView key, BytesView) {
    if (key.size() >= prefix.size() + list::ListId::kSize) lists_.insert(list::ListId::from(key.substr(prefix.size())));
    return true;
  });
}

Bytes Again::key(const list::Node& node, const list::At& by) const {
  Bytes key = place_key(channel_, Place(node));
  key += node.cid.bytes().substr(kCidHeadBytes);
  key += by.list.view();
  append_be64(key, by.position.number);
  return key;
}

void Again::add(const access::Repeated& node, const list::At& by) {
  lists_.insert(node.node.id);
  world_.txn.put(Table::meta, key(node.node, by), node.block);
}

void Again::remove(const list::Node& node, const list::At& by) { world_.txn.erase(Table::meta, key(node, by)); }

Result<bool> Again::has(const list::ListId& list, const list::Position& position) const {
  if (!any(list)) return false;
  bool found = false;
  Bytes prefix = meta_key(kKind, channel_, list.view());
  append_be64(prefix, position.number);
  PTWOP_CHECK(world_.txn.scan(Table::meta, prefix, after_prefix(prefix), false, [&](BytesView key, BytesView) {
    const BytesView digest = key.substr(prefix.size() + 8);
    found = digest.size() >= 8 && read_be64(digest) == position.tag;
    return !found;
  }));
  return found;
}

Result<void> Again::each(const list::ListId& list, const std::function<void(list::Node)>& use) const {
  if (!any(list)) return {};
  Result<void> decoded;
  const Bytes prefix = meta_key(kKind, channel_, list.view());
  PTWOP_CHECK(world_.txn.scan(Table::meta, prefix, after_prefix(prefix), false, [&](BytesView, BytesView block) {
    auto node = list::decode(block);
    if (node) use(std::move(*node));
    else decoded = node.error();
    return decoded.ok();
  }));
  return decoded;
}

}  // namespace ptwop::engine
