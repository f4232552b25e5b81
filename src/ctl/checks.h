// What `ptwopctl doctor` makes of what it found: no I/O here.
#pragma once
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ctl/client.h"
#include "ctl/status.h"

namespace ptwop::ctl {

enum class Verdict : uint8_t {
  good,
  note /* worth knowing, nothing wrong or not to be told */,
  problem
};

struct Finding {
  std::string_view check;
  Verdict verdict = Verdict::good;
  std::string text;
  std::string remedy;  ///< For problems and some notes.
};

/// Where data is kept: what its file system says.
struct Disk {
  std::string path;
  uint64_t free_bytes = 0;  ///< For those who are not root.
  bool told = false;  ///< The daemon named the folder; else it is where its data is by default.
};

struct Facts {
  std::string socket;
  unsigned folder_mode = 0700;  ///< Permission bits of the socket's folder.
  Overview overview;
  std::vector<json::Value>
      members;               ///< channel.members of each of overview.channels; null where not told.
  int64_t outbox_later = 0;  ///< A moment after `overview`.
  std::optional<Disk> disk;
  bool kernel_synchronised = false;  ///< The kernel's clock is kept by NTP or the like.
  int64_t now_ms = 0;
};

Finding cannot_connect_finding(const std::vector<Tried>& tried);
/// In the order in which they are shown.
std::vector<Finding> examine(const Facts& facts);

std::string findings_text(const std::vector<Finding>& findings, size_t columns);
std::string findings_json(const std::vector<Finding>& findings);
size_t count_problems(const std::vector<Finding>& findings);

}  // namespace ptwop::ctl
