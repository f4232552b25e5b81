// One joined channel: local writes become nodes, held nodes become state, and both meet the
// replicator.
#pragma once
#include <deque>
#include <memory>
#include <optional>
#include <unordered_set>

#include "access/membership.h"
#include "base/limits.h"
#include "engine/again.h"
#include "engine/bulk.h"
#include "engine/lists.h"
#include "engine/records.h"
#include "engine/talk.h"
#include "engine/world.h"

namespace ptwop::engine {

class Channel {
 public:
  Channel(World& world, uint32_t number, ChannelRecord record);
  /// Readers on other threads hold the view: a channel that is loaded again keeps it.
  void adopt(ChannelRef view) { view_ = std::move(view); }
  /// A new channel of ours.
  void start(access::Manifest manifest);
  /// Reads what the store holds of it.
  Result<void> load();
  /// Puts a new channel's record into the transaction.
  void save_record();

  const ChannelRef& view() const { return view_; }
  const ipld::Cid& cid() const { return record_.cid; }
  const ChannelRecord& record() const { return record_; }
  const access::Membership* membership() const { return membership_ ? &*membership_ : nullptr; }
  Lists& lists() { return lists_; }
  Talk& talk() { return talk_; }
  Bulk& bulk() { return bulk_; }

  /// Its part of the store was found damaged: reads go on as far as they can, and it is left alone
  /// otherwise.
  void set_aside(std::optional<Error> why) { aside_ = std::move(why); }
  const std::optional<Error>& aside() const { return aside_; }

  /// What our own lists hold beyond this store is not known: they end here.
  void begin_anew();

  /// The manifest came, from wherever. Refused and counted unless it is this channel's.
  void take_manifest(BytesView block);

  /// A local write; the caller checked channel, type and role. Answers through the world's replies.
  /// All of `ops` go into one node. `request`: exactly-once id, or empty.
  void write(const types::Type& type, std::vector<Bytes> ops, const std::string& request,
             Done<Written> done, const Engine::Admit& admit);
  /// Appends one node to this replica's control list; gives its position.
  Result<list::At> write_control(const std::vector<Bytes>& ops);

  void on_message(std::string_view from, BytesView bytes);
  /// The same, over the stream to `peer`.
  void on_message(const list::PublicKey& peer, BytesView bytes);
  void on_block(const ipld::Cid& cid, Result<Bytes> block);
  void on_stored(const std::vector<sync::LargeNode>& large);
  Imported import_blocks(std::vector<Bytes> blocks);

  /// Towards the turn's end: closes the open node, takes in what waits, applies what can be
  /// applied, saves.
  void settle();
  /// After the commit: what readers may see now…
  void show();
  /// …and, once it is durable, what goes out.
  void publish();
  /// When `tick` is wanted next (mono).
  uint64_t due_ms() const;
  void tick();

  /// The token's state: true reached; false not yet; an error: never (303).
  Result<bool> reached(const list::At& at) const;
  /// A peer (a did:key, or "any") has said that it holds this.
  bool peer_has(std::string_view peer, const list::At& at) const;
  std::vector<list::At> clock() const;
  ChannelInfo info() const;
  /// What waits and what is remembered of others.
  void add_to(EngineStats& stats) const;
  /// The accepted nodes, decrypted, as committed (or, within a turn, as the turn has them).
  std::unique_ptr<types::NodeSource> make_source(bool in_turn) const;

 private:
  struct Pending {
    types::OpResult result;
    Done<Written> done;
    std::vector<Done<Written>> again;  ///< Who sent the same request once more.
    std::string request;
  };
  struct OpenNode {
    list::Node node;
    std::vector<Bytes> ops;
    size_t bytes = 0;
    std::vector<Pending> pending;
  };

  // Inline nodes travel at once: a node is closed before its block could grow over that.
  static constexpr size_t kOpsBytesTarget = limits::kInlineNodeBytesMax - (8 << 10);

  void open_node();
  void close_node();
  list::Node next_node(bool control) const;
  void finish_node(list::Node& node, const std::vector<Bytes>& ops, bool one_client);
  uint64_t next_time(uint64_t last) const;
  std::vector<list::At> seen_by(const list::ListId& own) const;
  list::ListName own_list(bool control) const;
  void renew_own(bool control);
  void check_own(bool control);
  bool replay(const std::string& request, Done<Written>& done);

  void note_own(const sync::ClockMessage& clock);
  bool is_member(const list::PublicKey& key) const;
  void take_message(std::string_view from, sync::Message message);
  void serve(const sync::Want& want, const list::PublicKey& asker);
  std::optional<list::At> take_node(Bytes block);
  void follow_events();
  void apply_all();
  bool apply_next(const list::ListId& id, ListState& state);
  bool count_node(const list::Node& node, ListState& state);
  void apply_ops(const list::Node& node, const std::vector<Bytes>& ops);
  void undo_ops(const list::Node& node);
  bool seen_met(const list::Node& node);
  void forget_awaited(const list::ListId& id, const ListRecord& record);
  Result<void> open_keys();
  Result<void> evaluate_membership();
  void apply_control(const list::Node& node);
  std::optional<std::vector<Bytes>> open_ops(const list::Node& node) const;
  void break_turn(const Error& error);

  // Forked lists: see forks.cpp.
  void undo_from(const list::ListId& id, ListState& state);
  bool refresh_membership();
  Result<std::optional<list::Node>> counted(const Place& place) const;
  template <class Change>
  void recount(const list::Node& node, Change change);
  bool apply_again(const list::Node& node, const std::vector<Bytes>& ops);
  void undo_again(const list::Node& node, const std::vector<Bytes>& ops);
  void note_cut(const list::ListId& id, const ListState& state);
  struct Repeats {
    bool control = false;
    std::vector<Bytes> ops;
    size_t bytes = 0;
    std::set<ipld::Cid> nodes;  ///< All that were written again in this turn.
  };
  bool repeating() const;
  void repeat_own();
  bool repeat(const list::Node& node, Repeats& to);
  void flush(Repeats& repeats);
  void seek_branches();
  Result<uint64_t> lacking(const list::ListId& list, const ListRecord& record,
                           list::Position end) const;

  World& world_;
  uint32_t number_;
  std::optional<Error> aside_;
  ChannelRecord record_;
  ChannelRef view_;
  Lists lists_;
  Again again_;
  Talk talk_;
  Bulk bulk_;
  std::optional<access::Membership> membership_;
  std::optional<OpenNode> open_;
  struct Awaited {
    uint64_t since_ms = 0;  ///< mono
    uint64_t number = 0;
  };
  std::map<list::ListId, Awaited>
      awaited_;            ///< Lists that applied nodes had seen further than they are here.
  uint64_t time_max_ = 0;  ///< Of all nodes held: own stamps follow it.
  bool membership_changed_ = false;
  size_t applied_bytes_ = 0;  ///< In this turn.
  bool behind_ = false;       ///< More can be applied: that is the next turn's.
  struct Own {
    list::ListId id;
    bool begun =
        false;  ///< Its name was made since the start: nobody can know more of it than we do.
  };
  Own own_[2];  ///< Our data list and our control list.
  struct OwnCut {
    uint64_t next = 0;        ///< From here on it is not looked at yet what is to be written again.
    uint64_t seek_from = 0;   ///< Of other branches, what comes before is here.
    uint64_t seek_at_ms = 0;  ///< mono
    uint64_t seek_after_ms = 0;
    std::set<list::Position> known;  ///< Ends of branches all of which is here.
  };
  std::map<list::ListId, OwnCut> own_cuts_;  ///< Our own lists that are forked.
  std::deque<list::Node> strays_;            ///< Nodes of their other branches.
  const list::Node* undoing_ = nullptr;
  bool membership_stale_ = false;          ///< To be evaluated anew.
  std::unordered_set<ipld::Cid> in_kubo_;  ///< Large nodes that were put since the start (a cache).
  std::vector<Bytes> fresh_;  ///< Own nodes of this turn, to be announced after the commit.
  uint64_t retry_at_ms_ = 0;
};

}  // namespace ptwop::engine
