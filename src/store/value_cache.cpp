#include "store/value_cache.h"

#include <sodium.h>

#include <algorithm>
#include <bit>
#include <cassert>
#include <cstring>
#include <utility>

namespace ptwop::store {
namespace {

constexpr uint16_t kForgotten = 0x8000;  // in a key's size

}  // namespace

ValueCache::ValueCache(size_t bytes, size_t slots)
    : bytes_(bytes / kAlign * kAlign),
      ring_(std::make_unique_for_overwrite<char[]>(bytes_)),
      slots_(slots) {
  assert(std::has_single_bit(slots) && bytes_ / kAlign < UINT32_MAX);
  static_assert(std::tuple_size_v<decltype(seed_)> == crypto_shorthash_KEYBYTES);
  randombytes_buf(seed_.data(), seed_.size());
}

uint32_t ValueCache::hash(BytesView key) const {
  uint64_t out = 0;
  crypto_shorthash(reinterpret_cast<unsigned char*>(&out), u8(key), key.size(), seed_.data());
  return static_cast<uint32_t>(out);
}

ValueCache::Head ValueCache::head_at(size_t at) const {
  Head head;
  std::memcpy(&head, ring_.get() + at, sizeof head);
  return head;
}

BytesView ValueCache::key_at(size_t at) const {
  return {ring_.get() + at + sizeof(Head), head_at(at).key_size};
}

size_t ValueCache::slot_of(BytesView key, uint32_t hashed) const {
  const size_t mask = slots_.size() - 1;
  size_t slot = hashed & mask;
  for (; slots_[slot].place != 0; slot = (slot + 1) & mask)
    if (slots_[slot].hash == hashed && key_at((slots_[slot].place - 1) * kAlign) == key) break;
  return slot;
}

// Those behind it that were pushed on by it, or by others before it, move up.
void ValueCache::empty_slot(size_t slot) {
  const size_t mask = slots_.size() - 1;
  for (size_t later = (slot + 1) & mask; slots_[later].place != 0; later = (later + 1) & mask) {
    const size_t wanted = slots_[later].hash & mask;
    if (((later - wanted) & mask) < ((later - slot) & mask)) continue;
    slots_[slot] = slots_[later];
    slot = later;
  }
  slots_[slot] = {};
  --count_;
}

std::optional<Bytes> ValueCache::find(BytesView key, uint64_t& version) const {
  const uint32_t hashed = hash(key);
  const std::lock_guard lock(mutex_);
  version = version_;
  const uint32_t place = slots_[slot_of(key, hashed)].place;
  if (place == 0) return std::nullopt;
  const size_t at = (place - 1) * kAlign;
  return Bytes(ring_.get() + at + sizeof(Head) + key.size(), head_at(at).value_size);
}

void ValueCache::insert(BytesView key, BytesView value, uint64_t version) {
  const uint32_t hashed = hash(key);
  const std::lock_guard lock(mutex_);
  if (version == version_ && slots_[slot_of(key, hashed)].place == 0) add(key, value, hashed);
}

void ValueCache::add(BytesView key, BytesView value, uint32_t hashed) {
  const size_t size = (sizeof(Head) + key.size() + value.size() + kAlign - 1) / kAlign * kAlign;
  if (key.size() >= kForgotten || value.size() > kValueBytesMax || size > bytes_ / 2) return;
  while (count_ >= slots_.size() / 4 * 3) drop_oldest();
  make_room(size);
  const Head head{hashed, static_cast<uint16_t>(key.size()), static_cast<uint16_t>(value.size())};
  char* out = ring_.get() + next_;
  std::memcpy(out, &head, sizeof head);
  std::memcpy(out + sizeof head, key.data(), key.size());
  std::memcpy(out + sizeof head + key.size(), value.data(), value.size());
  slots_[slot_of(key, hashed)] = {static_cast<uint32_t>(next_ / kAlign + 1), hashed};
  next_ += size;
  ++count_;
}

void ValueCache::make_room(size_t size) {
  for (;;) {
    if (!wrapped_) {
      if (bytes_ - next_ >= size) return;
      end_ = std::exchange(next_, 0);
      wrapped_ = true;
    }
    if (oldest_ - next_ >= size) return;
    drop_oldest();
  }
}

void ValueCache::drop_oldest() {
  if (wrapped_ && oldest_ == end_) {
    oldest_ = 0;
    wrapped_ = false;
    return;
  }
  assert(wrapped_ || oldest_ < next_);
  const Head head = head_at(oldest_);
  if (!(head.key_size & kForgotten)) empty_slot(slot_of(key_at(oldest_), head.hash));
  const size_t size = sizeof head + (head.key_size & ~kForgotten) + head.value_size;
  oldest_ += (size + kAlign - 1) / kAlign * kAlign;
}

void ValueCache::update(const std::vector<Changed>& changes) {
  const std::lock_guard lock(mutex_);
  ++version_;
  for (const Changed& change : changes) {
    const uint32_t hashed = hash(change.key);
    if (const size_t slot = slot_of(change.key, hashed); slots_[slot].place != 0) {
      const size_t at = (slots_[slot].place - 1) * kAlign;
      empty_slot(slot);
      Head head = head_at(at);
      head.key_size |= kForgotten;
      std::memcpy(ring_.get() + at, &head, sizeof head);
    }
    if (change.value) add(change.key, *change.value, hashed);
  }
}

void ValueCache::clear() {
  const std::lock_guard lock(mutex_);
  ++version_;
  std::fill(slots_.begin(), slots_.end(), Slot{});
  count_ = next_ = oldest_ = 0;
  wrapped_ = false;
}

}  // namespace ptwop::store
