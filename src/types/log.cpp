// State: id → writer (32 bytes), value; visible entries only, so that a listing meets no hidden
// ones. Index: `d` id-of-entry id-of-del → nothing: every `del`, whether or not its entry is here;
//        `h` id-of-entry → nothing: an entry that is here and hidden. Its value is read from its
//        node when the last `del` is undone.
#include "types/log.h"

#include "base/limits.h"
#include "base/mutant.h"
#include "ipld/dag_cbor.h"
#include "types/keys.h"

namespace ptwop::types {
namespace {

struct LogOp {
  std::optional<OpId> del;  ///< Else it is an `add`.
  BytesView value;
};

Result<LogOp> log_op_from(BytesView bytes) {
  ipld::CborReader in(bytes);
  in.array(2);
  const std::string_view word = in.text();
  LogOp op;
  if (word == "add") {
    op.value = in.item();
    if (op.value.size() > limits::kValueBytesMax) in.fail();
  } else if (word == "del") {
    op.del = op_id_from(in.bytes(kOpIdBytes));
  } else {
    in.fail();
  }
  PTWOP_CHECK(in.finish("log operation"));
  return op;
}

Bytes del_key(BytesView entry, BytesView del = {}) { return Bytes("d").append(entry).append(del); }
Bytes hidden_key(BytesView entry) { return Bytes("h").append(entry); }

Bytes entry_bytes(const list::PublicKey& writer, BytesView value) {
  return Bytes(writer.view()).append(value);
}

Result<LogEntry> entry_from(const OpId& id, BytesView stored) {
  if (stored.size() <= list::PublicKey::kSize) return corrupt_state("log");
  return LogEntry{id, list::PublicKey::from(stored), Bytes(stored.substr(list::PublicKey::kSize))};
}

Result<bool> has_del(const StateReader& state, BytesView entry) {
  bool found = false;
  const Bytes prefix = del_key(entry);
  PTWOP_CHECK(
      state.scan(Space::index, prefix, after_prefix(prefix), false, [&](BytesView, BytesView) {
        found = true;
        return false;
      }));
  return found;
}

Result<void> show_again(State& state, const OpId& id, const NodeSource& source) {
  PTWOP_TRY(const SourceNode node, source.node(id));
  if (id.index >= node.ops.size()) return corrupt_state("log");
  PTWOP_TRY(const LogOp add, log_op_from(node.ops[id.index]));
  if (add.del) return corrupt_state("log");
  const Bytes entry = op_id_bytes(id);
  PTWOP_CHECK(state.erase(Space::index, hidden_key(entry)));
  return state.put(Space::state, entry, entry_bytes(node.writer, add.value));
}

class Log final : public Type {
 public:
  std::string_view name() const override { return "log"; }

  Result<void> check(BytesView op) const override {
    PTWOP_CHECK(log_op_from(op));
    return {};
  }

  Result<void> apply(State& state, const OpContext& at, BytesView bytes) const override {
    PTWOP_TRY(const LogOp op, log_op_from(bytes));
    if (!op.del) {
      const Bytes entry = op_id_bytes(at.id);
      PTWOP_TRY(const bool hidden, has_del(state, entry));
      if (hidden && !PTWOP_MUTANT(del_comes_first))
        return state.put(Space::index, hidden_key(entry), {});
      return state.put(Space::state, entry, entry_bytes(at.writer, op.value));
    }
    const Bytes entry = op_id_bytes(*op.del);
    PTWOP_CHECK(state.put(Space::index, del_key(entry, op_id_bytes(at.id)), {}));
    PTWOP_TRY(const auto visible, state.get(Space::state, entry));
    if (!visible) return {};
    PTWOP_CHECK(state.erase(Space::state, entry));
    return state.put(Space::index, hidden_key(entry), {});
  }

  Result<void> undo(State& state, const OpContext& at, BytesView bytes,
                    const NodeSource& source) const override {
    PTWOP_TRY(const LogOp op, log_op_from(bytes));
    if (!op.del) {
      const Bytes entry = op_id_bytes(at.id);
      PTWOP_CHECK(state.erase(Space::index, hidden_key(entry)));
      return state.erase(Space::state, entry);
    }
    const Bytes entry = op_id_bytes(*op.del);
    PTWOP_CHECK(state.erase(Space::index, del_key(entry, op_id_bytes(at.id))));
    PTWOP_TRY(const bool still_hidden, has_del(state, entry));
    if (still_hidden) return {};
    PTWOP_TRY(const auto here, state.get(Space::index, hidden_key(entry)));
    return here ? show_again(state, *op.del, source) : Result<void>();
  }

  // A `del` of an unknown id is kept: its entry may be on its way.
  Result<void> admit(const StateReader&, BytesView op) const override { return check(op); }

  Result<OpResult> result(const StateReader&, const OpContext& at, BytesView bytes) const override {
    PTWOP_TRY(const LogOp op, log_op_from(bytes));
    OpResult result;
    if (!op.del) result.id = log_id(at.id);
    return result;
  }
};

}  // namespace

const Type& log_type() {
  static const Log type;
  return type;
}

Bytes log_add_op(BytesView value_cbor) {
  ipld::CborWriter out;
  out.array(2).text("add").raw(value_cbor);
  return out.take();
}

Result<Bytes> log_del_op(std::string_view id) {
  const auto entry = log_id_from(id);
  if (!entry) return fail(Code::invalid_params, "This is not the id of a log entry.");
  ipld::CborWriter out;
  out.array(2).text("del").bytes(op_id_bytes(*entry));
  return out.take();
}

std::string log_id(const OpId& id) { return base64url(op_id_bytes(id)); }

std::optional<OpId> log_id_from(std::string_view text) {
  const auto bytes = from_base64url(text);
  return bytes ? op_id_from(*bytes) : std::nullopt;
}

Result<LogEntry> log_get(const StateReader& state, const OpId& id) {
  PTWOP_TRY(const auto stored, state.get(Space::state, op_id_bytes(id)));
  if (!stored) return fail(Code::not_found, "There is no such entry.");
  return entry_from(id, *stored);
}

Result<LogPage> log_list(const StateReader& state, const std::optional<OpId>& after, size_t limit,
                         bool reverse) {
  LogPage page;
  size_t bytes = 0;
  bool damaged = false;
  const auto position = after ? std::optional<std::string>(op_id_bytes(*after)) : std::nullopt;
  const KeyRange range = page_range({}, position, reverse);
  PTWOP_CHECK(state.scan(Space::state, range.from, range.until, reverse,
                         [&](BytesView key, BytesView value) {
                           page.more = page_full(page.entries.size(), limit, bytes += value.size());
                           if (page.more) return false;
                           const auto id = op_id_from(key);
                           auto entry = entry_from(id.value_or(OpId{}), value);
                           damaged = !id || !entry.ok();
                           if (damaged) return false;
                           page.entries.push_back(std::move(*entry));
                           return true;
                         }));
  if (damaged) return corrupt_state("log");
  return page;
}

}  // namespace ptwop::types
