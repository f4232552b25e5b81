// What is still on its way, on the terminal's last line, while `channel wait` waits.
#pragma once
#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>

#include "base/json.h"

namespace ptwop::ctl {

/// "notes  [######------]  61 %  12,345 of 20,002 nodes": `info` is what channel.info answers.
std::string progress_line(const json::Value& info, size_t columns);

class Progress {
 public:
  /// Asks over a connection of its own to `socket`. Nothing is shown unless stderr is a terminal.
  Progress(std::string socket, std::string channel);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

 private:
  void run(const std::string& socket, const std::string& channel);

  std::mutex mutex_;
  std::condition_variable changed_;
  bool done_ = false;
  std::thread thread_;
};

}  // namespace ptwop::ctl
