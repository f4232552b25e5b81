#include "model.h"

#include <fmt/format.h>

#include "ipld/dag_cbor.h"
#include "types/count.h"
#include "types/kv.h"
#include "types/log.h"

namespace ptwop::sim {
namespace {

bool key_ok(std::string_view key) { return !key.empty() && key.size() <= 1024; }

types::OpId op_id(const Place& place) {
  return {place.time, place.list, place.number, place.index};
}

std::string shown(const Place& place) {
  return fmt::format("({}.{}, {}, {}, {})", place.time >> 16, place.time & 0xffff,
                     hex(place.list.view()).substr(0, 8), place.number, place.index);
}

}  // namespace

std::optional<Operation> read_operation(std::string_view type, BytesView encoded) {
  ipld::CborReader in(encoded);
  Operation op;
  op.encoded = Bytes(encoded);
  const size_t items = in.array();
  const std::string word(in.text());
  if (type == "kv" && word == "put" && (items == 3 || items == 4)) {
    op.kind = Operation::Kind::put;
    op.key = std::string(in.text());
    op.value = Bytes(in.item());
    if (items == 4 && (op.expires_ms = in.unsigned_integer()) == 0) return std::nullopt;
    if (op.value.size() > 900 * 1024) return std::nullopt;
  } else if (type == "kv" && word == "del" && items == 2) {
    op.kind = Operation::Kind::del;
    op.key = std::string(in.text());
  } else if (type == "count" && word == "inc" && items == 3) {
    op.kind = Operation::Kind::inc;
    op.key = std::string(in.text());
    op.by = in.integer();
  } else if (type == "log" && word == "add" && items == 2) {
    op.kind = Operation::Kind::add;
    op.value = Bytes(in.item());
    if (op.value.size() > 900 * 1024) return std::nullopt;
  } else if (type == "log" && word == "del" && items == 2) {
    op.kind = Operation::Kind::hide;
    const BytesView id = in.bytes(36);
    if (in.ok())
      op.target = {read_be64(id), list::ListId::from(id.substr(8)), read_be64(id.substr(24)),
                   read_be32(id.substr(32))};
  } else {
    return std::nullopt;
  }
  if (type != "log" && !key_ok(op.key)) return std::nullopt;
  return in.finish("operation").ok() ? std::optional(std::move(op)) : std::nullopt;
}

bool Model::apply(const Place& place, const list::PublicKey& writer, const Operation& operation) {
  const auto [it, fresh] = all_.try_emplace(place, Written{operation, writer});
  if (!fresh) return false;
  if (type_ != "log")
    by_key_[operation.key][place] = &it->second;
  else if (operation.kind == Operation::Kind::hide)
    hidden_by_[operation.target].insert(place);
  return true;
}

bool Model::undo(const Place& place, const Operation& operation) {
  if (all_.erase(place) == 0) return false;
  if (type_ != "log") {
    const auto key = by_key_.find(operation.key);
    key->second.erase(place);
    if (key->second.empty()) by_key_.erase(key);
  } else if (operation.kind == Operation::Kind::hide) {
    const auto hidden = hidden_by_.find(operation.target);
    hidden->second.erase(place);
    if (hidden->second.empty()) hidden_by_.erase(hidden);
  }
  return true;
}

std::string Model::compare_kv(const types::StateReader& state, const std::string& key) const {
  const auto entry = types::kv_get(state, key);
  if (!entry) return fmt::format("key '{}' cannot be read: {}", key, entry.error().message);
  const auto known = by_key_.find(key);
  if (known == by_key_.end())
    return *entry ? fmt::format("key '{}' is there, and no operation on it is applied", key) : "";
  const auto& [place, last] = *known->second.rbegin();
  const Operation& op = last->operation;
  if (!*entry) return fmt::format("key '{}' is not there; {} wrote it", key, shown(place));
  const types::KvEntry& here = **entry;
  if (here.id != op_id(place))
    return fmt::format("key '{}' was won by {}, it has to be {}", key,
                       shown({here.id.time, here.id.list, here.id.number, here.id.index}),
                       shown(place));
  if (here.value != op.value || here.deleted != (op.kind == Operation::Kind::del) ||
      here.expires_ms != op.expires_ms || here.writer != last->writer)
    return fmt::format("key '{}' holds something other than what {} wrote", key, shown(place));
  return {};
}

std::string Model::compare_count(const types::StateReader& state, const std::string& key) const {
  const auto sum = types::count_get(state, key);
  if (!sum) return fmt::format("key '{}' cannot be read: {}", key, sum.error().message);
  int64_t expected = 0;  // the simulator's numbers are small
  if (const auto known = by_key_.find(key); known != by_key_.end())
    for (const auto& [place, written] : known->second) expected += written->operation.by;
  if (sum->value != expected)
    return fmt::format("the sum at '{}' is {}, it has to be {}", key, sum->value, expected);
  return {};
}

std::string Model::compare_entry(const types::StateReader& state, const Place& id) const {
  const auto entry = types::log_get(state, op_id(id));
  const auto known = all_.find(id);
  const bool added = known != all_.end() && known->second.operation.kind == Operation::Kind::add;
  const bool visible = added && !hidden_by_.contains(id);
  if (!entry && entry.error().code != Code::not_found)
    return fmt::format("entry {} cannot be read: {}", shown(id), entry.error().message);
  if (entry.ok() != visible)
    return fmt::format("entry {} is {}", shown(id), visible ? "not shown" : "shown");
  if (visible &&
      (entry->value != known->second.operation.value || entry->writer != known->second.writer))
    return fmt::format("entry {} holds something else than was written", shown(id));
  return {};
}

std::string Model::compare(const types::StateReader& state, const Operation& operation,
                           const Place& place) const {
  if (type_ == "kv") return compare_kv(state, operation.key);
  if (type_ == "count") return compare_count(state, operation.key);
  return compare_entry(state, operation.kind == Operation::Kind::hide ? operation.target : place);
}

std::string Model::compare_all(const types::StateReader& state) const {
  size_t rows = 0, expected = 0;
  const auto counted = state.scan(types::Space::state, "", "", false, [&](BytesView, BytesView) {
    ++rows;
    return true;
  });
  if (!counted) return counted.error().message;
  for (const auto& [key, places] : by_key_) {
    ++expected;
    if (std::string wrong = type_ == "kv" ? compare_kv(state, key) : compare_count(state, key);
        !wrong.empty())
      return wrong;
  }
  if (type_ == "log")
    for (const auto& [place, written] : all_) {
      const bool add = written.operation.kind == Operation::Kind::add;
      expected += add && !hidden_by_.contains(place);
      if (std::string wrong = compare_entry(state, add ? place : written.operation.target);
          !wrong.empty())
        return wrong;
    }
  if (rows != expected)
    return fmt::format("the state has {} rows, {} are expected", rows, expected);
  return {};
}

}  // namespace ptwop::sim
