// A schedule: who takes part, and what happens when. It is made from a seed in full before anything
// runs, so that a failing one can be made smaller by leaving actions out.
#pragma once
#include <string>
#include <vector>

#include "random.h"

namespace ptwop::sim {

inline constexpr size_t kReplicasMax = 9;

enum class Act : uint8_t {
  // clients
  write,  ///< `a` writes in one turn at `who`
  burst,  ///< `a` writes one after the other, as fast as `who` takes them: each a node
  twins,  ///< all replicas write the same key in the same millisecond
  wait,   ///< `who` waits for a token that somebody was given
  join,   ///< `who` joins the channel
  leave,  ///< …and leaves it
  grant,  ///< the channel's creator grants `who` its role
  // processes
  crash,    ///< at the `a`-th storage operation from now; back after `b` ms
  stop,     ///< ends between two turns; back after `b` ms
  die,      ///< …and never comes back
  pause,    ///< does nothing for `b` ms
  copy,     ///< somebody copies the data folder
  restore,  ///< stops, gets the last copy in place of its folder (salt: one in four as a backup
            ///< that is
            ///< restored); back after `b` ms
  carry,    ///< a file of the channel goes to the replica `a` (salt: when, and how much of it)
  // disks and clocks, each for `b` ms
  disk_full,
  write_errors,  ///< `a` percent
  read_errors,
  clock_jump,   ///< by `a` ms, for good
  clock_drift,  ///< `a` parts in a million, for good
  // the network, for `b` ms; who = kReplicasMax: all
  loss,       ///< `a` percent of all messages to `who`
  duplicate,  ///< `a` percent of all messages
  delay,      ///< up to `a` ms
  partition,  ///< replicas in the mask `a` do not hear the others; odd salt: nor are they heard
  // Kubo, for `b` ms
  kubo_down,
  pubsub_off,
  kubo_errors,     ///< `a` percent
  kubo_slow,       ///< up to `a` ms
  kubo_twice,      ///< `a` percent of all outcomes come twice
  kubo_lies,       ///< `a` percent of all blocks come as something else
  kubo_hangs,      ///< nothing is answered; at the end the connection breaks
  kubo_withholds,  ///< `a` percent of all blocks are not given to others
  kubo_garbage,    ///< what is not pinned goes, at once
  kubo_loses,      ///< `a` percent of all blocks go, pinned or not, and Kubo starts again
  // enemies
  hostile,  ///< what: see Hostile; `a` is its kind
};

struct Action {
  uint64_t at_ms = 0;
  Act act = Act::write;
  uint8_t who = 0;
  uint8_t channel = 0;
  int64_t a = 0;
  uint64_t b = 0;
  uint64_t salt = 0;  ///< All chance inside the action.
};
std::string describe(const Action& action);

enum class Membership : uint8_t { none, reads, writes };

struct ChannelPlan {
  std::string type;
  bool is_public = false;
  size_t creator = 0;
  std::vector<Membership> members;  ///< By replica.
  bool hostile_member = false;
};

struct Plan {
  uint64_t seed = 0;
  uint64_t length_ms = 60'000;  ///< Until the faults end.
  size_t replicas = 3;
  uint64_t latency_ms_max = 5;
  std::vector<uint64_t> turn_ms;  ///< By replica: how long one turn takes.
  std::vector<ChannelPlan> channels;
  std::vector<Action> actions;  ///< By time.
};

Plan make_plan(uint64_t seed, uint64_t length_ms);

}  // namespace ptwop::sim
