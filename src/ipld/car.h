// CAR v1 (https://ipld.io/specs/transport/car/carv1/): blocks with their CIDs one after the other,
// written and read as a stream. Kubo's `dag/import` and `dag/export` speak it.
#pragma once
#include <functional>
#include <optional>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "ipld/cid.h"

namespace ptwop::ipld {

/// What is read at most: room for a hundred roots…
inline constexpr size_t kCarHeaderBytesMax = 4 << 10;
/// …and for a block of 2 MiB, the largest that Kubo exchanges.
inline constexpr size_t kCarSectionBytesMax = (2 << 20) + 256;

Bytes car_header(const std::vector<Cid>& roots);
void append_car_block(Bytes& out, const Cid& cid, BytesView block);

struct CarBlock {
  BytesView cid;    ///< Well formed, of any kind. Whether `bytes` are what it says is not checked.
  BytesView bytes;  ///< Both are good until the next call.
};

/// Strict, and bounded by the two limits above. The first error is the last: errors are `corrupt`,
/// with the place in the file, and whatever `read` says.
class CarReader {
 public:
  /// Fills `to` as far as there is something: fewer bytes mean the end.
  using Read = std::function<Result<size_t>(char* to, size_t size)>;
  explicit CarReader(Read read) : read_(std::move(read)) {}

  /// The header; once, and first. The roots are well-formed CIDs of any kind.
  Result<std::vector<Bytes>> roots();
  /// The next block; nothing at the end.
  Result<std::optional<CarBlock>> next();
  /// Bytes that were taken so far.
  uint64_t position() const { return position_; }

 private:
  Result<std::optional<BytesView>> section(size_t bytes_max);
  Result<bool> fill(size_t bytes);
  Error damaged(std::string_view what) const;

  Read read_;
  Bytes buffer_;
  size_t taken_ = 0;  ///< Of the buffer.
  bool ended_ = false;
  uint64_t position_ = 0;
};

}  // namespace ptwop::ipld
