// The naive reference: what a channel's state has to be, given the set of operations applied. It
// keeps every operation and looks at all of them, shares no code with src/types, and so is right
// because there is little in it.
#pragma once
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "engine/directory.h"
#include "list/node.h"
#include "random.h"

namespace ptwop::sim {

/// Where an operation stands. Later is greater; times that are equal are decided by the list's
/// name.
struct Place {
  uint64_t time = 0;
  list::ListId list;
  uint64_t number = 0;
  uint32_t index = 0;
  auto operator<=>(const Place&) const = default;
};

struct Operation {
  enum class Kind { put, del, inc, add, hide } kind = Kind::put;
  std::string key;
  Bytes value;
  int64_t by = 0;
  uint64_t expires_ms = 0;
  Place target;  ///< hide
  Bytes encoded;
};

/// An operation of a channel of this type; nothing if it is none.
std::optional<Operation> read_operation(std::string_view type, BytesView encoded);

class Model {
 public:
  explicit Model(std::string type) : type_(std::move(type)) {}

  /// Operation `index` of this node, which has to stay where it is. False: it was applied before.
  bool apply(const list::Node& node, uint32_t index, const Operation& operation);
  /// False: it was not applied.
  bool undo(const Place& place, const Operation& operation);

  /// What differs between the engine's state at the keys of this operation and what it has to be;
  /// empty: nothing.
  std::string compare(const types::StateReader& state, const Operation& operation,
                      const Place& place) const;
  /// The same for everything, and for listing it forwards and backwards.
  std::string compare_all(const types::StateReader& state, uint64_t now_ms) const;
  /// The same for some page of a listing.
  std::string compare_page(const types::StateReader& state, uint64_t now_ms, Random& random) const;
  /// The same for the concurrent values of some key, or of all.
  std::string compare_siblings(const types::StateReader& state, const types::NodeSource& source,
                               Random* random) const;
  size_t operations() const { return all_.size(); }

 private:
  struct Written {
    Operation operation;
    const list::Node* node;
  };
  /// One row of a listing: by key, or (log) by place.
  struct Row {
    std::string key;
    Place place;
    std::string what;
    size_t bytes;
  };
  std::vector<Row> rows(std::string_view prefix, uint64_t now_ms) const;
  struct Page {
    std::vector<Row> rows;
    bool more = false;
  };
  Result<Page> page(const types::StateReader& state, std::string_view prefix, const Row* after,
                    size_t limit, bool reverse, uint64_t now_ms) const;
  std::string compare_rows(const types::StateReader& state, std::string_view prefix,
                           const Row* after, size_t limit, bool reverse, uint64_t now_ms,
                           bool to_the_end) const;
  std::string compare_siblings(const types::StateReader& state, const types::NodeSource& source,
                               const std::string& key) const;
  std::string compare_kv(const types::StateReader& state, const std::string& key) const;
  std::string compare_count(const types::StateReader& state, const std::string& key) const;
  std::string compare_entry(const types::StateReader& state, const Place& id) const;

  std::string type_;
  std::map<Place, Written> all_;
  std::map<std::string, std::map<Place, const Written*>> by_key_;  ///< kv and count
  std::map<Place, std::set<Place>> hidden_by_;                     ///< log
};

}  // namespace ptwop::sim
