// What a data type is: pure functions from operations to state. No I/O, no clock.
// The laws (tests/unit/types holds every type to them): operations applied in any order that
// respects each list, and applied then undone in any order, give the same state.
#pragma once
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "list/position.h"

namespace ptwop::types {

/// Where an operation stands, equal on all replicas. `time` is the node's hybrid time (ms << 16 |
/// logical).
struct OpId {
  uint64_t time = 0;
  list::ListId list;
  uint64_t number = 0;  ///< The node's number in its list.
  uint32_t index = 0;   ///< The operation's place in the node, from 0.
  auto operator<=>(const OpId&) const =
      default;  ///< The channel's order: (time, list, number, index).
};

/// Who wrote an operation, besides where.
struct OpContext {
  OpId id;
  list::PublicKey writer;
};

/// Two ordered maps from bytes to bytes that belong to one channel: `state` is what reads look at,
/// `index` is what undo and siblings need (key → the operations that touched it).
enum class Space : uint8_t { state, index };

/// Gets (key, value) in key order; returns false to stop.
using Visit = std::function<bool(BytesView key, BytesView value)>;

class StateReader {
 public:
  virtual ~StateReader() = default;
  virtual Result<std::optional<Bytes>> get(Space space, BytesView key) const = 0;
  /// Keys in [from, until), or all from `from` on when `until` is empty; backwards from the end
  /// when `reverse`.
  virtual Result<void> scan(Space space, BytesView from, BytesView until, bool reverse,
                            const Visit& visit) const = 0;
};

class State : public StateReader {
 public:
  virtual Result<void> put(Space space, BytesView key, Bytes value) = 0;
  virtual Result<void> erase(Space space, BytesView key) = 0;
};

/// One accepted node of this channel, as undo and siblings see it.
struct SourceNode {
  list::PublicKey writer;
  uint64_t time = 0;
  list::ClockMap seen;     ///< The positions in other lists that its writer had seen.
  std::vector<Bytes> ops;  ///< Strict DAG-CBOR each.
};

/// Gives back accepted nodes (decrypted) for rebuilding a key and for siblings.
class NodeSource {
 public:
  virtual ~NodeSource() = default;
  /// The node of the operation `id`. A list's number alone does not name one: branches of a forked
  /// list may both count (engine/again.h), and differ in time.
  virtual Result<SourceNode> node(const OpId& id) const = 0;
};

/// What a local write shows its caller, beside the token.
struct OpResult {
  std::optional<std::string> id;  ///< log.add: the entry's id
  std::optional<int64_t> value;   ///< count.add: the sum after it, clamped
};

class Type {
 public:
  virtual ~Type() = default;
  virtual std::string_view name() const = 0;  ///< "kv"

  /// Ok if `op` (one strict DAG-CBOR item) is an operation of this type within its limits. A node
  /// that holds any other is void.
  virtual Result<void> check(BytesView op) const = 0;

  /// Applies one checked operation. Called once for each accepted operation.
  virtual Result<void> apply(State& state, const OpContext& at, BytesView op) const = 0;

  /// Takes one applied operation back (its list was cut). `source` still has the node of every
  /// operation that is applied and not yet undone. Any order gives the same state; oldest first is
  /// the cheap one, since then a key's winner is looked for once.
  virtual Result<void> undo(State& state, const OpContext& at, BytesView op,
                            const NodeSource& source) const = 0;

  /// For a local write, before it is applied: overflow (106), no such key or entry (102).
  virtual Result<void> admit(const StateReader& state, BytesView op) const = 0;
  /// For a local write, after it was applied.
  virtual Result<OpResult> result(const StateReader& state, const OpContext& at,
                                  BytesView op) const = 0;
};

/// The table of types; null for a name that is none. A new type is a file pair and a row here.
const Type* find_type(std::string_view name);
std::vector<const Type*> all_types();

}  // namespace ptwop::types
