// State: key → the winner: time (8), list (16), number and place in the node (varints), a byte of
// flags, expiry (8) if it has one, writer (32), value. One point read is a get. Index: escaped key,
// list, time, number, place → nothing: every operation on the key but the winner, so a key that was
// written once has none. The last one of each list is its latest, and finding these costs one seek
// a list however often the key was written.
#include "types/kv.h"

#include <algorithm>

#include "base/limits.h"
#include "base/mutant.h"
#include "ipld/dag_cbor.h"
#include "types/keys.h"

namespace ptwop::types {
namespace {

constexpr uint8_t kDeleted = 1, kExpires = 2;
constexpr size_t kPlaceBytes = list::ListId::kSize + 8 + 8 + 4;  // list, time, number, index

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
  Bytes out;
  out.reserve(80 + op.value.size());
  append_be64(out, at.id.time);
  out += at.id.list.view();
  append_varint(out, at.id.number);
  append_varint(out, at.id.index);
  out += static_cast<char>((op.deleted ? kDeleted : 0) | (op.expires_ms ? kExpires : 0));
  if (op.expires_ms) append_be64(out, op.expires_ms);
  out += at.writer.view();
  out += op.value;
  return out;
}

/// The inverse, without copying the value: nothing unless `stored` is what winner_bytes made.
struct Winner {
  OpContext at;
  bool deleted = false;
  uint64_t expires_ms = 0;
  BytesView value;
};
std::optional<Winner> winner_from(BytesView stored) {
  constexpr size_t kIdBytes = 8 + list::ListId::kSize;
  Winner out;
  if (stored.size() < kIdBytes) return std::nullopt;
  out.at.id.time = read_be64(stored);
  out.at.id.list = list::ListId::from(stored.substr(8));
  stored.remove_prefix(kIdBytes);
  const auto number = read_varint(stored), index = read_varint(stored);
  if (!number || !index || *index > UINT32_MAX || stored.empty()) return std::nullopt;
  out.at.id.number = *number;
  out.at.id.index = static_cast<uint32_t>(*index);
  const auto flags = static_cast<uint8_t>(stored[0]);
  stored.remove_prefix(1);
  out.deleted = flags & kDeleted;
  const size_t rest = list::PublicKey::kSize + (flags & kExpires ? 8 : 0);
  if (stored.size() < rest) return std::nullopt;
  if (flags & kExpires) {
    out.expires_ms = read_be64(stored);
    stored.remove_prefix(8);
  }
  out.at.writer = list::PublicKey::from(stored);
  out.value = stored.substr(list::PublicKey::kSize);
  return out;
}

/// The place of the winner of a key, if it has one.
Result<std::optional<OpId>> winner_id(const StateReader& state, std::string_view key) {
  PTWOP_TRY(const auto stored, state.get(Space::state, key));
  if (!stored) return std::optional<OpId>();
  const auto winner = winner_from(*stored);
  if (!winner) return corrupt_state("kv");
  return std::optional(winner->at.id);
}

Bytes index_key(std::string_view key, const OpId& id) {
  Bytes out = escaped(key);
  out += id.list.view();
  append_be64(out, id.time);
  append_be64(out, id.number);
  append_be32(out, id.index);
  return out;
}

/// The last operation on the key of each list that has one, the winner left out.
Result<std::vector<OpId>> last_by_list(const StateReader& state, std::string_view key) {
  std::vector<OpId> found;
  const Bytes prefix = escaped(key);
  Bytes until = after_prefix(prefix);
  for (bool more = true; more;) {
    more = false;
    bool damaged = false;
    PTWOP_CHECK(state.scan(Space::index, prefix, until, true, [&](BytesView place, BytesView) {
      place.remove_prefix(prefix.size());
      damaged = place.size() != kPlaceBytes;
      if (damaged) return false;
      OpId id;
      id.list = list::ListId::from(place);
      place.remove_prefix(list::ListId::kSize);
      id.time = read_be64(place);
      id.number = read_be64(place.substr(8));
      id.index = read_be32(place.substr(16));
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
    PTWOP_TRY(const auto winner, winner_id(state, op.key));
    if (winner && PTWOP_MUTANT(no_tie_break) && winner->time == at.id.time &&
        winner->list != at.id.list)
      return {};
    if (winner && *winner > at.id && !PTWOP_MUTANT(last_comes_wins))
      return state.put(Space::index, index_key(op.key, at.id), {});
    if (winner) PTWOP_CHECK(state.put(Space::index, index_key(op.key, *winner), {}));
    return state.put(Space::state, op.key, winner_bytes(at, op));
  }

  Result<void> undo(State& state, const OpContext& at, BytesView bytes,
                    const NodeSource& source) const override {
    PTWOP_TRY(const KvOp op, kv_op_from(bytes));
    PTWOP_TRY(const auto winner, winner_id(state, op.key));
    if (!winner) return corrupt_state(name());
    if (*winner != at.id) return state.erase(Space::index, index_key(op.key, at.id));
    PTWOP_TRY(auto rest, last_by_list(state, op.key));
    if (PTWOP_MUTANT(undo_forgets_others)) rest.clear();
    if (rest.empty()) return state.erase(Space::state, op.key);
    const OpId next = *std::max_element(rest.begin(), rest.end());
    PTWOP_TRY(const SourceNode node, source.node(next));
    PTWOP_TRY(const Bytes stored, winner_from_node(node, next, op.key));
    PTWOP_CHECK(state.erase(Space::index, index_key(op.key, next)));
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

Result<KvEntry> kv_entry_from(Bytes stored) {
  const auto winner = winner_from(stored);
  if (!winner) return corrupt_state("kv");
  KvEntry entry{winner->at.id, winner->at.writer, winner->deleted, winner->expires_ms, {}};
  const size_t head = stored.size() - winner->value.size();
  entry.value = std::move(stored.erase(0, head));
  return entry;
}

Result<std::optional<KvEntry>> kv_get(const StateReader& state, std::string_view key) {
  PTWOP_TRY(auto stored, state.get(Space::state, key));
  if (!stored) return std::optional<KvEntry>();
  PTWOP_TRY(auto entry, kv_entry_from(std::move(*stored)));
  return std::optional(std::move(entry));
}

Result<std::vector<KvEntry>> kv_siblings(const StateReader& state, const NodeSource& source,
                                         std::string_view key) {
  PTWOP_TRY(const auto winner, winner_id(state, key));
  if (!winner) return std::vector<KvEntry>();
  PTWOP_TRY(auto last, last_by_list(state, key));
  std::erase_if(last, [&](const OpId& id) { return id.list == winner->list; });
  last.push_back(*winner);
  std::sort(last.rbegin(), last.rend());  // the winner first
  std::vector<SourceNode> nodes;
  for (const OpId& id : last) {
    PTWOP_TRY(nodes.emplace_back(), source.node(id));
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
        auto entry = kv_entry_from(Bytes(value));
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
