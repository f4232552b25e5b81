// Where the socket may stand and who may connect.
#include "net/unix_server.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <grp.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <vector>

using namespace ptwop;
namespace fs = std::filesystem;

namespace {

struct Fixture {
  Fixture() {
    std::string pattern = (fs::temp_directory_path() / "ptwop-net-XXXXXX").string();
    REQUIRE(mkdtemp(pattern.data()));
    folder = pattern;
  }
  ~Fixture() {
    for (const int fd : accepted) close(fd);
    fs::remove_all(folder);
  }
  net::UnixServer::OnAccept collect() {
    return [this](int fd, const net::Peer& peer) {
      accepted.push_back(fd);
      peers.push_back(peer);
    };
  }
  /// What `listen` says: 0, or the error's code.
  int listen_on(const std::string& path) {
    net::UnixServer server(loop, collect());
    const auto result = server.listen(path);
    return result.ok() ? 0 : static_cast<int>(result.error().code);
  }
  static int dial(const std::string& path) {
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    if (connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) return fd;
    close(fd);
    return -1;
  }
  static mode_t mode(const std::string& path) {
    struct stat info {};
    REQUIRE(lstat(path.c_str(), &info) == 0);
    return info.st_mode & 07777;
  }
  /// A socket file on which nobody listens, as a killed daemon leaves it.
  void leave_stale(const std::string& path) const {
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    REQUIRE(bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
    close(fd);
  }
  bool run_until_accepted(size_t count) {
    for (int i = 0; i < 200 && accepted.size() < count; ++i)
      loop.run_for(std::chrono::milliseconds(10));
    return accepted.size() >= count;
  }

  boost::asio::io_context loop;
  std::string folder;
  std::vector<int> accepted;
  std::vector<net::Peer> peers;
};

constexpr int kInUse = static_cast<int>(Code::exists),
              kWrong = static_cast<int>(Code::invalid_params);

}  // namespace

TEST_CASE_FIXTURE(Fixture,
                  "missing folders are made tight, and so is the socket, whatever the umask") {
  const mode_t before = umask(0);
  const std::string path = folder + "/a/b/rpc.sock";
  net::UnixServer server(loop, collect());
  REQUIRE(server.listen(path).ok());
  umask(before);
  CHECK(mode(folder + "/a") == 0700);
  CHECK(mode(folder + "/a/b") == 0700);
  CHECK(mode(path) == 0600);
  const int fd = dial(path);
  REQUIRE(run_until_accepted(1));
  CHECK(peers[0].permitted);
  CHECK(peers[0].uid == geteuid());
  CHECK((fcntl(accepted[0], F_GETFD) & FD_CLOEXEC) != 0);
  close(fd);
  server.close();
  CHECK(!fs::exists(path));
}

TEST_CASE_FIXTURE(Fixture,
                  "a folder open to a group gives the socket to it; a looser one is refused") {
  const std::string path = folder + "/rpc.sock";
  for (const mode_t tight : {0700, 0750, 0710}) {
    REQUIRE(chmod(folder.c_str(), tight) == 0);
    net::UnixServer server(loop, collect());
    REQUIRE(server.listen(path).ok());
    CHECK(mode(path) == (tight == 0700 ? 0600 : 0660));
  }
  for (const mode_t loose : {0755, 0770, 0701, 0777, 01777, 0704}) {
    REQUIRE(chmod(folder.c_str(), loose) == 0);
    CHECK(listen_on(path) == kWrong);
    CHECK(!fs::exists(path));
  }
  chmod(folder.c_str(), 0700);
}

TEST_CASE_FIXTURE(Fixture, "paths that cannot be") {
  CHECK(listen_on("") == kWrong);
  const std::string fits = folder + "/" + std::string(107 - folder.size() - 1, 'x');
  CHECK(listen_on(fits) == 0);
  CHECK(listen_on(fits + "x") == kWrong);
  CHECK(listen_on("/proc/nothing/here.sock") == kWrong);
  std::ofstream(folder + "/file") << "precious";
  CHECK(listen_on(folder + "/file") == kWrong);
  CHECK(fs::file_size(folder + "/file") == 8);
  CHECK(listen_on(folder + "/file/rpc.sock") == kWrong);
}

TEST_CASE_FIXTURE(Fixture, "a stale socket is replaced, a live one is left alone") {
  const std::string path = folder + "/rpc.sock";
  leave_stale(path);
  net::UnixServer first(loop, collect());
  REQUIRE(first.listen(path).ok());
  CHECK(listen_on(path) == kInUse);
  const int fd = dial(path);
  CHECK(fd >= 0);
  close(fd);
  // Whoever finds another's socket in the place of its own does not remove it.
  REQUIRE(unlink(path.c_str()) == 0);
  net::UnixServer second(loop, collect());
  REQUIRE(second.listen(path).ok());
  first.close();
  CHECK(fs::exists(path));
}

TEST_CASE_FIXTURE(Fixture, "another user is not permitted, unless in the folder's group") {
  if (geteuid() != 0) return;  // only root can be somebody else
  const std::string path = folder + "/rpc.sock";
  constexpr gid_t kGroup = 54321;
  const auto permitted = [&](mode_t folder_mode, uid_t uid, gid_t gid, std::vector<gid_t> groups) {
    REQUIRE(chown(folder.c_str(), 0, kGroup) == 0);
    REQUIRE(chmod(folder.c_str(), folder_mode) == 0);
    net::UnixServer server(loop, collect());
    REQUIRE(server.listen(path).ok());
    // Let strangers reach the socket at all: the folder's bits would stop most of them earlier.
    REQUIRE(chmod(folder.c_str(), 0755) == 0);
    REQUIRE(chmod(path.c_str(), 0666) == 0);
    const size_t before = accepted.size();
    const pid_t child = fork();
    if (child == 0) {
      const bool changed =
          setgroups(groups.size(), groups.data()) == 0 && setgid(gid) == 0 && setuid(uid) == 0;
      const int fd = changed ? dial(path) : -1;
      usleep(100'000);
      _exit(fd >= 0 ? 0 : 1);
    }
    const bool came = run_until_accepted(before + 1);
    int status = 0;
    waitpid(child, &status, 0);
    REQUIRE(came);
    return peers.back().permitted;
  };
  CHECK(!permitted(0700, 12345, 12345, {}));
  CHECK(!permitted(0700, 12345, kGroup, {kGroup}));
  CHECK(!permitted(0750, 12345, 12345, {11, 12}));
  CHECK(permitted(0750, 12345, kGroup, {}));
  CHECK(permitted(0750, 12345, 12345, {11, kGroup}));
  std::vector<gid_t> many(100, 7);
  many.push_back(kGroup);
  CHECK(permitted(0750, 12345, 12345, many));
}

TEST_CASE_FIXTURE(Fixture, "a socket that was passed in is used, and its file stays") {
  const std::string path = folder + "/rpc.sock";
  const int passed = socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  REQUIRE(bind(passed, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
  {
    net::UnixServer server(loop, collect());
    CHECK(!server.adopt(dup(passed)).ok());  // not listening yet
  }
  REQUIRE(listen(passed, 5) == 0);
  {
    net::UnixServer server(loop, collect());
    REQUIRE(server.adopt(passed).ok());
    const int fd = dial(path);
    CHECK(run_until_accepted(1));
    CHECK(peers[0].permitted);
    close(fd);
  }
  CHECK(fs::exists(path));
  net::UnixServer server(loop, collect());
  CHECK(!server.adopt(open("/proc/self/status", O_RDONLY)).ok());
}

TEST_CASE_FIXTURE(Fixture, "out of descriptors it waits, and goes on when there are some") {
  const std::string path = folder + "/rpc.sock";
  net::UnixServer server(loop, collect());
  REQUIRE(server.listen(path).ok());
  const int client = dial(path);
  REQUIRE(client >= 0);
  rlimit normal{};
  getrlimit(RLIMIT_NOFILE, &normal);
  const int highest = dup(0);
  close(highest);
  const rlimit none{static_cast<rlim_t>(highest), normal.rlim_max};
  setrlimit(RLIMIT_NOFILE, &none);
  const auto start = std::chrono::steady_clock::now();
  const size_t handlers = loop.run_for(std::chrono::milliseconds(350));
  setrlimit(RLIMIT_NOFILE, &normal);
  CHECK(accepted.empty());
  CHECK(handlers < 12);  // no spinning
  CHECK(std::chrono::steady_clock::now() - start >= std::chrono::milliseconds(300));
  CHECK(run_until_accepted(1));
  close(client);
}
