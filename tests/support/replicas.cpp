#include "replicas.h"

#include <stdexcept>

namespace ptwop::test {
namespace {

constexpr uint64_t kWallStartMs = 1'700'000'000'000;

template <class T, class Call>
Result<T> in_turn(engine::Engine& engine, Call call) {
  std::optional<Result<T>> answer;
  call([&](Result<T> result) { answer.emplace(std::move(result)); });
  engine.turn();
  if (!answer) throw std::runtime_error("no answer in this turn");
  return std::move(*answer);
}

}  // namespace

Replica::Replica(Network& network, size_t index)
    : network_(network), index_(index), seed_(32, '\0') {
  fill(u8(seed_), seed_.size());
  open();
}

Replica::~Replica() = default;

void Replica::open(bool restored) {
  ++generation_;
  topics_.clear();
  engine_ = std::make_unique<engine::Engine>(engine::Ports{store_, *this, *this, *this, *this},
                                             std::move(*access::Identity::from_seed(seed_)));
  if (const auto opened = engine_->open(restored); !opened)
    throw std::runtime_error(opened.error().message);
  if (online_) engine_->on_kubo({true, true});
  engine_->turn();
  due_ms_ = network_.now_ms;
}

void Replica::restart() { open(); }

void Replica::restart_from(const MemoryStore& old, bool restored) {
  engine_.reset();
  store_.copy_from(old);
  open(restored);
}

void Replica::restart_as(const Replica& other) {
  seed_ = other.seed_;
  restart_from(other.store_);
}

void Replica::set_online(bool online) {
  online_ = online;
  engine_->on_kubo({online, online});
  engine_->turn();
  due_ms_ = network_.now_ms;
}

uint64_t Replica::wall_ms() const {
  return static_cast<uint64_t>(static_cast<int64_t>(kWallStartMs + network_.now_ms) +
                               clock_offset_ms);
}
uint64_t Replica::mono_ms() const { return network_.now_ms; }
void Replica::fill(unsigned char* out, size_t size) {
  for (size_t i = 0; i < size; ++i) out[i] = static_cast<unsigned char>(network_.random());
}

void Replica::publish(const ipld::Cid& channel, Bytes message) {
  if (online_) {
    network_.published.emplace_back(channel, message);
    for (size_t i = 0; i < network_.size(); ++i) {
      if (i != index_ && network_.chance(network_.faults.loss)) continue;
      for (int copies = network_.chance(network_.faults.duplicate) ? 2 : 1; copies > 0; --copies)
        network_.later(i, network_.delay(),
                       [this, &peer = network_[i], channel, message](engine::Engine& e) {
                         if (peer.online_ && peer.topics_.contains(channel))
                           e.on_message(channel, "peer" + std::to_string(index_), message);
                       });
    }
  }
  network_.later(index_, 1,
                 [channel, ok = online_](engine::Engine& e) { e.on_published(channel, ok); });
}

void Replica::put(uint64_t ticket, std::vector<engine::Block> blocks) {
  const bool ok = online_;
  if (ok)
    for (engine::Block& block : blocks) blocks_[block.cid] = std::move(block.bytes);
  network_.later(index_, network_.delay(),
                 [ticket, ok](engine::Engine& e) { e.on_stored(ticket, ok); });
}

void Replica::get(const ipld::Cid& cid) {
  Result<Bytes> found = fail(Code::timed_out, "nobody has it");
  if (online_)
    for (size_t i = 0; i < network_.size(); ++i) {
      const Replica& peer = network_[i];
      if (const auto it = peer.blocks_.find(cid); peer.online_ && it != peer.blocks_.end())
        found = it->second;
    }
  network_.later(index_, network_.delay() + (found ? 0 : 2'000),
                 [cid, found](engine::Engine& e) { e.on_block(cid, found); });
}

void Replica::pin(const ipld::Cid& last, const ipld::Cid& next) {
  if (!online_) return;
  const bool ok = pins_.pin(blocks_, last, next);
  network_.later(index_, network_.delay(),
                 [next, ok](engine::Engine& e) { e.on_pinned(next, ok); });
}

engine::ChannelRef Replica::create(const std::string& name, const std::string& type,
                                   bool is_public) {
  auto ref = in_turn<engine::ChannelRef>(
      *engine_, [&](auto done) { engine_->create(name, type, is_public, done); });
  if (!ref) throw std::runtime_error(ref.error().message);
  return *ref;
}

engine::ChannelRef Replica::join(const std::string& address, const std::string& name) {
  auto ref =
      in_turn<engine::ChannelRef>(*engine_, [&](auto done) { engine_->join(address, name, done); });
  if (!ref) throw std::runtime_error(ref.error().message);
  return *ref;
}

Result<std::string> Replica::grant(const std::string& channel, const std::string& id,
                                   const std::string& role) {
  return in_turn<std::string>(*engine_,
                              [&](auto done) { engine_->grant(channel, id, role, done); });
}

Result<engine::Written> Replica::write(const std::string& channel, const types::Type& type,
                                       std::vector<Bytes> ops, std::string request) {
  return in_turn<engine::Written>(*engine_, [&](auto done) {
    engine_->write(channel, type, std::move(ops), std::move(request), done);
  });
}

engine::ChannelInfo Replica::info(const std::string& channel) {
  return *in_turn<engine::ChannelInfo>(*engine_, [&](auto done) { engine_->info(channel, done); });
}

Network::Network(size_t replicas, uint64_t seed, Faults f) : random(seed), faults(f) {
  for (size_t i = 0; i < replicas; ++i) replicas_.push_back(std::make_unique<Replica>(*this, i));
}

void Network::later(size_t replica, uint64_t delay_ms, std::function<void(engine::Engine&)> run) {
  // While the network is being built its replicas have nothing to say to each other.
  const uint64_t generation = replica < replicas_.size() ? replicas_[replica]->generation_ : 1;
  events_.emplace(now_ms + delay_ms, Event{replica, generation, std::move(run)});
}

void Network::run_ms(uint64_t ms) {
  for (const uint64_t end = now_ms + ms; now_ms < end; ++now_ms) {
    std::set<size_t> touched;
    while (!events_.empty() && events_.begin()->first <= now_ms) {
      const Event event = std::move(events_.begin()->second);
      events_.erase(events_.begin());
      Replica& replica = *replicas_[event.replica];
      if (event.generation != replica.generation_) continue;
      event.run(*replica.engine_);
      touched.insert(event.replica);
    }
    for (size_t i = 0; i < replicas_.size(); ++i) {
      Replica& replica = *replicas_[i];
      const bool due = now_ms >= replica.due_ms_;
      if (due) replica->tick();
      if (due || touched.contains(i)) replica.due_ms_ = replica->turn();
    }
  }
}

void Network::inject(const ipld::Cid& channel, const Bytes& message) {
  for (size_t i = 0; i < replicas_.size(); ++i)
    later(i, 1,
          [channel, message](engine::Engine& e) { e.on_message(channel, "stranger", message); });
}

}  // namespace ptwop::test
