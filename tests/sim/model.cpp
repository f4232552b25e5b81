#include "model.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/limits.h"
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

bool Model::apply(const list::Node& node, uint32_t index, const Operation& operation) {
  const Place place{node.time, node.id, node.number, index};
  const auto [it, fresh] = all_.try_emplace(place, Written{operation, &node});
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
      here.expires_ms != op.expires_ms || here.writer != last->node->list.writer)
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
  if (visible && (entry->value != known->second.operation.value ||
                  entry->writer != known->second.node->list.writer))
    return fmt::format("entry {} holds something else than was written", shown(id));
  return {};
}

std::string Model::compare(const types::StateReader& state, const Operation& operation,
                           const Place& place) const {
  if (type_ == "kv") return compare_kv(state, operation.key);
  if (type_ == "count") return compare_count(state, operation.key);
  return compare_entry(state, operation.kind == Operation::Kind::hide ? operation.target : place);
}

// --- listings ------------------------------------------------------------------------------------

std::vector<Model::Row> Model::rows(std::string_view prefix, uint64_t now_ms) const {
  std::vector<Row> out;
  if (type_ == "log")
    for (const auto& [place, written] : all_)
      if (written.operation.kind == Operation::Kind::add && !hidden_by_.contains(place))
        out.push_back({{}, place, written.operation.value, written.operation.value.size()});
  for (const auto& [key, places] : by_key_) {
    if (!key.starts_with(prefix)) continue;
    const auto& [place, last] = *places.rbegin();
    const Operation& op = last->operation;
    if (type_ == "kv" && op.kind == Operation::Kind::put &&
        (op.expires_ms == 0 || now_ms < op.expires_ms))
      out.push_back({key, place, op.value, op.value.size()});
    int64_t sum = 0;
    for (const auto& [at, written] : places) sum += written->operation.by;
    if (type_ == "count") out.push_back({key, {}, std::to_string(sum), 0});
  }
  return out;
}

Result<Model::Page> Model::page(const types::StateReader& state, std::string_view prefix,
                                const Row* after, size_t limit, bool reverse,
                                uint64_t now_ms) const {
  const auto place = [](const types::OpId& id) {
    return Place{id.time, id.list, id.number, id.index};
  };
  const auto key = after ? std::optional(after->key) : std::nullopt;
  Page out;
  if (type_ == "kv") {
    PTWOP_TRY(const auto found, types::kv_list(state, prefix, key, limit, reverse, now_ms));
    for (const auto& [k, e] : found.entries) out.rows.push_back({k, place(e.id), e.value, 0});
    out.more = found.more;
  } else if (type_ == "count") {
    PTWOP_TRY(const auto found, types::count_list(state, prefix, key, limit));
    for (const auto& [k, c] : found.entries)
      out.rows.push_back({k, {}, std::to_string(c.value), 0});
    out.more = found.more;
  } else {
    const auto id = after ? std::optional(op_id(after->place)) : std::nullopt;
    PTWOP_TRY(const auto found, types::log_list(state, id, limit, reverse));
    for (const auto& e : found.entries) out.rows.push_back({{}, place(e.id), e.value, 0});
    out.more = found.more;
  }
  return out;
}

// One page after `after`, or page by page to the end.
std::string Model::compare_rows(const types::StateReader& state, std::string_view prefix,
                                const Row* after, size_t limit, bool reverse, uint64_t now_ms,
                                bool to_the_end) const {
  std::vector<Row> expected = rows(prefix, now_ms);
  if (reverse) std::reverse(expected.begin(), expected.end());
  if (after)
    std::erase_if(expected, [&](const Row& row) {
      const auto order = type_ == "log" ? row.place <=> after->place : row.key <=> after->key;
      return reverse ? order >= 0 : order <= 0;
    });
  std::optional<Row> last;
  if (after) last = *after;
  for (size_t at = 0;;) {
    const auto got = page(state, prefix, last ? &*last : nullptr, limit, reverse, now_ms);
    if (!got) return "a listing cannot be read: " + got.error().message;
    size_t bytes = 0;
    for (const Row& row : got->rows) {
      if (at == expected.size() || row.key != expected[at].key || row.place != expected[at].place ||
          row.what != expected[at].what)
        return fmt::format("a listing {} shows '{}' {} as its row {} of {}",
                           reverse ? "backwards" : "forwards", row.key, shown(row.place), at,
                           expected.size());
      bytes += expected[at++].bytes;
    }
    const bool full = got->rows.size() == limit ||
                      (at < expected.size() && !got->rows.empty() &&
                       bytes + expected[at].bytes + 64 * limit > limits::kPageBytesMax);
    if (got->rows.size() > limit || (!full && at < expected.size()))
      return fmt::format("a page of {} has {} rows, {} were left", limit, got->rows.size(),
                         expected.size() - at + got->rows.size());
    if (got->more != (at < expected.size()))
      return fmt::format("a page says that {} follows, and {} rows do",
                         got->more ? "more" : "nothing", expected.size() - at);
    if (!got->more || !to_the_end) return {};
    last = expected[at - 1];
  }
}

std::string Model::compare_page(const types::StateReader& state, uint64_t now_ms,
                                Random& random) const {
  const size_t limit = random.percent(80) ? random.between(1, 6) : 1'000;
  const bool reverse = type_ != "count" && random.percent(50);
  std::string_view prefix;
  if (type_ != "log" && random.percent(50)) prefix = random.percent(50) ? "k" : "key 1";
  std::optional<Row> after;  // whatever was ever written, shown or not
  if (!all_.empty() && random.percent(70)) {
    const auto& [place, written] =
        *std::next(all_.begin(), static_cast<ptrdiff_t>(random.below(all_.size())));
    if (written.operation.key.starts_with(prefix)) after = Row{written.operation.key, place, {}, 0};
  }
  return compare_rows(state, prefix, after ? &*after : nullptr, limit, reverse, now_ms, false);
}

// The last operation of each list, unless another of these was written by one who had seen it.
std::string Model::compare_siblings(const types::StateReader& state,
                                    const types::NodeSource& source, const std::string& key) const {
  std::map<list::ListId, std::pair<Place, const Written*>> last;
  for (const auto& [place, written] : by_key_.at(key)) last[place.list] = {place, written};
  const auto seen = [&](const Place& place) {
    return std::any_of(last.begin(), last.end(), [&](const auto& item) {
      const auto& positions = item.second.second->node->seen;
      return std::any_of(positions.begin(), positions.end(), [&](const list::At& at) {
        return at.list == place.list && at.position.number >= place.number;
      });
    });
  };
  std::map<Place, const Written*, std::greater<>> expected;
  const Place winner = by_key_.at(key).rbegin()->first;
  for (const auto& [list, item] : last)
    if (item.first == winner || !seen(item.first)) expected.insert(item);
  const auto got = types::kv_siblings(state, source, key);
  if (!got) return fmt::format("the siblings of '{}' cannot be read: {}", key, got.error().message);
  if (got->size() != expected.size())
    return fmt::format("key '{}' has {} concurrent values, it has to have {}", key, got->size(),
                       expected.size());
  auto entry = got->begin();
  for (const auto& [place, written] : expected) {
    const Operation& op = written->operation;
    if (entry->id != op_id(place) || entry->value != op.value ||
        entry->deleted != (op.kind == Operation::Kind::del) || entry->expires_ms != op.expires_ms ||
        entry->writer != written->node->list.writer)
      return fmt::format("among the concurrent values of '{}' is not what {} wrote", key,
                         shown(place));
    ++entry;
  }
  return {};
}

std::string Model::compare_siblings(const types::StateReader& state,
                                    const types::NodeSource& source, Random* random) const {
  if (type_ != "kv" || by_key_.empty()) return {};
  if (random)
    return compare_siblings(
        state, source,
        std::next(by_key_.begin(), static_cast<ptrdiff_t>(random->below(by_key_.size())))->first);
  for (const auto& [key, places] : by_key_)
    if (std::string wrong = compare_siblings(state, source, key); !wrong.empty()) return wrong;
  return {};
}

std::string Model::compare_all(const types::StateReader& state, uint64_t now_ms) const {
  size_t here = 0, expected = 0;
  const auto counted = state.scan(types::Space::state, "", "", false, [&](BytesView, BytesView) {
    ++here;
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
  if (here != expected)
    return fmt::format("the state has {} rows, {} are expected", here, expected);
  for (const bool reverse : {false, true})
    if (std::string wrong = compare_rows(state, {}, nullptr, 1 + all_.size() % 50,
                                         reverse && type_ != "count", now_ms, true);
        !wrong.empty())
      return wrong;
  return {};
}

}  // namespace ptwop::sim
