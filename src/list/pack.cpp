#include "list/pack.h"

#include <cassert>

#include "base/limits.h"

namespace ptwop::list {
namespace {

using ipld::CborKind;
using ipld::CborReader;
using ipld::CborWriter;

constexpr size_t kPackItemsMax = 1 << 16;

void write_run(CborWriter& w, const Run& run) {
  w.array(4).unsigned_integer(run.first).unsigned_integer(run.last.number);
  w.bytes(tag_bytes(run.last.tag)).link(run.cid);
}

Run read_run(CborReader& r) {
  Run run;
  r.array(4);
  run.first = r.unsigned_integer();
  run.last.number = r.unsigned_integer();
  const BytesView tag = r.bytes(8);
  if (r.ok()) run.last.tag = read_be64(tag);
  run.cid = r.cid();
  if (run.first < 1 || run.last.number < run.first || run.last.number > limits::kNumberMax)
    r.fail();
  return run;
}

std::vector<Run> read_runs(CborReader& r, size_t max) {
  const size_t count = r.array();
  if (count > max) r.fail();
  std::vector<Run> runs;
  for (size_t i = 0; i < count && r.ok(); ++i) {
    runs.push_back(read_run(r));
    if (i > 0 && runs[i].first != runs[i - 1].last.number + 1) r.fail();
  }
  return runs;
}

void write_runs(CborWriter& w, const std::vector<Run>& runs) {
  w.array(runs.size());
  for (const Run& run : runs) write_run(w, run);
}

void write_items(CborWriter& w, const std::vector<Bytes>& items) {
  w.array(items.size());
  for (const Bytes& item : items) w.raw(item);
}

std::vector<Bytes> read_items(CborReader& r) {
  const size_t count = r.array();
  if (count > kPackItemsMax) r.fail();
  std::vector<Bytes> items;
  for (size_t i = 0; i < count && r.ok(); ++i) {
    if (r.peek() == CborKind::link) {
      CborWriter link;
      link.link(r.cid());
      items.push_back(link.take());
    } else if (r.peek() == CborKind::map) {
      items.emplace_back(r.item());
    } else {
      r.fail();
    }
  }
  return items;
}

size_t level_max(size_t level) { return level == 0 ? kSmallMax : kIndexMax; }

}  // namespace

uint64_t Packed::number() const {
  for (const auto& runs : levels)
    if (!runs.empty()) return runs.back().last.number;
  return 0;
}

Bytes item_of(BytesView node) {
  if (node.size() <= limits::kInlineNodeBytesMax) return Bytes(node);
  CborWriter w;
  w.link(ipld::Cid::of(node));
  return w.take();
}

ipld::Cid linked(BytesView item) {
  CborReader r(item);
  return r.peek() == CborKind::link ? r.cid() : ipld::Cid{};
}

void write_levels(CborWriter& w, const Levels& levels) {
  w.array(levels.size());
  for (const auto& runs : levels) write_runs(w, runs);
}

Levels read_levels(CborReader& r) {
  Levels levels;
  const size_t count = r.array();
  if (count > kLevelsMax) r.fail();
  for (size_t level = 0; level < count && r.ok(); ++level)
    levels.push_back(read_runs(r, level_max(level) - 1));
  return levels;
}

Bytes encode_pack(const std::vector<Bytes>& items) {
  CborWriter w;
  write_items(w, items);
  return w.take();
}

Result<std::vector<Bytes>> decode_pack(BytesView block) {
  if (block.size() > kPackBytesMax) return fail(Code::too_large, "a pack over the limit");
  CborReader r(block);
  auto items = read_items(r);
  PTWOP_CHECK(r.finish("pack"));
  return items;
}

Bytes encode_index(const std::vector<Run>& runs) {
  CborWriter w;
  w.map(3).key("kind").text("index").key("runs");
  write_runs(w, runs);
  w.key("version").unsigned_integer(1);
  return w.take();
}

Result<std::vector<Run>> decode_index(BytesView block) {
  CborReader r(block);
  r.map(3);
  r.expect_key("kind");
  if (r.text() != "index") r.fail();
  r.expect_key("runs");
  auto runs = read_runs(r, kIndexMax);
  if (runs.empty()) r.fail();
  r.expect_key("version");
  if (r.unsigned_integer() != 1) r.fail();
  PTWOP_CHECK(r.finish("index"));
  return runs;
}

Bytes encode(const Root& root) {
  CborWriter w;
  w.map(7).key("kind").text("root").key("list").bytes(root.list.view()).key("tail");
  write_items(w, root.tail);
  w.key("index");
  write_levels(w, root.levels);
  w.key("channel").bytes(root.channel.bytes()).key("version").unsigned_integer(1);
  w.key("position").array(2).unsigned_integer(root.position.number);
  w.bytes(tag_bytes(root.position.tag));
  return w.take();
}

Result<Root> decode_root(BytesView block) {
  if (block.size() > kRootBytesMax) return fail(Code::too_large, "a root over the limit");
  CborReader r(block);
  Root root;
  r.map(7);
  r.expect_key("kind");
  if (r.text() != "root") r.fail();
  r.expect_key("list");
  root.list = read_octets<ListId>(r);
  r.expect_key("tail");
  root.tail = read_items(r);
  r.expect_key("index");
  root.levels = read_levels(r);
  r.expect_key("channel");
  root.channel = read_cid(r);
  r.expect_key("version");
  if (r.unsigned_integer() != 1) r.fail();
  r.expect_key("position");
  r.array(2);
  root.position.number = r.unsigned_integer();
  const BytesView tag = r.bytes(8);
  if (r.ok()) root.position.tag = read_be64(tag);
  PTWOP_CHECK(r.finish("root"));
  uint64_t number = 0;
  for (size_t level = root.levels.size(); level-- > 0;)
    for (const Run& run : root.levels[level]) {
      if (run.first != number + 1) return fail(Code::invalid_params, "a root with a gap");
      number = run.last.number;
    }
  if (root.position.number > limits::kNumberMax || root.tail.empty() ||
      root.position.number != number + root.tail.size())
    return fail(Code::invalid_params, "a root whose tail does not lead to its position");
  return root;
}

Result<void> Packer::add(Bytes item, Position position) {
  assert(position.number == packed_.number() + tail_.size() + 1);
  if (!tail_.empty() && tail_bytes_ + item.size() > kSmallPackBytes) PTWOP_CHECK(close_small());
  tail_bytes_ += item.size();
  tail_.push_back(std::move(item));
  position_ = position;
  return {};
}

Result<void> Packer::close_small() {
  Bytes block = encode_pack(tail_);
  const Run run{packed_.number() + 1, position_, ipld::Cid::of(block)};
  tail_.clear();
  tail_bytes_ = 0;
  closed_(run.cid, std::move(block), {});
  return add_run(0, run);
}

Result<void> Packer::add_run(size_t level, Run run) {
  Levels& levels = packed_.levels;
  if (levels.size() <= level) levels.resize(level + 1);
  std::vector<Run>& runs = levels[level];
  runs.push_back(run);
  if (runs.size() < level_max(level)) return {};
  const Run whole{runs.front().first, runs.back().last, {}};
  Bytes block;
  if (level == 0) {
    PTWOP_TRY(const auto items, read_(whole.first, whole.last.number));
    block = encode_pack(items);
  } else {
    block = encode_index(runs);
  }
  const auto inner = std::exchange(runs, {});
  const ipld::Cid cid = ipld::Cid::of(block);
  closed_(cid, std::move(block), level == 0 ? inner : std::vector<Run>{});
  return add_run(level + 1, {whole.first, whole.last, cid});
}

}  // namespace ptwop::list
