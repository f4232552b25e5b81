#include "net/http_client.h"

#include <doctest/doctest.h>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/streambuf.hpp>
#include <boost/asio/write.hpp>
#include <chrono>
#include <cstdlib>
#include <optional>

#include "support/temp_folder.h"

using namespace ptwop;
using net::HttpClient;
using net::HttpRequest;
using net::HttpResponse;
namespace asio = boost::asio;

namespace {

/// Answers each request's head with the next scripted text, and keeps or ends the connection.
template <class Protocol>
struct Script : std::enable_shared_from_this<Script<Protocol>> {
  struct Answer {
    std::string text;
    bool close = false;
  };
  Script(asio::io_context& loop, const typename Protocol::endpoint& at) : acceptor(loop, at) {}

  void accept() {
    acceptor.async_accept(
        [self = this->shared_from_this()](auto error, typename Protocol::socket socket) {
          if (error) return;
          ++self->connections;
          self->serve(std::make_shared<typename Protocol::socket>(std::move(socket)),
                      std::make_shared<asio::streambuf>());
          self->accept();
        });
  }
  void serve(std::shared_ptr<typename Protocol::socket> socket,
             std::shared_ptr<asio::streambuf> buffer) {
    asio::async_read_until(
        *socket, *buffer, "\r\n\r\n",
        [self = this->shared_from_this(), socket, buffer](auto error, size_t size) {
          if (error) return;
          self->requests.emplace_back(asio::buffer_cast<const char*>(buffer->data()), size);
          buffer->consume(buffer->size());
          if (self->answers.empty()) return self->held.push_back(socket);
          const Answer answer = self->answers.front();
          self->answers.erase(self->answers.begin());
          auto text = std::make_shared<std::string>(answer.text);
          asio::async_write(
              *socket, asio::buffer(*text),
              [self, socket, buffer, text, close = answer.close](auto failed, size_t) {
                if (!failed && !close) self->serve(socket, buffer);
              });
        });
  }

  typename Protocol::acceptor acceptor;
  std::vector<Answer> answers;
  std::vector<std::string> requests;
  std::vector<std::shared_ptr<typename Protocol::socket>> held;
  size_t connections = 0;
};

using Tcp = asio::ip::tcp;

struct Fixture {
  Fixture() { server->accept(); }
  ~Fixture() {
    server->acceptor.close();
    loop.restart();
    loop.poll();
  }

  HttpRequest request() {
    HttpRequest out;
    out.url =
        "http://127.0.0.1:" + std::to_string(server->acceptor.local_endpoint().port()) + "/api";
    out.on_done = [this](Result<HttpResponse> response) { done.push_back(std::move(response)); };
    return out;
  }
  bool run(const std::function<bool()>& what, int limit_ms = 5000) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(limit_ms);
    while (!what() && std::chrono::steady_clock::now() < end) {
      loop.restart();
      loop.run_one_for(std::chrono::milliseconds(10));
    }
    return what();
  }
  const Result<HttpResponse>& ask(HttpRequest what) {
    const size_t before = done.size();
    client.start(std::move(what));
    REQUIRE(run([&] { return done.size() > before; }));
    return done.back();
  }

  asio::io_context loop;
  std::shared_ptr<Script<Tcp>> server =
      std::make_shared<Script<Tcp>>(loop, Tcp::endpoint(asio::ip::address_v4::loopback(), 0));
  std::vector<Result<HttpResponse>> done;
  HttpClient client{loop};
};

std::string answer(std::string_view body, std::string_view status = "200 OK") {
  return "HTTP/1.1 " + std::string(status) + "\r\nContent-Length: " + std::to_string(body.size()) +
         "\r\n\r\n" + std::string(body);
}
const std::string kChunkedHead =
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Stream-Error\r\n\r\n";

}  // namespace

TEST_CASE_FIXTURE(Fixture, "an answer comes whole, and its connection is used again") {
  server->answers = {{answer("one")}, {answer("no", "500 Oops")}, {answer("three")}};
  CHECK(ask(request())->body == "one");
  const auto second = ask(request());
  CHECK(second->status == 500);
  CHECK(second->body == "no");
  CHECK(ask(request())->body == "three");
  CHECK(server->connections == 1);
  CHECK(client.in_flight() == 0);
}

TEST_CASE_FIXTURE(Fixture, "a request is a POST with the given headers and without Expect") {
  server->answers = {{answer("")}, {answer("")}};
  auto plain = request();
  plain.headers = {"Authorization: Bearer secret"};
  ask(std::move(plain));
  auto large = request();
  large.parts = {{"data", Bytes(2'000'000, 'x')}};
  server->answers[0].close = true;
  ask(std::move(large));
  CHECK(server->requests[0].starts_with("POST /api HTTP/1.1\r\n"));
  CHECK(server->requests[0].find("Authorization: Bearer secret\r\n") != std::string::npos);
  CHECK(server->requests[0].find("Content-Length: 0\r\n") != std::string::npos);
  CHECK(server->requests[1].find("Content-Type: multipart/form-data; boundary=ptwop-") !=
        std::string::npos);
  CHECK(server->requests[1].find("Expect") == std::string::npos);
}

TEST_CASE_FIXTURE(Fixture, "the environment's proxy is not used") {
  ::setenv("http_proxy", "http://127.0.0.1:9", 1);
  server->answers = {{answer("direct")}};
  CHECK(ask(request()).ok());
  ::unsetenv("http_proxy");
}

TEST_CASE_FIXTURE(Fixture, "redirects are answers, other protocols are refused") {
  server->answers = {
      {"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:9/\r\nContent-Length: 0\r\n\r\n"}};
  CHECK(ask(request())->status == 302);
  auto file = request();
  file.url = "file:///etc/hostname";
  CHECK_FALSE(ask(std::move(file)).ok());
}

TEST_CASE_FIXTURE(Fixture, "an answer that is too large ends the request") {
  server->answers = {{answer(std::string(1001, 'x')), true},
                     {"HTTP/1.1 200 OK\r\nX: " + std::string(70'000, 'x') + "\r\n\r\n", true}};
  auto small = request();
  small.body_bytes_max = 1000;
  CHECK(ask(std::move(small)).error().code == Code::too_large);
  CHECK(ask(request()).error().code == Code::too_large);
}

TEST_CASE_FIXTURE(Fixture, "silence, refusal and cuts are errors of their own") {
  auto silent = request();
  silent.total_timeout_ms = 100;
  CHECK(ask(std::move(silent)).error().code == Code::timed_out);

  server->answers = {{"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", true},
                     {"nonsense\r\n\r\n", true}};
  CHECK(ask(request()).error().code == Code::kubo_offline);
  CHECK(ask(request()).error().code == Code::kubo_offline);

  auto nobody = request();
  server->acceptor.close();
  nobody.url = "http://127.0.0.1:1/";
  CHECK(ask(std::move(nobody)).error().code == Code::kubo_offline);
}

TEST_CASE_FIXTURE(Fixture,
                  "a stream's beginning is told before any data, its end after all of it") {
  std::string events;
  auto stream = [&] {
    auto out = request();
    out.total_timeout_ms = 0;
    out.body_bytes_max = 10;  // bounds errors only
    out.on_open = [&] { events += "open,"; };
    out.on_data = [&](BytesView data) { events += data; };
    out.on_done = [&](Result<HttpResponse> response) {
      events += response.ok() ? ",end " + response->body + response->stream_error : ",error";
    };
    return out;
  };
  server->answers = {
      {kChunkedHead},
      {kChunkedHead + "5\r\nhello\r\n7\r\n, world\r\n0\r\nX-Stream-Error: oops\r\n\r\n"},
      {answer("no", "500 Oops")},
      {kChunkedHead + "2\r\nab\r\n", true}};
  const auto silent = client.start(stream());
  REQUIRE(run([&] { return !events.empty(); }));
  CHECK(events == "open,");
  client.cancel(silent);
  for (const char* expected : {"open,hello, world,end oops", ",end no", "open,ab,error"}) {
    events.clear();
    client.start(stream());
    REQUIRE(run([&] { return events.find(",e") != std::string::npos; }));
    CHECK(events == expected);
  }
}

TEST_CASE_FIXTURE(Fixture, "callbacks may cancel and start requests, also their own") {
  int data_told = 0;
  HttpClient::Id own = 0;
  auto stream = request();
  stream.on_data = [&](BytesView) {
    ++data_told;
    client.cancel(own);
    server->answers = {{answer("next")}};
    client.start(request());
  };
  stream.on_done = [&](const Result<HttpResponse>&) { FAIL("cancelled"); };
  server->answers = {{kChunkedHead + "5\r\nhello\r\n0\r\n\r\n"}};
  own = client.start(std::move(stream));
  REQUIRE(run([&] { return done.size() == 1; }));
  CHECK(done[0]->body == "next");
  CHECK(data_told == 1);

  // One answer's receiver cancels the other, which may be complete already.
  server->answers = {{answer("a")}, {answer("b")}};
  HttpClient::Id ids[2] = {};
  int told = 0;
  for (int i = 0; i < 2; ++i) {
    auto one = request();
    one.on_done = [&, i](const Result<HttpResponse>&) {
      ++told;
      client.cancel(ids[1 - i]);
    };
    ids[i] = client.start(std::move(one));
  }
  REQUIRE(run([&] { return told > 0; }));
  run([] { return false; }, 50);
  CHECK(told == 1);
  CHECK(client.in_flight() == 0);
}

TEST_CASE_FIXTURE(Fixture, "a client that goes takes its requests along") {
  auto other = std::make_unique<HttpClient>(loop);
  auto one = request();
  one.on_done = [&](const Result<HttpResponse>&) { FAIL("its client is gone"); };
  other->start(std::move(one));
  REQUIRE(run([&] { return server->held.size() == 1; }));
  other.reset();
  run([] { return false; }, 50);
}

TEST_CASE("a unix socket is an address too") {
  asio::io_context loop;
  const test::TempFolder folder;
  const std::string path = folder.path + "/api";
  using Local = asio::local::stream_protocol;
  auto server = std::make_shared<Script<Local>>(loop, Local::endpoint(path));
  server->answers = {{answer("local")}};
  server->accept();
  HttpClient client(loop);
  std::optional<Result<HttpResponse>> got;
  HttpRequest request;
  request.url = "http://localhost/api";
  request.unix_path = path;
  request.on_done = [&](Result<HttpResponse> response) { got = std::move(response); };
  client.start(std::move(request));
  for (int i = 0; i < 200 && !got; ++i) loop.run_one_for(std::chrono::milliseconds(10));
  REQUIRE(got);
  CHECK((*got)->body == "local");
  server->acceptor.close();
  loop.poll();
}
