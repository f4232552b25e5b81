#include "ctl/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>

#include "ctl/client.h"
#include "ctl/text.h"
#include "ctl/values.h"

namespace ptwop::ctl {
namespace {

constexpr auto kEvery = std::chrono::milliseconds(300);
constexpr uint64_t kAnswerMs = 2'000;
constexpr size_t kBarMax = 40;
constexpr size_t kTextColumns = 60;

void write_all(std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::write(STDERR_FILENO, text.data(), text.size());
    if (written <= 0) return;
    text.remove_prefix(static_cast<size_t>(written));
  }
}

}  // namespace

std::string progress_line(const json::Value& info, size_t columns) {
  const auto here = static_cast<uint64_t>(std::max<int64_t>(0, member_integer(info, "nodes")));
  const auto missing = static_cast<uint64_t>(std::max<int64_t>(0, member_integer(info, "missing")));
  const std::string name = clean(member_text(info, "name"));
  if (missing == 0) return fmt::format("{}: {} nodes are here; waiting for more", name, here);
  const uint64_t all = here + missing;
  const size_t bar =
      std::clamp<size_t>(columns, kTextColumns + 1, kTextColumns + kBarMax) - kTextColumns;
  const auto done = static_cast<size_t>(here * bar / all);
  const std::string drawn = std::string(done, '#') + std::string(bar - done, '-');
  return fmt::format("{}: [{}] {:3} %, {} of {} nodes", name, drawn, here * 100 / all, here, all);
}

Progress::Progress(std::string socket, std::string channel) {
  if (::isatty(STDERR_FILENO) != 1) return;
  thread_ = std::thread(
      [this, socket = std::move(socket), channel = std::move(channel)] { run(socket, channel); });
}

Progress::~Progress() {
  if (!thread_.joinable()) return;
  {
    const std::lock_guard lock(mutex_);
    done_ = true;
  }
  changed_.notify_one();
  thread_.join();
}

void Progress::run(const std::string& socket, const std::string& channel) {
  std::vector<Tried> tried;
  auto client = Client::connect({socket}, tried);
  json::Value params = object_value();
  set(params, "channel", text_value(channel));
  bool shown = false;
  std::unique_lock lock(mutex_);
  while (client && !changed_.wait_for(lock, kEvery, [this] { return done_; })) {
    lock.unlock();
    const auto info = client->call("channel.info", to_json(params), in_ms(kAnswerMs));
    lock.lock();
    if (!info || !info->ok || done_) break;
    write_all("\r\x1b[K" + progress_line(info->body, 80));
    shown = true;
  }
  if (shown) write_all("\r\x1b[K");
}

}  // namespace ptwop::ctl
