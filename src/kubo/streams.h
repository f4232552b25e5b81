// Incoming pubsub: one endless answer of Kubo's for each wanted topic, opened again whenever it
// breaks.
#pragma once
#include <functional>
#include <memory>
#include <unordered_map>

#include "ipld/cid.h"
#include "kubo/api.h"
#include "kubo/retry.h"
#include "kubo/wire.h"

namespace ptwop::kubo {

class Streams {
 public:
  struct Hooks {
    std::function<void(const ipld::Cid& channel, std::string_view from, Bytes data)> on_message;
    std::function<void()> on_refused;  ///< A message that makes no sense.
    std::function<void()> on_broken;   ///< Kubo ended or refused a stream: is pubsub still on?
  };
  Streams(boost::asio::io_context& loop, Api& api, uint64_t retry_ms_max, Hooks hooks)
      : loop_(loop), api_(api), retry_ms_max_(retry_ms_max), hooks_(std::move(hooks)) {}

  void want(const ipld::Cid& channel);
  void unwant(const ipld::Cid& channel);
  /// Opens or closes everything that is wanted.
  void set_ready(bool ready);

 private:
  struct Stream {
    Stream(boost::asio::io_context& loop, uint64_t retry_ms_max) : retry(loop, 100, retry_ms_max) {}
    net::HttpClient::Id in_flight = 0;
    LineSplitter lines{kLineBytesMax};
    Retry retry;
  };
  void open(const ipld::Cid& channel, Stream& stream);
  void close(Stream& stream);
  void on_data(const ipld::Cid& channel, BytesView data);
  void on_end(const ipld::Cid& channel);

  boost::asio::io_context& loop_;
  Api& api_;
  uint64_t retry_ms_max_;
  Hooks hooks_;
  bool ready_ = false;
  std::unordered_map<ipld::Cid, std::unique_ptr<Stream>> streams_;
};

}  // namespace ptwop::kubo
