// What an Engine is made of. Internal to this room: engine.cpp has the use cases, turn.cpp the
// turn.
#pragma once
#include <map>
#include <memory>
#include <set>
#include <unordered_map>
#include <vector>

#include "engine/channel.h"
#include "engine/engine.h"
#include "engine/lane.h"
#include "engine/outbox.h"
#include "engine/pins.h"
#include "engine/world.h"

namespace ptwop::engine {

inline constexpr uint64_t kAskMs = 500;

struct Engine::Impl {
  struct Waiter {
    uint32_t channel = 0;
    bool fresh = true;  ///< Not looked at yet.
    std::vector<list::At> tokens;
    std::string peer;
    uint64_t deadline_ms = 0;
    uint64_t ask_at_ms = 0;          ///< When peers are asked (again) for their clocks…
    uint64_t ask_again_ms = kAskMs;  ///< …and how long after that once more.
    Done<bool> done;
  };

  World world;
  Directory directory;
  std::map<uint32_t, std::unique_ptr<Channel>> channels;
  std::map<std::string, Channel*, std::less<>>
      by_name;  ///< Names and addresses, as this turn has them.
  std::unordered_map<ipld::Cid, Channel*> by_cid;
  std::map<ipld::Cid, ChannelRef>
      shown;  ///< What the directory and the subscriptions hold: as committed.
  std::vector<Waiter> waiters;
  std::set<uint32_t> touched;                   ///< Channels with something to settle in this turn.
  std::set<uint32_t> talking;                   ///< Channels that may have something to send.
  std::map<uint32_t, uint64_t> due_of;          ///< When each channel wants its next tick…
  std::set<std::pair<uint64_t, uint32_t>> due;  ///< …the soonest first.
  uint32_t next_channel = 1;
  Outbox outbox;
  Pins pins;
  Lane lane;
  uint64_t manifest_at_ms = 0;
  uint64_t sweep_at_ms = 0;
  uint64_t refusals_at_ms = 0;
  uint64_t failed_commits = 0;     ///< Since the last line about them…
  uint64_t failure_log_at_ms = 0;  ///< …and when the next is due.
  std::map<std::string, uint64_t> refused_logged;
  Bytes sweep_from;
  std::vector<uint32_t> left;  ///< In this turn; their pins go once that is durable.
  bool channels_changed = false;
  bool unsynced = false;
  bool reload_due = false;
  struct Damage {
    Error error;
    uint64_t again_at_ms = 0;  ///< mono: when the channel is tried again; at its end: it is in use
    uint64_t after_ms = 0;
  };
  std::map<uint32_t, Damage> damage;  ///< Channels whose part of the store could not be read.

  Impl(Ports ports, access::Identity identity)
      : world(ports, std::move(identity)), outbox(world), pins(world), lane(world) {
    world.lane = &lane;
  }

  Channel* find(std::string_view name) {
    const auto it = by_name.find(name);
    return it == by_name.end() ? nullptr : it->second;
  }
  Channel* find(const ipld::Cid& cid) {
    const auto it = by_cid.find(cid);
    return it == by_cid.end() ? nullptr : it->second;
  }
  Channel& touch(Channel& channel) {
    touched.insert(channel.view()->number);
    return channel;
  }
  template <class T>
  void refuse(Done<T>& done, Error error) {
    world.reply<T>(std::move(done), Result<T>(std::move(error)));
  }

  Result<void> load();
  void index(Channel& channel);
  void schedule(Channel& channel);
  void unschedule(uint32_t number);
  /// 101, 301, 103, 402, 401
  Result<Channel*> writable(const std::string& name, const types::Type& type);
  Channel& add_channel(ChannelRecord record);
  void show_channels();
  void check_waiters(const std::set<uint32_t>& settled);
  void sweep_requests();
  void log_refusals();
  void fetch_manifests();
  Result<void> commit();
  void discard(Error error);
  void set_aside(Channel& channel, const Error& why);
  void try_damaged_again();
  void conclude(const std::set<uint32_t>& settled);
  void pack(Channel& channel);
  void show_roots(const std::vector<Rooted>& roots);
  void prepare_pins();
  void settle_lane();
  void answer(const Error* failed);
};

}  // namespace ptwop::engine
