// Values that were read or written lately, in front of RocksDB: what its block cache keeps by the 4
// KiB, and finds in four steps, is here by itself and in one. Internal to this room.
#pragma once
#include <array>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "base/bytes.h"

namespace ptwop::store {

/// A ring of bytes, the oldest value making room for the newest, and an index over it. Bounded by
/// what it is given, allocates nothing else. Safe from any thread.
///
/// Never behind a commit that returned: who misses reads the database and brings the value with the
/// version that `find` gave, and it is not taken when something changed meanwhile.
class ValueCache {
 public:
  static constexpr size_t kValueBytesMax = 8 << 10;

  /// `bytes`: of the ring. `slots`: of the index, a power of two; three quarters of them are used.
  explicit ValueCache(size_t bytes, size_t slots = 1 << 17);

  std::optional<Bytes> find(BytesView key, uint64_t& version) const;
  void insert(BytesView key, BytesView value, uint64_t version);
  /// What a commit made of each key, in order; no value: gone, or not known. After the database has
  /// it, and before anybody is told.
  struct Changed {
    BytesView key;
    std::optional<BytesView> value;
  };
  void update(const std::vector<Changed>& changes);
  void clear();

 private:
  struct Head {
    uint32_t hash;
    uint16_t key_size;  ///< With its highest bit: forgotten.
    uint16_t value_size;
  };
  static constexpr size_t kAlign = 8;
  static_assert(sizeof(Head) == kAlign);

  uint32_t hash(BytesView key) const;
  Head head_at(size_t at) const;
  BytesView key_at(size_t at) const;
  size_t slot_of(BytesView key,
                 uint32_t hash) const;  ///< Where it is, or the empty slot where it would be.
  void empty_slot(size_t slot);
  void add(BytesView key, BytesView value, uint32_t hash);
  void make_room(size_t bytes);
  void drop_oldest();

  mutable std::mutex mutex_;
  std::array<unsigned char, 16>
      seed_;  ///< Keys come from others: which ones share a slot is nobody's to know.
  const size_t bytes_;
  std::unique_ptr<char[]> ring_;
  struct Slot {
    uint32_t place = 0;  ///< In the ring, in units of kAlign, plus one; 0: none.
    uint32_t hash = 0;   ///< The head has it too; here it is looked at without going to the ring.
  };
  std::vector<Slot> slots_;
  size_t count_ = 0;
  size_t next_ = 0, oldest_ = 0;  ///< Values lie in [oldest_, next_), or when wrapped in [oldest_,
                                  ///< end_) and [0, next_).
  size_t end_ = 0;
  bool wrapped_ = false;
  uint64_t version_ = 0;
};

}  // namespace ptwop::store
