// What the engine needs of the world. Infrastructure implements these; the simulator does too.
// The engine is driven by one thread; it calls the ports on that thread and none of them calls back
// into it: outcomes come in later through Engine's on_… functions.
#pragma once
#include <functional>
#include <optional>
#include <vector>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/result.h"
#include "ipld/cid.h"
#include "list/position.h"

namespace ptwop::engine {

/// RocksDB's column families.
enum class Table : uint8_t { nodes, state, index, meta, outbox };
inline constexpr size_t kTables = 5;

/// `memory` never touches a disk: it answers `overloaded` when the data is not in memory (ask again
/// with `any`).
enum class ReadMode : uint8_t { any, memory };

struct Change {
  enum class Kind : uint8_t { put, erase, erase_prefix };
  Kind kind = Kind::put;
  Table table = Table::meta;
  Bytes key;
  Bytes value;
};
/// Applied in order, all or nothing.
using Changes = std::vector<Change>;

/// An ordered map from bytes to bytes for each table. Reads are safe from any thread, also beside a
/// commit.
class StateStore {
 public:
  using Visit = std::function<bool(BytesView key, BytesView value)>;
  virtual ~StateStore() = default;
  virtual Result<std::optional<Bytes>> get(Table table, BytesView key,
                                           ReadMode mode = ReadMode::any) const = 0;
  /// One consistent view: keys in [from, until) (`until` empty: no upper end), in order or
  /// backwards; stops when `visit` returns false.
  virtual Result<void> scan(Table table, BytesView from, BytesView until, bool reverse,
                            const Visit& visit) const = 0;
  /// One atomic batch. With `sync` it is durable when this returns. Errors: disk_full, corrupt,
  /// internal; then nothing of it is visible, now or after a restart.
  virtual Result<void> commit(const Changes& changes, bool sync) = 0;
  /// Makes every earlier commit durable.
  virtual Result<void> sync() = 0;
};

/// Kubo's pubsub, one topic a channel. A hint, never the truth: messages may be lost, doubled,
/// late.
class Gossip {
 public:
  virtual ~Gossip() = default;
  virtual void subscribe(const ipld::Cid& channel) = 0;
  virtual void unsubscribe(const ipld::Cid& channel) = 0;
  /// Outcome: Engine::on_published. At most 1 MiB minus what multibase and HTTP add: see
  /// limits::kMessageBytesMax.
  virtual void publish(const ipld::Cid& channel, Bytes message) = 0;
};

struct Block {
  ipld::Cid cid;
  Bytes bytes;
};

/// Kubo's blocks.
class BlockStore {
 public:
  virtual ~BlockStore() = default;
  /// Outcome: Engine::on_stored with the same ticket, once for each call.
  virtual void put(uint64_t ticket, std::vector<Block> blocks) = 0;
  /// Outcome: Engine::on_block, once for each call. Looks on the network; bounded in time.
  virtual void get(const ipld::Cid& cid) = 0;
  /// Pins `next` recursively and releases `last` (none: an empty Cid). Outcome: Engine::on_pinned
  /// with `next`, unless Kubo goes away meanwhile.
  virtual void pin(const ipld::Cid& last, const ipld::Cid& next) = 0;
  virtual void unpin(const ipld::Cid& cid) = 0;
};

/// Where a replica's daemon is: its identity, and what its Kubo is called.
struct PeerAddress {
  list::PublicKey identity;
  std::string peer;     ///< Kubo's peer id.
  std::string address;  ///< A multiaddr that once led to it; may be empty.
};

/// Authenticated, encrypted streams to other replicas' daemons, one to each: the second lane beside
/// pubsub. In order, at most once; whoever cannot be reached any more is told by
/// Engine::on_peer(…, false), and what had not left by then by on_sent(…, false).
class PeerStream {
 public:
  virtual ~PeerStream() = default;
  /// Who is to be reached, the most wanted first; replaces what was wanted before.
  virtual void want(std::vector<PeerAddress> peers) = 0;
  /// Channels whose members may find us by the channel's address alone, and those of them whose
  /// members we look for in the same way; replaces what was said before.
  virtual void meet(std::vector<ipld::Cid> channels, std::vector<ipld::Cid> sought) = 0;
  /// Outcome: Engine::on_sent with the same ticket, once for each call: it left this process, or
  /// never will. Urgent messages overtake others.
  virtual void send(const list::PublicKey& to, uint64_t ticket, Bytes message, bool urgent) = 0;
  /// Ends the stream to it.
  virtual void drop(const list::PublicKey& peer) = 0;
};

struct Ports {
  StateStore& store;
  Gossip& gossip;
  BlockStore& blocks;
  Clock& clock;
  Entropy& entropy;
  PeerStream* streams = nullptr;  ///< None: there is pubsub only.
};

}  // namespace ptwop::engine
