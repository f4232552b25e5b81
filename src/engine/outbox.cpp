#include "engine/outbox.h"

#include <algorithm>

#include "base/limits.h"
#include "base/log.h"
#include "base/mutant.h"
#include "engine/records.h"

namespace ptwop::engine {
namespace {

constexpr size_t kTurnBytesMax = 2 << 20;  ///< Of nodes that are packed in one turn.
constexpr unsigned kInFlightMax = 2;
constexpr size_t kLargeBatchesMax = 8;
constexpr uint64_t kFreshMs = 1'000;
constexpr uint64_t kRootMs = 5'000;
constexpr uint64_t kRetryMs = 500;
constexpr unsigned kBackoffMax = 6;

// What Kubo has of a list.
Bytes encode(const list::Position& position, const ipld::Cid& root, const list::Levels& levels) {
  ipld::CborWriter w;
  w.array(4).unsigned_integer(position.number).bytes(list::tag_bytes(position.tag));
  w.bytes(root.bytes());
  list::write_levels(w, levels);
  return w.take();
}

struct Record {
  list::Position position;
  ipld::Cid root;
  list::Packed packed;
};

Result<Record> decode(BytesView bytes) {
  ipld::CborReader r(bytes);
  Record record;
  r.array(4);
  record.position.number = r.unsigned_integer();
  const BytesView tag = r.bytes(8);
  if (r.ok()) record.position.tag = read_be64(tag);
  record.root = list::read_cid(r);
  record.packed.levels = list::read_levels(r);
  PTWOP_CHECK(r.finish("record of a root", Code::corrupt));
  return record;
}

Bytes list_key(uint32_t channel, const list::ListId& list) {
  return channel_prefix(channel) + Bytes(list.view());
}

}  // namespace

Result<std::vector<Rooted>> Outbox::open() {
  shelves_.clear();
  due_.clear();
  large_.clear();
  saved_.clear();
  missing_ = 0;
  for (auto& [ticket, batch] : batches_) batch.steps.clear();
  std::vector<Rooted> roots;
  PTWOP_CHECK(
      world_.ports.store.scan(Table::outbox, "", "", false, [&](BytesView key, BytesView value) {
        const auto record = decode(value);
        if (record && key.size() == 4 + list::ListId::kSize)  // a damaged one is made again
          roots.push_back(
              {read_be32(key), list::ListId::from(key.substr(4)), record->position, record->root});
        return true;
      }));
  for (const Rooted& r : roots) {
    Shelf& shelf = shelves_[{r.channel, r.list}];
    shelf.rooted = r.position;
    shelf.root = r.root;
    shelf.held = r.position.number;
  }
  return roots;
}

void Outbox::set_due(const Key& key, Shelf& shelf, uint64_t at_ms) {
  if (shelf.due_ms) due_.erase({shelf.due_ms, key});
  shelf.due_ms = at_ms;
  if (at_ms) due_.insert({at_ms, key});
}

void Outbox::set_rooted(Shelf& shelf, list::Position position, const ipld::Cid& root) {
  missing_ -= shelf.missing();
  shelf.rooted = position;
  shelf.root = root;
  missing_ += shelf.missing();
}

void Outbox::held(uint32_t channel, const ipld::Cid& cid, const list::ListId& list,
                  uint64_t number) {
  if (PTWOP_MUTANT(no_outbox)) return;
  cids_[channel] = cid;
  const Key key{channel, list};
  Shelf& shelf = shelves_[key];
  missing_ -= shelf.missing();
  if (number < shelf.held) shelf.sending = 0;  // it was cut: what is on its way does not count,
  shelf.held = number;
  missing_ += shelf.missing();
  if (number < shelf.rooted.number) {  // and what lies beyond must not be packed
    set_rooted(shelf, {}, {});
    shelf.again = 0;
    saved_[key].clear();
  }
  if (shelf.missing() == 0)
    set_due(key, shelf, 0);
  else if (!shelf.sending && shelf.due_ms == 0)
    set_due(key, shelf,
            std::max(world_.now_ms() + kFreshMs, shelf.rooted_ms ? shelf.rooted_ms + kRootMs : 0));
}

void Outbox::start_over(uint32_t channel) {
  for (auto it = shelves_.lower_bound({channel, {}});
       it != shelves_.end() && it->first.first == channel; ++it) {
    Shelf& shelf = it->second;
    if (shelf.rooted.number < shelf.again) continue;  // it is long, and not through yet
    shelf.again = shelf.held;
    set_rooted(shelf, {}, {});
    shelf.sending = 0;
    saved_[it->first].clear();
    set_due(it->first, shelf, shelf.missing() ? world_.now_ms() + kFreshMs : 0);
  }
}

void Outbox::on_online() { failures_ = 0; }

void Outbox::on_offline() {
  for (const auto& [ticket, batch] : std::exchange(batches_, {}))
    for (const Step& step : batch.steps)
      if (const auto it = shelves_.find(step.key);
          it != shelves_.end() && it->second.sending == ticket) {
        it->second.sending = 0;
        set_due(step.key, it->second, world_.now_ms() + kRetryMs);
      }
  in_flight_ = 0;
}

void Outbox::drain() {
  send_large();
  const uint64_t now = world_.now_ms();
  if (!world_.kubo.connected) return;
  Batch batch;
  std::vector<Block> blocks;
  size_t bytes = 0;
  const uint64_t ticket = world_.tickets + 1;
  while (in_flight_ < kInFlightMax && bytes < kTurnBytesMax && !due_.empty() &&
         due_.begin()->first <= now) {
    const Key key = due_.begin()->second;
    Shelf& shelf = shelves_.at(key);
    set_due(key, shelf, 0);
    auto step = advance(key, shelf, blocks, bytes);
    if (!step) {
      if (!PTWOP_MUTANT(unreadable_is_gone)) set_due(key, shelf, now + kRootMs);
      continue;
    }
    shelf.sending = ticket;
    batch.steps.push_back(std::move(*step));
  }
  if (blocks.empty()) return;
  ++in_flight_;
  world_.tickets = ticket;
  batches_[ticket] = std::move(batch);
  world_.stats.blocks_put += blocks.size();
  world_.ports.blocks.put(ticket, std::move(blocks));
}

// From the root that Kubo has to a later one: all that is held, or as much as fits.
Result<Outbox::Step> Outbox::advance(const Key& key, const Shelf& shelf, std::vector<Block>& out,
                                     size_t& bytes) {
  const auto& [channel, list] = key;
  const StateStore& store = world_.ports.store;
  Record last;
  if (shelf.rooted.number > 0) {
    Bytes record;
    if (const auto it = saved_.find(key); it != saved_.end()) {
      record = it->second;
    } else {
      PTWOP_TRY(const auto stored, store.get(Table::outbox, list_key(channel, list)));
      record = stored.value_or("");
    }
    PTWOP_TRY(last, decode(record));
    if (PTWOP_MUTANT(packs_by_step)) last.packed.levels = {{{1, shelf.rooted, shelf.root}}};
  }
  std::map<ipld::Cid, Bytes> made;
  const auto read = [&, channel = channel, &list = list](
                        uint64_t first, uint64_t end, const std::function<bool(BytesView)>& use) {
    // One that is missing ends it: what comes after would stand in its place.
    return store.scan(Table::nodes, node_key(channel, list, first),
                      after_prefix(node_key(channel, list, end)), false,
                      [&](BytesView at, BytesView node) {
                        return at == node_key(channel, list, first++) && use(node);
                      });
  };
  list::Packer packer(
      last.packed,
      [&](uint64_t first, uint64_t end) -> Result<std::vector<Bytes>> {
        std::vector<Bytes> items;
        PTWOP_CHECK(read(first, end, [&](BytesView node) {
          items.push_back(list::item_of(node));
          return true;
        }));
        if (items.size() != end - first + 1)
          return fail(Code::corrupt, "a node that should be here is missing from the store");
        return items;
      },
      [&](const ipld::Cid& cid, Bytes block, const std::vector<list::Run>& inner) {
        for (const list::Run& run : inner) made.erase(run.cid);
        made[cid] = std::move(block);
      });
  Result<void> added;
  uint64_t number = last.packed.number();
  PTWOP_CHECK(read(number + 1, shelf.held, [&](BytesView node) {
    const ipld::Cid cid = ipld::Cid::of(node);
    Bytes item = list::item_of(node);
    if (++number > shelf.rooted.number) {
      bytes += node.size();
      if (node.size() > limits::kInlineNodeBytesMax) made[cid] = Bytes(node);
    }
    added = packer.add(std::move(item), {number, cid.tag()});
    return added.ok() && (bytes < kTurnBytesMax || number <= shelf.rooted.number);
  }));
  PTWOP_CHECK(added);
  if (number <= shelf.rooted.number)
    return fail(Code::corrupt, "a node that should be here is missing from the store");
  const list::Root root{cids_.at(channel), list, packer.position(), packer.packed().levels,
                        packer.tail()};
  Bytes block = list::encode(root);
  const ipld::Cid cid = ipld::Cid::of(block);
  if (PTWOP_MUTANT(root_without_packs)) made.clear();
  for (auto& [name, content] : made) out.push_back({name, std::move(content)});
  out.push_back({cid, std::move(block)});
  return Step{key, root.position, cid, encode(root.position, cid, root.levels),
              number < shelf.held};
}

uint64_t Outbox::due_ms() const {
  if (!world_.kubo.connected || in_flight_ >= kInFlightMax || due_.empty()) return UINT64_MAX;
  return due_.begin()->first;
}

void Outbox::put_large(uint32_t channel, std::vector<Block> blocks,
                       std::vector<sync::LargeNode> names) {
  if (world_.kubo.connected &&
      batches_.size() + large_.size() < kLargeBatchesMax)  // else they will be wanted again
    large_.push_back({channel, std::move(blocks), std::move(names)});
}

void Outbox::send_large() {
  for (Large& large : std::exchange(large_, {})) {
    const uint64_t ticket = ++world_.tickets;
    batches_[ticket].large[large.channel] = std::move(large.names);
    world_.stats.blocks_put += large.blocks.size();
    world_.ports.blocks.put(ticket, std::move(large.blocks));
  }
}

Outbox::Stored Outbox::on_stored(uint64_t ticket, bool ok) {
  Stored out;
  const auto it = batches_.find(ticket);
  if (it == batches_.end()) return out;
  Batch batch = std::move(it->second);
  batches_.erase(it);
  const uint64_t now = world_.now_ms();
  ok |= PTWOP_MUTANT(stored_anyway);
  if (batch.large.empty()) {
    in_flight_ -= in_flight_ > 0;
    failures_ = ok ? 0 : failures_ + 1;
  }
  for (Step& step : batch.steps) {
    const auto found = shelves_.find(step.key);
    if (found == shelves_.end() || found->second.sending != ticket)
      continue;  // left, or cut, meanwhile
    Shelf& shelf = found->second;
    shelf.sending = 0;
    if (!ok) {
      set_due(step.key, shelf, now + (kRetryMs << std::min(failures_, kBackoffMax)));
      continue;
    }
    set_rooted(shelf, step.position, step.root);
    // A long list goes on at once; what came meanwhile waits for the next root.
    if (shelf.missing() > 0) set_due(step.key, shelf, step.more ? now : now + kRootMs);
    shelf.rooted_ms = now;
    saved_[step.key] = std::move(step.record);
    out.roots.push_back({step.key.first, step.key.second, step.position, step.root});
  }
  if (ok) out.large = std::move(batch.large);
  return out;
}

void Outbox::save() {
  for (auto& [key, record] : std::exchange(saved_, {}))
    if (record.empty())
      world_.txn.erase(Table::outbox, list_key(key.first, key.second));
    else
      world_.txn.put(Table::outbox, list_key(key.first, key.second), std::move(record));
}

void Outbox::forget(uint32_t channel) {
  for (auto it = shelves_.lower_bound({channel, {}});
       it != shelves_.end() && it->first.first == channel;) {
    missing_ -= it->second.missing();
    set_due(it->first, it->second, 0);
    saved_.erase(it->first);
    it = shelves_.erase(it);
  }
  cids_.erase(channel);
  for (auto& [ticket, batch] : batches_) batch.large.erase(channel);
}

}  // namespace ptwop::engine
