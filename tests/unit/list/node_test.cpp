#include "list/node.h"

#include <doctest/doctest.h>

#include <random>

#include "base/limits.h"

using namespace ptwop;
using list::Node;

namespace {

template <class O>
O filled(uint8_t with) {
  O out;
  out.raw.fill(with);
  return out;
}

Node first_node() {
  Node node;
  node.channel = ipld::Cid::of("channel");
  node.list = {filled<list::PublicKey>(1), filled<list::Incarnation>(2), false};
  node.number = 1;
  node.time = 1'700'000'000'000ull << 16 | 3;
  node.body = "body";
  node.signature = filled<list::Signature>(9);
  return node;
}

Node second_node() {
  Node node = first_node();
  node.number = 2;
  node.prev = ipld::Cid::of(list::encode(first_node()));
  node.seen = {{filled<list::ListId>(7), {5, 0x0102030405060708}},
               {filled<list::ListId>(6), {limits::kNumberMax, UINT64_MAX}}};
  return node;
}

Node sealed_node() {
  Node node = first_node();
  node.grant = list::At{filled<list::ListId>(4), {3, 99}};
  node.epoch = ipld::Cid::of("epoch");
  node.nonce = Bytes(24, 'n');
  return node;
}

bool refused(const Node& node) { return !list::decode(list::encode(node)).ok(); }

}  // namespace

TEST_CASE("a node comes back from its block as it was") {
  for (const Node& node : {first_node(), second_node(), sealed_node()}) {
    const Bytes block = list::encode(node);
    const auto back = list::decode(block);
    REQUIRE(back.ok());
    CHECK(list::encode(*back) == block);
    CHECK(back->channel == node.channel);
    CHECK(back->list == node.list);
    CHECK(back->number == node.number);
    CHECK(back->prev == node.prev);
    CHECK(back->time == node.time);
    CHECK(back->time_ms() == 1'700'000'000'000);
    CHECK(back->seen == node.seen);
    CHECK(back->grant == node.grant);
    CHECK(back->epoch == node.epoch);
    CHECK(back->nonce == node.nonce);
    CHECK(back->body == node.body);
    CHECK(back->signature == node.signature);
    CHECK(back->cid == ipld::Cid::of(block));
    CHECK(back->id == list::list_id(node.channel, node.list));
    CHECK(back->at().position == list::Position{node.number, back->cid.tag()});
  }
}

TEST_CASE("a list's id covers channel, writer, incarnation and kind") {
  const Node node = first_node();
  const Bytes text = Bytes("ptwop/list/1\0", 13) + Bytes(node.channel.bytes()) + Bytes(32, '\1') +
                     Bytes(8, '\2') + '\0';
  const auto id = list::list_id(node.channel, node.list);
  CHECK(Bytes(id.view()) == ipld::sha256(text).substr(0, 16));
  list::ListName other = node.list;
  other.control = true;
  CHECK(list::list_id(node.channel, other) != id);
  other = node.list;
  other.incarnation.raw[7] ^= 1;
  CHECK(list::list_id(node.channel, other) != id);
  other = node.list;
  other.writer.raw[31] ^= 1;
  CHECK(list::list_id(node.channel, other) != id);
  CHECK(list::list_id(ipld::Cid::of("other"), node.list) != id);
}

TEST_CASE("the signature covers all but itself, the clear part neither body nor signature") {
  const Node node = sealed_node();
  const auto differs = [&](auto change) {
    Node other = node;
    change(other);
    return std::pair(list::encode_unsigned(other) != list::encode_unsigned(node),
                     list::encode_clear(other) != list::encode_clear(node));
  };
  const std::pair both(true, true), none(false, false);
  CHECK(differs([](Node& n) { n.signature.raw[0] ^= 1; }) == none);
  CHECK(differs([](Node& n) { n.body += 'x'; }) == std::pair(true, false));
  CHECK(differs([](Node& n) { n.time += 1; }) == both);
  CHECK(differs([](Node& n) { n.nonce[0] = 'm'; }) == both);
  CHECK(differs([](Node& n) { n.epoch = ipld::Cid::of("another"); }) == both);
  CHECK(differs([](Node& n) { n.grant->position.tag += 1; }) == both);
  CHECK(differs([](Node& n) { n.channel = ipld::Cid::of("another"); }) == both);
  CHECK(differs([](Node& n) { n.list.control = true; }) == both);
  CHECK(differs([](Node& n) { n.seen.push_back({}); }) == both);
}

TEST_CASE("members that do not agree with each other are refused") {
  Node node = first_node();
  node.number = 0;
  CHECK(refused(node));
  node = second_node();
  node.grant = list::At{filled<list::ListId>(4), {3, 99}};
  CHECK(refused(node));
  node = sealed_node();
  node.list.control = true;
  node.grant.reset();
  CHECK(refused(node));
  node = sealed_node();
  node.nonce.clear();
  CHECK(refused(node));
  node.nonce = Bytes(25, 'n');
  CHECK(refused(node));
  node = second_node();
  node.seen.push_back(node.seen[0]);
  node.seen.back().position.number += 1;
  CHECK(refused(node));
  node = second_node();
  node.prev = {};
  CHECK(refused(node));
}

TEST_CASE("limits: 64 positions seen, and the body") {
  Node node = first_node();
  for (size_t i = 0; i < limits::kSeenMax; ++i)
    node.seen.push_back({filled<list::ListId>(static_cast<uint8_t>(i)), {1, i}});
  CHECK(!refused(node));
  node.seen.push_back({filled<list::ListId>(200), {1, 1}});
  CHECK(refused(node));
  node = first_node();
  node.body = Bytes(limits::kBodyBytesMax, 'x');
  CHECK(!refused(node));
  node.body += 'x';
  CHECK(refused(node));
  CHECK(list::decode(Bytes(2 << 20, 'x')).error().code == Code::too_large);
  node = second_node();
  node.number = limits::kNumberMax;
  CHECK(!refused(node));
  ++node.number;
  CHECK(refused(node));
  node = second_node();
  node.seen[0].position.number = limits::kNumberMax + 1;
  CHECK(refused(node));
}

TEST_CASE("nothing but the one canonical form is read") {
  std::mt19937 random(11);
  for (const Node& node : {first_node(), second_node(), sealed_node()}) {
    const Bytes block = list::encode(node);
    for (size_t size = 0; size < block.size(); ++size)
      CHECK_FALSE(list::decode(block.substr(0, size)).ok());
    CHECK_FALSE(list::decode(block + '\0').ok());
    // A prev in a first node, a nonce without an epoch: a pair more than the head says, and the
    // head to match.
    for (size_t round = 0; round < 20'000; ++round) {
      Bytes other = block;
      other[random() % other.size()] = static_cast<char>(random());
      if (random() % 4 == 0) other.insert(random() % other.size(), 1, static_cast<char>(random()));
      if (random() % 4 == 0) other.erase(random() % other.size(), 1);
      if (const auto read = list::decode(other); read.ok()) CHECK(list::encode(*read) == other);
    }
  }
  const Bytes block = list::encode(first_node());
  const auto patched = [&](std::string_view from, std::string_view to) {
    Bytes other = block;
    other.replace(other.find(from), from.size(), to);
    return other;
  };
  CHECK_FALSE(list::decode(patched("gversion\x01", "gversion\x02")).ok());
  CHECK_FALSE(list::decode(patched("dkinddnode", "dkinddmode")).ok());
  CHECK_FALSE(list::decode(patched("dkindddata", "dkindddate")).ok());
  CHECK_FALSE(list::decode(patched("fnumber\x01", BytesView("fnumber\x18\x01", 9))).ok());
  // Well-formed maps with a member that does not belong there.
  CHECK_FALSE(
      list::decode(
          "\xaa" +
          patched("dseen", "dprevX$" + Bytes(first_node().channel.bytes()) + "dseen").substr(1))
          .ok());
  CHECK_FALSE(list::decode("\xaa" +
                           patched("fnumber", "enonceX\x18" + Bytes(24, 'n') + "fnumber").substr(1))
                  .ok());
}
