// One call of Kubo's RPC API: address, authorisation, and what an answer means.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "base/result.h"
#include "kubo/address.h"
#include "net/http_client.h"
#include "net/once_a_minute.h"

namespace ptwop::kubo {

struct Call {
  std::string path;  ///< "block/get?arg=…", below /api/v0/.
  std::vector<net::HttpPart> parts;
  uint64_t timeout_ms = 10'000;  ///< 0: none, for streams.
  size_t body_bytes_max = 64 << 10;
  bool optional = false;          ///< Nothing is amiss where Kubo does not allow it.
  std::function<void()> on_open;  ///< As net::HttpRequest's.
  std::function<void(BytesView data)> on_data;
  /// The whole body of a good answer. Errors: kubo_offline, timed_out, too_large, not_permitted
  /// (401, 403), kubo_refused (any other answer, with Kubo's own words; timed_out when those say
  /// so).
  std::function<void(Result<Bytes> body)> done;
};

/// On the loop's thread.
class Api {
 public:
  explicit Api(boost::asio::io_context& loop) : http_(loop) {}
  void set_address(ApiAddress address) { address_ = std::move(address); }
  /// The Authorization header's value; empty: none.
  void set_authorization(std::string value) { authorization_ = std::move(value); }
  /// Called before `done` whenever an answer (or none) says that Kubo itself may be gone or refuses
  /// us altogether.
  void set_on_trouble(std::function<void()> on_trouble) { on_trouble_ = std::move(on_trouble); }
  net::HttpClient::Id start(Call call);
  void cancel(net::HttpClient::Id id) { http_.cancel(id); }

 private:
  void tell_refusal(std::string_view call, const Error& why);

  net::HttpClient http_;
  net::OnceAMinute refusals_;
  ApiAddress address_;
  std::string authorization_;
  std::function<void()> on_trouble_;
};

}  // namespace ptwop::kubo
