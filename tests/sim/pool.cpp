#include "pool.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstring>
#include <vector>

namespace ptwop::sim {
namespace {

struct Child {
  pid_t process;
  int from;
  uint64_t seed;
  std::string said;
};

// The numbers as they are in memory: both ends are one program.
struct Numbers {
  bool failed;
  uint64_t virtual_ms, settle_ms, acknowledged, messages, fetched;
};

void write_all(int to, const void* bytes, size_t size) {
  for (size_t done = 0; done < size;) {
    const ssize_t n = ::write(to, static_cast<const char*>(bytes) + done, size - done);
    if (n <= 0) return;
    done += static_cast<size_t>(n);
  }
}

SeedResult result_of(const Child& child, int status) {
  SeedResult out;
  out.seed = child.seed;
  Numbers numbers{};
  if (child.said.size() >= sizeof numbers) {
    std::memcpy(&numbers, child.said.data(), sizeof numbers);
    out.text = child.said.substr(sizeof numbers);
  }
  out.failed = numbers.failed;
  out.virtual_ms = numbers.virtual_ms;
  out.settle_ms = numbers.settle_ms;
  out.acknowledged = numbers.acknowledged;
  out.messages = numbers.messages;
  out.fetched = numbers.fetched;
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0 || child.said.size() < sizeof numbers) {
    out.failed = true;
    const int signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    out.text = fmt::format(
        "seed {} FAILED: it {}\n", child.seed,
        signal == SIGALRM ? std::string("does not come to an end")
        : signal
            ? fmt::format("ended by signal {}: an assertion, or worse; --seed {} --log shows it",
                          signal, child.seed)
            : fmt::format("ended with {}: a sanitizer's report is in the log above",
                          WEXITSTATUS(status)));
  }
  return out;
}

}  // namespace

void Pool::run(const std::function<bool(uint64_t& seed)>& next,
               const std::function<SeedResult(uint64_t seed)>& work,
               const std::function<void(const SeedResult&)>& done) {
  std::vector<Child> children;
  bool more = true;
  for (uint64_t seed = 0; more || !children.empty();) {
    while (more && children.size() < jobs_ && (more = next(seed))) {
      int ends[2];
      if (::pipe(ends) != 0) return;
      std::fflush(stdout);
      const pid_t process = ::fork();
      if (process == 0) {
        ::close(ends[0]);
        ::alarm(seconds_max_);
        const SeedResult result = work(seed);
        const Numbers numbers{result.failed,       result.virtual_ms, result.settle_ms,
                              result.acknowledged, result.messages,   result.fetched};
        write_all(ends[1], &numbers, sizeof numbers);
        write_all(ends[1], result.text.data(), result.text.size());
        ::_exit(0);
      }
      ::close(ends[1]);
      children.push_back({process, ends[0], seed, {}});
    }
    std::vector<pollfd> waiting;
    for (const Child& child : children) waiting.push_back({child.from, POLLIN, 0});
    if (waiting.empty() || ::poll(waiting.data(), waiting.size(), -1) < 0) continue;
    for (size_t i = children.size(); i-- > 0;) {
      if (!waiting[i].revents) continue;
      char buffer[4096];
      const ssize_t n = ::read(children[i].from, buffer, sizeof buffer);
      if (n > 0) {
        children[i].said.append(buffer, static_cast<size_t>(n));
        continue;
      }
      int status = 0;
      ::waitpid(children[i].process, &status, 0);
      ::close(children[i].from);
      const Child child = std::move(children[i]);
      children.erase(children.begin() + static_cast<ptrdiff_t>(i));
      done(result_of(child, status));
    }
  }
}

}  // namespace ptwop::sim
