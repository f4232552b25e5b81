// A slow disk for a program that does not know of it: loaded before libc (LD_PRELOAD), it makes
// writing files and syncing them take longer. The file that PTWOP_SLOW_DISK names says how long, in
// ms: "SYNC WRITE"; without the file nothing is slow, and what waits goes on within 10 ms once it
// is gone.
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>

namespace {

enum class Call { sync, write };

/// 0 where nothing is to be slow.
long wanted_ms(Call call) {
  static const char* const path = ::getenv("PTWOP_SLOW_DISK");
  const int fd = path ? ::open(path, O_RDONLY | O_CLOEXEC) : -1;
  if (fd < 0) return 0;
  char text[64] = {};
  const ssize_t size = ::read(fd, text, sizeof text - 1);
  ::close(fd);
  long sync = 0, write = 0;
  if (size <= 0 || ::sscanf(text, "%ld %ld", &sync, &write) != 2) return 0;
  return call == Call::sync ? sync : write;
}

void wait(Call call) {
  for (long waited_ms = 0; waited_ms < wanted_ms(call);) {
    const long slice_ms = std::min(10l, wanted_ms(call) - waited_ms);
    if (slice_ms <= 0) return;
    const timespec slice = {0, slice_ms * 1'000'000};
    ::nanosleep(&slice, nullptr);
    waited_ms += slice_ms;
  }
}

/// Of the database: the daemon's log is a file as well.
bool is_slow(int fd) {
  struct stat about;
  if (::fstat(fd, &about) != 0 || !S_ISREG(about.st_mode)) return false;
  char link[64], path[4096];
  ::snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  const ssize_t size = ::readlink(link, path, sizeof path - 1);
  if (size < 0) return false;
  path[size] = 0;
  const auto* const found = std::search(path, path + size, "/rocksdb/", "/rocksdb/" + 9);
  return found != path + size;
}

template <typename Function>
Function* real(const char* name) {
  return reinterpret_cast<Function*>(::dlsym(RTLD_NEXT, name));
}

}  // namespace

extern "C" {

int fdatasync(int fd) {
  static auto* const next = real<int(int)>("fdatasync");
  if (is_slow(fd)) wait(Call::sync);
  return next(fd);
}

int fsync(int fd) {
  static auto* const next = real<int(int)>("fsync");
  if (is_slow(fd)) wait(Call::sync);
  return next(fd);
}

ssize_t write(int fd, const void* data, size_t size) {
  static auto* const next = real<ssize_t(int, const void*, size_t)>("write");
  if (is_slow(fd)) wait(Call::write);
  return next(fd, data, size);
}

}  // extern "C"
