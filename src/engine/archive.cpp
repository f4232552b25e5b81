#include "engine/archive.h"

#include <fmt/format.h>

#include "engine/records.h"

namespace ptwop::engine {
namespace {

/// Of one scan: nothing is written to a disk while the store is held.
constexpr size_t kPieceBytes = 1 << 20;

Error gone(const ChannelView& channel) {
  return fail(Code::no_channel, fmt::format("the channel '{}' was left meanwhile", channel.name));
}

class Archive {
 public:
  Archive(const StateStore& store, const ChannelView& channel, const ArchiveOf& of,
          const std::function<Result<void>(BytesView block)>& take)
      : store_(store), channel_(channel), of_(of), take_(take) {}

  Result<ArchiveDone> read() {
    PTWOP_TRY(const auto bytes, store_.get(Table::meta, meta_key('c', channel_.number)));
    if (!bytes) return gone(channel_);
    PTWOP_TRY(const ChannelRecord record, decode_channel(*bytes));
    if (record.manifest.empty())
      return fail(Code::no_manifest, "the channel's manifest is not here yet: try again");
    PTWOP_TRY(const auto lists, read_lists());
    if (of_.only && !lists.contains(*of_.only))
      return fail(Code::not_found, fmt::format("the channel has no list {} here: see channel.info",
                                               hex(of_.only->view())));
    PTWOP_CHECK(take_(record.manifest));
    for (const bool control : {true, false})
      for (const auto& [id, list] : lists)
        if (list.name.control == control && (control || !of_.only || *of_.only == id))
          PTWOP_CHECK(read_list(id, list));
    return done_;
  }

 private:
  Result<std::map<list::ListId, ListRecord>> read_lists() const {
    std::map<list::ListId, ListRecord> lists;
    const Bytes prefix = meta_key('l', channel_.number);
    Result<void> decoded;
    PTWOP_CHECK(store_.scan(
        Table::meta, prefix, after_prefix(prefix), false, [&](BytesView key, BytesView value) {
          auto record = decode_list(value);
          if (!record || key.size() != prefix.size() + list::ListId::kSize) {
            decoded = fail(Code::corrupt, "a list record is damaged");
            return false;
          }
          lists.emplace(list::ListId::from(key.substr(prefix.size())), std::move(*record));
          return true;
        }));
    PTWOP_CHECK(decoded);
    return lists;
  }

  Result<void> read_list(const list::ListId& id, const ListRecord& list) {
    const auto since = of_.since.find(id);
    uint64_t next = since == of_.since.end() ? 1 : since->second.number + 1;
    const uint64_t first = next;
    std::vector<Bytes> piece;
    while (next <= list.held.number) {
      size_t bytes = 0;
      PTWOP_CHECK(store_.scan(Table::nodes, node_key(channel_.number, id, next),
                              node_key(channel_.number, id, list.held.number + 1), false,
                              [&](BytesView, BytesView block) {
                                piece.emplace_back(block);
                                bytes += block.size();
                                return bytes < kPieceBytes;
                              }));
      if (piece.empty()) return gone(channel_);
      for (const Bytes& block : piece) PTWOP_CHECK(take_(block));
      next += piece.size();
      done_.nodes += piece.size();
      piece.clear();
    }
    if (next > first) ++done_.lists;
    if (!list.cut) return {};
    // The fork's other node, so that whoever reads this knows of it too.
    PTWOP_TRY(const auto other, store_.get(Table::meta, meta_key('f', channel_.number, id.view())));
    if (!other) return {};
    ++done_.nodes;
    return take_(*other);
  }

  const StateStore& store_;
  const ChannelView& channel_;
  const ArchiveOf& of_;
  const std::function<Result<void>(BytesView block)>& take_;
  ArchiveDone done_;
};

}  // namespace

Result<ArchiveDone> read_archive(const StateStore& store, const ChannelView& channel,
                                 const ArchiveOf& of,
                                 const std::function<Result<void>(BytesView block)>& take) {
  return Archive(store, channel, of, take).read();
}

}  // namespace ptwop::engine
