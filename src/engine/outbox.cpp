#include "engine/outbox.h"

#include <algorithm>

#include "base/limits.h"
#include "base/log.h"
#include "base/mutant.h"
#include "engine/records.h"

namespace ptwop::engine {
namespace {

constexpr size_t kBatchMax = 256;
constexpr size_t kBatchBytesMax = 2 << 20;
constexpr size_t kLargeBatchesMax = 8;
constexpr uint64_t kGatherMs = 20;
constexpr uint64_t kRetryMs = 500;
constexpr unsigned kBackoffMax = 6;

}  // namespace

Result<void> Outbox::open() {
  world_.outbox = 0;
  large_.clear();
  recount_ = false;
  if (PTWOP_MUTANT(drop_outbox_at_start)) return {};
  return world_.ports.store.scan(Table::outbox, "", "", false, [this](BytesView, BytesView) {
    ++world_.outbox;
    return true;
  });
}

void Outbox::on_online() {
  retry_at_ms_ = 0;
  failures_ = 0;
}

void Outbox::on_offline() {
  batches_.clear();
  draining_ = false;
}

void Outbox::drain() {
  send_large();
  if (recount_) (void)open();
  const uint64_t now = world_.now_ms();
  if (!world_.kubo.connected || draining_ || world_.outbox == 0 || now < retry_at_ms_) return;
  if (ripe_at_ms_ == 0) ripe_at_ms_ = now + kGatherMs;
  if (now < ripe_at_ms_ && world_.outbox < kBatchMax && !world_.outbox_urgent) return;
  ripe_at_ms_ = 0;
  world_.outbox_urgent = false;
  Batch batch;
  std::vector<Block> blocks;
  size_t bytes = 0;
  const auto scanned =
      world_.ports.store.scan(Table::outbox, "", "", false, [&](BytesView key, BytesView) {
        if (stored_.contains(Bytes(key))) return true;
        auto block = world_.ports.store.get(Table::nodes, key);
        if (!block &&
            !PTWOP_MUTANT(unreadable_is_gone)) {  // it cannot be read now: it is tried again
          retry_at_ms_ = now + kRetryMs;
          return false;
        }
        if (!block || !*block || key.size() != 28) {
          stored_.insert(Bytes(key));  // a node that is gone cannot go out: drop the reminder
          return true;
        }
        const ipld::Cid cid = ipld::Cid::of(**block);
        if ((*block)->size() > limits::kInlineNodeBytesMax)
          batch.large[read_be32(key)].push_back(
              {list::ListId::from(key.substr(4, 16)), read_be64(key.substr(20)), cid});
        bytes += (*block)->size();
        batch.keys.emplace_back(key);
        blocks.push_back({cid, std::move(**block)});
        return blocks.size() < kBatchMax && bytes < kBatchBytesMax;
      });
  if (!scanned || blocks.empty()) return;
  draining_ = batch.drains = true;
  const uint64_t ticket = ++world_.tickets;
  batches_[ticket] = std::move(batch);
  world_.stats.blocks_put += blocks.size();
  world_.ports.blocks.put(ticket, std::move(blocks));
}

uint64_t Outbox::due_ms() const {
  if (!world_.kubo.connected || draining_ || world_.outbox == 0) return UINT64_MAX;
  return std::max(ripe_at_ms_, retry_at_ms_);
}

void Outbox::put_large(uint32_t channel, std::vector<Block> blocks,
                       std::vector<sync::LargeNode> names) {
  if (world_.kubo.connected &&
      batches_.size() + large_.size() < kLargeBatchesMax)  // else they will be wanted again
    large_.push_back({channel, std::move(blocks), std::move(names)});
}

void Outbox::send_large() {
  for (Large& large : std::exchange(large_, {})) {
    const uint64_t ticket = ++world_.tickets;
    batches_[ticket].large[large.channel] = std::move(large.names);
    world_.ports.blocks.put(ticket, std::move(large.blocks));
  }
}

std::map<uint32_t, std::vector<sync::LargeNode>> Outbox::on_stored(uint64_t ticket, bool ok) {
  const auto it = batches_.find(ticket);
  if (it == batches_.end()) return {};
  const Batch batch = std::move(it->second);
  batches_.erase(it);
  if (batch.drains) draining_ = false;
  if (!ok && !PTWOP_MUTANT(stored_anyway)) {
    retry_at_ms_ = world_.now_ms() + (kRetryMs << std::min(failures_, kBackoffMax));
    ++failures_;
    return {};
  }
  failures_ = 0;
  stored_.insert(batch.keys.begin(), batch.keys.end());
  return batch.large;
}

void Outbox::save() {
  for (const Bytes& key : stored_) world_.txn.erase(Table::outbox, key);
  world_.outbox -= std::min<uint64_t>(world_.outbox, stored_.size());
  stored_.clear();
}

void Outbox::forget(uint32_t channel) {
  const Bytes prefix = channel_prefix(channel);
  recount_ = true;  // what was written in this very turn is not in the store to be counted now
  std::erase_if(stored_, [&](const Bytes& key) { return key.starts_with(prefix); });
  for (auto& [ticket, batch] : batches_) {
    std::erase_if(batch.keys, [&](const Bytes& key) { return key.starts_with(prefix); });
    batch.large.erase(channel);
  }
}

}  // namespace ptwop::engine
