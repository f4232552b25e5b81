// One connection: pausing, back pressure, half-close and the way it ends.
#include "net/unix_stream.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <chrono>

using namespace ptwop;

namespace {

struct Echo final : net::UnixStream {
  using UnixStream::UnixStream;
  void on_input() override {
    inputs += input();
    if (echo) out() += input();
    consume(input().size());
    if (pause_after) pause_reading(inputs.size() >= pause_after);
  }
  void on_end() override { ended = true; }
  void on_room() override { ++rooms; }
  void on_closed() override { ++closes; }
  using UnixStream::out;
  using UnixStream::pause_reading;
  using UnixStream::unsent;
  std::string inputs;
  bool echo = true, ended = false;
  size_t pause_after = 0, rooms = 0, closes = 0;
};

struct Fixture {
  Fixture() {
    int pair[2];
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
    client = pair[0];
    fcntl(client, F_SETFL, O_NONBLOCK);
    stream = std::make_shared<Echo>(loop, pair[1]);
    stream->start();
  }
  ~Fixture() {
    stream->close();
    if (client >= 0) close(client);
  }
  void run(int ms = 20) {
    loop.run_for(std::chrono::milliseconds(ms));
    loop.restart();
  }
  /// What is there to read; "<end>" after it when the connection ended.
  std::string read_all() const {
    std::string out(64 << 20, '\0');
    size_t size = 0;
    for (;;) {
      const ssize_t got = recv(client, out.data() + size, out.size() - size, 0);
      if (got <= 0) {
        out.resize(size);
        return got == 0 ? out + "<end>" : out;
      }
      size += static_cast<size_t>(got);
    }
  }
  boost::asio::io_context loop;
  int client;
  std::shared_ptr<Echo> stream;
};

}  // namespace

TEST_CASE_FIXTURE(Fixture, "what comes goes to the user, what it appends goes back") {
  send(client, "hello", 5, 0);
  run();
  CHECK(stream->inputs == "hello");
  CHECK(read_all() == "hello");
  shutdown(client, SHUT_WR);
  run();
  CHECK(stream->ended);
  CHECK(!stream->closed());
  stream->out() += "bye";
  stream->finish();
  CHECK(read_all() == "bye<end>");
  CHECK(stream->closes == 1);
}

TEST_CASE_FIXTURE(Fixture, "while paused nothing is read") {
  stream->pause_after = 3;
  send(client, "abc", 3, 0);
  run();
  send(client, "def", 3, 0);
  run();
  CHECK(stream->inputs == "abc");
  stream->pause_after = 0;
  stream->pause_reading(false);
  run();
  CHECK(stream->inputs == "abcdef");
}

TEST_CASE_FIXTURE(
    Fixture, "what the other side does not read waits here, and it is told when there is room") {
  std::string big;
  for (int i = 0; big.size() < (8 << 20); ++i) big += std::to_string(i) + ",";
  stream->out() += big;
  stream->flush();
  CHECK(stream->unsent() > 0);
  std::string got;
  for (int i = 0; i < 1000 && got.size() < big.size(); ++i) {
    got += read_all();
    run(1);
  }
  CHECK(got == big);
  CHECK(stream->unsent() == 0);
  CHECK(stream->rooms > 0);
}

TEST_CASE_FIXTURE(Fixture,
                  "an answer before the end can be read though the other side is still sending") {
  stream->echo = false;
  const std::string noise(100'000, 'x');
  send(client, noise.data(), noise.size(), 0);
  stream->out() += "refused";
  stream->finish();
  CHECK(send(client, noise.data(), 1000, MSG_NOSIGNAL) == 1000);
  run();
  CHECK(read_all() == "refused<end>");
  CHECK(stream->inputs.empty());
  SUBCASE("and it ends when the other side does") {
    close(std::exchange(client, -1));
    run();
    CHECK(stream->closed());
  }
  SUBCASE("or soon after") {
    run(1300);
    CHECK(stream->closed());
  }
}

TEST_CASE_FIXTURE(Fixture, "a vanished peer closes it") {
  close(std::exchange(client, -1));
  stream->out() += "x";
  stream->flush();
  run();
  CHECK(stream->closed());
  CHECK(stream->closes == 1);
}
