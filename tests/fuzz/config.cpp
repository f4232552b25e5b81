// Any bytes as a configuration file, and as a file with Kubo's secret.
#include <sys/mman.h>
#include <unistd.h>

#include "app/config.h"
#include "fuzz.h"
#include "kubo/address.h"

using namespace ptwop;

namespace {

/// A file in memory that is gone with the process.
struct File {
  int fd = memfd_create("fuzz", 0);
  std::string path = "/proc/self/fd/" + std::to_string(fd);
  void set(BytesView content) const {
    fuzz::expect(ftruncate(fd, 0) == 0, "a file in memory can be emptied");
    fuzz::expect(
        pwrite(fd, content.data(), content.size(), 0) == static_cast<ssize_t>(content.size()),
        "and written");
  }
};

}  // namespace

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const File file;
  file.set(fuzz::view(data, size));
  app::Config running;
  running.arguments = {"--config", file.path};
  std::string why;
  if (const auto config = app::reread_config(running, why)) {
    const std::string all = config->data + config->socket + config->kubo + config->kubo_auth_file;
    // A file cannot say every name: CLI11 knows no escapes.
    if (all.find_first_of("\"'\\\n`") != std::string::npos) return 0;
    // What applies, written down as a file, is accepted and means the same.
    const std::string text = app::describe(*config);
    file.set(text);
    const auto again = app::reread_config(running, why);
    fuzz::expect(again.has_value(), "a described configuration can be read");
    fuzz::expect(again->data == config->data && again->socket == config->socket &&
                     again->kubo == config->kubo,
                 "and is the same");
  } else {
    fuzz::expect(!why.empty(), "a refusal says why");
  }
  file.set(fuzz::view(data, size));
  if (const auto secret = kubo::read_authorization(file.path))
    fuzz::expect(secret->find('\n') == std::string::npos && secret->find('\r') == std::string::npos,
                 "a header is one line");
  return 0;
}
