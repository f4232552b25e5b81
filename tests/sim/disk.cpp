#include "disk.h"

#include "engine/records.h"

namespace ptwop::sim {

using engine::Change;

namespace {

Error gone() { return fail(Code::internal, "the process is dead"); }

}  // namespace

bool Disk::fails(unsigned percent) const {
  if (!percent || !random_.percent(percent)) return false;
  faulted_ = 2;
  return true;
}

Result<std::optional<Bytes>> Disk::get(engine::Table table, BytesView key, engine::ReadMode) const {
  if (dead_) return gone();
  if (fails(read_error_percent)) return fail(Code::internal, "a simulated read error");
  const Bytes* value = find(table, key);
  return value ? std::optional<Bytes>(*value) : std::optional<Bytes>();
}

Result<void> Disk::scan(engine::Table table, BytesView from, BytesView until, bool reverse,
                        const Visit& visit) const {
  if (dead_) return gone();
  if (fails(read_error_percent)) return fail(Code::internal, "a simulated read error");
  const Table& map = this->table(table);
  if (!until.empty() && until <= from) return {};
  auto first = map.lower_bound(from);
  auto last = until.empty() ? map.end() : map.lower_bound(until);
  if (!reverse) {
    while (first != last && visit(first->first, first->second)) ++first;
  } else {
    while (first != last && visit(std::prev(last)->first, std::prev(last)->second)) --last;
  }
  return {};
}

Disk::When Disk::crash_now() {
  if (crash_in_ == 0 || --crash_in_ > 0) return When::never;
  dead_ = true;
  return static_cast<When>(random_.below(3));
}

Result<void> Disk::commit(const engine::Changes& changes, bool sync) {
  if (dead_) return gone();
  const When crash = crash_now();
  if (crash == When::before) return gone();
  if (crash == When::never) {
    if (full || fails(write_error_percent)) {
      faulted_ = 2;
      return full ? fail(Code::disk_full, "the simulated disk is full")
                  : fail(Code::internal, "a simulated write error");
    }
  }
  apply(changes);
  if (sync && crash != When::during) unsynced_.clear();
  if (crash != When::never) return gone();
  if (committed) committed(changes);
  return {};
}

Result<void> Disk::sync() {
  if (dead_) return gone();
  const When crash = crash_now();
  if (crash == When::before || crash == When::during) return gone();
  if (crash == When::never && (full || fails(write_error_percent))) {
    faulted_ = 2;
    return fail(full ? Code::disk_full : Code::internal, "a simulated sync error");
  }
  unsynced_.clear();
  if (crash == When::after) return gone();
  return {};
}

void Disk::set(Undos& undos, size_t table, const Bytes& key, std::optional<Bytes> value) {
  Table& map = tables_[table];
  const auto it = map.find(key);
  undos.push_back({table, key, it == map.end() ? std::nullopt : std::optional<Bytes>(it->second)});
  if (value)
    map.insert_or_assign(key, std::move(*value));
  else if (it != map.end())
    map.erase(it);
}

void Disk::apply(const engine::Changes& changes) {
  Undos undos;
  for (const Change& change : changes) {
    const auto table = static_cast<size_t>(change.table);
    switch (change.kind) {
      case Change::Kind::put:
        set(undos, table, change.key, change.value);
        break;
      case Change::Kind::erase:
        set(undos, table, change.key, std::nullopt);
        break;
      case Change::Kind::erase_prefix: {
        std::vector<Bytes> keys;
        for (auto it = tables_[table].lower_bound(change.key);
             it != tables_[table].end() && it->first.starts_with(change.key); ++it)
          keys.push_back(it->first);
        for (const Bytes& key : keys) set(undos, table, key, std::nullopt);
        break;
      }
    }
  }
  unsynced_.push_back(std::move(undos));
}

void Disk::restart(bool keep_all) {
  const size_t kept = keep_all ? unsynced_.size() : random_.below(unsynced_.size() + 1);
  while (unsynced_.size() > kept) {
    Undos& undos = unsynced_.back();
    for (auto undo = undos.rbegin(); undo != undos.rend(); ++undo) {
      if (undo->before)
        tables_[undo->table].insert_or_assign(undo->key, std::move(*undo->before));
      else
        tables_[undo->table].erase(undo->key);
    }
    unsynced_.pop_back();
  }
  if (!keep_all) unsynced_.clear();  // what the log still had was read back and rewritten
  crash_in_ = 0;
  dead_ = false;
}

Disk::Image Disk::copy() const { return tables_; }

void Disk::replace(const Image& image) {
  tables_ = image;
  unsynced_.clear();
}

const Bytes* Disk::find(engine::Table table, BytesView key) const {
  const Table& map = this->table(table);
  const auto it = map.find(key);
  return it == map.end() ? nullptr : &it->second;
}

const Bytes* Disk::durable(engine::Table table, BytesView key) const {
  for (const Undos& undos : unsynced_)  // the oldest knows what was there at the last sync
    for (const Undo& undo : undos)
      if (undo.table == static_cast<size_t>(table) && undo.key == key)
        return undo.before ? &*undo.before : nullptr;
  return find(table, key);
}

}  // namespace ptwop::sim
