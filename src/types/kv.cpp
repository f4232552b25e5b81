// State: key → the winner: id, writer (32 bytes), expiry (8), 1 if deleted (1), value. One point
// read is a get. Index: escaped key, list, number, index → time: every operation on the key. Times
// rise within a list, so the last operation of each list is its latest, and finding these costs one
// seek a list however often the key was written.
#include "types/kv.h"

#include <algorithm>

#include "base/limits.h"
#include "base/mutant.h"
#include "ipld/dag_cbor.h"
#include "types/keys.h"

namespace ptwop::types {
namespace {

constexpr size_t kHeadBytes = kOpIdBytes + list::PublicKey::kSize + 8 + 1;
constexpr size_t kPlaceBytes = list::ListId::kSize + 8 + 4;  // list, number, index

struct KvOp {
  std::string_view key;
  bool deleted = false;
  uint64_t expires_ms = 0;
  BytesView value;
};

Result<KvOp> kv_op_from(BytesView bytes) {
  ipld::CborReader in(bytes);
  const size_t items = in.array();
  const std::string_view word = in.text();
  KvOp op;
  op.key = in.text();
  if (!valid_key_size(op.key)) in.fail();
  if (word == "put" && (items == 3 || items == 4)) {
    op.value = in.item();
    if (op.value.size() > limits::kValueBytesMax) in.fail();
    if (items == 4 && (op.expires_ms = in.unsigned_integer()) == 0) in.fail();
  } else if (word == "del" && items == 2) {
    op.deleted = true;
  } else {
    in.fail();
  }
  PTWOP_CHECK(in.finish("kv operation"));
  return op;
}

Bytes winner_bytes(const OpContext& at, const KvOp& op) {
  Bytes out = op_id_bytes(at.id);
  out.reserve(kHeadBytes + op.value.size());
  out += at.writer.view();
  append_be64(out, op.expires_ms);
  out += op.deleted ? '\1' : '\0';
  out += op.value;
  return out;
}

Bytes index_key(std::string_view key, const OpId& id) {
  Bytes out = escaped(key);
  out += id.list.view();
  append_be64(out, id.number);
  append_be32(out, id.index);
  return out;
}

/// The last operation on the key of each list that has one.
Result<std::vector<OpId>> last_by_list(const StateReader& state, std::string_view key) {
  std::vector<OpId> found;
  const Bytes prefix = escaped(key);
  Bytes until = after_prefix(prefix);
  for (bool more = true; more;) {
    more = false;
    bool damaged = false;
    PTWOP_CHECK(state.scan(Space::index, prefix, until, true, [&](BytesView place, BytesView time) {
      place.remove_prefix(prefix.size());
      damaged = place.size() != kPlaceBytes || time.size() != 8;
      if (damaged) return false;
      OpId id;
      id.time = read_be64(time);
      id.list = list::ListId::from(place);
      place.remove_prefix(list::ListId::kSize);
      id.number = read_be64(place);
      id.index = read_be32(place.substr(8));
      found.push_back(id);
      more = true;
      return false;
    }));
    if (damaged) return corrupt_state("kv");
    if (more) until = Bytes(prefix).append(found.back().list.view());  // on to the list before
  }
  return found;
}

/// An operation on `key` read back from its node, as the winner would be stored.
Result<Bytes> winner_from_node(const SourceNode& node, const OpId& id, std::string_view key) {
  if (id.index >= node.ops.size()) return corrupt_state("kv");
  PTWOP_TRY(const KvOp op, kv_op_from(node.ops[id.index]));
  if (op.key != key) return corrupt_state("kv");
  return winner_bytes({id, node.writer}, op);
}

class Kv final : public Type {
 public:
  std::string_view name() const override { return "kv"; }

  Result<void> check(BytesView op) const override {
    PTWOP_CHECK(kv_op_from(op));
    return {};
  }

  Result<void> apply(State& state, const OpContext& at, BytesView bytes) const override {
    PTWOP_TRY(const KvOp op, kv_op_from(bytes));
    Bytes time;
    append_be64(time, at.id.time);
    PTWOP_CHECK(state.put(Space::index, index_key(op.key, at.id), time));
    PTWOP_TRY(const auto winner, kv_get(state, op.key));
    if (winner && PTWOP_MUTANT(no_tie_break) && winner->id.time == at.id.time && winner->id.list != at.id.list) return {};
    if (winner && winner->id > at.id && !PTWOP_MUTANT(last_comes_wins)) return {};
    return state.put(Space::state, op.key, winner_bytes(at, op));
  }

  Result<void> undo(State& state, const OpContext& at, BytesView bytes,
                    const NodeSource& source) const override {
    PTWOP_TRY(const KvOp op, kv_op_from(bytes));
    PTWOP_CHECK(state.erase(Space::index, index_key(op.key, at.id)));
    PTWOP_TRY(const auto winner, kv_get(state, op.key));
    if (!winner) return corrupt_state(name());
    if (winner->id != at.id) return {};
    PTWOP_TRY(auto rest, last_by_list(state, op.key));
    if (PTWOP_MUTANT(undo_forgets_others)) rest.clear();
    if (rest.empty()) return state.erase(Space::state, op.key);
    const OpId next = *std::max_element(rest.begin(), rest.end());
    PTWOP_TRY(const SourceNode node, source.node(next.list, next.number));
    PTWOP_TRY(const Bytes stored, winner_from_node(node, next, op.key));
    return state.put(Space::state, op.key, stored);
  }

  // Without a clock an expired value still counts as there: the caller, who has one, looks at
  // `live` first.
  Result<void> admit(const StateReader& state, BytesView bytes) const override {
    PTWOP_TRY(const KvOp op, kv_op_from(bytes));
    if (!op.deleted) return {};
    PTWOP_TRY(const auto winner, kv_get(state, op.key));
    if (!winner || winner->deleted)
      return fail(Code::not_found, "There is no such key; nothing was written.");
    return {};
  }

  Result<OpResult> result(const StateReader&, const OpContext&, BytesView) const override {
    return OpResult{};
  }
};

}  // namespace

const Type& kv_type() {
  static const Kv type;
  return type;
}

Bytes kv_put_op(std::string_view key, BytesView value_cbor, std::optional<uint64_t> expires_ms) {
  ipld::CborWriter out;
  out.array(expires_ms ? 4 : 3).text("put").text(key).raw(value_cbor);
  if (expires_ms) out.unsigned_integer(*expires_ms);
  return out.take();
}

Bytes kv_del_op(std::string_view key) {
  ipld::CborWriter out;
  out.array(2).text("del").text(key);
  return out.take();
}

Bytes kv_state_key(std::string_view key) { return Bytes(key); }

Result<KvEntry> kv_entry_from(BytesView stored) {
  if (stored.size() < kHeadBytes) return corrupt_state("kv");
  KvEntry entry;
  entry.id = *op_id_from(stored.substr(0, kOpIdBytes));
  stored.remove_prefix(kOpIdBytes);
  entry.writer = list::PublicKey::from(stored);
  stored.remove_prefix(list::PublicKey::kSize);
  entry.expires_ms = read_be64(stored);
  entry.deleted = stored[8] != '\0';
  entry.value = stored.substr(9);
  return entry;
}

Result<std::optional<KvEntry>> kv_get(const StateReader& state, std::string_view key) {
  PTWOP_TRY(const auto stored, state.get(Space::state, kv_state_key(key)));
  if (!stored) return std::optional<KvEntry>();
  PTWOP_TRY(auto entry, kv_entry_from(*stored));
  return std::optional(std::move(entry));
}

Result<std::vector<KvEntry>> kv_siblings(const StateReader& state, const NodeSource& source,
                                         std::string_view key) {
  PTWOP_TRY(auto last, last_by_list(state, key));
  std::sort(last.rbegin(), last.rend());  // the winner first
  std::vector<SourceNode> nodes;
  for (const OpId& id : last) {
    PTWOP_TRY(nodes.emplace_back(), source.node(id.list, id.number));
  }
  const auto seen_by_another = [&](const OpId& id) {
    return std::any_of(nodes.begin(), nodes.end(), [&](const SourceNode& node) {
      const auto position = node.seen.find(id.list);
      return position != node.seen.end() && position->second.number >= id.number;
    });
  };
  std::vector<KvEntry> entries;
  for (size_t i = 0; i < last.size(); ++i) {
    if (i > 0 && seen_by_another(last[i])) continue;
    PTWOP_TRY(const Bytes stored, winner_from_node(nodes[i], last[i], key));
    PTWOP_TRY(entries.emplace_back(), kv_entry_from(stored));
  }
  return entries;
}

Result<KvPage> kv_list(const StateReader& state, std::string_view prefix,
                       const std::optional<std::string>& after, size_t limit, bool reverse,
                       uint64_t now_ms) {
  KvPage page;
  size_t bytes = 0;
  bool damaged = false;
  const KeyRange range = page_range(prefix, after, reverse);
  PTWOP_CHECK(state.scan(
      Space::state, range.from, range.until, reverse, [&](BytesView key, BytesView value) {
        auto entry = kv_entry_from(value);
        damaged = !entry.ok();
        if (damaged) return false;
        if (!entry->live(now_ms)) return true;
        page.more = page_full(page.entries.size(), limit, bytes += entry->value.size());
        if (page.more) return false;
        page.entries.emplace_back(key, std::move(*entry));
        return true;
      }));
  if (damaged) return corrupt_state("kv");
  return page;
}

}  // namespace ptwop::types
