#include "ipld/dag_cbor.h"

#include <bit>
#include <cassert>
#include <cmath>

#include "base/limits.h"

namespace ptwop::ipld {
namespace {

// Major types and simple values (RFC 8949 §3).
enum Major : uint8_t { kUint, kNint, kBytes, kText, kArray, kMap, kTag, kSimple };
constexpr uint8_t kFalse = 0xf4, kTrue = 0xf5, kNull = 0xf6, kFloat64 = 0xfb;
constexpr std::string_view kLinkTag = "\xd8\x2a";
constexpr size_t kFloat64Size = 9;

}  // namespace

bool key_in_order(std::string_view earlier, std::string_view later) {
  return earlier.size() != later.size() ? earlier.size() < later.size() : earlier < later;
}

// --- writer -----------------------------------------------------------------------------------

void CborWriter::head(uint8_t major, uint64_t value) {
  const int first = major << 5;
  if (value < 24) {
    out_ += static_cast<char>(first | static_cast<int>(value));
    return;
  }
  const int log_size = value <= 0xff ? 0 : value <= 0xffff ? 1 : value <= 0xffffffff ? 2 : 3;
  out_ += static_cast<char>(first | (24 + log_size));
  for (int shift = 8 * ((1 << log_size) - 1); shift >= 0; shift -= 8)
    out_ += static_cast<char>(value >> shift);
}

void CborWriter::item() {
  while (!open_.empty() && open_.back().left == 0) open_.pop_back();
  if (open_.empty()) return;
  assert(!open_.back().is_map || open_.back().left % 2 == 1);  // a value follows its key
  --open_.back().left;
}

CborWriter& CborWriter::map(size_t pairs) {
  item();
  head(kMap, pairs);
  open_.push_back({2 * pairs, true});
  return *this;
}
CborWriter& CborWriter::array(size_t items) {
  item();
  head(kArray, items);
  open_.push_back({items, false});
  return *this;
}
CborWriter& CborWriter::key(std::string_view name) {
  while (!open_.empty() && open_.back().left == 0) open_.pop_back();
  assert(!open_.empty() && open_.back().is_map && open_.back().left % 2 == 0);
  Open& map = open_.back();
  assert(map.key_size == Open::kNone ||
         key_in_order(BytesView(out_).substr(map.key_at, map.key_size), name));
  --map.left;
  head(kText, name.size());
  map.key_at = out_.size();
  map.key_size = name.size();
  out_ += name;
  return *this;
}
CborWriter& CborWriter::text(std::string_view utf8) {
  item();
  head(kText, utf8.size());
  out_ += utf8;
  return *this;
}
CborWriter& CborWriter::bytes(BytesView octets) {
  item();
  head(kBytes, octets.size());
  out_ += octets;
  return *this;
}
CborWriter& CborWriter::unsigned_integer(uint64_t value) {
  item();
  head(kUint, value);
  return *this;
}
CborWriter& CborWriter::integer(int64_t value) {
  item();
  if (value >= 0)
    head(kUint, static_cast<uint64_t>(value));
  else
    head(kNint, ~static_cast<uint64_t>(value));  // −1 − value, in two's complement
  return *this;
}
CborWriter& CborWriter::boolean(bool value) {
  item();
  out_ += static_cast<char>(value ? kTrue : kFalse);
  return *this;
}
CborWriter& CborWriter::null() {
  item();
  out_ += static_cast<char>(kNull);
  return *this;
}
CborWriter& CborWriter::real(double finite) {
  assert(std::isfinite(finite));
  item();
  out_ += static_cast<char>(kFloat64);
  append_be64(out_, std::bit_cast<uint64_t>(finite));
  return *this;
}
CborWriter& CborWriter::link(const Cid& cid) { return link_bytes(cid.bytes()); }
CborWriter& CborWriter::link_bytes(BytesView any_cid) {
  item();
  out_ += kLinkTag;
  head(kBytes, any_cid.size() + 1);
  out_ += '\0';  // the multibase prefix "as is"
  out_ += any_cid;
  return *this;
}
CborWriter& CborWriter::raw(BytesView encoded) {
  item();
  out_ += encoded;
  return *this;
}

// --- reader -----------------------------------------------------------------------------------

std::optional<CborReader::Head> CborReader::head() const {
  if (in_.empty()) return std::nullopt;
  const uint8_t first = u8(in_)[0];
  const uint8_t info = first & 31;
  Head head{static_cast<uint8_t>(first >> 5), info, 1};
  if (info < 24) return head;
  if (info > 27) return std::nullopt;  // indefinite or reserved
  const size_t extra = size_t{1} << (info - 24);
  if (in_.size() < 1 + extra) return std::nullopt;
  head.value = 0;
  for (size_t i = 1; i <= extra; ++i) head.value = head.value << 8 | u8(in_)[i];
  head.size = 1 + extra;
  if (head.major == kSimple) return head;  // a float's bits: any are as short as can be
  const uint64_t shorter_max = extra == 1 ? 23 : (uint64_t{1} << (4 * extra)) - 1;
  if (head.value <= shorter_max) return std::nullopt;
  return head;
}

CborKind CborReader::peek() const {
  if (!ok_) return CborKind::bad;
  if (in_.empty()) return CborKind::end;
  const uint8_t first = u8(in_)[0];
  switch (first >> 5) {
    case kUint:
      return CborKind::uint;
    case kNint:
      return CborKind::nint;
    case kBytes:
      return CborKind::bytes;
    case kText:
      return CborKind::text;
    case kArray:
      return CborKind::array;
    case kMap:
      return CborKind::map;
    case kTag:
      return in_.starts_with(kLinkTag) ? CborKind::link : CborKind::bad;
    default:
      break;
  }
  if (first == kFalse || first == kTrue) return CborKind::boolean;
  if (first == kNull) return CborKind::null;
  return first == kFloat64 ? CborKind::real : CborKind::bad;
}

uint64_t CborReader::take_head(uint8_t major) {
  const auto found = ok_ ? head() : std::nullopt;
  if (!found || found->major != major) {
    fail();
    return 0;
  }
  in_.remove_prefix(found->size);
  return found->value;
}

BytesView CborReader::take(uint64_t size) {
  if (!ok_ || size > in_.size()) {
    fail();
    return {};
  }
  const BytesView taken = in_.substr(0, size);
  in_.remove_prefix(size);
  return taken;
}

size_t CborReader::array() {
  const uint64_t items = take_head(kArray);
  if (items > in_.size()) fail();  // an item has at least one byte
  return ok_ ? items : 0;
}
size_t CborReader::array(size_t exactly) {
  if (array() != exactly) fail();
  return ok_ ? exactly : 0;
}
size_t CborReader::map() {
  const uint64_t pairs = take_head(kMap);
  if (pairs > in_.size() / 2) fail();
  return ok_ ? pairs : 0;
}
void CborReader::map(size_t exactly) {
  if (map() != exactly) fail();
}

std::string_view CborReader::key() { return text(); }
void CborReader::expect_key(std::string_view name) {
  if (key() != name) fail();
}
bool CborReader::try_key(std::string_view name) {
  CborReader ahead = *this;
  if (ahead.key() != name || !ahead.ok()) return false;
  *this = ahead;
  return true;
}

std::string_view CborReader::text() {
  const BytesView taken = take(take_head(kText));
  if (valid_utf8(taken)) return taken;
  fail();
  return {};
}
BytesView CborReader::bytes() { return take(take_head(kBytes)); }
BytesView CborReader::bytes(size_t exactly) {
  const BytesView taken = bytes();
  if (taken.size() == exactly) return taken;
  fail();
  return {};
}

uint64_t CborReader::unsigned_integer() { return take_head(kUint); }
uint64_t CborReader::magnitude() { return take_head(peek() == CborKind::nint ? kNint : kUint); }
int64_t CborReader::integer() {
  const bool negative = peek() == CborKind::nint;
  const uint64_t value = magnitude();
  if (value > static_cast<uint64_t>(INT64_MAX)) fail();
  if (!ok_) return 0;
  return negative ? -1 - static_cast<int64_t>(value) : static_cast<int64_t>(value);
}

bool CborReader::boolean() {
  if (peek() != CborKind::boolean) fail();
  const BytesView taken = take(1);
  return ok_ && u8(taken)[0] == kTrue;
}
void CborReader::null() {
  if (peek() != CborKind::null) fail();
  take(1);
}
double CborReader::real() {
  if (peek() != CborKind::real) fail();
  const BytesView taken = take(kFloat64Size);
  if (!ok_) return 0;
  const double value = std::bit_cast<double>(read_be64(taken.substr(1)));
  if (!std::isfinite(value)) fail();
  return ok_ ? value : 0;
}

BytesView CborReader::link() {
  if (peek() != CborKind::link) fail();
  take(kLinkTag.size());
  const BytesView content = bytes();
  if (!ok_ || content.empty() || content[0] != '\0' || !valid_cid_bytes(content.substr(1))) {
    fail();
    return {};
  }
  return content.substr(1);
}
Cid CborReader::cid() {
  const auto cid = Cid::from_bytes(link());
  if (ok_ && cid.ok()) return *cid;
  fail();
  return {};
}

void CborReader::skip_item(size_t depth) {
  switch (peek()) {
    case CborKind::uint:
    case CborKind::nint:
      magnitude();
      break;
    case CborKind::bytes:
      bytes();
      break;
    case CborKind::text:
      text();
      break;
    case CborKind::link:
      link();
      break;
    case CborKind::boolean:
      boolean();
      break;
    case CborKind::null:
      null();
      break;
    case CborKind::real:
      real();
      break;
    case CborKind::array: {
      if (depth == limits::kIpldDepthMax) return fail();
      for (size_t left = array(); left > 0 && ok_; --left) skip_item(depth + 1);
      break;
    }
    case CborKind::map: {
      if (depth == limits::kIpldDepthMax) return fail();
      const size_t pairs = map();
      std::string_view last;
      for (size_t i = 0; i < pairs && ok_; ++i) {
        const std::string_view name = key();
        if (i > 0 && !key_in_order(last, name)) fail();
        last = name;
        skip_item(depth + 1);
      }
      break;
    }
    case CborKind::end:
    case CborKind::bad:
      fail();
  }
}

BytesView CborReader::item() {
  const BytesView before = in_;
  skip_item(0);
  return ok_ ? before.substr(0, before.size() - in_.size()) : BytesView();
}

Result<void> CborReader::finish(std::string_view what, Code code) const {
  if (ok_ && in_.empty()) return {};
  return ptwop::fail(code, "The " + std::string(what) +
                               " is not strict DAG-CBOR of the expected form (near byte " +
                               std::to_string(whole_.size() - in_.size()) + ").");
}

Result<void> check_dag_cbor(BytesView bytes) {
  CborReader reader(bytes);
  reader.item();
  return reader.finish("item");
}

}  // namespace ptwop::ipld
