#include "engine/bulk.h"

#include <algorithm>

#include "base/mutant.h"

namespace ptwop::engine {
namespace {

constexpr size_t kJobsMax = 16;    ///< In one channel.
constexpr size_t kBlocksMax = 24;  ///< Asked for or here, of all channels: at most 1 MiB each.
constexpr size_t kWindow = 12;     ///< …of one job.
constexpr size_t kSlotsMax = 4096;
constexpr unsigned kTriesMax = 3;
constexpr uint64_t kFailedMs = 2'000;
constexpr unsigned kBackoffMax = 5;
constexpr size_t kFailedMax = 1024;

}  // namespace

Bulk::~Bulk() { stop(); }

uint64_t Bulk::held(const list::ListId& list) const {
  const auto it = lists_.holdings().find(list);
  return it == lists_.holdings().end() ? 0 : it->second.position.number;
}

bool Bulk::fetch(const list::ListId& list, const ipld::Cid& root, uint64_t number) {
  if (jobs_.contains(list)) return true;
  if (jobs_.size() >= kJobsMax) return false;
  if (const auto it = failed_.find(list);
      it != failed_.end() && world_.now_ms() < it->second.until_ms)
    return false;
  Job& job = jobs_[list];
  job.number = number;
  job.slots.push_back({Kind::root, 1, number, root, false, false, {}, {}, 0});
  ask(job);
  return true;
}

void Bulk::ask(Job& job) {
  for (size_t i = 0; i < std::min(job.slots.size(), kWindow); ++i) {
    Slot& slot = job.slots[i];
    if (slot.asked || slot.here) continue;
    if (i > 0 && world_.bulk_blocks >= kBlocksMax) return;
    slot.asked = true;
    ++world_.bulk_blocks;
    const auto list =
        std::find_if(jobs_.begin(), jobs_.end(), [&](const auto& j) { return &j.second == &job; });
    if (!asked_.contains(slot.cid)) world_.ports.blocks.get(slot.cid);
    asked_.emplace(slot.cid, list->first);
  }
}

void Bulk::drop_slot(Slot& slot) {
  if (slot.asked || (slot.here && slot.kind != Kind::items)) --world_.bulk_blocks;
}

void Bulk::end(Jobs::iterator job, bool failed) {
  for (Slot& slot : job->second.slots) drop_slot(slot);
  std::erase_if(asked_, [&](const auto& item) { return item.second == job->first; });
  if (!failed) {
    failed_.erase(job->first);
  } else {
    if (failed_.size() >= kFailedMax) failed_.clear();
    Failed& f = failed_[job->first];
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
      } else {
        --world_.bulk_blocks;
        failed |= ++slot.tries >= kTriesMax;
      }
    }
    if (failed)
      end(job, true);
    else if (!good)
      ask(job->second);
  }
}

bool Bulk::ready() const {
  return std::any_of(jobs_.begin(), jobs_.end(), [](const auto& item) {
    return !item.second.slots.empty() && item.second.slots.front().here;
  });
}

void Bulk::advance(const access::Membership& membership) {
  for (auto it = jobs_.begin(); it != jobs_.end();) {
    const auto job = it++;
    if (!step(job->first, job->second, membership))
      end(job, true);
    else if (job->second.slots.empty() || held(job->first) >= job->second.number)
      end(job, held(job->first) < job->second.number);
    else
      ask(job->second);
  }
}

// Opens what stands first until one run of nodes was taken in.
bool Bulk::step(const list::ListId& list, Job& job, const access::Membership& membership) {
  while (!job.slots.empty() && job.slots.front().here) {
    if (Slot& front = job.slots.front(); front.kind == Kind::items) {
      Slot items = std::move(front);
      job.slots.pop_front();
      return take_items(list, std::move(items), membership);
    }
    if (!open_front(list, job)) return false;
  }
  return true;
}

// The block that stands first gives way to what it leads to, as far as that is not here yet.
bool Bulk::open_front(const list::ListId& list, Job& job) {
  Slot front = std::move(job.slots.front());
  drop_slot(front);
  job.slots.pop_front();
  const uint64_t here = held(list);
  std::vector<Slot> inner;
  const auto add_runs = [&](const std::vector<list::Run>& runs) {
    for (const list::Run& run : runs)
      if (run.last.number > here)
        inner.push_back({Kind::runs, run.first, run.last.number, run.cid, false, false, {}, {}, 0});
  };
  const auto add_items = [&](std::vector<Bytes> items, uint64_t first) {
    for (size_t i = 0; i < items.size(); ++i) {
      const uint64_t number = first + i;
      if (number <= here) continue;
      if (const ipld::Cid cid = list::linked(items[i]); cid) {
        inner.push_back({Kind::node, number, number, cid, false, false, {}, {}, 0});
      } else {
        if (inner.empty() || inner.back().kind != Kind::items)
          inner.push_back({Kind::items, number, number, {}, false, true, {}, {}, 0});
        inner.back().last = number;
        inner.back().items.push_back(std::move(items[i]));
      }
    }
  };
  switch (front.kind) {
    case Kind::root: {
      auto root = list::decode_root(front.block);
      if (!root || root->channel != channel_ || root->list != list ||
          root->position.number != front.last)
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
      inner.push_back({Kind::items, front.first, front.last, {}, false, true, {}, {}, 0});
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

bool Bulk::take_items(const list::ListId& list, Slot slot, const access::Membership& membership) {
  std::vector<Arrived> run;
  for (size_t i = 0; i < slot.items.size(); ++i) {
    auto node = list::decode(slot.items[i]);
    if (!node || node->channel != channel_ || node->id != list || node->number != slot.first + i)
      return false;
    run.push_back({std::move(*node), std::move(slot.items[i])});
  }
  lists_.offer_run(list, std::move(run), membership);
  return held(list) >= slot.last;
}

}  // namespace ptwop::engine
