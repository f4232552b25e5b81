#include "engine/gate.h"

#include <utility>

#include "base/mutant.h"

namespace ptwop::engine {

void Gate::begin_sync() {
  syncing_ = true;
  committed_ = false;
  covered_ = waiting_.size();
}

void Gate::end_sync() {
  syncing_ = false;
  auto all = std::exchange(waiting_, {});
  if (PTWOP_MUTANT(sync_covers_later)) covered_ = all.size();
  const auto end = all.begin() + static_cast<ptrdiff_t>(std::exchange(covered_, 0));
  waiting_.assign(std::move_iterator(end), std::move_iterator(all.end()));
  for (auto it = all.begin(); it != end; ++it) (*it)(nullptr);
}

void Gate::drop(const Error& error) {
  syncing_ = committed_ = false;
  covered_ = 0;
  for (const Answer& what : std::exchange(waiting_, {})) what(&error);
}

void Gate::pass(Answer what) {
  if (!closed()) return what(nullptr);
  waiting_.push_back(std::move(what));
  if (!committed_) covered_ = waiting_.size();
}

void Gate::answer(Answer answer) { pass(std::move(answer)); }

// Topics are a matter of this process, not of what is durable.
void Gate::subscribe(const ipld::Cid& channel) { gossip_.subscribe(channel); }
void Gate::unsubscribe(const ipld::Cid& channel) { gossip_.unsubscribe(channel); }

void Gate::publish(const ipld::Cid& channel, Bytes message) {
  pass([this, channel, message = std::move(message)](const Error* failed) mutable {
    if (!failed) gossip_.publish(channel, std::move(message));
  });
}

void Gate::put(uint64_t ticket, std::vector<Block> blocks) {
  pass([this, ticket, blocks = std::move(blocks)](const Error* failed) mutable {
    if (!failed) blocks_.put(ticket, std::move(blocks));
  });
}

// Asking promises nothing.
void Gate::get(const ipld::Cid& cid) { blocks_.get(cid); }

void Gate::pin(const ipld::Cid& last, const ipld::Cid& next) {
  pass([this, last, next](const Error* failed) {
    if (!failed) blocks_.pin(last, next);
  });
}

void Gate::unpin(const ipld::Cid& cid) {
  pass([this, cid](const Error* failed) {
    if (!failed) blocks_.unpin(cid);
  });
}

}  // namespace ptwop::engine
