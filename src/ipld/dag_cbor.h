// Strict DAG-CBOR (https://ipld.io/specs/codecs/dag-cbor/spec/): definite lengths, shortest
// integers, map keys sorted by length then bytes without duplicates, 64-bit floats (finite only),
// tag 42 and no other, no trailing bytes. What would not encode to the same bytes is refused, so a
// CID means one thing.
#pragma once
#include <cstdint>
#include <optional>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "ipld/cid.h"

namespace ptwop::ipld {

/// The order of a map's keys: by length, then by bytes. False for equal ones.
bool key_in_order(std::string_view earlier, std::string_view later);

/// Appends encoded items to a buffer. The caller gives map keys in canonical order (asserted).
class CborWriter {
 public:
  CborWriter& map(size_t pairs);
  CborWriter& array(size_t items);
  CborWriter& key(std::string_view name);  ///< A map key: a text string.
  CborWriter& text(std::string_view utf8);
  CborWriter& bytes(BytesView octets);
  CborWriter& unsigned_integer(uint64_t value);
  CborWriter& integer(int64_t value);
  CborWriter& boolean(bool value);
  CborWriter& null();
  CborWriter& real(double finite);
  CborWriter& link(const Cid& cid);
  CborWriter& link_bytes(BytesView any_cid);
  CborWriter& raw(BytesView encoded);  ///< One item that is already strict DAG-CBOR.
  const Bytes& out() const { return out_; }
  Bytes take() { return std::move(out_); }

 private:
  /// A map or an array that still lacks items (a pair counts as two).
  struct Open {
    static constexpr size_t kNone = SIZE_MAX;
    size_t left;
    bool is_map;
    size_t key_at = 0, key_size = kNone;  ///< The last key, in `out_`.
  };
  void item();  ///< Counts one item of the innermost open map or array.
  void head(uint8_t major, uint64_t value);
  Bytes out_;
  std::vector<Open> open_;
};

enum class CborKind : uint8_t {
  uint,
  nint,
  bytes,
  text,
  array,
  map,
  link,
  boolean,
  null,
  real,
  end,
  bad
};

/// Reads items one after the other. Errors stick: after the first, every read gives an empty value
/// and `ok()` is false, so that a decoder reads straight through and checks once at the end.
/// Bounded by `kIpldDepthMax`. Views point into the input.
class CborReader {
 public:
  explicit CborReader(BytesView in) : in_(in), whole_(in) {}
  bool ok() const { return ok_; }
  CborKind peek() const;

  size_t array();                ///< The number of items. Never more than the bytes left.
  size_t array(size_t exactly);  ///< Fails unless that many.
  size_t map();                  ///< The number of pairs.
  void map(size_t exactly);
  /// The next map key. Order within a map is the caller's to check (`key_in_order`), or fixed by
  /// `expect_key`.
  std::string_view key();
  void expect_key(std::string_view name);  ///< Fails unless the next item is this text string.
  bool try_key(std::string_view name);  ///< Consumes it only if it is this one (optional members).
  std::string_view text();              ///< Valid UTF-8.
  BytesView bytes();
  BytesView bytes(size_t exactly);
  uint64_t unsigned_integer();
  int64_t integer();     ///< Fails outside int64.
  uint64_t magnitude();  ///< Of any integer n: n itself, or −1 − n where `peek` says nint.
  bool boolean();
  void null();
  double real();
  BytesView link();  ///< The CID's bytes, well formed.
  Cid cid();         ///< A link to one of our own blocks.
  /// Any one item, fully checked (order of keys, depth, UTF-8, floats), as its bytes.
  BytesView item();
  void fail() { ok_ = false; }
  bool at_end() const { return in_.empty(); }
  /// Ok if nothing failed and nothing is left; else an error of `code` that names `what` ("node").
  Result<void> finish(std::string_view what, Code code = Code::invalid_params) const;

 private:
  struct Head {
    uint8_t major;
    uint64_t value;
    size_t size;
  };
  std::optional<Head> head() const;
  uint64_t take_head(uint8_t major);
  BytesView take(uint64_t size);
  void skip_item(size_t depth);
  BytesView in_, whole_;
  bool ok_ = true;
};

/// Ok if `bytes` is exactly one strict item.
Result<void> check_dag_cbor(BytesView bytes);

}  // namespace ptwop::ipld
