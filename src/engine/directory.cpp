#include "engine/directory.h"

#include "engine/transaction.h"

namespace ptwop::engine {

ChannelRef Directory::find(std::string_view name_or_address) const {
  const std::lock_guard lock(mutex_);
  const auto& map = name_or_address.starts_with('/') ? by_address_ : by_name_;
  const auto it = map.find(name_or_address);
  return it == map.end() ? nullptr : it->second;
}

std::map<std::string, ChannelRef> Directory::all() const {
  const std::lock_guard lock(mutex_);
  return {by_name_.begin(), by_name_.end()};
}

void Directory::add(ChannelRef channel) {
  const std::lock_guard lock(mutex_);
  by_address_[channel->address] = channel;
  by_name_[channel->name] = std::move(channel);
}

void Directory::remove(const ChannelRef& channel) {
  const std::lock_guard lock(mutex_);
  by_address_.erase(channel->address);
  by_name_.erase(channel->name);
}

Result<std::optional<Bytes>> StateView::get(types::Space space, BytesView key) const {
  return store_.get(table_of(space), state_key(channel_, key), mode_);
}

Result<void> StateView::scan(types::Space space, BytesView from, BytesView until, bool reverse,
                             const types::Visit& visit) const {
  const StateBounds bounds(channel_, from, until);
  return store_.scan(table_of(space), bounds.from, bounds.until, reverse,
                     [&](BytesView key, BytesView value) { return visit(key.substr(4), value); });
}

}  // namespace ptwop::engine
