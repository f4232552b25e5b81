#include "engine/bulk.h"

#include <algorithm>

#include "base/mutant.h"

namespace ptwop::engine {
namespace {

constexpr size_t kJobsMax = 16;         ///< In one channel…
constexpr size_t kPeerJobsMax = 8;      ///< …of them by the roots of one peer.
constexpr size_t kBlocksMax = 24;       ///< Asked for or here, of all channels: at most 1 MiB each.
constexpr size_t kWindow = 12;          ///< …of one job.
constexpr size_t kSlotsMax = 16 << 10;  ///< A large pack may have 12,800 links.
constexpr unsigned kDepthMax = list::kLevelsMax + 1;
constexpr unsigned kTriesMax = 3;
constexpr uint64_t kStalledMs = 12'000;
constexpr uint64_t kGrantMs = 250, kGrantMsMax = 10'000;
constexpr uint64_t kFailedMs = 2'000;
constexpr unsigned kBackoffMax = 7;
constexpr size_t kFailedMax = 1024;

}  // namespace

Bulk::~Bulk() { stop(); }

uint64_t Bulk::held(const list::ListId& list) const {
  const auto it = lists_.holdings().find(list);
  return it == lists_.holdings().end() ? 0 : it->second.position.number;
}

bool Bulk::is_penalised(const list::ListId& list, const list::PublicKey& peer) const {
  const auto it = failed_.find({list, peer});
  return it != failed_.end() && world_.now_ms() < it->second.until_ms;
}

bool Bulk::fetch(const list::ListId& list, const list::PublicKey& peer, const ipld::Cid& root,
                 uint64_t number) {
  if (const auto job = jobs_.find(list); job != jobs_.end()) {
    if (world_.now_ms() - job->second.moved_ms < kStalledMs || PTWOP_MUTANT(bulk_for_ever))
      return true;
    if (job->second.peer == peer || is_penalised(list, peer)) return false;
    end(job, true);
  }
  if (jobs_.size() >= kJobsMax || is_penalised(list, peer)) return false;
  const auto same = std::count_if(jobs_.begin(), jobs_.end(),
                                  [&](const auto& job) { return job.second.peer == peer; });
  if (static_cast<size_t>(same) >= kPeerJobsMax) return false;
  Job& job = jobs_[list];
  job.peer = peer;
  job.number = number;
  job.moved_ms = world_.now_ms();
  Slot& slot = job.slots.emplace_back(Slot{Kind::root, 1, number});
  slot.cid = root;
  ask(list, job);
  return true;
}

void Bulk::ask(const list::ListId& list, Job& job) {
  for (size_t i = 0; i < std::min(job.slots.size(), kWindow); ++i) {
    Slot& slot = job.slots[i];
    if (slot.asked || slot.here) continue;
    if (i > 0 && world_.bulk_blocks >= kBlocksMax) return;
    slot.asked = true;
    ++world_.bulk_blocks;
    if (!asked_.contains(slot.cid)) world_.ports.blocks.get(slot.cid);
    asked_.emplace(slot.cid, list);
  }
}

void Bulk::drop_slot(Slot& slot) {
  if (PTWOP_MUTANT(budget_not_given_back)) return;
  if (slot.asked || (slot.here && slot.kind != Kind::items)) --world_.bulk_blocks;
}

void Bulk::end(Jobs::iterator job, bool failed) {
  for (Slot& slot : job->second.slots) drop_slot(slot);
  std::erase_if(asked_, [&](const auto& item) { return item.second == job->first; });
  if (const std::pair key{job->first, job->second.peer}; !failed) {
    failed_.erase(key);
  } else {
    if (failed_.size() >= kFailedMax && !failed_.contains(key))
      failed_.erase(std::min_element(
          failed_.begin(), failed_.end(),
          [](const auto& a, const auto& b) { return a.second.until_ms < b.second.until_ms; }));
    Failed& f = failed_[key];
    f.until_ms = world_.now_ms() + (kFailedMs << std::min(f.times++, kBackoffMax));
  }
  jobs_.erase(job);
}

void Bulk::stop() {
  while (!jobs_.empty()) end(jobs_.begin(), false);
}

void Bulk::on_block(const ipld::Cid& cid, const Result<Bytes>& block) {
  const auto [from, to] = asked_.equal_range(cid);
  std::set<list::ListId> lists;
  for (auto it = from; it != to; ++it) lists.insert(it->second);
  asked_.erase(from, to);
  const bool good = block.ok() && ipld::Cid::of(*block) == cid;
  for (const list::ListId& list : lists) {
    const auto job = jobs_.find(list);
    if (job == jobs_.end()) continue;
    bool failed = false;
    for (Slot& slot : job->second.slots) {
      if (slot.cid != cid || !slot.asked) continue;
      slot.asked = false;
      if (good) {
        slot.here = true;
        slot.block = *block;
        job->second.moved_ms = world_.now_ms();
      } else {
        --world_.bulk_blocks;
        failed |= ++slot.tries >= kTriesMax && !PTWOP_MUTANT(bulk_for_ever);
      }
    }
    if (failed)
      end(job, true);
    else if (!good)
      ask(list, job->second);
  }
}

uint64_t Bulk::due_ms() const {
  uint64_t at = UINT64_MAX;
  for (const auto& [list, job] : jobs_)
    if (!job.slots.empty() && job.slots.front().here)
      at = std::min(at, std::max(job.waits_until_ms, world_.now_ms()));
  return at;
}

void Bulk::advance(const access::Membership& membership) {
  for (auto it = jobs_.begin(); it != jobs_.end();) {
    const auto job = it++;
    if (!step(job->first, job->second, membership))
      end(job, true);
    else if (job->second.slots.empty() || held(job->first) >= job->second.number)
      end(job, held(job->first) < job->second.number);
    else
      ask(job->first, job->second);
  }
}

// Opens what stands first until one run of nodes was taken in.
bool Bulk::step(const list::ListId& list, Job& job, const access::Membership& membership) {
  if (world_.now_ms() < job.waits_until_ms) return true;
  while (!job.slots.empty() && job.slots.front().here) {
    if (job.slots.front().kind == Kind::items) return take_items(list, job, membership);
    if (!open_front(list, job)) return false;
  }
  return true;
}

// The block that stands first gives way to what it leads to, as far as that is not here yet.
bool Bulk::open_front(const list::ListId& list, Job& job) {
  Slot front = std::move(job.slots.front());
  drop_slot(front);
  job.slots.pop_front();
  if (front.depth > kDepthMax) return false;
  const uint64_t here = held(list);
  std::vector<Slot> inner;
  const auto add = [&](Kind kind, uint64_t first, uint64_t last, const ipld::Cid& cid) {
    inner.push_back(Slot{kind, first, last});
    inner.back().cid = cid;
    inner.back().depth = front.depth + 1;
    inner.back().here = kind == Kind::items;
  };
  const auto add_runs = [&](const std::vector<list::Run>& runs) {
    for (const list::Run& run : runs)
      if (run.last.number > here) add(Kind::runs, run.first, run.last.number, run.cid);
  };
  const auto add_items = [&](std::vector<Bytes> items, uint64_t first) {
    for (size_t i = 0; i < items.size(); ++i) {
      const uint64_t number = first + i;
      if (number <= here) continue;
      if (const ipld::Cid cid = list::linked(items[i]); cid) {
        add(Kind::node, number, number, cid);
      } else {
        if (inner.empty() || inner.back().kind != Kind::items) add(Kind::items, number, number, {});
        inner.back().last = number;
        inner.back().items.push_back(std::move(items[i]));
      }
    }
  };
  switch (front.kind) {
    case Kind::root: {
      auto root = list::decode_root(front.block);
      if (!root || root->position.number != front.last) return false;
      if ((root->channel != channel_ || root->list != list) && !PTWOP_MUTANT(bulk_of_any_list))
        return false;
      for (size_t level = root->levels.size(); level-- > 0;) add_runs(root->levels[level]);
      const uint64_t first = root->position.number - root->tail.size() + 1;
      add_items(std::move(root->tail), first);
      break;
    }
    case Kind::runs: {
      if (ipld::CborReader(front.block).peek() == ipld::CborKind::map) {
        const auto runs = list::decode_index(front.block);
        if (!runs || runs->front().first != front.first || runs->back().last.number != front.last)
          return false;
        add_runs(*runs);
        break;
      }
      auto items = list::decode_pack(front.block);
      if (!items || items->size() != front.last - front.first + 1) return false;
      add_items(std::move(*items), front.first);
      break;
    }
    case Kind::node:
      add(Kind::items, front.first, front.last, {});
      inner.back().items.push_back(std::move(front.block));
      break;
    case Kind::items:
      return false;
  }
  if (job.slots.size() + inner.size() > kSlotsMax) return false;
  job.slots.insert(job.slots.begin(), std::make_move_iterator(inner.begin()),
                   std::make_move_iterator(inner.end()));
  return true;
}

bool Bulk::take_items(const list::ListId& list, Job& job, const access::Membership& membership) {
  const Slot& slot = job.slots.front();
  std::vector<Arrived> run;
  for (size_t i = 0; i < slot.items.size(); ++i) {
    auto node = list::decode(slot.items[i]);
    if (!node || node->number != slot.first + i) return false;
    if ((node->channel != channel_ || node->id != list) && !PTWOP_MUTANT(bulk_of_any_list))
      return false;
    if (lists_.awaits_grant(*node, membership)) {
      job.waits_until_ms = world_.now_ms() + kGrantMs;
      return world_.now_ms() - job.moved_ms < kGrantMsMax;
    }
    run.push_back({std::move(*node), slot.items[i], PTWOP_MUTANT(bulk_unsigned)});
  }
  const uint64_t last = slot.last;
  job.slots.pop_front();
  job.moved_ms = world_.now_ms();
  world_.stats.nodes_fetched += run.size();
  lists_.offer_run(list, std::move(run), membership);
  return held(list) >= last;
}

}  // namespace ptwop::engine
