// The simulated world: virtual time, a network, and for each replica its process, disk, clock and
// Kubo. It plays one plan from its beginning to the end of its faults, and on until all connected
// replicas are equal.
#pragma once
#include <deque>
#include <functional>
#include <memory>
#include <queue>
#include <unordered_map>

#include "../support/links.h"
#include "checker.h"
#include "disk.h"
#include "engine/engine.h"
#include "hostile.h"
#include "plan.h"
#include "streams.h"

namespace ptwop::sim {

class World;

/// One replica, over all its lives.
class Replica : engine::Gossip, engine::BlockStore, engine::PeerStream, Clock, Entropy {
 public:
  Replica(World& world, size_t index, uint64_t seed);
  ~Replica() override;

  const access::Identity& identity() const { return identity_; }
  Disk& disk() { return disk_; }
  engine::Engine* engine() { return engine_.get(); }
  bool up() const { return engine_ != nullptr; }

  void open(Reopened how, bool first);
  /// The process ends. What was not synced may go with the machine.
  void end(bool machine_stops);
  /// After calls were made: at the end of this moment the turn ends.
  void touch() { touched = true; }
  void turn();
  /// Kubo is there or not, as the conditions of the moment say.
  void look_at_kubo(bool reset = false);
  void deliver(const ipld::Cid& channel, const std::string& from, const Bytes& message);
  // What its streams bring.
  void on_peer(const list::PublicKey& peer, bool is_up, const Bytes& binding);
  void on_sent(const list::PublicKey& peer, uint64_t ticket, bool ok);
  void hear(const list::PublicKey& peer, const Bytes& message);

  uint64_t wall_ms() const override;
  uint64_t mono_ms() const override;

  bool touched = false;
  bool dead_for_good = false;
  bool from_copy = false;    ///< Its folder was replaced while it was away…
  bool from_backup = false;  ///< …and it will be told so.
  uint64_t back_at_ms = 0;   ///< When a process that ended is started again.
  uint64_t down_ms = 0;      ///< How long it stays away when it dies of the armed crash…
  bool power = false;        ///< …and whether it is the machine that stops.
  uint64_t busy_until_ms = 0;
  uint64_t due_ms = 0;
  uint64_t generation = 0;
  uint64_t sent = 0;        ///< Messages.
  uint64_t faulted_ms = 0;  ///< When its disk last failed; 0: never.
  std::optional<Disk::Image> backup;
  std::set<ipld::Cid> topics;
  std::unordered_map<ipld::Cid, Bytes> blocks;  ///< Its Kubo's.
  uint64_t fetched = 0;                         ///< Nodes in packs, by the processes that ended.
  test::PinSet pins;
  std::set<ipld::Cid> taken;  ///< What its Kubo ever said that it took.
  void jump_clock(int64_t ms);
  void drift_clock(int64_t ppm);
  void set_clock_right();

 private:
  void fill(unsigned char* out, size_t size) override { entropy_.fill(out, size); }
  void subscribe(const ipld::Cid& channel) override;
  void unsubscribe(const ipld::Cid& channel) override;
  void publish(const ipld::Cid& channel, Bytes message) override;
  void put(uint64_t ticket, std::vector<engine::Block> blocks) override;
  void get(const ipld::Cid& cid) override;
  void pin(const ipld::Cid& last, const ipld::Cid& next) override;
  void unpin(const ipld::Cid& cid) override {
    if (!disk_.dead() && kubo_state_.connected) pins.unpin(cid);
  }
  void want(std::vector<engine::PeerAddress> peers) override;
  void meet(std::vector<ipld::Cid> channels, std::vector<ipld::Cid> sought) override;
  void send(const list::PublicKey& to, uint64_t ticket, Bytes message, bool urgent) override;
  void drop(const list::PublicKey& peer) override;
  /// Something else than this block, if Kubo lies now: cut short, bent, or another one.
  Bytes as_told(const Bytes& block);
  /// Kubo answers: late, twice, or only once it has broken the connection.
  void answer(uint64_t delay_ms, std::function<void(engine::Engine&)> good,
              std::function<void(engine::Engine&)> bad);

  World& world_;
  size_t index_;
  Random entropy_, kubo_;
  access::Identity identity_;
  Disk disk_;
  std::unique_ptr<engine::Engine> engine_;
  engine::KuboState kubo_state_;
  uint64_t last_said_ = 0;  ///< Hash of the message that was last sent over a stream.
  int64_t offset_ms_ = 0, drift_ppm_ = 0;
  uint64_t drift_since_ms_ = 0;
  uint64_t mono_base_ms_;
};

/// What a run came to.
struct Outcome {
  std::optional<Failure> failure;
  uint64_t failed_at_ms = 0;
  uint64_t virtual_ms = 0;
  uint64_t digest = 0;     ///< Of all that happened: equal for equal runs.
  uint64_t settle_ms = 0;  ///< From the end of the faults until all were equal.
  size_t acknowledged = 0, messages = 0;
  uint64_t fetched = 0;  ///< Nodes that came in packs.
  std::vector<std::string> trace;
};

class World {
 public:
  explicit World(const Plan& plan, bool tracing);
  ~World();
  Outcome run();

 private:
  friend class Replica;
  friend class Hostile;
  friend class Streams;
  static constexpr size_t kNobody = SIZE_MAX;
  struct Event {
    uint64_t at_ms, order;
    size_t replica;
    uint64_t generation;
    std::function<void()> run;
    bool operator>(const Event& other) const {
      return std::tie(at_ms, order) > std::tie(other.at_ms, other.order);
    }
  };
  struct Condition {
    Act act;
    size_t who;
    int64_t a;
    uint64_t until_ms;
    uint64_t salt;
  };
  struct Write {
    size_t replica = 0, channel = 0;
    std::vector<Bytes> operations;
    std::string request;
    std::string token;  ///< Once answered.
    bool submitted = false, answered = false;
    bool left = false;   ///< Its channel was left since.
    size_t pending = 0;  ///< Submissions without an answer.
  };

  void at(uint64_t at_ms, std::function<void()> run) { at(at_ms, kNobody, std::move(run)); }
  void at(uint64_t at_ms, size_t replica, std::function<void()> run);
  void run_until(uint64_t until_ms);
  void step(uint64_t to_ms);
  bool hostile() const { return with_enemies_; }
  bool failed() const { return checker_->failure().has_value(); }

  void set_up();
  void heal();
  void settle();
  void died(size_t who);
  void check_bounds();
  void look(size_t who, size_t channel, Random* random);

  // actions.cpp
  void act(const Action& action);
  void condition(const Action& action, size_t who);
  std::optional<Condition> condition(Act act, size_t who) const;
  int64_t level(Act act, size_t who) const;
  void write(const Action& action);
  void burst(const Action& action);
  void twins(const Action& action);
  void submit(size_t write);
  void wait(const Action& action);
  void join(size_t who, size_t channel);
  void leave(size_t who, size_t channel);
  void grant(size_t who, size_t channel);
  void carry(const Action& action);
  void stop(size_t who, uint64_t down_ms, bool power);
  void start(size_t who, Reopened how);
  void retry_requests(size_t who);
  void on_answer(size_t write, bool first, Result<engine::Written> result);
  Bytes make_operation(const ChannelPlan& channel, size_t number, Random& random, bool hot,
                       std::optional<size_t> bytes = {});

  // The network.
  void broadcast(size_t from, const std::string& name, const ipld::Cid& channel,
                 const Bytes& message);
  bool cut(size_t from, size_t to) const;
  void send(size_t from, size_t to, const std::string& name, const ipld::Cid& channel,
            std::shared_ptr<const Bytes> message);
  const Bytes& any_block(Random& random) const;
  std::optional<Bytes> find_block(size_t asking, const ipld::Cid& cid) const;

  template <class Line>
  void trace(Line line) {
    if (tracing_) trace_.push_back(line());
    if (trace_.size() > kTraceMax) trace_.pop_front();
  }
  std::string stamp() const;
  std::string shown(BytesView message) const;
  void stir(uint64_t value) { digest_ = mix(digest_, value); }

  static constexpr size_t kTraceMax = 4000;
  const Plan plan_;
  const bool tracing_;
  const bool with_enemies_;
  uint64_t now_ms_ = 0;
  uint64_t order_ = 0;
  uint64_t digest_ = 0;
  std::priority_queue<Event, std::vector<Event>, std::greater<>> events_;
  std::vector<std::unique_ptr<Replica>> replicas_;
  std::unique_ptr<Checker> checker_;
  std::unique_ptr<Hostile> hostile_;
  std::unique_ptr<Streams> streams_;
  std::vector<Condition> conditions_;
  std::vector<ipld::Cid> channels_;
  std::vector<Write> writes_;
  std::vector<std::pair<size_t, std::string>> tokens_;     ///< By channel: what clients were given.
  std::vector<std::pair<size_t, std::string>> entry_ids_;  ///< By channel: entries of logs.
  std::map<std::pair<size_t, size_t>, Random> links_;
  std::deque<std::string> trace_;
  uint64_t next_value_ = 1;
  uint64_t next_bounds_ms_ = 0;
  size_t messages_ = 0;
  bool healed_ = false;
  uint64_t settle_ms_ = 0;
};

inline constexpr uint64_t kWaitMsMax = 20'000;  ///< Of clients that wait for a position.
inline constexpr uint64_t kWallStartMs = 1'700'000'000'000;

}  // namespace ptwop::sim
