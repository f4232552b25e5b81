#include "kubo/api.h"

#include "base/log.h"
#include "kubo/wire.h"

namespace ptwop::kubo {
namespace {

bool is_refusal(int status) { return status == 401 || status == 403; }

Result<Bytes> meaning_of(Result<net::HttpResponse> response) {
  if (!response) return response.error();
  if (is_refusal(response->status)) {
    return fail(Code::not_permitted, "Kubo refuses this daemon (HTTP " +
                                         std::to_string(response->status) +
                                         "): give it with --kubo-auth-file a secret of Kubo's "
                                         "API.Authorizations whose AllowedPaths hold "
                                         "/api/v0");
  }
  if (response->status == 200 && response->stream_error.empty()) return std::move(response->body);
  std::string text = response->status == 200 ? printable(response->stream_error)
                                             : error_text(response->status, response->body);
  const bool late = text.find("context deadline exceeded") != std::string::npos;
  return fail(late ? Code::timed_out : Code::kubo_refused, std::move(text));
}

}  // namespace

/// What is refused although Kubo answers otherwise, and goes on being refused until somebody
/// changes something there. Whoever asks for the version tells that one himself.
void Api::tell_refusal(std::string_view call, const Error& why) {
  const bool told = (why.code == Code::not_permitted && call != "version") ||
                    (why.code == Code::kubo_refused && call == "block/put");
  if (!told) return;
  if (const auto times = refusals_.due())
    log::warn("kubo", "Kubo refuses a call; it is tried again",
              {{"call", std::string(call)}, {"why", why.message}, {"times", *times}});
}

net::HttpClient::Id Api::start(Call call) {
  net::HttpRequest request;
  request.url = address_.url + "/api/v0/" + call.path;
  request.unix_path = address_.unix_path;
  if (!authorization_.empty()) request.headers.push_back("Authorization: " + authorization_);
  request.parts = std::move(call.parts);
  request.total_timeout_ms = call.timeout_ms;
  request.body_bytes_max = call.body_bytes_max;
  request.on_open = std::move(call.on_open);
  request.on_data = std::move(call.on_data);
  request.on_done = [this, optional = call.optional,
                     name = call.path.substr(0, call.path.find('?')),
                     done = std::move(call.done)](Result<net::HttpResponse> response) {
    const bool gone = !response && response.error().code != Code::too_large;
    const bool refused = response && is_refusal(response->status) && !optional;
    if ((gone || refused) && on_trouble_) on_trouble_();
    auto meaning = meaning_of(std::move(response));
    if (!meaning && !optional) tell_refusal(name, meaning.error());
    done(std::move(meaning));
  };
  return http_.start(std::move(request));
}

}  // namespace ptwop::kubo
