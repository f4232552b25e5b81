// Pins: wishes that are kept until Kubo is there to hear them, carried out one after the other.
#pragma once
#include <deque>
#include <functional>

#include "ipld/cid.h"
#include "kubo/api.h"

namespace ptwop::kubo {

class Pins {
 public:
  using Told = std::function<void(const ipld::Cid& next, bool ok)>;
  Pins(Api& api, Told told) : api_(api), told_(std::move(told)) {}

  /// Pins `next` recursively and releases `last`; either may be none. Told when `next` is pinned,
  /// or cannot be.
  void add(const ipld::Cid& last, const ipld::Cid& next);
  void set_ready(bool ready);

 private:
  struct Wish {
    ipld::Cid last;
    ipld::Cid next;
  };
  enum class Step : uint8_t { update, add, remove };
  void send_next();
  void send(std::string path, Step step);
  void on_answer(const Result<Bytes>& body, Step step);

  Api& api_;
  Told told_;
  bool ready_ = false;
  std::deque<Wish> waiting_;  ///< The first one is in flight when there is one.
  net::HttpClient::Id in_flight_ = 0;
};

}  // namespace ptwop::kubo
