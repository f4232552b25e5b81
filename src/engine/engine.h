// The use cases: create, join, write, wait, and what comes in from other replicas. Deterministic:
// all time, chance and I/O come through the ports.
//
// One thread drives it in turns: any number of calls below, then `turn()`, which builds the nodes
// of what was written, commits everything in one synced batch, and only then answers (`Done`),
// publishes and asks for blocks. Whoever waits for events therefore sees nothing that could still
// be lost.
#pragma once
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "access/identity.h"
#include "engine/directory.h"
#include "engine/ports.h"

namespace ptwop::engine {

/// Called once, on the engine's thread, at the end of the turn that settled it (wait: of a later
/// one).
template <class T>
using Done = std::function<void(Result<T>)>;

struct Written {
  std::string at;          ///< token
  types::OpResult result;  ///< of the first operation
};

struct Member {
  std::string id;
  std::string role;
  uint64_t since_ms = 0;
};

struct ListInfo {
  std::string list;    ///< the list's id, hex
  std::string writer;  ///< did:key
  bool control = false;
  uint64_t count = 0;
  std::string head;  ///< CID
  std::string cut;   ///< "", "fork" or "revoked"
  std::string root;  ///< CID of the newest in Kubo, or empty
};
struct PeerInfo {
  std::string id;
  uint64_t last_seen_ms = 0;  ///< Unix time here
  int64_t clock_lead_ms = 0;  ///< its clock minus ours, when it last told
  bool stream = false;        ///< A stream to it is open; else there is pubsub only.
};
struct ChannelInfo {
  ChannelRef channel;
  std::vector<ListInfo> lists;
  std::vector<PeerInfo> peers;
  uint64_t epoch = 0;
  uint64_t missing = 0;
  std::string root;     ///< CID, or empty
  std::string damaged;  ///< What is the matter with its part of the store; empty: nothing.
};

struct Imported {
  uint64_t here = 0, refused = 0;  ///< Of the blocks given.
  uint64_t held = 0;               ///< Nodes of the channel now.
};

/// Counters since start. Plain values: copied out on the engine's thread.
struct EngineStats {
  uint64_t writes = 0, nodes_written = 0, nodes_received = 0, turns = 0;
  uint64_t messages_sent = 0, messages_received = 0;
  uint64_t blocks_put = 0, blocks_fetched = 0;
  uint64_t nodes_fetched = 0;  ///< In packs.
  uint64_t bytes_sent = 0, bytes_received = 0;
  uint64_t waiting_nodes = 0, outbox = 0, pins = 0, outgoing = 0, waiters = 0;
  /// Lists being fetched by their roots, and blocks of them on their way or not opened yet.
  uint64_t bulk_jobs = 0, bulk_blocks = 0;
  /// Of these, what went over streams.
  uint64_t stream_messages_sent = 0, stream_messages_received = 0;
  uint64_t stream_bytes_sent = 0, stream_bytes_received = 0;
  /// What is kept for others and of them now, each bounded: answers to send, lists of which nodes
  /// wait, lists that nodes had seen, nodes of own forked lists, large nodes asked for, lists asked
  /// for, peers, what the one that said most said that it holds, and who pays for what it sends.
  uint64_t answers = 0, waiting_lists = 0, awaited = 0, strays = 0, fetching = 0, wanted = 0,
           peers = 0, told = 0, accounts = 0;
  std::map<std::string, uint64_t>
      refused;  ///< by kind: "not_canonical", "forged", "replayed", "stranger", …
};

struct KuboState {
  bool connected = false;
  bool pubsub = false;
};

class Engine {
 public:
  Engine(Ports ports, access::Identity identity);
  ~Engine();

  /// Reads what the store holds. Once, before anything else. `restored`: the store came from a
  /// backup, and what was written after it is elsewhere: no list of our own is continued, and that
  /// is durable before this returns.
  Result<void> open(bool restored = false);

  const access::Identity& identity() const;
  Directory& directory();  ///< Safe from any thread.

  // --- use cases; errors as in rpc.md, in its check order
  // ---------------------------------------------------------
  void create(std::string name, std::string type, bool is_public, Done<ChannelRef> done);
  void join(std::string address, std::string name, Done<ChannelRef> done);
  void leave(const std::string& channel, Done<bool> done);
  /// The channel of this manifest, which came in a file: the one that is here, else joined under
  /// `name`. Errors: invalid_params (no manifest; or it is not here and `name` is no name), exists.
  void import_channel(Bytes manifest, std::string name, Done<ChannelRef> done);
  /// Blocks of a channel that came in a file: the same checks as for those from the network.
  void import_blocks(const ipld::Cid& channel, std::vector<Bytes> blocks, Done<Imported> done);
  void grant(const std::string& channel, const std::string& id, const std::string& role,
             Done<std::string> done);
  void members(const std::string& channel, Done<std::vector<Member>> done);
  void info(const std::string& channel, Done<ChannelInfo> done);
  /// The last word on a write, on the channel's state as this turn's writes so far leave it.
  using Admit = std::function<Result<void>(const types::StateReader& state)>;
  /// `ops`: strict DAG-CBOR each, made by the functions in types/; all of them go into one node.
  /// `request`: exactly-once id, or empty. `admit` stands in the place of the type's own admission
  /// of a write of one operation.
  void write(const std::string& channel, const types::Type& type, std::vector<Bytes> ops,
             std::string request, Done<Written> done, const Admit& admit = nullptr);
  /// `peer`: "", or reached only when that peer (a did:key, or "any") has said that it holds the
  /// tokens too.
  void wait(const std::string& channel, std::vector<std::string> tokens, uint64_t timeout_ms,
            std::string peer, Done<bool> done);
  void clock(const std::string& channel, Done<std::vector<std::string>> done);
  /// The accepted nodes of a channel, decrypted, as committed: for kv.get with siblings. Null: no
  /// such channel.
  std::unique_ptr<types::NodeSource> source(const ChannelRef& channel) const;
  EngineStats stats() const;

  // --- what comes in
  // -------------------------------------------------------------------------------------------------
  void on_message(const ipld::Cid& channel, std::string_view from, BytesView message);
  void on_published(const ipld::Cid& channel, bool ok);
  void on_stored(uint64_t ticket, bool ok);
  void on_block(const ipld::Cid& cid, Result<Bytes> block);
  void on_pinned(const ipld::Cid& cid, bool ok);
  void on_kubo(KuboState state);
  /// Kubo takes p2p streams, and is called so; or takes none.
  void on_streams(bool on, const std::string& peer_id);
  /// A stream to this peer's daemon is open (`binding`: 32 bytes that only the two ends know), or
  /// is so no more: what was sent and not told of by on_sent may or may not have arrived.
  void on_peer(const list::PublicKey& peer, bool up, BytesView binding);
  void on_peer_address(const list::PublicKey& peer, const std::string& id,
                       const std::string& address);
  void on_peer_message(const list::PublicKey& peer, BytesView message);
  void on_sent(const list::PublicKey& peer, uint64_t ticket, bool ok);
  void tick();  ///< Time-outs and anti-entropy; every 50 to 250 ms.

  /// Ends the turn: see above. Returns the mono time at which it wants the next tick at the latest.
  uint64_t turn();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace ptwop::engine
