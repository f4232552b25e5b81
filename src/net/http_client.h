// An HTTP/1.1 client on the event loop: libcurl's multi interface driven by Asio's readiness and
// timers. No threads.
//
// Connections are kept alive and reused; every request in flight has a connection of its own, so
// none waits behind another. No redirects, no proxies, no protocol but http, whatever the
// environment says.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"

namespace boost::asio {
class io_context;
}

namespace ptwop::net {

/// One file of a multipart/form-data body.
struct HttpPart {
  std::string name;
  Bytes data;
};

struct HttpResponse {
  int status = 0;
  Bytes body;  ///< Empty where `on_data` took it.
  std::string
      stream_error;  ///< The `X-Stream-Error` trailer: the answer broke off after it began well.
};

struct HttpRequest {
  std::string url;        ///< http://host:port/path?query, percent-encoded by the caller.
  std::string unix_path;  ///< When set, connects there; the URL's host is only a header then.
  std::vector<std::string> headers;  ///< "Name: value"
  std::vector<HttpPart>
      parts;  ///< POSTed as multipart/form-data; with none the POST has an empty body.
  uint64_t connect_timeout_ms = 3000;
  uint64_t total_timeout_ms = 30'000;  ///< 0: none, for streams.
  size_t body_bytes_max = 64 << 10;    ///< A longer answer ends the request with too_large.

  /// The head of a 200 answer is here. Optional.
  std::function<void()> on_open;
  /// The body of a 200 answer as it comes, in place of `HttpResponse::body`; `body_bytes_max`
  /// bounds other answers only.
  std::function<void(BytesView data)> on_data;
  /// Once, unless cancelled. Any HTTP status is a response; errors are those of the transport:
  /// kubo_offline (no connection, cut), timed_out, too_large.
  std::function<void(Result<HttpResponse> response)> on_done;
};

/// All on the loop's thread. Callbacks come from the loop, never from inside a call, and may start
/// and cancel requests; they may not destroy the client.
class HttpClient {
 public:
  using Id = uint64_t;

  explicit HttpClient(boost::asio::io_context& loop);
  ~HttpClient();  ///< Cancels what is under way.
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  Id start(HttpRequest request);
  /// No callback of that request comes any more. Unknown ids are ignored.
  void cancel(Id id);
  size_t in_flight() const;

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace ptwop::net
