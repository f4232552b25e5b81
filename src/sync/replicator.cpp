#include "sync/replicator.h"
#include "base/mutant.h"

#include <algorithm>

namespace ptwop::sync {
namespace {

constexpr size_t kPeersMax = 512;
constexpr size_t kStrangerClockMax = 256;
constexpr size_t kWantedMax = 4096, kWantedByStrangersMax = 256;
constexpr uint64_t kMissingMax = uint64_t{1} << 53;  // what JSON readers can hold
constexpr uint64_t kTellAgainMs = 5'000;
constexpr uint64_t kGivenUpMs = 5'000, kGivenUpStrangerMs = 60'000;
constexpr uint64_t kPeerFreshMs = 60'000;
constexpr uint64_t kSilentMs = 30'000;
constexpr uint64_t kQuietMinMs = 5'000, kQuietMaxMs = 15'000;
constexpr uint64_t kAfterChangeMs =
    1'000;  // the announcement itself carries the change: this heals its loss
constexpr uint64_t kClockGapMs = 200;  // never two clocks closer than this
constexpr uint64_t kWantDelayMs = 40;  // what a clock names may still be on its way
constexpr uint64_t kAnswerMs = 1'000;
constexpr unsigned kBackoffMax = 5;
constexpr unsigned kTriesMax = 12;
constexpr size_t kCutsMax = 4;
constexpr size_t kWholeMax = 8;         ///< Lists; more are told by a digest.
constexpr uint64_t kChannelsFree = 16;  ///< So many say their clocks as often as they like.
constexpr uint64_t kQuietFactorMax = 60;
constexpr uint64_t kFarBehind = 128, kFarBehindNew = 16;  ///< Nodes; less is asked for.
constexpr uint64_t kBranchSpan = 63;  // a fork lies at or below the place where it is seen

}  // namespace

uint64_t Jitter::next() {
  uint64_t z = (state_ += 0x9e3779b97f4a7c15u);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

uint64_t Jitter::between(uint64_t low, uint64_t high) { return low + next() % (high - low + 1); }

bool Window::admit(uint64_t count) {
  if (count > count_max) {
    const uint64_t ahead = count - count_max;
    count_seen = ahead < 64 ? count_seen << ahead | 1 : 1;
    count_max = count;
    return true;
  }
  const uint64_t behind = count_max - count;
  if (behind >= 64 || count_seen >> behind & 1) return false;
  count_seen |= uint64_t{1} << behind;
  return true;
}

bool Replicator::admit(const Message& message, bool member, uint64_t now_ms, uint64_t wall_ms,
                       bool live) {
  if (!peers_.contains(message.sender) && !room_for_peer(member)) return false;
  Peer& peer = peers_[message.sender];
  Window* window = nullptr;
  for (Window& w : peer.windows)
    if (w.boot == message.boot) window = &w;
  if (!window) {
    window = peer.windows[0].boot < peer.windows[1].boot ? &peer.windows[0] : &peer.windows[1];
    // An earlier boot is a replay. But who was restored from an old copy, and had its clock set
    // back, starts below its own past: once that is silent, it is heard. (A replay admitted so does
    // nothing: clocks only add.)
    if (message.boot < window->boot && !live &&
        (now_ms - peer.last_seen_ms < kSilentMs || PTWOP_MUTANT(earlier_boot_never)))
      return false;
    *window = live ? Window{message.boot, 0, 0} : Window{message.boot, message.count, 1};
    clock_within(now_ms, jitter_.between(10, 80));  // it just started: tell it what is here
  } else if (!live && !window->admit(message.count)) {
    return false;
  }
  peer.member = member;
  peer.boot = message.boot;
  peer.last_seen_ms = now_ms;
  peer.last_seen_wall_ms = wall_ms;
  return true;
}

// Strangers may not push members out.
bool Replicator::room_for_peer(bool member) {
  if (peers_.size() < (member ? kPeersMax : kPeersMax / 2)) return true;
  auto oldest = peers_.end();
  for (auto it = peers_.begin(); it != peers_.end(); ++it) {
    if (it->second.member && !member) continue;
    const bool better =
        oldest == peers_.end() || std::pair(it->second.member, it->second.last_seen_ms) <
                                      std::pair(oldest->second.member, oldest->second.last_seen_ms);
    if (better) oldest = it;
  }
  if (oldest == peers_.end()) return false;
  peers_.erase(oldest);
  return true;
}

uint64_t Replicator::held(const list::ListId& list) const {
  const auto it = holdings_.find(list);
  return it == holdings_.end() ? 0 : it->second.position.number;
}

void Replicator::on_clock(const Message& message, bool member, uint64_t now_ms, uint64_t wall_ms) {
  const auto& clock = std::get<ClockMessage>(message.body);
  Peer& peer = peers_[message.sender];
  peer.has_manifest = clock.has_manifest;
  peer.wall_lead_ms = static_cast<int64_t>(clock.wall_ms - wall_ms);
  size_t same = 0;
  std::set<size_t> lacking;  // parts in which they have less than we do, or other branches
  for (const ClockEntry& theirs : clock.entries) {
    const auto mine = holdings_.find(theirs.at.list);
    if (mine == holdings_.end())
      want(theirs.at.list, theirs.at.position.number, 0, member, now_ms, kWantDelayMs);
    // What is remembered of a peer is bounded by what is held or wanted here.
    if (mine == holdings_.end() && !wanted_.contains(theirs.at.list)) continue;
    if (!member && peer.clock.size() >= kStrangerClockMax && !peer.clock.contains(theirs.at.list))
      continue;
    ClockEntry& known = peer.clock[theirs.at.list];
    if (known.at.position.number <= theirs.at.position.number) known = theirs;
    if (mine == holdings_.end()) continue;
    const Held& held = mine->second;
    const list::Position& there = theirs.at.position;
    if (there == held.position && theirs.cut == held.cut) ++same;
    // Beyond a cut that both know nothing counts, so nothing is lacking.
    const uint64_t useful = held.cut && held.cut == theirs.cut ? 0 : held.position.number;
    if (there.number < useful || (held.cut && (!theirs.cut || held.cut < theirs.cut)))
      lacking.insert(part_of(mine->first));
    uint64_t cut = 0;
    if (theirs.cut && (!held.cut || theirs.cut < held.cut))
      cut = theirs.cut;  // they know of a fork
    else if (there.number == held.position.number && there.tag != held.position.tag && !held.cut)
      cut = there.number;  // another branch
    if (there.number > held.position.number || cut)
      want(theirs.at.list, there.number, cut, member, now_ms, kWantDelayMs);
  }
  bool all_same = same == holdings_.size() && same == clock.entries.size();
  if (clock.digest) {
    all_same = compare(*clock.digest, member, peer, lacking);
  } else if (clock.entries.size() < holdings_.size()) {
    // All that they have is in their entries.
    std::set<list::ListId> named;
    for (const ClockEntry& theirs : clock.entries) named.insert(theirs.at.list);
    for (const auto& [list, held] : holdings_)
      if (!named.contains(list)) lacking.insert(part_of(list));
  }
  if (clock.ask) {
    tell_.insert(lacking.begin(), lacking.end());
    clock_within(now_ms, jitter_.between(1, 20));
  } else if (!lacking.empty()) {
    // Once for each state of ours, and now and then: a peer that will not take what we have must
    // not make us talk for ever.
    if (peer.told_version != version_ || now_ms - peer.told_ms >= kTellAgainMs) {
      peer.told_version = version_;
      peer.told_ms = now_ms;
      tell_.insert(lacking.begin(), lacking.end());
      clock_within(now_ms, jitter_.between(20, 150));
    }
  } else if (member && all_same && suppressed_ < 2) {
    ++suppressed_;
    clock_at_ms_ = now_ms + quiet_ms();
    changed_.clear();  // the digest says it
  }
}

// What they say of all their lists at once: adds the parts that differ. True if none does.
bool Replicator::compare(const Digest& theirs, bool member, Peer& peer,
                         std::set<size_t>& differing) {
  const Digest ours = digest_of(holdings_);
  for (size_t part = 0; part < kDigestParts; ++part)
    if (theirs[part] != ours[part]) differing.insert(part);
  // What is the same they have as far as we do. (Strangers are believed in what they list alone.)
  if (member && std::pair(peer.same_version, differing.size()) != std::pair(version_, size_t{0}))
    for (const auto& [list, held] : holdings_) {
      if (differing.contains(part_of(list))) continue;
      ClockEntry& known = peer.clock[list];
      known.at = {list, held.position};
      known.cut = held.cut;
    }
  peer.same_version = version_;
  return theirs == ours;
}

// Few lists are named all; of many, those that changed, and those in whose part somebody differs.
void Replicator::fill(ClockMessage& clock, uint64_t now_ms) {
  const auto add = [&clock](const auto& item) {
    const auto& [list, held] = item;
    clock.entries.push_back({{list, held.position}, held.cut, held.root_number, held.root});
  };
  if (holdings_.size() <= kWholeMax) {
    for (const auto& item : holdings_) add(item);
    tell_.clear();
    changed_.clear();
    return;
  }
  clock.digest = digest_of(holdings_);
  while (!tell_.empty()) {
    const size_t part = *tell_.begin();
    list::ListId first{};
    first.raw[0] = static_cast<uint8_t>(part * 256 / kDigestParts);
    std::vector<Holdings::value_type> items;
    for (auto it = holdings_.lower_bound(first);
         it != holdings_.end() && part_of(it->first) == part; ++it)
      items.push_back(*it);
    if (!clock.entries.empty() && clock.entries.size() + items.size() > kClockEntriesMax) break;
    for (const auto& item : items) {
      if (clock.entries.size() == kClockEntriesMax) break;
      add(item);
      changed_.erase(item.first);
    }
    tell_.erase(part);
  }
  for (const list::ListId& list : changed_)
    if (const auto it = holdings_.find(list);
        it != holdings_.end() && clock.entries.size() < kClockEntriesMax)
      add(*it);
  changed_.clear();
  if (!tell_.empty()) clock_within(now_ms, kClockGapMs);
}

void Replicator::on_nodes(const list::PublicKey& sender,
                          const std::map<list::ListId, list::At>& held_there, bool last,
                          uint64_t now_ms) {
  Peer& peer = peers_[sender];
  for (const auto& [list, at] : held_there) {
    if (!peer.clock.contains(at.list) && peer.clock.size() >= kStrangerClockMax) continue;
    ClockEntry& known = peer.clock[at.list];
    if (known.at.position.number < at.position.number) known.at = at;
  }
  for (auto& [list, wanted] : wanted_) {
    if (!wanted.asked_any || wanted.asked != sender) continue;
    if (!last || held(list) > wanted.held_when_asked) {
      wanted.ask_at_ms = last ? now_ms : now_ms + kAnswerMs;
    } else if (const auto known = peer.clock.find(list); known != peer.clock.end()) {
      known->second.at.position.number =
          std::min(known->second.at.position.number, held(list));  // it has no more
    }
  }
}

void Replicator::on_claim(const list::At& at, uint64_t now_ms) {
  if (at.position.number <= held(at.list)) return;
  want(at.list, at.position.number, 0, true, now_ms, kWantDelayMs);
  if (const auto it = wanted_.find(at.list); it != wanted_.end()) it->second.claimed = true;
}

void Replicator::on_branch(const list::At& at, uint64_t now_ms) {
  want(at.list, 0, at.position.number, true, now_ms, 0);
  if (const auto it = wanted_.find(at.list); it != wanted_.end()) it->second.claimed = true;
}

void Replicator::on_held(const list::ListId& list, bool by_us, uint64_t now_ms) {
  ++version_;
  if (changed_.size() < kClockEntriesMax) changed_.insert(list);
  if (auto it = wanted_.find(list); it != wanted_.end()) {
    it->second.tries = 0;
    if (satisfied(list, it->second)) forget(it);
  }
  suppressed_ = 0;
  // What others sent us, others have too: only own writes need our clock soon.
  clock_within(now_ms,
               by_us ? kAfterChangeMs : 2 * kAfterChangeMs + jitter_.between(0, kAfterChangeMs));
}

void Replicator::on_connected(uint64_t now_ms) {
  clock_sent_ms_ = 0;
  clock_within(now_ms, jitter_.between(1, 30));
  for (auto& [list, wanted] : wanted_) {
    wanted.tries = 0;
    wanted.ask_at_ms = std::min(wanted.ask_at_ms, now_ms + kAnswerMs);
  }
}

void Replicator::on_lost(uint64_t now_ms) { clock_within(now_ms, kAfterChangeMs); }

void Replicator::ask(uint64_t now_ms) {
  ask_ = true;
  clock_within(now_ms, 1);
}

// However many channels a daemon has, when all are quiet it says the same number of clocks.
uint64_t Replicator::quiet_ms() {
  const uint64_t factor = std::clamp<uint64_t>(channels_ / kChannelsFree, 1, kQuietFactorMax);
  return factor * jitter_.between(kQuietMinMs, kQuietMaxMs);
}

void Replicator::clock_within(uint64_t now_ms, uint64_t delay_ms) {
  const uint64_t at =
      std::max(now_ms + delay_ms, clock_sent_ms_ ? clock_sent_ms_ + kClockGapMs : 0);
  if (clock_at_ms_ == 0 || at < clock_at_ms_) clock_at_ms_ = at;
}

void Replicator::want(const list::ListId& list, uint64_t to, uint64_t cut, bool by_member,
                      uint64_t now_ms, uint64_t delay_ms) {
  auto it = wanted_.find(list);
  if (it == wanted_.end()) {
    if (const auto until = given_up_.find(list); until != given_up_.end()) {
      if (now_ms < until->second) return;
      given_up_.erase(until);
    }
    // Strangers may serve a channel, but their claims must not crowd out what members say.
    const size_t max = by_member ? kWantedMax : kWantedByStrangersMax;
    if ((by_member ? wanted_.size() : wanted_by_strangers_) >= max) return;
    it = wanted_.emplace(list, Wanted{}).first;
    it->second.ask_at_ms = now_ms + delay_ms;
    it->second.by_member = by_member;
    wanted_by_strangers_ += !by_member;
  } else if (by_member && !it->second.by_member) {
    it->second.by_member = true;
    --wanted_by_strangers_;
  }
  it->second.to = std::max(it->second.to, to);
  auto& cuts = it->second.cuts;
  if (cut && !cuts.contains(cut)) {
    if (cuts.size() >= kCutsMax)
      cuts.erase(std::next(cuts.begin(), static_cast<ptrdiff_t>(jitter_.between(0, kCutsMax - 1))));
    cuts.insert(cut);
    if (PTWOP_MUTANT(lowest_claim_only)) cuts.erase(std::next(cuts.begin()), cuts.end());
  }
}

void Replicator::forget(std::map<list::ListId, Wanted>::iterator& it) {
  wanted_by_strangers_ -= !it->second.by_member;
  it = wanted_.erase(it);
}

// Nobody could give it. It is asked for again when it is named again, but not at once.
void Replicator::give_up(std::map<list::ListId, Wanted>::iterator& it, uint64_t now_ms) {
  if (given_up_.size() >= kWantedMax) given_up_.clear();
  given_up_[it->first] = now_ms + (it->second.by_member ? kGivenUpMs : kGivenUpStrangerMs);
  if (!holdings_.contains(it->first) && !PTWOP_MUTANT(keep_what_was_told))
    for (auto& [key, peer] : peers_) peer.clock.erase(it->first);
  forget(it);
}

bool Replicator::satisfied(const list::ListId& list, const Wanted& wanted) const {
  const auto mine = holdings_.find(list);
  if (mine == holdings_.end()) return false;
  const bool cut_known =
      wanted.cuts.empty() || (mine->second.cut && mine->second.cut <= *wanted.cuts.begin());
  // Beyond a cut nothing counts, so nothing is wanted.
  return (mine->second.cut || mine->second.position.number >= wanted.to) && cut_known;
}

const list::PublicKey* Replicator::choose(const list::ListId& list, const Wanted& wanted,
                                          uint64_t now_ms) {
  std::vector<const list::PublicKey*> proving, able, others;
  const uint64_t here = held(list);
  const auto mine = holdings_.find(list);
  const uint64_t cut_here = mine == holdings_.end() ? 0 : mine->second.cut;
  for (const auto& [key, peer] : peers_) {
    if (now_ms - peer.last_seen_ms > kPeerFreshMs) continue;
    const auto known = peer.clock.find(list);
    const bool has =
        known != peer.clock.end() &&
        (known->second.at.position.number > here ||
         (!wanted.cuts.empty() && known->second.at.position.number >= *wanted.cuts.begin()));
    const bool proves = has && known->second.cut && (!cut_here || known->second.cut < cut_here);
    // Another than the one that did not answer, if there is one.
    const bool again = wanted.asked_any && wanted.tries > 0 && key == wanted.asked;
    if (proves && !again && !wanted.cuts.empty())
      proving.push_back(&key);
    else if (has && !again)
      able.push_back(&key);
    else if (has || wanted.claimed)
      others.push_back(&key);
  }
  if (!proving.empty()) return proving[jitter_.between(0, proving.size() - 1)];
  if (!able.empty()) return able[jitter_.between(0, able.size() - 1)];
  if (!others.empty()) return others[wanted.tries % others.size()];
  return nullptr;
}

bool Replicator::fetch_by_root(const list::ListId& list, const Wanted& wanted, uint64_t now_ms,
                               const Fetch& fetch) const {
  const uint64_t here = held(list);
  const uint64_t far = here + (here == 0 ? kFarBehindNew : kFarBehind);
  if (wanted.to < far || !wanted.cuts.empty()) return false;
  std::vector<std::pair<const ClockEntry*, const list::PublicKey*>> named;
  for (const auto& [key, peer] : peers_) {
    if (now_ms - peer.last_seen_ms > kPeerFreshMs) continue;
    const auto known = peer.clock.find(list);
    if (known != peer.clock.end() && known->second.root && known->second.root_number >= far)
      named.emplace_back(&known->second, &key);
  }
  // The one that goes furthest first; who names what comes to nothing keeps no other from serving.
  std::stable_sort(named.begin(), named.end(), [](const auto& a, const auto& b) {
    return a.first->root_number > b.first->root_number;
  });
  return std::any_of(named.begin(), named.end(), [&](const auto& item) {
    return fetch(list, *item.second, item.first->root, item.first->root_number);
  });
}

Replicator::Output Replicator::tick(uint64_t now_ms, bool need_manifest, const Fetch& fetch) {
  Output out;
  if (clock_at_ms_ == 0 || now_ms >= clock_at_ms_) {
    out.send_clock = true;
    out.ask = std::exchange(ask_, false);
    clock_sent_ms_ = now_ms;
    suppressed_ = 0;
    clock_at_ms_ = now_ms + quiet_ms();
    if (PTWOP_MUTANT(silent_when_quiet)) clock_at_ms_ = UINT64_MAX;
  }
  std::map<list::PublicKey, Want> by_peer;
  for (auto it = wanted_.begin(); it != wanted_.end();) {
    const auto& list = it->first;
    Wanted& wanted = it->second;
    if (satisfied(list, wanted)) {
      forget(it);
      continue;
    }
    if (now_ms < wanted.ask_at_ms) {
      ++it;
      continue;
    }
    if (fetch_by_root(list, wanted, now_ms, fetch)) {
      wanted.ask_at_ms = now_ms + kAnswerMs;
      ++it;
      continue;
    }
    const list::PublicKey* peer = choose(list, wanted, now_ms);
    if (wanted.tries > kTriesMax || (!peer && !wanted.claimed && wanted.asked_any)) {
      give_up(it, now_ms);
      continue;
    }
    ++it;
    wanted.ask_at_ms = now_ms + (kAnswerMs << std::min(wanted.tries, kBackoffMax)) +
                       jitter_.between(0, kAnswerMs / 4);
    if (!peer) continue;
    Want& ask = by_peer[*peer];
    if (ask.ranges.size() + kCutsMax + 1 > kRangesMax) {
      wanted.ask_at_ms = now_ms + kWantDelayMs;
      continue;
    }
    ++wanted.tries;
    wanted.asked = *peer;
    wanted.asked_any = true;
    wanted.held_when_asked = held(list);
    const auto mine = holdings_.find(list);
    for (const uint64_t number : wanted.cuts)
      if (mine == holdings_.end() || !mine->second.cut || number < mine->second.cut)
        ask.ranges.push_back({list, number > kBranchSpan ? number - kBranchSpan : 1, number});
    const bool cut = mine != holdings_.end() && mine->second.cut;
    if (wanted.to > held(list) && !cut)
      ask.ranges.push_back({list, held(list) + (PTWOP_MUTANT(want_too_little) ? 2 : 1), wanted.to});
  }
  if (need_manifest && now_ms >= manifest_at_ms_)
    for (const auto& [key, peer] : peers_)
      if (peer.has_manifest && now_ms - peer.last_seen_ms <= kPeerFreshMs) {
        by_peer[key].manifest = true;
        manifest_at_ms_ = now_ms + kAnswerMs;
        break;
      }
  for (auto& [key, ask] : by_peer) {
    ask.to = key;
    ask.to_boot = peers_[key].boot;
    out.wants.push_back(std::move(ask));
  }
  return out;
}

uint64_t Replicator::next_tick_ms() const {
  uint64_t at = clock_at_ms_;
  for (const auto& [list, wanted] : wanted_) at = std::min(at, wanted.ask_at_ms);
  return at;
}

uint64_t Replicator::missing() const {
  uint64_t sum = 0;
  for (const auto& [list, wanted] : wanted_) {
    const auto mine = holdings_.find(list);
    if (wanted.by_member && wanted.to > held(list) &&
        !(mine != holdings_.end() && mine->second.cut))
      sum += std::min(wanted.to - held(list), kMissingMax - sum);
  }
  return sum;
}

bool Replicator::peer_has(const list::PublicKey& peer, const list::At& at) const {
  const auto p = peers_.find(peer);
  if (p == peers_.end()) return false;
  const auto entry = p->second.clock.find(at.list);
  if (entry == p->second.clock.end()) return false;
  const list::Position& there = entry->second.at.position;
  const uint64_t cut = entry->second.cut;
  if (cut && at.position.number >= cut) return false;
  return there.number > at.position.number ||
         (there.number == at.position.number && (!at.position.tag || there.tag == at.position.tag));
}

}  // namespace ptwop::sync
