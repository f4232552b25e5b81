#include "ctl/checks.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "base/limits.h"
#include "ctl/help.h"
#include "ctl/text.h"
#include "ctl/values.h"

namespace ptwop::ctl {
namespace {

// Stamps further ahead than kFutureMs wait; well before that a person should know.
constexpr int64_t kSkewMs = static_cast<int64_t>(limits::kFutureMs) / 5;
constexpr uint64_t kDiskLowBytes = 512ull << 20;
constexpr int64_t kSilentMs = 10 * 60 * 1000;

const json::Value& member(const json::Value& value, std::string_view name) {
  static const json::Value kNothing;
  const json::Value* found = value.find(name);
  return found ? *found : kNothing;
}

bool kubo_connected(const Facts& facts) {
  return member_text(member(facts.overview.info, "kubo"), "state") == "connected";
}

Finding daemon_finding(const Facts& facts) {
  const std::string_view version = member_text(facts.overview.info, "version");
  if (!member_true(facts.overview.ready, "ready"))
    return {"daemon", Verdict::problem,
            fmt::format("ptwopd answers but is not ready: {}",
                        clean(member_text(facts.overview.ready, "reason"))),
            "Wait a moment. If it stays like that, its log tells why (journalctl -u ptwopd)."};
  if (version != PTWOP_VERSION)
    return {"daemon", Verdict::note,
            fmt::format("ptwopd is version {}, ptwopctl {}.", clean(version), PTWOP_VERSION),
            "Restart ptwopd after an update."};
  return {"daemon", Verdict::good,
          fmt::format("version {} answers at {}", clean(version), clean(facts.socket)), ""};
}

Finding socket_finding(const Facts& facts) {
  const std::string folder = clean(facts.socket.substr(0, facts.socket.rfind('/')));
  if (facts.folder_mode & 027)
    return {"socket", Verdict::problem,
            fmt::format("others may enter {} (mode {:04o})", folder, facts.folder_mode),
            fmt::format("chmod 0700 {} (0750 where a group shall use the socket).", folder)};
  return {"socket", Verdict::good, fmt::format("{} is closed to others", folder), ""};
}

Finding kubo_finding(const Facts& facts) {
  if (kubo_connected(facts))
    return {"kubo", Verdict::good,
            fmt::format("connected to Kubo {}",
                        clean(member_text(member(facts.overview.info, "kubo"), "version"))),
            ""};
  const std::string_view why = member_text(member(facts.overview.info, "kubo"), "trouble");
  return {"kubo", Verdict::problem,
          fmt::format("Kubo is not there{}{}: nothing syncs. What is written is kept ({} nodes "
                      "wait) and goes out once Kubo is back.",
                      why.empty() ? "" : ", ", clean(why),
                      member_integer(facts.overview.info, "outbox")),
          "Start it (ipfs daemon). If it runs: tell ptwopd where with --kubo or PTWOP_KUBO (ipfs "
          "config Addresses.API shows it), and "
          "where API.Authorizations is set, give the secret with --kubo-auth-file."};
}

Finding pubsub_finding(const Facts& facts) {
  const json::Value& pubsub = member(member(facts.overview.info, "kubo"), "pubsub");
  if (!kubo_connected(facts))
    return {"pubsub", Verdict::note, "not known while Kubo is not there", ""};
  if (!pubsub.is(json::Kind::boolean))
    return {"pubsub", Verdict::note, "this ptwopd does not tell whether Kubo's pubsub is on", ""};
  if (pubsub.boolean) return {"pubsub", Verdict::good, "Kubo's pubsub is on", ""};
  if (member_true(member(facts.overview.info, "kubo"), "streams"))
    return {"pubsub", Verdict::note,
            "Kubo's pubsub is off: other replicas are told over p2p streams alone",
            "ipfs config --json Pubsub.Enabled true, then restart Kubo."};
  return {"pubsub", Verdict::problem,
          "Kubo's pubsub is off: other replicas are not told of new writes",
          "ipfs config --json Pubsub.Enabled true, then restart Kubo."};
}

Finding streams_finding(const Facts& facts) {
  const json::Value& kubo = member(facts.overview.info, "kubo");
  const json::Value& streams = member(kubo, "streams");
  if (!kubo_connected(facts) || !streams.is(json::Kind::boolean))
    return {"streams", Verdict::note, "not known while Kubo is not there", ""};
  if (streams.boolean)
    return {"streams", Verdict::good,
            fmt::format("Kubo takes p2p streams; {} to other replicas are open",
                        member_integer(member(facts.overview.stats, "streams"), "open")),
            ""};
  return {"streams", Verdict::note, "Kubo takes no p2p streams: all goes by pubsub, more slowly",
          "ipfs config --json Experimental.Libp2pStreamMounting true, then restart Kubo."};
}

/// The largest distance to a clock of somebody else, with its sign: positive is ahead of ours.
std::optional<int64_t> worst_lead(const Facts& facts) {
  std::optional<int64_t> worst;
  const auto consider = [&](int64_t lead) {
    if (!worst || std::abs(lead) > std::abs(*worst)) worst = lead;
  };
  for (const json::Value& channel : facts.overview.channels)
    for (const json::Value& peer : member(channel, "peers").items)
      if (const json::Value* lead = peer.find("clock_lead_ms");
          lead && lead->is(json::Kind::integer))
        consider(lead->integer);
  // A stamp from the past says nothing, one from the future does.
  for (const json::Value& channel : facts.members)
    for (const json::Value& one : member(channel, "members").items)
      if (const int64_t lead = member_integer(one, "since_ms") - facts.now_ms; lead > 0)
        consider(lead);
  return worst;
}

Finding clock_finding(const Facts& facts) {
  const auto lead = worst_lead(facts);
  const std::string_view kernel = facts.kernel_synchronised
                                      ? "the kernel says that this clock is kept in time"
                                      : "the kernel does not know whether this clock is right";
  if (!lead)
    return {"clock", Verdict::note,
            fmt::format("no other replica's clock to compare with; {}", kernel),
            facts.kernel_synchronised ? "" : "timedatectl shows whether a time service runs."};
  if (std::abs(*lead) >= kSkewMs)
    return {"clock", Verdict::problem,
            fmt::format("another replica's clock is {} {} this one; writes from more than {} ahead "
                        "are held back",
                        duration(std::abs(*lead)), *lead > 0 ? "ahead of" : "behind",
                        duration(limits::kFutureMs)),
            fmt::format("Set the clocks: timedatectl set-ntp true on both machines (here {}).",
                        kernel)};
  return {"clock", Verdict::good,
          fmt::format("within {} of the other replicas", duration(std::abs(*lead) + 1000)), ""};
}

Finding disk_finding(const Facts& facts) {
  const int64_t refused = member_integer(member(facts.overview.stats, "refused"), "disk_full");
  const std::string remedy = "Free some space there, or move the data folder (ptwopd --data).";
  if (refused > 0)
    return {
        "disk", Verdict::problem,
        fmt::format("{} writes were refused since the start because the disk was full", refused),
        remedy};
  if (!facts.disk)
    return {"disk", Verdict::note, "this user cannot see the data folder's file system", ""};
  const std::string text =
      fmt::format("{} MiB free at {}{}", facts.disk->free_bytes >> 20, clean(facts.disk->path),
                  facts.disk->told ? "" : " (where data is by default: this ptwopd does not tell)");
  if (facts.disk->free_bytes < kDiskLowBytes)
    return {"disk", Verdict::problem, "only " + text, remedy};
  return {"disk", Verdict::good, text, ""};
}

Finding outbox_finding(const Facts& facts) {
  const int64_t before = member_integer(facts.overview.info, "outbox");
  if (before == 0) return {"outbox", Verdict::good, "everything is in Kubo", ""};
  if (!kubo_connected(facts))
    return {"outbox", Verdict::note, fmt::format("{} nodes wait for Kubo", before), ""};
  if (facts.outbox_later < before)
    return {"outbox", Verdict::good,
            fmt::format("draining: {} nodes wait for Kubo", facts.outbox_later), ""};
  return {"outbox", Verdict::problem,
          fmt::format("{} nodes wait for Kubo and do not get fewer", facts.outbox_later),
          "See why Kubo refuses them: ptwopd's log, and on Kubo's side ipfs repo stat (is its disk "
          "or its StorageMax full?)."};
}

void add_access(const Facts& facts, const json::Value& channel, const json::Value& members,
                std::vector<Finding>& out) {
  const std::string name = clean(member_text(channel, "name"));
  const std::string_view me = member_text(facts.overview.info, "identity");
  const auto grant = [&](std::string_view role) {
    return fmt::format("An admin of the channel runs: ptwopctl channel grant {} {} {}",
                       shell_quoted(name), clean(me), role);
  };
  if (!member_true(channel, "readable"))
    out.push_back({"channel", Verdict::problem,
                   fmt::format("{} cannot be read yet: no grant has come for this replica", name),
                   grant("read")});
  if (member_true(channel, "writable")) return;
  const bool reader =
      std::ranges::any_of(member(members, "members").items, [&](const json::Value& one) {
        return member_text(one, "id") == me && member_text(one, "role") == "read";
      });
  const bool open = member_integer(channel, "epoch", 1) == 0;
  if (reader || open)
    out.push_back({"channel", Verdict::note,
                   fmt::format("{} can be read here but not written", name), grant("write")});
  else
    out.push_back({"channel", Verdict::problem,
                   fmt::format("{} cannot be written: no grant is known here", name),
                   grant("write")});
}

void add_peers(const Facts& facts, const json::Value& channel, const json::Value& members,
               std::vector<Finding>& out) {
  const std::string name = clean(member_text(channel, "name"));
  const std::string remedy = fmt::format(
      "See that another replica runs and has joined {}, that the two Kubos reach each other (ipfs "
      "swarm peers; ipfs swarm connect "
      "ADDRESS), and that pubsub (or Libp2pStreamMounting) is on at both.",
      clean(member_text(channel, "address")));
  int64_t newest = 0;
  for (const json::Value& peer : member(channel, "peers").items)
    newest = std::max(newest, member_integer(peer, "last_seen_ms"));
  if (newest == 0) {
    const bool shared = member(members, "members").items.size() != 1;
    if (!shared)
      out.push_back(
          {"peers", Verdict::note, fmt::format("{} is shared with nobody yet", name),
           fmt::format(
               "ptwopctl channel grant {} DID ROLE; the other side: ptwopctl channel join {} NAME",
               shell_quoted(name), clean(member_text(channel, "address")))});
    else if (kubo_connected(facts))
      out.push_back({"peers", Verdict::problem,
                     fmt::format("no other replica of {} was heard of", name), remedy});
    else
      out.push_back({"peers", Verdict::note,
                     fmt::format("no other replica of {} was heard of, as Kubo is not there", name),
                     ""});
  } else if (const int64_t silent = facts.now_ms - newest; silent > kSilentMs) {
    out.push_back({"peers", Verdict::problem,
                   fmt::format("no replica of {} was heard of for {}", name, duration(silent)),
                   remedy});
  }
}

void add_contents(const json::Value& channel, std::vector<Finding>& out) {
  const std::string name = clean(member_text(channel, "name"));
  if (const int64_t missing = member_integer(channel, "missing"); missing > 0)
    out.push_back({"channel",
                   member(channel, "peers").items.empty() ? Verdict::problem : Verdict::note,
                   fmt::format("{} nodes of {} are known of but not here yet", missing, name),
                   "They come from any replica that has them: one of those must be running."});
  if (const std::string_view damaged = member_text(channel, "damaged"); !damaged.empty())
    out.push_back(
        {"channel", Verdict::problem, fmt::format("{} is set aside", name), clean(damaged)});
  for (const json::Value& list : member(channel, "lists").items)
    if (const std::string_view cut_off = member_text(list, "cut"); !cut_off.empty())
      out.push_back(
          {"channel", Verdict::note,
           fmt::format("{}: the list of {} is cut off ({})", name,
                       clean(member_text(list, "writer")), clean(cut_off)),
           cut_off == "fork"
               ? "Its writer wrote from two copies of one data folder, or from a restored one. "
                 "What was "
                 "cut off counts where that writer's daemon writes it again; run one copy only."
               : ""});
}

}  // namespace

Finding cannot_connect_finding(const std::vector<Tried>& tried) {
  std::string text = "ptwopd cannot be reached:";
  bool refused = false, stale = false;
  for (const Tried& attempt : tried) {
    text += fmt::format(" {}: {};", clean(attempt.path), std::strerror(attempt.error));
    refused |= attempt.error == EACCES || attempt.error == EPERM;
    stale |= attempt.error == ECONNREFUSED;
  }
  text.pop_back();
  if (refused)
    return {"daemon", Verdict::problem, text,
            "Use it as the user it runs as; for the system service: sudo adduser \"$USER\" ptwop, "
            "then log in again."};
  return {"daemon", Verdict::problem, text,
          std::string(stale ? "The socket is there but nobody answers: the daemon ended. " : "") +
              "Start it: scripts/run, systemctl start ptwopd, or systemctl --user start ptwopd. "
              "Elsewhere: --socket PATH or PTWOP_SOCKET."};
}

std::vector<Finding> examine(const Facts& facts) {
  std::vector<Finding> out = {daemon_finding(facts), socket_finding(facts),  kubo_finding(facts),
                              pubsub_finding(facts), streams_finding(facts), clock_finding(facts),
                              disk_finding(facts),   outbox_finding(facts)};
  const json::Value nothing;
  for (size_t i = 0; i < facts.overview.channels.size(); ++i) {
    const json::Value& channel = facts.overview.channels[i];
    const json::Value& members = i < facts.members.size() ? facts.members[i] : nothing;
    const size_t before = out.size();
    if (member_text(channel, "type").empty())
      out.push_back({"channel", Verdict::problem,
                     fmt::format("{}: its manifest is not here, so its type is not known",
                                 clean(member_text(channel, "name"))),
                     "It comes from any replica that has the channel. Check the address and that "
                     "such a replica and both Kubos run."});
    else
      add_access(facts, channel, members, out);
    add_peers(facts, channel, members, out);
    add_contents(channel, out);
    if (out.size() == before)
      out.push_back({"channel", Verdict::good, clean(member_text(channel, "name")), ""});
  }
  if (facts.overview.channels.empty() && member_true(facts.overview.ready, "ready"))
    out.push_back({"channel", Verdict::note, "there are no channels yet",
                   "ptwopctl channel create NAME log|count|kv"});
  return out;
}

size_t count_problems(const std::vector<Finding>& findings) {
  return static_cast<size_t>(std::ranges::count(findings, Verdict::problem, &Finding::verdict));
}

std::string findings_text(const std::vector<Finding>& findings, size_t columns) {
  constexpr size_t kIndent = 18;
  std::string out;
  for (const Finding& finding : findings) {
    const std::string_view mark = finding.verdict == Verdict::good   ? "ok"
                                  : finding.verdict == Verdict::note ? "note"
                                                                     : "PROBLEM";
    out += fmt::format("{:<8}{:<10}{}\n", mark, finding.check,
                       wrapped(finding.text, columns, kIndent));
    if (!finding.remedy.empty())
      out += fmt::format("{:>{}}{}\n", "-> ", kIndent, wrapped(finding.remedy, columns, kIndent));
  }
  const size_t problems = count_problems(findings);
  return out + (problems == 0
                    ? "All is well.\n"
                    : fmt::format("{} problem{} found.\n", problems, problems == 1 ? "" : "s"));
}

std::string findings_json(const std::vector<Finding>& findings) {
  constexpr std::string_view kVerdicts[] = {"ok", "note", "problem"};
  std::string out;
  json::Writer w(out);
  w.array();
  for (const Finding& finding : findings)
    w.object()
        .key("check")
        .string(finding.check)
        .key("verdict")
        .string(kVerdicts[static_cast<size_t>(finding.verdict)])
        .key("text")
        .string(finding.text)
        .key("remedy")
        .string(finding.remedy)
        .end_object();
  w.end_array();
  return out;
}

}  // namespace ptwop::ctl
