// One channel's side of the conversation: what goes out on its topic and in which order, what is
// asked, and who may speak. Fresh own nodes go first; while a message is on its way the next ones
// gather and leave together.
#pragma once
#include <deque>
#include <functional>
#include <set>
#include <unordered_set>
#include <variant>
#include <vector>

#include "engine/world.h"
#include "sync/message.h"
#include "sync/replicator.h"

namespace ptwop::engine {

class Talk {
 public:
  Talk(World& world, const ipld::Cid& channel, const sync::Holdings& holdings, uint64_t jitter_seed)
      : world_(world), channel_(channel), replicator_(holdings, jitter_seed) {}

  sync::Replicator& replicator() { return replicator_; }
  const sync::Replicator& replicator() const { return replicator_; }

  /// Decodes, bounds, verifies. Nothing: refused and counted, or our own echo.
  /// `stream`: whose stream it came over; null: it came on the topic.
  std::optional<sync::Message> receive(
      std::string_view from, const list::PublicKey* stream, BytesView bytes,
      const std::function<bool(const list::PublicKey&)>& is_member);

  void announce(Bytes block);  ///< A fresh own node of at most kInlineNodeBytesMax.
  void announce(const sync::LargeNode& large);  ///< A node that is in Kubo already.
  /// Somebody can hear us: on the topic, or over streams.
  bool online() const { return topic() || streams(); }

  /// Queues an answer to a want of `asker`: `blocks` in list order. `complete`: all that was wanted
  /// and is here.
  void answer(const list::PublicKey& asker, std::vector<Bytes> blocks,
              std::vector<sync::LargeNode> large, bool complete, Bytes manifest);

  void want(sync::Want want) {
    if (wants_.size() < kWantsMax) wants_.push_back(std::move(want));
  }

  /// Sends what may be sent now.
  void flush(bool has_manifest);
  /// Time passed: queues clocks and wants that are due.
  void tick(bool has_manifest, const sync::Replicator::Fetch& fetch);
  void on_published(bool ok);
  void on_connected();

  /// True if this block is to be asked for; false while it is being fetched or too many are.
  bool fetch(const ipld::Cid& cid, bool for_member);
  /// Something in a message was refused, after it had cost us a signature check or more. `account`
  /// is who pays: a member's own (account_of), or the Kubo peer that a stranger's message came
  /// from.
  void charge(std::string_view account, uint64_t refusals);
  static std::string account_of(const list::PublicKey& member);
  bool is_fetching(const ipld::Cid& cid) const { return fetching_.contains(cid); }
  /// It came, or will not. False: it was not asked for.
  bool fetched(const ipld::Cid& cid) { return fetching_.erase(cid) > 0; }

  size_t answers() const { return answers_.size(); }
  size_t fetching() const { return fetching_.size(); }
  size_t accounts() const { return budgets_.size(); }
  size_t queued() const { return fresh_.size() + answers_.size() + wants_.size(); }

 private:
  static constexpr size_t kWantsMax = 64;
  struct Budget {
    double tokens = 0;
    uint64_t at_ms = 0;
  };
  struct Answer {
    list::PublicKey to;
    sync::Nodes nodes;
  };
  using Body = std::variant<sync::Nodes, sync::ClockMessage, sync::Want>;
  bool within_budget(std::string_view account, size_t bytes, double share);
  bool topic() const { return world_.kubo.connected && world_.kubo.pubsub; }
  bool streams() const;
  Bytes sealed(Body body);
  void tell_all(Body body);
  void tell(const list::PublicKey& peer, Body body, bool urgent);
  void say(Bytes message);
  void flush_wants();
  void flush_answers();
  bool may_say() const;
  sync::Nodes take_fresh();
  sync::ClockMessage clock(bool has_manifest);

  World& world_;
  ipld::Cid channel_;
  sync::Replicator replicator_;
  std::deque<Bytes> fresh_;
  std::vector<sync::LargeNode> fresh_large_;
  std::deque<Answer> answers_;
  size_t answer_bytes_ = 0;
  std::deque<sync::Want> wants_;
  bool clock_due_ = false, ask_due_ = false;
  unsigned in_flight_ = 0;
  std::unordered_set<ipld::Cid> fetching_;
  std::map<std::string, Budget, std::less<>> budgets_;
};

}  // namespace ptwop::engine
