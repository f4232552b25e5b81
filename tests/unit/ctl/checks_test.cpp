#include "ctl/checks.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cerrno>

using namespace ptwop;
using namespace ptwop::ctl;

namespace {

constexpr int64_t kNow = 1'795'259'036'000;

json::Value parsed(std::string text) {
  for (size_t at; (at = text.find("NOW")) != std::string::npos;)
    text.replace(at, 3, std::to_string(kNow));
  return *json::parse(text);
}

/// A daemon that has nothing to complain of.
Facts healthy() {
  Facts facts;
  facts.socket = "/run/ptwop/rpc.sock";
  facts.overview.ready = parsed(R"({"ready":true,"reason":""})");
  facts.overview.info = parsed(R"({"version":")" PTWOP_VERSION
                               R"(","identity":"did:key:me","uptime_s":5,"outbox":0,"channels":1,
      "kubo":{"state":"connected","version":"0.43.0","peer_id":"12D3","pubsub":true,"streams":true}})");
  facts.overview.stats = parsed(R"({"refused":{},"queues":{}})");
  facts.overview.channels = {parsed(
      R"({"name":"notes","address":"/ptwop/b1","type":"kv","nodes":3,"readable":true,"writable":true,
      "lists":[],"peers":[{"id":"did:key:you","last_seen_ms":NOW,"clock_lead_ms":-20}],"epoch":1,"missing":0,"root":null})")};
  facts.members = {parsed(
      R"({"members":[{"id":"did:key:me","role":"admin","since_ms":1},{"id":"did:key:you","role":"write","since_ms":2}]})")};
  facts.disk = Disk{"/var/lib/ptwop", 100ull << 30, true};
  facts.now_ms = kNow;
  return facts;
}

/// The checks that found a problem, once each, in order.
std::string problems(const Facts& facts) {
  std::string out;
  for (const Finding& finding : examine(facts))
    if (finding.verdict == Verdict::problem) {
      CHECK_FALSE(finding.remedy.empty());
      out += (out.empty() ? "" : " ") + std::string(finding.check);
    }
  return out;
}

void change(Facts& facts, std::string channel) {
  facts.overview.channels = {parsed(std::move(channel))};
}

}  // namespace

TEST_CASE("all is well") {
  const auto findings = examine(healthy());
  CHECK(count_problems(findings) == 0);
  CHECK(std::ranges::count(findings, Verdict::note, &Finding::verdict) == 0);
  CHECK(findings_text(findings, 80).ends_with("All is well.\n"));
  CHECK(json::parse(findings_json(findings)));
}

TEST_CASE("each thing that is wrong is found, with a remedy") {
  Facts facts = healthy();
  SUBCASE("not ready") {
    facts.overview.ready = parsed(R"({"ready":false,"reason":"opening"})");
    CHECK(problems(facts) == "daemon");
  }
  SUBCASE("others may enter the folder") {
    facts.folder_mode = 0755;
    CHECK(problems(facts) == "socket");
    facts.folder_mode = 0750;
    CHECK(problems(facts).empty());
  }
  SUBCASE("Kubo off") {
    facts.overview.info =
        parsed(R"({"version":")" PTWOP_VERSION
               R"(","outbox":3,"kubo":{"state":"offline","version":null,"peer_id":null}})");
    CHECK(problems(facts) == "kubo");
  }
  SUBCASE("pubsub off") {
    facts.overview.info = parsed(
        R"({"version":")" PTWOP_VERSION
        R"(","outbox":0,"kubo":{"state":"connected","version":"1","peer_id":"p","pubsub":false}})");
    CHECK(problems(facts) == "pubsub");
    facts.overview.info = parsed(
        R"({"version":")" PTWOP_VERSION
        R"(","outbox":0,"kubo":{"state":"connected","version":"1","peer_id":"p","pubsub":false,"streams":true}})");
    CHECK(problems(facts).empty());
  }
  SUBCASE("no streams are no problem, but are said") {
    facts.overview.info = parsed(
        R"({"version":")" PTWOP_VERSION
        R"(","outbox":0,"kubo":{"state":"connected","version":"1","peer_id":"p","pubsub":true,"streams":false}})");
    CHECK(problems(facts).empty());
    const auto findings = examine(facts);
    const auto said = std::ranges::find(findings, "streams", &Finding::check);
    REQUIRE(said != findings.end());
    CHECK(said->verdict == Verdict::note);
    CHECK(said->remedy.find("Libp2pStreamMounting") != std::string::npos);
  }
  SUBCASE("a clock that is off") {
    change(
        facts,
        R"({"name":"n","type":"kv","readable":true,"writable":true,"peers":[{"id":"y","last_seen_ms":NOW,"clock_lead_ms":90000}]})");
    CHECK(problems(facts) == "clock");
    change(
        facts,
        R"({"name":"n","type":"kv","readable":true,"writable":true,"peers":[{"id":"y","last_seen_ms":NOW,"clock_lead_ms":-90000}]})");
    CHECK(problems(facts) == "clock");
  }
  SUBCASE("a stamp from the future") {
    facts.members = {parsed(
        R"({"members":[{"id":"a","role":"admin","since_ms":1795259336000},{"id":"b","role":"read","since_ms":1}]})")};
    CHECK(problems(facts) == "clock");
  }
  SUBCASE("disk") {
    facts.disk->free_bytes = 10 << 20;
    CHECK(problems(facts) == "disk");
    facts = healthy();
    facts.overview.stats = parsed(R"({"refused":{"disk_full":2}})");
    CHECK(problems(facts) == "disk");
  }
  SUBCASE("the outbox does not drain") {
    facts.overview.info = parsed(R"({"version":")" PTWOP_VERSION
                                 R"(","outbox":9,"kubo":{"state":"connected","pubsub":true}})");
    facts.outbox_later = 9;
    CHECK(problems(facts) == "outbox");
    facts.outbox_later = 8;
    CHECK(problems(facts).empty());
  }
  SUBCASE("no peers, or silent ones") {
    change(
        facts,
        R"({"name":"n","address":"/ptwop/b","type":"kv","readable":true,"writable":true,"peers":[]})");
    CHECK(problems(facts) == "peers");
    change(
        facts,
        R"({"name":"n","address":"/ptwop/b","type":"kv","readable":true,"writable":true,"peers":[{"id":"y","last_seen_ms":1795250000000}]})");
    CHECK(problems(facts) == "peers");
  }
  SUBCASE("the manifest is missing") {
    change(
        facts,
        R"({"name":"n","address":"/ptwop/b","type":null,"readable":false,"writable":false,"peers":[{"id":"y","last_seen_ms":NOW}]})");
    CHECK(problems(facts) == "channel");
  }
  SUBCASE("neither readable nor writable") {
    change(
        facts,
        R"({"name":"n","type":"kv","readable":false,"writable":false,"peers":[{"id":"y","last_seen_ms":NOW}],"epoch":1})");
    CHECK(problems(facts) == "channel channel");
  }
  SUBCASE("a channel whose data is damaged") {
    change(
        facts,
        R"({"name":"n","type":"kv","readable":true,"writable":true,"peers":[{"id":"y","last_seen_ms":NOW}],
        "damaged":"leave and join"})");
    CHECK(problems(facts) == "channel");
  }
}

TEST_CASE("what is as it should be is no problem") {
  Facts facts = healthy();
  SUBCASE("a fork: it is history, and told") {
    change(
        facts,
        R"({"name":"n","type":"kv","readable":true,"writable":true,"peers":[{"id":"y","last_seen_ms":NOW}],
        "lists":[{"list":"l","writer":"w","count":1,"head":"b","cut":"fork"}]})");
  }
  SUBCASE("shared with nobody yet") {
    change(facts, R"({"name":"n","type":"kv","readable":true,"writable":true,"peers":[]})");
    facts.members = {parsed(R"({"members":[{"id":"did:key:me","role":"admin","since_ms":1}]})")};
  }
  SUBCASE("a reader may not write") {
    change(
        facts,
        R"({"name":"n","type":"kv","readable":true,"writable":false,"epoch":1,"peers":[{"id":"y","last_seen_ms":NOW}]})");
    facts.members = {parsed(
        R"({"members":[{"id":"did:key:me","role":"read","since_ms":1},{"id":"y","role":"admin","since_ms":1}]})")};
  }
  SUBCASE("a public channel may be read only") {
    change(
        facts,
        R"({"name":"n","type":"kv","readable":true,"writable":false,"epoch":0,"peers":[{"id":"y","last_seen_ms":NOW}]})");
  }
  CHECK(problems(facts).empty());
}

TEST_CASE("what other people chose to write is shown harmlessly") {
  Facts facts = healthy();
  change(
      facts,
      R"({"name":"a\u001b[2J","address":"/ptwop/b","type":"kv","readable":false,"writable":false,"peers":[],"missing":1})");
  CHECK(findings_text(examine(facts), 80).find('\x1b') == std::string::npos);
}

TEST_CASE("why it cannot be reached") {
  CHECK(cannot_connect_finding({{"/s", EACCES}}).remedy.find("adduser") != std::string::npos);
  CHECK(cannot_connect_finding({{"/s", ECONNREFUSED}}).remedy.find("the daemon ended") !=
        std::string::npos);
  CHECK(cannot_connect_finding({{"/s", ENOENT}}).remedy.find("systemctl start") !=
        std::string::npos);
}

TEST_CASE("how long") {
  CHECK(duration(0) == "0 s");
  CHECK(duration(119'999) == "119 s");
  CHECK(duration(120'000) == "2 min");
  CHECK(duration(7'200'000) == "2 h");
  CHECK(duration(5 * 86'400'000LL) == "5 days");
}
