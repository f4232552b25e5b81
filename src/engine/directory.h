// What readers on other threads may know of the channels without asking the engine's thread.
#pragma once
#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "engine/ports.h"
#include "ipld/cid.h"
#include "types/type.h"

namespace ptwop::engine {

/// One channel of this replica. Immutable but for the atomics, which the engine's thread sets.
struct ChannelView {
  uint32_t number = 0;  ///< Prefix of all its keys in the store; never used again after `leave`.
  std::string name;     ///< Local.
  std::string address;  ///< `/ptwop/<cid>`
  ipld::Cid cid;
  std::atomic<const types::Type*> type{nullptr};  ///< Null until the manifest is here.
  std::atomic<bool> is_public{false};
  std::atomic<bool> readable{false};
  std::atomic<bool> writable{false};
  std::atomic<uint64_t> nodes{0};  ///< Applied, over all lists.
};
using ChannelRef = std::shared_ptr<ChannelView>;

/// Names and addresses of the joined channels. Safe from any thread.
class Directory {
 public:
  /// By local name or by address; null when there is none.
  ChannelRef find(std::string_view name_or_address) const;
  std::map<std::string, ChannelRef> all() const;  ///< By name.
  void add(ChannelRef channel);
  void remove(const ChannelRef& channel);

 private:
  mutable std::mutex mutex_;
  std::map<std::string, ChannelRef, std::less<>> by_name_, by_address_;
};

/// A channel's state as committed, for reads from any thread. `mode` memory: see ReadMode.
class StateView : public types::StateReader {
 public:
  StateView(const StateStore& store, uint32_t channel, ReadMode mode = ReadMode::any)
      : store_(store), channel_(channel), mode_(mode) {}
  Result<std::optional<Bytes>> get(types::Space space, BytesView key) const override;
  Result<void> scan(types::Space space, BytesView from, BytesView until, bool reverse,
                    const types::Visit& visit) const override;

 private:
  const StateStore& store_;
  uint32_t channel_;
  ReadMode mode_;
};

}  // namespace ptwop::engine
