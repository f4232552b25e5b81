// What one connection may cost, and how long it may hold up the end, over a real socket.
#include "daemon.h"

using namespace ptwop;
using namespace ptwop::test;

namespace {

const std::string kReady = R"({"jsonrpc":"2.0","id":7,"method":"system.ready"})";
const std::string kReadyAnswer = R"({"jsonrpc":"2.0","id":7,"result":{"ready":true,"reason":""}})";
const std::string kInfo = R"({"jsonrpc":"2.0","id":2,"method":"system.info"})";
const std::string kGetBig = R"({"jsonrpc":"2.0","id":1,"method":"kv.get","params":["a","big"]})";

/// Makes the channel `a` whose key `big` holds that many bytes.
void put_big(Client& client, size_t size) {
  client.call("channel.create", R"(["a","kv"])");
  client.call("kv.put", R"({"channel":"a","key":"big","value":")" + std::string(size, 'x') + "\"}");
}

}  // namespace

TEST_CASE("at most 64 requests of a connection are in flight, and other connections go on") {
  Daemon daemon;
  Client client(daemon), other(daemon);
  REQUIRE(member(other.call("channel.create", R"(["a","kv"])"), "name") == "a");
  const auto waits = [](int from, int count) {
    std::string out;
    for (int i = from; i < from + count; ++i)
      out += R"({"jsonrpc":"2.0","id":)" + std::to_string(i) + R"(,"method":"system.info"})" + "\n";
    return out;
  };
  daemon.engine_thread.pause();
  client.send(waits(0, 63) + kReady + "\n");
  CHECK(client.line() == kReadyAnswer);
  client.send(waits(63, 1) + kReady + "\n");
  CHECK(client.quiet(100));
  CHECK(other.ask(kReady) == kReadyAnswer);
  // What is not read fills the kernel's buffers and then stops the sender: memory here stays as it
  // is.
  const std::string padding(1 << 20, ' ');
  std::thread sender([&] {
    for (int i = 0; i < 4; ++i) client.send(kReady + padding + "\n");
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  daemon.engine_thread.resume();
  size_t ready = 0;
  for (int i = 0; i < 64 + 1 + 4; ++i) ready += client.line() == kReadyAnswer;
  CHECK(ready == 5);
  sender.join();
}

TEST_CASE("unread answers stop what would make more of them") {
  Daemon daemon;
  Client client(daemon);
  put_big(client, 500'000);
  std::string all;
  for (int i = 0; i < 200; ++i) all += kGetBig + "\n";
  client.send(all);
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  Client other(daemon);
  const auto served = std::stoi(member(member(other.call("system.stats"), "requests"), "total"));
  CHECK(served < 20);
  for (int i = 0; i < 200; ++i) CHECK(client.line().size() > 500'000);
  // The same in a batch, of which all are answered in one array.
  std::string batch = "[" + kGetBig;
  for (int i = 1; i < 100; ++i) batch += "," + kGetBig;
  client.send(batch + "]\n" + kReady + "\n");
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  CHECK(std::stoi(member(member(other.call("system.stats"), "requests"), "total")) < 230);
  const std::string line = client.line();
  CHECK(line.size() > 50'000'000);
  CHECK(json::parse(line)->items.size() == 100);
  CHECK(client.line() == kReadyAnswer);
}

TEST_CASE("only a few reads of a connection are at the reader's thread at a time") {
  Daemon daemon;
  Client client(daemon), other(daemon);
  put_big(client, 500'000);
  std::string read;
  SUBCASE("pages") { read = R"({"jsonrpc":"2.0","id":1,"method":"kv.list","params":["a"]})"; }
  SUBCASE("what is not in memory") {
    daemon.store.cold = true;
    read = kGetBig;
  }
  daemon.reader_thread.pause();
  client.send(read + "\n" + read + "\n" + read + "\n" + kReady + "\n");
  CHECK(client.line() == kReadyAnswer);
  client.send(read + "\n" + kReady + "\n");
  CHECK(client.quiet(100));
  CHECK(other.ask(kReady) == kReadyAnswer);
  daemon.reader_thread.resume();
  size_t ready = 0;
  for (int i = 0; i < 5; ++i) ready += client.line() == kReadyAnswer;
  CHECK(ready == 1);
  // Who does not read what was read for it is not read on for.
  const auto total = [&] {
    return std::stoi(member(member(other.call("system.stats"), "requests"), "total"));
  };
  const int before = total();
  std::string all, batch = "[" + read;
  for (int i = 0; i < 60; ++i) all += read + "\n";
  for (int i = 1; i < 60; ++i) batch += "," + read;
  client.send(all);
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  CHECK(total() - before < 12);
  for (int i = 0; i < 60; ++i) CHECK(client.line().size() > 500'000);
  client.send(batch + "]\n");
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  CHECK(total() - before < 60 + 14);
  CHECK(json::parse(client.line())->items.size() == 60);
}

TEST_CASE("batches that wait for the same keep no more together than one may") {
  Daemon daemon;
  Client client(daemon);
  put_big(client, 500'000);
  daemon.engine_thread.pause();
  // The first is sent as it comes; the others are kept until it is complete.
  std::string all;
  for (int i = 0; i < 20; ++i) all += "[" + kGetBig + "," + kInfo + "]\n";
  client.send(all);
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  size_t in_flight = 0;
  daemon.on_loop([&] { in_flight = daemon.server->in_flight(); });
  CHECK(in_flight > 1);
  CHECK(in_flight < 6);
  daemon.engine_thread.resume();
  for (int i = 0; i < 20; ++i) CHECK(json::parse(client.line())->items.size() == 2);
}

TEST_CASE("a batch that kept as much as it may goes on when it is its turn") {
  Daemon daemon;
  Client client(daemon);
  put_big(client, 500'000);
  daemon.engine_thread.pause();
  client.send("[" + kGetBig + "," + kInfo + "]\n");
  client.send("[" + kGetBig + "," + kGetBig + "," + kGetBig + "," + kGetBig + "]\n");
  char first = 0;
  CHECK(recv(client.fd(), &first, 1, MSG_PEEK) == 1);
  daemon.engine_thread.resume();
  CHECK(json::parse(client.line())->items.size() == 2);
  const std::string second = client.line();
  REQUIRE(second.starts_with('['));
  CHECK(json::parse(second)->items.size() == 4);
}

TEST_CASE("beyond 512 connections one is told so") {
  Daemon daemon;
  std::vector<std::unique_ptr<Client>> clients;
  for (size_t i = 0; i < rpc::kConnectionsMax; ++i)
    clients.push_back(std::make_unique<Client>(daemon));
  CHECK(clients.back()->ask(kReady) == kReadyAnswer);
  Client more(daemon);
  CHECK(more.line().find(R"("code":-32004)") != std::string::npos);
  CHECK(more.line() == "<end>");
  clients.resize(10);
  for (int i = 0; i < 100; ++i) {
    Client again(daemon);
    if (again.ask(kReady) == kReadyAnswer) return;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  FAIL("no room again");
}

TEST_CASE("the end waits for nobody long") {
  Daemon daemon;
  Client idle(daemon), deaf(daemon), slow(daemon);
  CHECK(idle.ask(kReady) == kReadyAnswer);
  put_big(idle, 900'000);
  deaf.send(kGetBig + "\n" + kGetBig + "\n" + kGetBig + "\n");
  slow.send(kGetBig + "\n");
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  const auto closed = [&](size_t left) {
    const auto start = std::chrono::steady_clock::now();
    for (size_t now = left + 1; now > left;) {
      if (std::chrono::steady_clock::now() - start > std::chrono::seconds(5)) return 5000L;
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
      daemon.on_loop([&] { now = daemon.server->connections(); });
    }
    return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() -
                                                                 start)
        .count();
  };
  daemon.on_loop([&] { daemon.server->close(); });
  CHECK(idle.line() == "<end>");
  CHECK(closed(2) < 500);
  CHECK(slow.line().size() > 900'000);
  CHECK(slow.line() == "<end>");
  CHECK(closed(1) < 500);
  CHECK(closed(0) < 2000);
}
