#include "sync/message.h"

#include <doctest/doctest.h>

#include <random>

#include "base/limits.h"

using namespace ptwop;
using sync::Message;

namespace {

list::ListId id(uint8_t with) {
  list::ListId out;
  out.raw.fill(with);
  return out;
}

Message message(decltype(Message::body) body) {
  Message m;
  m.channel = ipld::Cid::of("channel");
  m.sender.raw.fill(3);
  m.boot = 1'700'000'000'000;
  m.count = 42;
  m.body = std::move(body);
  m.signature.raw.fill(4);
  return m;
}

std::vector<Message> all() {
  sync::Nodes nodes{
      {"one", Bytes(300, 'x'), ""}, {{id(1), 7, ipld::Cid::of("large")}}, "manifest", true};
  sync::ClockMessage clock;
  clock.entries = {{{id(1), {5, 99}}, 0}, {{id(2), {limits::kNumberMax, UINT64_MAX}}, 3}};
  clock.wall_ms = 123;
  clock.has_manifest = true;
  sync::Want want;
  want.to.raw.fill(8);
  want.to_boot = 9;
  want.ranges = {{id(1), 1, 1}, {id(2), 2, UINT64_MAX}};
  want.manifest = true;
  return {message(nodes),
          message(clock),
          message(want),
          message(sync::Nodes{}),
          message(sync::ClockMessage{}),
          message(sync::Want{})};
}

bool refused(const Message& m) {
  Bytes covered;
  return !sync::decode(sync::encode_signed(m), covered).ok();
}

}  // namespace

TEST_CASE("each message comes back as it was, with what its signature covers") {
  for (const Message& m : all()) {
    const Bytes bytes = sync::encode_signed(m);
    Bytes covered;
    const auto back = sync::decode(bytes, covered);
    REQUIRE(back.ok());
    CHECK(sync::encode_signed(*back) == bytes);
    CHECK(covered == sync::encode_unsigned(m));
    CHECK(back->body.index() == m.body.index());
    CHECK(back->channel == m.channel);
    CHECK(back->sender == m.sender);
    CHECK(back->boot == m.boot);
    CHECK(back->count == m.count);
    CHECK(back->signature == m.signature);
  }
  Bytes covered;
  const auto want =
      std::get<sync::Want>(sync::decode(sync::encode_signed(all()[2]), covered)->body);
  CHECK(want.ranges[1].to == UINT64_MAX);
  CHECK(want.manifest);
  const auto nodes =
      std::get<sync::Nodes>(sync::decode(sync::encode_signed(all()[0]), covered)->body);
  CHECK(nodes.large[0].cid == ipld::Cid::of("large"));
  CHECK(nodes.last);
  const auto clock =
      std::get<sync::ClockMessage>(sync::decode(sync::encode_signed(all()[1]), covered)->body);
  CHECK(clock.entries[1].cut == 3);
  CHECK(clock.has_manifest);
}

TEST_CASE("nothing but the one canonical form is read") {
  std::mt19937 random(5);
  Bytes covered;
  for (const Message& m : all()) {
    const Bytes bytes = sync::encode_signed(m);
    for (size_t size = 0; size < bytes.size(); ++size)
      CHECK_FALSE(sync::decode(bytes.substr(0, size), covered).ok());
    CHECK_FALSE(sync::decode(bytes + '\0', covered).ok());
    for (int round = 0; round < 10'000; ++round) {
      Bytes other = bytes;
      other[random() % other.size()] = static_cast<char>(random());
      if (random() % 4 == 0) other.insert(random() % other.size(), 1, static_cast<char>(random()));
      if (random() % 4 == 0) other.erase(random() % other.size(), 1);
      const auto read = sync::decode(other, covered);
      if (!read.ok()) continue;
      CHECK(sync::encode_signed(*read) == other);
      CHECK(covered == sync::encode_unsigned(*read));
    }
  }
}

TEST_CASE("a body of one kind under the name of another is refused") {
  const Bytes bytes = sync::encode_signed(message(sync::Nodes{}));
  for (const std::string_view kind : {"dkindeclock", "dkindewants", "dkinde     "}) {
    Bytes other = bytes, covered;
    other.replace(other.find("dkindenodes"), 11, kind);
    CHECK_FALSE(sync::decode(other, covered).ok());
  }
}

TEST_CASE("the limits of messages") {
  sync::Want want;
  for (size_t i = 0; i < sync::kRangesMax; ++i) want.ranges.push_back({id(1), 1, 1});
  CHECK_FALSE(refused(message(want)));
  want.ranges.push_back({id(1), 1, 1});
  CHECK(refused(message(want)));
  want.ranges = {{id(1), 0, 1}};
  CHECK(refused(message(want)));
  want.ranges = {{id(1), 2, 1}};
  CHECK(refused(message(want)));
  sync::ClockMessage clock;
  clock.entries.assign(sync::kClockEntriesMax, {{id(1), {1000, UINT64_MAX}}, 0});
  CHECK_FALSE(refused(message(clock)));
  clock.entries.push_back(clock.entries[0]);
  CHECK(refused(message(clock)));
  Bytes covered;
  CHECK(sync::decode(Bytes(limits::kMessageBytesMax + 1, '\0'), covered).error().code ==
        Code::too_large);
}
