// Any bytes at the socket, through framing, dispatch, the methods and an engine. Whatever was said,
// the next good request is answered.
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>

#include "base/json.h"
#include "engine/engine.h"
#include "fuzz.h"
#include "memory_store.h"
#include "ports.h"
#include "rpc/server.h"

using namespace ptwop;

namespace {

/// A daemon on one thread: what the threads would do waits in the loop.
struct Daemon {
  fuzz::Ports ports;
  test::MemoryStore store;
  engine::Engine engine{{store, ports, ports, ports, ports},
                        std::move(*access::Identity::from_seed(Bytes(32, 'm')))};
  boost::asio::io_context loop;
  rpc::Backend backend;
  std::string folder;
  std::unique_ptr<rpc::Server> server;

  Daemon() {
    char pattern[] = "/tmp/ptwop-fuzz-XXXXXX";
    fuzz::expect(mkdtemp(pattern), "a folder");
    folder = pattern;
    fuzz::expect(engine.open().ok(), "an engine opens");
    for (const char* type : {"kv", "log", "count"})
      engine.create(type, type, false, [](Result<engine::ChannelRef>) {});
    engine.turn();
    backend.phase = rpc::Phase::ready;
    backend.reason = "";
    backend.identity = engine.identity().did();
    backend.clock = &ports;
    backend.directory = &engine.directory();
    backend.store = &store;
    backend.submit = [this](std::function<void(engine::Engine&)> use) {
      boost::asio::post(loop, [this, use = std::move(use)] {
        use(engine);
        engine.turn();
      });
    };
    backend.read = [this](std::function<void()> use) { boost::asio::post(loop, std::move(use)); };
    backend.work = [](const std::function<void()>&) {};  // files anywhere are not for a fuzzer
    backend.stop = [] {};
    server = std::make_unique<rpc::Server>(loop, backend);
    fuzz::expect(server->listen(folder + "/rpc.sock").ok(), "it listens");
  }
  ~Daemon() {
    server.reset();
    loop.poll();
    unlink((folder + "/rpc.sock").c_str());
    rmdir(folder.c_str());
  }

  /// Says it all, ends, and gives what was answered.
  std::string say(BytesView text) {
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    (folder + "/rpc.sock").copy(address.sun_path, sizeof address.sun_path - 1);
    fuzz::expect(connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0,
                 "it accepts");
    std::string answers;
    bool ended = false;
    for (int quiet = 0; quiet < 200;) {
      if (!text.empty()) {
        const ssize_t sent = send(fd, text.data(), text.size(), MSG_NOSIGNAL);
        if (sent > 0)
          text.remove_prefix(static_cast<size_t>(sent));
        else if (errno != EAGAIN)
          text = {};
      } else if (!std::exchange(ended, true)) {
        shutdown(fd, SHUT_WR);
      }
      const size_t ran = loop.poll();
      loop.restart();
      char buffer[65536];
      const ssize_t got = recv(fd, buffer, sizeof buffer, 0);
      if (got > 0) answers.append(buffer, static_cast<size_t>(got));
      if (got == 0 || (got < 0 && errno != EAGAIN)) break;
      ports.mono += 10;
      ports.wall += 10;
      if (ran == 0 && got <= 0) {
        engine.tick();
        engine.turn();
        ++quiet;
      }
    }
    close(fd);
    loop.poll();
    loop.restart();
    return answers;
  }
};

}  // namespace

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static std::unique_ptr<Daemon> daemon;
  static int runs = 0;
  if (++runs % 2'000 == 1) {
    daemon.reset();
    daemon = std::make_unique<Daemon>();
  }
  const std::string answers = daemon->say(fuzz::view(data, size));
  fuzz::expect(answers.empty() || answers.back() == '\n', "answers are lines");
  for (size_t from = 0, end; from < answers.size(); from = end + 1) {
    end = answers.find('\n', from);
    fuzz::expect(json::parse(std::string_view(answers).substr(from, end - from), 1000).ok(),
                 "each of them JSON");
  }
  const std::string ready =
      daemon->say("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"system.ready\"}\n");
  fuzz::expect(ready.find("\"result\"") != std::string::npos, "the next good request is answered");
  return 0;
}
