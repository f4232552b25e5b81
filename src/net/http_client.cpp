// The scheme is the one of curl's documentation for curl_multi_socket_action: curl tells which
// sockets and which time-out it waits for, Asio waits, and each event is handed back. Curl forbids
// calls into itself from its own callbacks, so those only collect; what was collected is told to
// the caller once curl has returned.
#include "net/http_client.h"

#include <curl/curl.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <random>
#include <unordered_map>
#include <utility>

namespace ptwop::net {
namespace asio = boost::asio;
namespace {

constexpr size_t kHeaderBytesMax = 64 << 10;
constexpr long kIdleConnectionsMax = 64;

struct FreeEasy {
  void operator()(CURL* easy) const { curl_easy_cleanup(easy); }
};
struct FreeList {
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};

struct Transfer {
  HttpClient::Id id = 0;
  HttpRequest request;
  Bytes sent_body;
  std::unique_ptr<curl_slist, FreeList> headers;
  std::unique_ptr<CURL, FreeEasy> easy;
  Bytes received;
  std::string stream_error;
  size_t header_bytes = 0;
  bool opened = false;
  bool told_open = false;
  bool too_large = false;
  bool has_news = false;                        ///< Its id is in `news`.
  std::vector<HttpClient::Id>* news = nullptr;  ///< Whom to tell something since the last turn.
  char error_text[CURL_ERROR_SIZE] = {};
};

/// A socket of curl's that the loop watches. Curl closes it, never we.
struct Watch {
  explicit Watch(asio::io_context& loop) : descriptor(loop) {}
  asio::posix::stream_descriptor descriptor;
  int wanted = 0;
  bool reading = false;
  bool writing = false;
  bool gone = false;
};

std::string random_boundary() {
  std::random_device random;
  Bytes raw;
  for (int i = 0; i < 4; ++i) append_be32(raw, random());
  return "ptwop-" + hex(raw);
}

Bytes multipart(const std::vector<HttpPart>& parts, const std::string& boundary) {
  size_t size = 64;
  for (const auto& part : parts) size += part.data.size() + 192;
  Bytes body;
  body.reserve(size);
  for (const auto& part : parts) {
    body += "--" + boundary + "\r\nContent-Disposition: form-data; name=\"" + part.name +
            "\"; filename=\"" + part.name + "\"\r\nContent-Type: application/octet-stream\r\n\r\n";
    body += part.data;
    body += "\r\n";
  }
  body += "--" + boundary + "--\r\n";
  return body;
}

long status_of(CURL* easy) {
  long status = 0;
  curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
  return status;
}

void init_curl() {
  static const CURLcode once = curl_global_init(CURL_GLOBAL_DEFAULT);
  (void)once;
}

}  // namespace

struct HttpClient::Impl : std::enable_shared_from_this<HttpClient::Impl> {
  explicit Impl(asio::io_context& io) : loop(io), timer(io), boundary(random_boundary()) {
    init_curl();
    multi = curl_multi_init();
    curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, &Impl::on_socket);
    curl_multi_setopt(multi, CURLMOPT_SOCKETDATA, this);
    curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, &Impl::on_timer);
    curl_multi_setopt(multi, CURLMOPT_TIMERDATA, this);
    curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, kIdleConnectionsMax);
  }

  ~Impl() {
    for (auto& [id, transfer] : transfers) curl_multi_remove_handle(multi, transfer->easy.get());
    transfers.clear();
    for (auto& [fd, watch] : watches) drop(*watch);
    curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, nullptr);
    curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, nullptr);
    curl_multi_cleanup(multi);
  }

  // --- curl's callbacks: they collect and arm, and call nothing else
  // -------------------------------------------------

  static int on_socket(CURL*, curl_socket_t fd, int what, void* self, void*) {
    auto& impl = *static_cast<Impl*>(self);
    auto found = impl.watches.find(fd);
    if (what == CURL_POLL_REMOVE) {
      if (found != impl.watches.end()) {
        drop(*found->second);
        impl.watches.erase(found);
      }
      return 0;
    }
    if (found == impl.watches.end()) {
      auto watch = std::make_shared<Watch>(impl.loop);
      boost::system::error_code error;
      watch->descriptor.assign(fd, error);
      if (error) return -1;
      found = impl.watches.emplace(fd, std::move(watch)).first;
    }
    found->second->wanted = what;
    impl.arm(fd, found->second);
    return 0;
  }

  static int on_timer(CURLM*, long timeout_ms, void* self) {
    auto& impl = *static_cast<Impl*>(self);
    ++impl.timer_turn;
    if (timeout_ms < 0) {
      impl.timer.cancel();
    } else if (timeout_ms == 0) {
      asio::post(impl.loop, [weak = impl.weak_from_this(), turn = impl.timer_turn] {
        if (auto alive = weak.lock(); alive && alive->timer_turn == turn)
          alive->act(CURL_SOCKET_TIMEOUT, 0);
      });
    } else {
      impl.timer.expires_after(std::chrono::milliseconds(timeout_ms));
      impl.timer.async_wait([weak = impl.weak_from_this(), turn = impl.timer_turn](auto error) {
        auto alive = weak.lock();
        if (!error && alive && alive->timer_turn == turn) alive->act(CURL_SOCKET_TIMEOUT, 0);
      });
    }
    return 0;
  }

  static size_t on_header(char* data, size_t, size_t size, void* self) {
    auto& transfer = *static_cast<Transfer*>(self);
    transfer.header_bytes += size;
    if (transfer.header_bytes > kHeaderBytesMax) {
      transfer.too_large = true;
      return 0;
    }
    std::string_view line(data, size);
    constexpr std::string_view kStreamError = "x-stream-error:";
    if (line == "\r\n" && status_of(transfer.easy.get()) == 200) {
      transfer.opened = true;
      note_news(transfer);
    } else if (line.size() > kStreamError.size() &&
               curl_strnequal(data, kStreamError.data(), kStreamError.size())) {
      line.remove_prefix(kStreamError.size());
      while (!line.empty() && line.front() == ' ') line.remove_prefix(1);
      while (!line.empty() && (line.back() == '\r' || line.back() == '\n')) line.remove_suffix(1);
      transfer.stream_error = line.empty() ? "unknown" : line;
    }
    return size;
  }

  static size_t on_body(char* data, size_t, size_t size, void* self) {
    auto& transfer = *static_cast<Transfer*>(self);
    const bool streamed = transfer.opened && transfer.request.on_data;
    if (!streamed && transfer.received.size() + size > transfer.request.body_bytes_max) {
      transfer.too_large = true;
      return 0;
    }
    transfer.received.append(data, size);
    if (streamed) note_news(transfer);
    return size;
  }

  static void note_news(Transfer& transfer) {
    if (!std::exchange(transfer.has_news, true)) transfer.news->push_back(transfer.id);
  }

  // --- the loop's side
  // -----------------------------------------------------------------------------------------------

  static void drop(Watch& watch) {
    watch.gone = true;
    watch.wanted = 0;
    watch.descriptor.release();
  }

  void arm(curl_socket_t fd, const std::shared_ptr<Watch>& watch) {
    if ((watch->wanted & CURL_POLL_IN) && !watch->reading) {
      watch->reading = true;
      wait(fd, watch, asio::posix::stream_descriptor::wait_read, CURL_CSELECT_IN);
    }
    if ((watch->wanted & CURL_POLL_OUT) && !watch->writing) {
      watch->writing = true;
      wait(fd, watch, asio::posix::stream_descriptor::wait_write, CURL_CSELECT_OUT);
    }
  }

  void wait(curl_socket_t fd, const std::shared_ptr<Watch>& watch,
            asio::posix::stream_descriptor::wait_type type, int event) {
    watch->descriptor.async_wait(type, [weak = weak_from_this(), watch, fd, event](auto error) {
      (event == CURL_CSELECT_IN ? watch->reading : watch->writing) = false;
      auto alive = weak.lock();
      if (!alive || watch->gone || error == asio::error::operation_aborted) return;
      // Curl may have lost interest meanwhile: then the event is not handed on.
      const int bit = event == CURL_CSELECT_IN ? CURL_POLL_IN : CURL_POLL_OUT;
      if (!(watch->wanted & bit)) return;
      alive->act(fd, error ? CURL_CSELECT_ERR : event);
      if (!watch->gone) alive->arm(fd, watch);
    });
  }

  void act(curl_socket_t fd, int event) {
    int running = 0;
    curl_multi_socket_action(multi, fd, event, &running);
    deliver_news();
    deliver_done();
  }

  // A new request leaves at once where its connection is open, not in the loop's next turn. What
  // comes of it is told from the loop: the caller may be in the middle of something.
  void kick() {
    int running = 0;
    curl_multi_socket_action(multi, CURL_SOCKET_TIMEOUT, 0, &running);
    asio::post(loop, [weak = weak_from_this()] {
      if (auto alive = weak.lock()) {
        alive->deliver_news();
        alive->deliver_done();
      }
    });
  }

  void deliver_news() {
    for (const Id id : std::exchange(news, {})) {
      if (auto found = transfers.find(id); found != transfers.end()) tell_news(found->second);
    }
  }

  // By value: a callback may cancel the transfer that it came from.
  void tell_news(std::shared_ptr<Transfer> transfer) {
    transfer->has_news = false;
    if (!transfer->opened) return;
    if (!std::exchange(transfer->told_open, true) && transfer->request.on_open)
      transfer->request.on_open();
    if (!transfers.count(transfer->id)) return;
    if (transfer->request.on_data && !transfer->received.empty()) {
      transfer->request.on_data(std::exchange(transfer->received, {}));
    }
  }

  // The end of a transfer is told after all that came before it.
  void deliver_done() {
    int left = 0;
    while (CURLMsg* message = curl_multi_info_read(multi, &left)) {
      if (message->msg != CURLMSG_DONE) continue;
      CURL* easy = message->easy_handle;
      const CURLcode code = message->data.result;
      Transfer* raw = nullptr;
      curl_easy_getinfo(easy, CURLINFO_PRIVATE, &raw);
      auto transfer = transfers.at(raw->id);
      tell_news(transfer);
      if (!transfers.count(transfer->id)) continue;  // cancelled while it was told
      auto response = outcome(*transfer, code);
      forget(*transfer);
      if (transfer->request.on_done) transfer->request.on_done(std::move(response));
    }
  }

  static Result<HttpResponse> outcome(Transfer& transfer, CURLcode code) {
    if (transfer.too_large) return fail(Code::too_large, "the answer is larger than expected");
    if (code == CURLE_OK) {
      return HttpResponse{static_cast<int>(status_of(transfer.easy.get())),
                          std::move(transfer.received), std::move(transfer.stream_error)};
    }
    std::string text = transfer.error_text[0] ? transfer.error_text : curl_easy_strerror(code);
    curl_off_t sending_us = 0;
    curl_easy_getinfo(transfer.easy.get(), CURLINFO_PRETRANSFER_TIME_T, &sending_us);
    const bool was_connected = sending_us > 0;
    if (code == CURLE_OPERATION_TIMEDOUT && was_connected)
      return fail(Code::timed_out, std::move(text));
    return fail(Code::kubo_offline, std::move(text));
  }

  void forget(const Transfer& transfer) {
    curl_multi_remove_handle(multi, transfer.easy.get());
    transfers.erase(transfer.id);
  }

  asio::io_context& loop;
  asio::steady_timer timer;
  uint64_t timer_turn = 0;  ///< Tells a time-out that curl has replaced since.
  std::string boundary;     ///< Random, so that nothing in a part can end it.
  CURLM* multi = nullptr;
  Id last_id = 0;
  std::unordered_map<Id, std::shared_ptr<Transfer>> transfers;
  std::vector<Id> news;  ///< Those with on_open or on_data that have something to tell.
  std::unordered_map<curl_socket_t, std::shared_ptr<Watch>> watches;
};

namespace {

void add_headers(Transfer& transfer, const std::string& boundary) {
  curl_slist* list = nullptr;
  auto add = [&list](const std::string& line) { list = curl_slist_append(list, line.c_str()); };
  add("Expect:");  // a round trip before every larger body, for nothing
  add("Accept:");
  add(transfer.sent_body.empty() ? "Content-Type:"
                                 : "Content-Type: multipart/form-data; boundary=" + boundary);
  for (const auto& line : transfer.request.headers) add(line);
  transfer.headers.reset(list);
}

void set_options(Transfer& transfer) {
  CURL* easy = transfer.easy.get();
  const auto& request = transfer.request;
  curl_easy_setopt(easy, CURLOPT_URL, request.url.c_str());
  if (!request.unix_path.empty())
    curl_easy_setopt(easy, CURLOPT_UNIX_SOCKET_PATH, request.unix_path.c_str());
  curl_easy_setopt(easy, CURLOPT_HTTPHEADER, transfer.headers.get());
  curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE,
                   static_cast<curl_off_t>(transfer.sent_body.size()));
  curl_easy_setopt(easy, CURLOPT_POSTFIELDS, transfer.sent_body.data());
  curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(request.connect_timeout_ms));
  curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, static_cast<long>(request.total_timeout_ms));
  curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, transfer.error_text);
  curl_easy_setopt(easy, CURLOPT_PRIVATE, &transfer);
  curl_easy_setopt(easy, CURLOPT_USERAGENT, "ptwopd/" PTWOP_VERSION);
  curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http");
  curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
  curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
  curl_easy_setopt(easy, CURLOPT_PROXY, "");
  curl_easy_setopt(easy, CURLOPT_NOPROXY, "*");
  curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(easy, CURLOPT_TCP_NODELAY, 1L);
  curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
}

}  // namespace

HttpClient::HttpClient(asio::io_context& loop) : impl_(std::make_shared<Impl>(loop)) {}
HttpClient::~HttpClient() = default;

HttpClient::Id HttpClient::start(HttpRequest request) {
  auto transfer = std::make_shared<Transfer>();
  transfer->id = ++impl_->last_id;
  transfer->request = std::move(request);
  transfer->easy.reset(curl_easy_init());
  if (!transfer->request.parts.empty())
    transfer->sent_body = multipart(transfer->request.parts, impl_->boundary);
  transfer->request.parts.clear();
  add_headers(*transfer, impl_->boundary);
  set_options(*transfer);
  CURL* easy = transfer->easy.get();
  curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, &Impl::on_header);
  curl_easy_setopt(easy, CURLOPT_HEADERDATA, transfer.get());
  curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, &Impl::on_body);
  curl_easy_setopt(easy, CURLOPT_WRITEDATA, transfer.get());
  transfer->news = &impl_->news;
  impl_->transfers.emplace(transfer->id, transfer);
  curl_multi_add_handle(impl_->multi, easy);
  impl_->kick();
  return transfer->id;
}

void HttpClient::cancel(Id id) {
  auto found = impl_->transfers.find(id);
  if (found == impl_->transfers.end()) return;
  auto transfer = found->second;
  impl_->forget(*transfer);
}

size_t HttpClient::in_flight() const { return impl_->transfers.size(); }

}  // namespace ptwop::net
