#include "engine/pins.h"

#include <algorithm>

#include "base/mutant.h"
#include "engine/records.h"
#include "ipld/dag_cbor.h"

namespace ptwop::engine {
namespace {

constexpr uint64_t kChangeMs = 5'000;
constexpr uint64_t kRetryMs = 1'000;
constexpr unsigned kBackoffMax = 6;
constexpr size_t kOldMax = 16;

Block pin_block(const list::PublicKey& me, const ipld::Cid& manifest,
                const std::vector<ipld::Cid>& roots) {
  ipld::CborWriter w;
  w.map(6).key("kind").text("pin").key("roots").array(roots.size());
  for (const ipld::Cid& root : roots) w.link(root);
  w.key("channel").bytes(manifest.bytes()).key("version").unsigned_integer(1);
  w.key("identity").bytes(me.view()).key("manifest").link(manifest);
  Bytes bytes = w.take();
  return {ipld::Cid::of(bytes), std::move(bytes)};
}

}  // namespace

Result<void> Pins::open() {
  pins_.clear();
  puts_.clear();
  wished_.clear();
  return world_.ports.store.scan(Table::meta, "p", "q", false,
                                 [this](BytesView key, BytesView value) {
                                   ipld::CborReader r(value);
                                   Pin pin;
                                   for (size_t left = r.array(); left > 0 && r.ok(); --left) {
                                     if (pin.next) pin.old.push_back(pin.next);
                                     pin.next = list::read_cid(r);
                                   }
                                   if (r.finish("pin").ok() && key.size() == 5)
                                     pins_[read_be32(key.substr(1))] = pin;
                                   return true;
                                 });
}

void Pins::wish_at(uint32_t channel, Pin& pin, uint64_t at_ms) {
  if (wished_.insert(channel).second) pin.due_ms = at_ms;
}

void Pins::wish(uint32_t channel) {
  Pin& pin = pins_[channel];
  wish_at(channel, pin, std::max(world_.now_ms(), pin.changed_ms ? pin.changed_ms + kChangeMs : 0));
}

std::vector<uint32_t> Pins::due() const {
  std::vector<uint32_t> out;
  if (!world_.kubo.connected || world_.now_ms() < paused_until_ms_) return out;
  for (const uint32_t channel : wished_)
    if (const Pin& pin = pins_.at(channel); pin.due_ms <= world_.now_ms() && !pin.under_way)
      out.push_back(channel);
  return out;
}

uint64_t Pins::due_ms() const {
  uint64_t at = UINT64_MAX;
  if (!world_.kubo.connected) return at;
  for (const uint32_t channel : wished_)
    if (const Pin& pin = pins_.at(channel); !pin.under_way) at = std::min(at, pin.due_ms);
  for (const auto& [channel, pin] : pins_)
    if (pin.left) at = world_.now_ms();
  return std::max(at, paused_until_ms_);
}

size_t Pins::count() const {
  return wished_.size() +
         static_cast<size_t>(std::count_if(pins_.begin(), pins_.end(), [this](const auto& item) {
           return item.second.left || (item.second.under_way && !wished_.contains(item.first));
         }));
}

void Pins::prepare(uint32_t channel, const ipld::Cid& manifest, BytesView manifest_block,
                   const std::vector<ipld::Cid>& roots) {
  Pin& pin = pins_[channel];
  wished_.erase(channel);
  Block block = pin_block(world_.me.key(), manifest, roots);
  if (block.cid == pin.next && pin.done) return;
  if (block.cid != pin.next) {
    if (pin.next) pin.old.push_back(pin.next);
    std::erase(pin.old, block.cid);  // it is what it was before
    if (pin.old.size() > kOldMax) {  // the first is the one that is surely pinned
      world_.ports.blocks.unpin(pin.old[1]);
      pin.old.erase(pin.old.begin() + 1);
    }
    pin.next = block.cid;
    ipld::CborWriter w;
    w.array(pin.old.size() + 1);
    for (const ipld::Cid& cid : pin.old) w.bytes(cid.bytes());
    w.bytes(pin.next.bytes());
    world_.txn.put(Table::meta, meta_key('p', channel), w.take());
    if (!PTWOP_MUTANT(pin_unrecorded)) world_.must_keep = true;  // before Kubo pins it
  }
  pin.done = false;
  pin.under_way = true;
  pin.changed_ms = world_.now_ms();
  pin.blocks.push_back({manifest, Bytes(manifest_block)});
  pin.blocks.push_back(std::move(block));
}

void Pins::send() {
  for (auto& [channel, pin] : pins_) {
    if (pin.blocks.empty()) continue;
    const uint64_t ticket = ++world_.tickets;
    puts_[ticket] = channel;
    world_.ports.blocks.put(ticket, std::exchange(pin.blocks, {}));
  }
}

void Pins::cancel() {
  paused_until_ms_ = world_.now_ms() + kRetryMs;
  for (auto& [channel, pin] : pins_)
    if (!std::exchange(pin.blocks, {}).empty()) fail(channel, pin);
}

void Pins::on_stored(uint64_t ticket, bool ok) {
  const auto it = puts_.find(ticket);
  if (it == puts_.end()) return;
  const auto found = pins_.find(it->second);
  puts_.erase(it);
  if (found == pins_.end() || !found->second.under_way) return;
  Pin& pin = found->second;
  if (ok)
    return world_.ports.blocks.pin(
        pin.old.empty() || PTWOP_MUTANT(old_pin_stays) ? ipld::Cid{} : pin.old.back(), pin.next);
  fail(found->first, pin);
}

void Pins::fail(uint32_t channel, Pin& pin) {
  pin.under_way = false;
  wish_at(channel, pin, world_.now_ms() + (kRetryMs << std::min(pin.failures++, kBackoffMax)));
}

std::optional<uint32_t> Pins::on_pinned(const ipld::Cid& cid, bool ok) {
  for (auto& [channel, pin] : pins_) {
    if (pin.next != cid || !pin.under_way) continue;
    if (!ok) {
      fail(channel, pin);
      if (pin.failures < 2) return std::nullopt;  // it may have been Kubo's mood
      return channel;
    }
    pin.under_way = false;
    pin.done = true;
    pin.failures = 0;
    if (!pin.old.empty()) pin.old.pop_back();  // released by the change itself
    for (const ipld::Cid& old : std::exchange(pin.old, {})) world_.ports.blocks.unpin(old);
    return std::nullopt;
  }
  return std::nullopt;
}

void Pins::release(uint32_t channel) {
  const auto it = pins_.find(channel);
  if (it == pins_.end()) return;
  Pin& pin = it->second;
  pin.left = true;
  pin.under_way = false;
  pin.blocks.clear();
  wished_.erase(channel);
}

void Pins::release_left() {
  if (!world_.kubo.connected || world_.now_ms() < paused_until_ms_) return;
  for (auto it = pins_.begin(); it != pins_.end();) {
    const auto& [channel, pin] = *it;
    if (!pin.left) {
      ++it;
      continue;
    }
    for (const ipld::Cid& cid : pin.old) world_.ports.blocks.unpin(cid);
    if (pin.next) world_.ports.blocks.unpin(pin.next);
    world_.txn.erase(Table::meta, meta_key('p', channel));
    it = pins_.erase(it);
  }
}

void Pins::on_online() {
  puts_.clear();
  for (auto& [channel, pin] : pins_) {
    pin.done = pin.under_way = false;
    pin.blocks.clear();
    if (pin.left) continue;
    wished_.erase(channel);
    wish_at(channel, pin, world_.now_ms());
  }
}

}  // namespace ptwop::engine
