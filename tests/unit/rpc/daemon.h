// A whole server in the test's process: loop, engine and reader threads on a store in memory,
// without Kubo.
#pragma once
#include <doctest/doctest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <filesystem>
#include <future>
#include <random>
#include <thread>

#include "base/json.h"
#include "engine/engine.h"
#include "rpc/backend.h"
#include "rpc/server.h"
#include "support/memory_store.h"

namespace ptwop::test {

/// While `cold`, nothing is in memory.
class ColdStore final : public test::MemoryStore {
 public:
  Result<std::optional<Bytes>> get(engine::Table table, BytesView key,
                                   engine::ReadMode mode) const override {
    if (cold && mode == engine::ReadMode::memory) return fail(Code::overloaded, "not in memory");
    return MemoryStore::get(table, key, mode);
  }
  std::atomic<bool> cold{false};
};

class TestClock final : public Clock {
 public:
  uint64_t wall_ms() const override { return since<std::chrono::system_clock>() + ahead_ms; }
  uint64_t mono_ms() const override { return since<std::chrono::steady_clock>() + ahead_ms; }
  std::atomic<uint64_t> ahead_ms{0};

 private:
  template <class Source>
  static uint64_t since() {
    return static_cast<uint64_t>(
        std::chrono::duration_cast<std::chrono::milliseconds>(Source::now().time_since_epoch())
            .count());
  }
};

class TestEntropy final : public Entropy {
 public:
  void fill(unsigned char* out, size_t size) override {
    for (size_t i = 0; i < size; ++i) out[i] = static_cast<unsigned char>(random_());
  }

 private:
  std::mt19937_64 random_{std::random_device{}()};
};

struct NoGossip final : engine::Gossip {
  void subscribe(const ipld::Cid&) override {}
  void unsubscribe(const ipld::Cid&) override {}
  void publish(const ipld::Cid&, Bytes) override {}
};
struct NoBlocks final : engine::BlockStore {
  void put(uint64_t, std::vector<engine::Block>) override {}
  void get(const ipld::Cid&) override {}
  void pin(const ipld::Cid&, const ipld::Cid&) override {}
  void unpin(const ipld::Cid&) override {}
};

/// Runs jobs in order; all that wait together are one turn.
class Thread {
 public:
  explicit Thread(std::function<void()> after_turn)
      : after_turn_(std::move(after_turn)), thread_([this] { run(); }) {}
  ~Thread() { stop(); }
  void add(std::function<void()> job) {
    const std::lock_guard lock(mutex_);
    if (stopping_) return;
    jobs_.push_back(std::move(job));
    wake_.notify_one();
  }
  void stop() {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
      wake_.notify_one();
    }
    if (thread_.joinable()) thread_.join();
  }
  /// Nothing runs until `resume`: what is added waits, and makes up one turn.
  void pause() { hold_ = true; }
  void resume() {
    const std::lock_guard lock(mutex_);
    hold_ = false;
    wake_.notify_one();
  }

 private:
  void run() {
    for (;;) {
      std::deque<std::function<void()>> turn;
      {
        std::unique_lock lock(mutex_);
        wake_.wait_for(lock, std::chrono::milliseconds(20),
                       [this] { return (!jobs_.empty() && !hold_) || stopping_; });
        if (stopping_) return;
        if (hold_) continue;
        turn.swap(jobs_);
      }
      for (auto& job : turn) job();
      turn.clear();
      after_turn_();
    }
  }
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::function<void()>> jobs_;
  bool stopping_ = false;
  std::atomic<bool> hold_{false};
  std::function<void()> after_turn_;
  std::thread thread_;
};

class Folder {
 public:
  Folder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "ptwop-rpc-XXXXXX").string();
    REQUIRE(mkdtemp(pattern.data()));
    path = pattern;
  }
  ~Folder() { std::filesystem::remove_all(path); }
  std::string path;
};

class Daemon {
 public:
  Daemon()
      : engine({store, gossip, blocks, clock, entropy}, access::Identity::make(entropy)),
        engine_thread([this] {
          engine.tick();
          engine.turn();
        }),
        reader_thread([] {}),
        files_thread([] {}),
        guard(loop.get_executor()) {
    REQUIRE(opened);
    backend.phase = rpc::Phase::ready;
    backend.reason = "";
    backend.identity = engine.identity().did();
    backend.data = folder.path + "/data";
    backend.clock = &clock;
    backend.started_mono_ms = clock.mono_ms();
    backend.directory = &engine.directory();
    backend.store = &store;
    backend.submit = [this](std::function<void(engine::Engine&)> use) {
      engine_thread.add([this, use = std::move(use)] { use(engine); });
    };
    backend.read = [this](std::function<void()> use) { reader_thread.add(std::move(use)); };
    backend.work = [this](std::function<void()> use) { files_thread.add(std::move(use)); };
    backend.ending = [this] { return ending.load(); };
    backend.backup = [](const std::string& to) -> Result<rpc::BackupDone> {
      std::filesystem::create_directory(to);
      return rpc::BackupDone{9, 41822, 9, 41822, true};
    };
    backend.stop = [this] { stopped = true; };
    server = std::make_unique<rpc::Server>(loop, backend);
    const auto listening = server->listen(socket_path());
    REQUIRE_MESSAGE(listening.ok(), (listening.ok() ? "" : listening.error().message));
    loop_thread = std::thread([this] { loop.run(); });
  }
  ~Daemon() {
    ending = true;
    files_thread.stop();
    engine_thread.stop();
    reader_thread.stop();
    on_loop([this] { server.reset(); });
    guard.reset();
    loop.stop();
    loop_thread.join();
  }
  /// Runs it on the loop's thread and waits.
  void on_loop(std::function<void()> use) {
    std::promise<void> done;
    boost::asio::post(loop, [&] {
      use();
      done.set_value();
    });
    done.get_future().wait();
  }
  std::string socket_path() const { return folder.path + "/s/rpc.sock"; }

  Folder folder;
  // Before all that may hold connections to its end: jobs that did not run, waits in the engine.
  boost::asio::io_context loop;
  ColdStore store;
  NoGossip gossip;
  NoBlocks blocks;
  TestClock clock;
  TestEntropy entropy;
  engine::Engine engine;
  bool opened = engine.open().ok();  // before its thread begins
  Thread engine_thread, reader_thread, files_thread;
  std::atomic<bool> ending{false};
  rpc::Backend backend;
  std::atomic<bool> stopped{false};
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> guard;
  std::unique_ptr<rpc::Server> server;
  std::thread loop_thread;
};

/// A client that waits at most five seconds for anything.
class Client {
 public:
  explicit Client(const std::string& path) : fd_(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    connected = connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
    const timeval limit{5, 0};
    setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(fd_, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  }
  explicit Client(const Daemon& daemon) : Client(daemon.socket_path()) { REQUIRE(connected); }
  ~Client() { ::close(fd_); }
  Client(const Client&) = delete;

  /// False when the other side does not take it.
  bool send(std::string_view text) {
    while (!text.empty()) {
      const ssize_t sent = ::send(fd_, text.data(), text.size(), MSG_NOSIGNAL);
      if (sent <= 0) return false;
      text.remove_prefix(static_cast<size_t>(sent));
    }
    return true;
  }
  void shut() { shutdown(fd_, SHUT_WR); }
  /// The next line without its newline; "<end>" at the end of the connection, "<silence>" when
  /// nothing comes.
  std::string line() {
    for (;;) {
      const size_t newline = buffer_.find('\n');
      if (newline != std::string::npos) {
        std::string out = buffer_.substr(0, newline);
        buffer_.erase(0, newline + 1);
        return out;
      }
      char chunk[65536];
      const ssize_t got = recv(fd_, chunk, sizeof chunk, 0);
      if (got == 0) return "<end>";
      if (got < 0) return errno == EAGAIN ? "<silence>" : "<reset>";
      buffer_.append(chunk, static_cast<size_t>(got));
    }
  }
  bool quiet(int ms) {
    pollfd poll_fd{fd_, POLLIN, 0};
    return buffer_.empty() && poll(&poll_fd, 1, ms) == 0;
  }
  std::string ask(std::string_view request) {
    send(std::string(request) + "\n");
    return line();
  }
  /// The result as text, or "error <code>".
  std::string call(std::string_view method, std::string_view params = "{}") {
    const std::string answer = ask(R"({"jsonrpc":"2.0","id":1,"method":")" + std::string(method) +
                                   R"(","params":)" + std::string(params) + "}");
    const auto parsed = json::parse(answer);
    REQUIRE_MESSAGE(parsed.ok(), answer);
    if (const json::Value* error = parsed->find("error"))
      return "error " + error->find("code")->text;
    std::string out;
    json::append(out, *parsed->find("result"));
    return out;
  }
  int fd() const { return fd_; }
  bool connected = false;

 private:
  int fd_;
  std::string buffer_;
};

/// A member of a JSON object, as text.
inline std::string member(const std::string& object, std::string_view name) {
  const auto parsed = json::parse(object);
  REQUIRE_MESSAGE(parsed.ok(), object);
  const json::Value* value = parsed->find(name);
  REQUIRE_MESSAGE(value, object);
  if (value->is(json::Kind::string)) return value->text;
  std::string out;
  json::append(out, *value);
  return out;
}

}  // namespace ptwop::test
