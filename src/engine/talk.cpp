#include "engine/talk.h"

#include <algorithm>

#include "access/identity.h"
#include "base/limits.h"
#include "base/mutant.h"
#include "engine/lane.h"

namespace ptwop::engine {
namespace {

// Two on the way keep Kubo busy without letting pubsub overflow; the rest gathers into larger
// messages.
constexpr unsigned kInFlightMax = 2;
constexpr size_t kNodesBytesMax = 512 << 10;
constexpr size_t kFreshMax = 4096;
constexpr size_t kAnswerBytesMax = 8 << 20;
constexpr size_t kFetchingMax = 64;
// What one Kubo peer may cost before anything is verified: bytes, with each message counted as at
// least 4 KiB.
constexpr double kBudgetBytesPerMs = 32 << 10, kBudgetBytesMax = 64 << 20;
constexpr size_t kBudgetFloorBytes = 4 << 10;
constexpr size_t kBudgetsMax = 1024;
// What one member may cost: half of that, so that one of several beside one Kubo leaves room for
// the others. Strangers' identities cost nothing to make, so what they send is on their Kubo peer's
// account alone.
constexpr double kMemberShare = 0.5;
constexpr double kRefusalCost = 64 << 10;
constexpr size_t kAnswersMax = 64;
constexpr size_t kFetchingForStrangersMax = 8;
constexpr size_t kFreshLargeMax = 512;

}  // namespace

std::string Talk::account_of(const list::PublicKey& member) {
  return "member " + Bytes(member.view());
}

bool Talk::within_budget(std::string_view from, size_t bytes, double share) {
  const uint64_t now = world_.now_ms();
  auto it = budgets_.find(from);
  if (it == budgets_.end()) {
    if (budgets_.size() >= kBudgetsMax) {
      const auto oldest = std::min_element(
          budgets_.begin(), budgets_.end(),
          [](const auto& a, const auto& b) { return a.second.at_ms < b.second.at_ms; });
      budgets_.erase(oldest);
    }
    it = budgets_.emplace(from, Budget{share * kBudgetBytesMax, now}).first;
  }
  Budget& budget = it->second;
  budget.tokens =
      std::min(share * kBudgetBytesMax,
               budget.tokens + static_cast<double>(now - budget.at_ms) * share * kBudgetBytesPerMs);
  budget.at_ms = now;
  const auto cost = static_cast<double>(std::max(bytes, kBudgetFloorBytes));
  if (budget.tokens < cost) return false;
  budget.tokens -= cost;
  return true;
}

std::optional<sync::Message> Talk::receive(
    std::string_view from, const list::PublicKey* stream, BytesView bytes,
    const std::function<bool(const list::PublicKey&)>& is_member) {
  ++world_.stats.messages_received;
  world_.stats.bytes_received += bytes.size();
  if (stream) {
    ++world_.stats.stream_messages_received;
    world_.stats.stream_bytes_received += bytes.size();
  }
  const auto refuse = [&](const char* kind) {
    world_.refuse(kind);
    return std::nullopt;
  };
  // What comes over a stream waits at its sender while we are busy: less needs to be refused here.
  const size_t cost = stream ? bytes.size() / 4 : bytes.size();
  if (!within_budget(from, cost, 1)) return refuse("over_budget");
  Bytes covered;
  auto message = sync::decode(bytes, covered);
  if (!message)
    return refuse(message.error().code == Code::too_large ? "oversized" : "malformed_message");
  // Kubo gives a node its own messages back; two daemons beside one Kubo share its peer id, so only
  // the sender's identity and boot tell ours from theirs.
  if (message->sender == world_.me.key() && message->boot == world_.boot) return std::nullopt;
  if (message->channel != channel_) return refuse("other_channel");
  if (stream && *stream != message->sender) return refuse("forged_message");
  if (!PTWOP_MUTANT(skip_message_signature) &&
      !access::verify(message->sender, "message", covered, message->signature))
    return refuse("forged_message");
  const bool member = is_member(message->sender);
  if (!replicator_.admit(*message, member, world_.now_ms(), world_.wall_ms(), stream != nullptr))
    return refuse("replayed");
  if (member && !within_budget(account_of(message->sender), cost, kMemberShare))
    return refuse("over_budget");
  return std::move(*message);
}

void Talk::announce(Bytes block) {
  if (!online()) return;  // the next clock tells
  if (fresh_.size() >= kFreshMax) fresh_.pop_front();
  fresh_.push_back(std::move(block));
}

void Talk::announce(const sync::LargeNode& large) {
  if (fresh_large_.size() < kFreshLargeMax) fresh_large_.push_back(large);
}

void Talk::charge(std::string_view account, uint64_t refusals) {
  if (const auto it = budgets_.find(account); it != budgets_.end())
    it->second.tokens -= static_cast<double>(refusals) * kRefusalCost;
}

void Talk::answer(const list::PublicKey& asker, std::vector<Bytes> blocks,
                  std::vector<sync::LargeNode> large, bool complete, Bytes manifest) {
  if ((answers_.size() >= kAnswersMax && !PTWOP_MUTANT(hoard_answers)) ||
      (blocks.empty() && large.empty() && manifest.empty()))
    return;
  sync::Nodes part;
  part.manifest = std::move(manifest);
  part.large = std::move(large);
  size_t bytes = 0;
  const auto push = [&](bool last) {
    part.last = last;
    answer_bytes_ += bytes;
    answers_.push_back({asker, std::exchange(part, {})});
    bytes = 0;
  };
  for (Bytes& block : blocks) {
    if (answer_bytes_ + bytes > kAnswerBytesMax) break;  // it will be wanted again
    if (bytes + block.size() > kNodesBytesMax) push(false);
    bytes += block.size();
    part.nodes.push_back(std::move(block));
  }
  push(complete);
}

sync::Nodes Talk::take_fresh() {
  sync::Nodes nodes;
  size_t bytes = 0;
  while (!fresh_.empty() && (bytes == 0 || bytes + fresh_.front().size() <= kNodesBytesMax)) {
    bytes += fresh_.front().size();
    nodes.nodes.push_back(std::move(fresh_.front()));
    fresh_.pop_front();
  }
  nodes.large = std::exchange(fresh_large_, {});
  return nodes;
}

sync::ClockMessage Talk::clock(bool has_manifest) {
  sync::ClockMessage clock;
  clock.wall_ms = world_.wall_ms();
  clock.has_manifest = has_manifest;
  clock.peer = world_.lane->own_id();
  clock.ask = std::exchange(ask_due_, false);
  replicator_.fill(clock, world_.now_ms());
  return clock;
}

bool Talk::streams() const { return world_.lane->has_listeners(channel_); }

Bytes Talk::sealed(Body body) {
  sync::Message message;
  message.channel = channel_;
  message.sender = world_.me.key();
  message.boot = world_.boot;
  message.count = ++world_.message_count;
  message.body = std::move(body);
  message.signature = world_.me.sign("message", sync::encode_unsigned(message));
  return sync::encode_signed(message);
}

void Talk::say(Bytes bytes) {
  ++world_.stats.messages_sent;
  world_.stats.bytes_sent += bytes.size();
  ++in_flight_;
  world_.ports.gossip.publish(channel_, std::move(bytes));
}

void Talk::tell(const list::PublicKey& peer, Body body, bool urgent) {
  const Bytes bytes = sealed(std::move(body));
  ++world_.stats.messages_sent;
  world_.stats.bytes_sent += bytes.size();
  world_.lane->send(peer, channel_, bytes, urgent);
}

// On the topic, and over streams to whom the topic does not reach. Who has no room for it learns of
// it by a later clock.
void Talk::tell_all(Body body) {
  Bytes bytes = sealed(std::move(body));
  for (const list::PublicKey& peer : world_.lane->listeners(channel_))
    if (world_.lane->room(peer, channel_) && !PTWOP_MUTANT(silent_streams))
      world_.lane->send(peer, channel_, bytes, true);
  if (topic()) say(std::move(bytes));
}

// The topic takes one message after the other; streams have their own queues.
bool Talk::may_say() const { return !topic() || in_flight_ < kInFlightMax; }

// To the one replica that is asked, by its stream where there is one.
void Talk::flush_wants() {
  for (auto it = wants_.begin(); it != wants_.end();) {
    const bool by_stream = world_.lane->reaches(it->to, channel_);
    if (!by_stream && topic()) {
      if (in_flight_ >= kInFlightMax) {
        ++it;
        continue;
      }
      say(sealed(std::move(*it)));
    } else if (by_stream) {
      const list::PublicKey to = it->to;
      tell(to, std::move(*it), true);
    }
    it = wants_.erase(it);  // nobody else can be asked: it will be wanted again
  }
}

void Talk::flush_answers() {
  for (auto it = answers_.begin(); it != answers_.end();) {
    const list::PublicKey to = it->to;
    const bool by_stream = world_.lane->reaches(to, channel_);
    const bool now = by_stream ? world_.lane->room(to, channel_) : may_say();
    if (!now) {
      ++it;
      continue;
    }
    for (const Bytes& node : it->nodes.nodes) answer_bytes_ -= node.size();
    if (by_stream)
      tell(to, std::move(it->nodes), false);
    else if (topic())
      say(sealed(std::move(it->nodes)));
    it = answers_.erase(it);
  }
}

void Talk::flush(bool has_manifest) {
  if (!online()) {
    fresh_.clear();
    fresh_large_.clear();
    answers_.clear();
    answer_bytes_ = 0;
    wants_.clear();
    return;
  }
  while (may_say() && (!fresh_.empty() || !fresh_large_.empty())) tell_all(take_fresh());
  flush_wants();
  if (clock_due_ && may_say()) {
    clock_due_ = false;
    tell_all(clock(has_manifest));
  }
  flush_answers();
}

void Talk::tick(bool has_manifest, const sync::Replicator::Fetch& fetch) {
  if (!online()) return;
  replicator_.set_channels(world_.channels);
  auto out = replicator_.tick(world_.now_ms(), !has_manifest, fetch);
  clock_due_ |= out.send_clock;
  ask_due_ |= out.ask;
  for (sync::Want& ask : out.wants) want(std::move(ask));
}

void Talk::on_published(bool ok) {
  if (in_flight_ > 0) --in_flight_;
  if (!ok) replicator_.on_lost(world_.now_ms());
}

void Talk::on_connected() {
  in_flight_ = 0;
  replicator_.on_connected(world_.now_ms());
}

bool Talk::fetch(const ipld::Cid& cid, bool for_member) {
  const size_t max = for_member ? kFetchingMax : kFetchingForStrangersMax;
  return (fetching_.size() < max || PTWOP_MUTANT(fetch_everything)) && fetching_.insert(cid).second;
}

}  // namespace ptwop::engine
