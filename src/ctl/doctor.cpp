#include "ctl/doctor.h"

#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/timex.h>

#include <chrono>
#include <thread>

#include "ctl/checks.h"
#include "ctl/session.h"
#include "ctl/socket_path.h"
#include "ctl/text.h"
#include "ctl/values.h"

namespace ptwop::ctl {
namespace {

constexpr std::chrono::milliseconds kOutboxWatch{1500};

std::optional<Disk> disk_at(const std::string& path) {
  struct statvfs space {};
  if (path.empty() || ::statvfs(path.c_str(), &space) != 0) return std::nullopt;
  return Disk{path, static_cast<uint64_t>(space.f_bavail) * space.f_frsize};
}

/// Where the daemon says that its data is; else, for a daemon that does not say, where it is by
/// default.
std::optional<Disk> find_disk(const json::Value& info) {
  if (auto disk = disk_at(std::string(member_text(info, "data")))) {
    disk->told = true;
    return disk;
  }
  for (const std::string& path : data_candidates(system_environment))
    if (auto disk = disk_at(path)) return disk;
  return std::nullopt;
}

bool kernel_synchronised() {
  struct timex state {};
  return ::adjtimex(&state) != TIME_ERROR;
}

Result<Facts> gather(Session& session) {
  Facts facts;
  facts.socket = session.client().path();
  struct stat folder {};
  const size_t slash = facts.socket.rfind('/');
  const std::string path =
      slash == std::string::npos ? "." : facts.socket.substr(0, std::max<size_t>(slash, 1));
  if (::stat(path.c_str(), &folder) == 0) facts.folder_mode = folder.st_mode & 07777;
  PTWOP_TRY(facts.overview, read_overview(session));
  for (const json::Value& channel : facts.overview.channels) {
    json::Value params = object_value();
    set(params, "channel", text_value(std::string(member_text(channel, "address"))));
    PTWOP_TRY(Answer answer, session.call("channel.members", params));
    facts.members.push_back(answer.ok ? std::move(answer.body) : json::Value());
  }
  const json::Value* kubo = facts.overview.info.find("kubo");
  // Without Kubo it cannot drain: no need to watch it.
  if (kubo && member_text(*kubo, "state") == "connected" &&
      member_integer(facts.overview.info, "outbox") > 0) {
    std::this_thread::sleep_for(kOutboxWatch);
    PTWOP_TRY(const Answer later, session.call("system.info", object_value()));
    facts.outbox_later = member_integer(later.body, "outbox");
  }
  facts.disk = find_disk(facts.overview.info);
  facts.kernel_synchronised = kernel_synchronised();
  facts.now_ms = unix_now_ms();
  return facts;
}

Result<std::vector<Finding>> diagnose(const Options& options) {
  PTWOP_TRY(const std::vector<std::string> paths,
            socket_candidates(options.socket, system_environment));
  auto session = Session::open(options);
  if (!session) {
    std::vector<Tried> tried;
    if (Client::connect(paths, tried)) return session.error();
    return std::vector{cannot_connect_finding(tried)};
  }
  auto facts = gather(*session);
  if (!facts)
    return std::vector{Finding{"daemon", Verdict::problem, clean(facts.error().message),
                               "Look at its log (journalctl -u ptwopd), then restart it."}};
  return examine(*facts);
}

}  // namespace

int run_doctor(const Options& options, Output& out) {
  const auto findings = diagnose(options);
  if (!findings) {
    complain(findings.error().message);
    return kUsage;
  }
  if (options.json)
    out.line(findings_json(*findings));
  else
    out.write(findings_text(*findings, out.columns()));
  return count_problems(*findings) == 0 ? kDone : kFailed;
}

}  // namespace ptwop::ctl
