// How the engine's tables are laid out: keys that sort so that a prefix scan is a list or a
// channel, and the records behind them (strict DAG-CBOR). All keys of one channel start with its
// number (4 bytes, big-endian).
//
//   nodes   channel list number(8)            → the node's block
//   state   channel … (the type's)            → the type's
//   index   channel … (the type's)            → the type's
//   outbox  channel list                      → what Kubo has of this list: its newest root, and
//                                               what stands in it (outbox.cpp)
//   meta    "c" channel                       → ChannelRecord
//           "l" channel list                  → ListRecord
//           "f" channel list                  → the other node of the lowest fork known
//           "a" channel list number(8) time(8) digest(32) list number(8)
//                                             → a node's block: the node that the latter two name
//                                               wrote it again (again.h)
//           "p" channel                       → CIDs of the blocks that may be pinned, newest last
//           "r" channel sha256(request)[0:16] → RequestRecord
//           "w" identity                      → where its Kubo was (lane.cpp)
//           "b" → boot counter (8 bytes)      "n" → the next channel number (4 bytes)
#pragma once
#include <optional>

#include "engine/engine.h"
#include "list/node.h"

namespace ptwop::engine {

struct ChannelRecord {
  std::string name;
  ipld::Cid cid;
  Bytes manifest;                   ///< The block; empty until it is here.
  list::Incarnation data, control;  ///< Of this replica's own lists.
};
Bytes encode(const ChannelRecord& record);
Result<ChannelRecord> decode_channel(BytesView bytes);

struct ListRecord {
  list::ListName name;
  list::Position held;  ///< Held and checked.
  ipld::Cid head;       ///< CID of that node
  uint64_t time = 0;    ///< its time
  list::Position applied;
  uint64_t cut = 0;  ///< Lowest forked number known; 0: none.
};
Bytes encode(const ListRecord& record);
Result<ListRecord> decode_list(BytesView bytes);

struct RequestRecord {
  uint64_t wall_ms = 0;  ///< When it was carried out.
  Written written;
};
Bytes encode(const RequestRecord& record);
Result<RequestRecord> decode_request(BytesView bytes);

Bytes channel_prefix(uint32_t channel);
Bytes node_key(uint32_t channel, const list::ListId& list, uint64_t number);
Bytes meta_key(char kind, uint32_t channel, BytesView rest = {});

/// The first key after all that start with `prefix`; empty when there is none.
Bytes after_prefix(BytesView prefix);

}  // namespace ptwop::engine
