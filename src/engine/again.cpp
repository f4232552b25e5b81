#include "engine/again.h"

#include "base/mutant.h"

namespace ptwop::engine {
namespace {

constexpr char kKind = 'a';

constexpr size_t kCidHeadBytes = 4;  // the same in all of our CIDs; the digest follows
constexpr size_t kDigestBytes = 32;

}  // namespace

Bytes Again::place_key(uint32_t channel, const Place& place) {
  Bytes key = meta_key(kKind, channel, place.list.view());
  append_be64(key, place.number);
  append_be64(key, PTWOP_MUTANT(again_by_number) ? 0 : place.time);
  return key;
}

Result<void> Again::load() {
  lists_.clear();
  const Bytes prefix = meta_key(kKind, channel_);
  return world_.ports.store.scan(Table::meta, prefix, after_prefix(prefix), false,
                                 [&](BytesView key, BytesView) {
                                   if (key.size() >= prefix.size() + list::ListId::kSize)
                                     lists_.insert(list::ListId::from(key.substr(prefix.size())));
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

void Again::remove(const list::Node& node, const list::At& by) {
  world_.txn.erase(Table::meta, key(node, by));
}

Result<bool> Again::has(const list::At& at) const {
  PTWOP_TRY(const auto found, writers(at));
  return !found.empty();
}

Result<std::vector<list::At>> Again::writers(const list::At& at) const {
  std::vector<list::At> found;
  if (!any(at.list)) return found;
  Bytes prefix = meta_key(kKind, channel_, at.list.view());
  append_be64(prefix, at.position.number);
  PTWOP_CHECK(world_.txn.scan(
      Table::meta, prefix, after_prefix(prefix), false, [&](BytesView key, BytesView) {
        key.remove_prefix(prefix.size() + 8);
        if (key.size() != kDigestBytes + list::ListId::kSize + 8 ||
            read_be64(key) != at.position.tag)
          return true;
        key.remove_prefix(kDigestBytes);
        found.push_back({list::ListId::from(key), {read_be64(key.substr(list::ListId::kSize)), 0}});
        return true;
      }));
  return found;
}

Result<std::optional<list::Node>> Again::node(const list::At& at) const {
  std::optional<list::Node> found;
  PTWOP_CHECK(each(at.list, at.position.number, [&](list::Node node) {
    if (node.cid.tag() == at.position.tag) found = std::move(node);
  }));
  return found;
}

Result<void> Again::each(const list::ListId& list,
                         const std::function<void(list::Node)>& use) const {
  return each_under(meta_key(kKind, channel_, list.view()), list, use);
}

Result<void> Again::each(const list::ListId& list, uint64_t number,
                         const std::function<void(list::Node)>& use) const {
  Bytes prefix = meta_key(kKind, channel_, list.view());
  append_be64(prefix, number);
  return each_under(prefix, list, use);
}

Result<void> Again::each_under(const Bytes& prefix, const list::ListId& list,
                               const std::function<void(list::Node)>& use) const {
  if (!any(list)) return {};
  Result<void> decoded;
  PTWOP_CHECK(world_.txn.scan(Table::meta, prefix, after_prefix(prefix), false,
                              [&](BytesView, BytesView block) {
                                auto node = list::decode(block);
                                if (node)
                                  use(std::move(*node));
                                else
                                  decoded = node.error();
                                return decoded.ok();
                              }));
  return decoded;
}

}  // namespace ptwop::engine
