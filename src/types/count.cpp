// State: key → sum (16 bytes), number of operations (8 bytes), both big-endian. Index: unused,
// addition needs none. The number of operations is what lets undo take a key off the list again.
#include "types/count.h"

#include "base/mutant.h"
#include "ipld/dag_cbor.h"
#include "types/keys.h"

namespace ptwop::types {
namespace {

__extension__ using int128 = __int128;
__extension__ using uint128 = unsigned __int128;

constexpr size_t kSumBytes = 24;

struct Sum {
  int128 value = 0;
  uint64_t operations = 0;
};

Bytes sum_bytes(const Sum& sum) {
  const auto bits = static_cast<uint128>(sum.value);
  Bytes out;
  append_be64(out, static_cast<uint64_t>(bits >> 64));
  append_be64(out, static_cast<uint64_t>(bits));
  append_be64(out, sum.operations);
  return out;
}

Result<Sum> sum_from(BytesView bytes) {
  if (bytes.size() != kSumBytes) return corrupt_state("count");
  const uint128 bits = uint128{read_be64(bytes)} << 64 | read_be64(bytes.substr(8));
  return Sum{static_cast<int128>(bits), read_be64(bytes.substr(16))};
}

Result<Sum> read_sum(const StateReader& state, std::string_view key) {
  PTWOP_TRY(const auto stored, state.get(Space::state, key));
  if (!stored) return Sum{};
  return sum_from(*stored);
}

CountValue shown(int128 sum) {
  if (sum > INT64_MAX) return {INT64_MAX, true};
  if (sum < INT64_MIN) return {INT64_MIN, true};
  return {static_cast<int64_t>(sum), false};
}

struct Inc {
  std::string_view key;
  int64_t by = 0;
};

Result<Inc> inc_from(BytesView op) {
  ipld::CborReader in(op);
  in.array(3);
  in.expect_key("inc");
  Inc inc;
  inc.key = in.text();
  inc.by = in.integer();
  if (!valid_key_size(inc.key)) in.fail();
  PTWOP_CHECK(in.finish("count operation"));
  return inc;
}

class Count final : public Type {
 public:
  std::string_view name() const override { return "count"; }

  Result<void> check(BytesView op) const override {
    PTWOP_CHECK(inc_from(op));
    return {};
  }

  Result<void> apply(State& state, const OpContext&, BytesView op) const override {
    PTWOP_TRY(const Inc inc, inc_from(op));
    PTWOP_TRY(Sum sum, read_sum(state, inc.key));
    sum.value += inc.by;
    ++sum.operations;
    return state.put(Space::state, inc.key, sum_bytes(sum));
  }

  Result<void> undo(State& state, const OpContext&, BytesView op,
                    const NodeSource&) const override {
    PTWOP_TRY(const Inc inc, inc_from(op));
    PTWOP_TRY(Sum sum, read_sum(state, inc.key));
    if (sum.operations == 0) return corrupt_state(name());
    sum.value -= PTWOP_MUTANT(undo_counts_nothing) ? 0 : inc.by;
    --sum.operations;
    if (sum.operations == 0) return state.erase(Space::state, inc.key);
    return state.put(Space::state, inc.key, sum_bytes(sum));
  }

  // Sums that others' concurrent writes pushed over the edge may be brought back in steps.
  Result<void> admit(const StateReader& state, BytesView op) const override {
    PTWOP_TRY(const Inc inc, inc_from(op));
    PTWOP_TRY(const Sum sum, read_sum(state, inc.key));
    const int128 after = sum.value + inc.by;
    if (inc.by > 0 ? after > INT64_MAX : inc.by < 0 && after < INT64_MIN)
      return fail(Code::overflow,
                  "The sum would leave the range of 64-bit integers; nothing was added.");
    return {};
  }

  Result<OpResult> result(const StateReader& state, const OpContext&, BytesView op) const override {
    PTWOP_TRY(const Inc inc, inc_from(op));
    PTWOP_TRY(const Sum sum, read_sum(state, inc.key));
    OpResult result;
    result.value = shown(sum.value).value;
    return result;
  }
};

}  // namespace

const Type& count_type() {
  static const Count type;
  return type;
}

Bytes count_add_op(std::string_view key, int64_t by) {
  ipld::CborWriter out;
  out.array(3).text("inc").text(key).integer(by);
  return out.take();
}

Result<CountValue> count_get(const StateReader& state, std::string_view key) {
  PTWOP_TRY(const Sum sum, read_sum(state, key));
  return shown(sum.value);
}

Result<CountPage> count_list(const StateReader& state, std::string_view prefix,
                             const std::optional<std::string>& after, size_t limit) {
  CountPage page;
  bool damaged = false;
  const KeyRange range = page_range(prefix, after, false);
  PTWOP_CHECK(
      state.scan(Space::state, range.from, range.until, false, [&](BytesView key, BytesView value) {
        page.more = page.entries.size() == limit;
        if (page.more) return false;
        const auto sum = sum_from(value);
        damaged = !sum.ok();
        if (damaged) return false;
        page.entries.emplace_back(key, shown(sum->value));
        return true;
      }));
  if (damaged) return corrupt_state("count");
  return page;
}

}  // namespace ptwop::types
