#include "ipld/car.h"

#include <fmt/format.h>

#include <algorithm>

#include "ipld/dag_cbor.h"

namespace ptwop::ipld {
namespace {

constexpr size_t kPieceBytes = 64 << 10;
constexpr size_t kVarintBytesMax = 9;
constexpr size_t kV0Bytes = 34;

/// The length of the CID that a section begins with; nothing where there is none.
std::optional<size_t> cid_size(BytesView section) {
  if (section.starts_with("\x12\x20"))
    return section.size() >= kV0Bytes ? std::optional(kV0Bytes) : std::nullopt;
  BytesView rest = section;
  for (int i = 0; i < 3; ++i)  // version, codec, hash
    if (!read_varint(rest)) return std::nullopt;
  const auto digest_bytes = read_varint(rest);
  if (!digest_bytes || *digest_bytes > rest.size()) return std::nullopt;
  const size_t size = section.size() - rest.size() + static_cast<size_t>(*digest_bytes);
  return valid_cid_bytes(section.substr(0, size)) ? std::optional(size) : std::nullopt;
}

}  // namespace

Bytes car_header(const std::vector<Cid>& roots) {
  CborWriter w;
  w.map(2).key("roots").array(roots.size());
  for (const Cid& root : roots) w.link(root);
  w.key("version").unsigned_integer(1);
  Bytes out;
  append_varint(out, w.out().size());
  return out + w.out();
}

void append_car_block(Bytes& out, const Cid& cid, BytesView block) {
  append_varint(out, cid.bytes().size() + block.size());
  out += cid.bytes();
  out += block;
}

Error CarReader::damaged(std::string_view what) const {
  return fail(Code::corrupt, fmt::format("This is no CAR file, or a damaged one: {} at byte {}.",
                                         what, position_));
}

/// False where the input ends before.
Result<bool> CarReader::fill(size_t bytes) {
  while (buffer_.size() - taken_ < bytes && !ended_) {
    buffer_.erase(0, std::exchange(taken_, 0));
    const size_t had = buffer_.size();
    const size_t piece = std::max(kPieceBytes, bytes - had);
    buffer_.resize(had + piece);
    const auto got = read_(buffer_.data() + had, piece);
    buffer_.resize(had + (got ? std::min(*got, piece) : 0));
    if (!got) return got.error();
    ended_ = *got < piece;
  }
  return buffer_.size() - taken_ >= bytes;
}

/// What follows one length; nothing at the end of the input.
Result<std::optional<BytesView>> CarReader::section(size_t bytes_max) {
  PTWOP_TRY(const bool more, fill(kVarintBytesMax));
  BytesView rest = BytesView(buffer_).substr(taken_);
  if (!more && rest.empty()) return std::optional<BytesView>();
  const size_t before = rest.size();
  const auto bytes = read_varint(rest);
  if (!bytes) return damaged("a length that is none");
  if (*bytes == 0) return damaged("an empty part");
  if (*bytes > bytes_max) return damaged(fmt::format("a part of {} bytes", *bytes));
  const size_t head = before - rest.size(), size = static_cast<size_t>(*bytes);
  PTWOP_TRY(const bool whole, fill(head + size));
  if (!whole) return damaged("it ends within a part");
  const BytesView part = BytesView(buffer_).substr(taken_ + head, size);
  taken_ += head + size;
  position_ += head + size;
  return std::optional(part);
}

Result<std::vector<Bytes>> CarReader::roots() {
  PTWOP_TRY(const auto header, section(kCarHeaderBytesMax));
  if (!header) return damaged("nothing is there");
  CborReader r(*header);
  std::vector<Bytes> roots;
  r.map(2);
  r.expect_key("roots");
  const size_t count = r.array();
  for (size_t i = 0; i < count && r.ok(); ++i) roots.emplace_back(r.link());
  r.expect_key("version");
  if (r.unsigned_integer() != 1) r.fail();
  if (!r.finish("CAR header").ok()) return damaged("the header, which is none of version 1,");
  return roots;
}

Result<std::optional<CarBlock>> CarReader::next() {
  PTWOP_TRY(const auto part, section(kCarSectionBytesMax));
  if (!part) return std::optional<CarBlock>();
  const auto size = cid_size(*part);
  if (!size) return damaged("a block without a CID");
  return std::optional(CarBlock{part->substr(0, *size), part->substr(*size)});
}

}  // namespace ptwop::ipld
