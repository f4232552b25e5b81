#include "access/membership.h"

#include <doctest/doctest.h>
#include <sodium.h>

#include <algorithm>
#include <numeric>

using namespace ptwop;
using access::Identity;
using access::Membership;
using access::Role;

namespace {

class Chance final : public Entropy {
 public:
  void fill(unsigned char* out, size_t size) override { randombytes_buf(out, size); }
};

Identity identity(char with) { return std::move(*Identity::from_seed(Bytes(32, with))); }

struct ControlNode {
  list::Node node;
  std::vector<Bytes> ops;
};

// A private channel whose creator opened an epoch and granted: b read, c write, b write.
struct Stage {
  Identity a = identity('a'), b = identity('b'), c = identity('c'), d = identity('d');
  Chance chance;
  access::Manifest manifest;
  std::vector<ControlNode> nodes;
  Bytes secret;

  explicit Stage(char salt = 's') {
    manifest.type = "kv";
    manifest.creator = a.key();
    manifest.salt = Bytes(16, salt);
    manifest.created_ms = 1'000;
    access::seal_manifest(manifest, a);
    Membership membership(manifest);
    auto epoch = *access::make_epoch(manifest.cid, {a.key()}, chance);
    secret = epoch.secret;
    append(membership, {epoch.op});
    append(membership, {*access::make_grant(membership, b.key(), Role::read)});
    append(membership, {*access::make_grant(membership, c.key(), Role::write)});
    append(membership, {*access::make_grant(membership, b.key(), Role::write)});
  }

  list::Node control_node(const Identity& writer, uint64_t number) const {
    list::Node n;
    n.channel = manifest.cid;
    n.list = {writer.key(), {}, true};
    n.id = list::list_id(n.channel, n.list);
    n.number = number;
    n.time = (2'000 + number) << 16;
    n.cid = ipld::Cid::of("node " + std::to_string(number));
    return n;
  }

  void append(Membership& membership, std::vector<Bytes> ops) {
    nodes.push_back({control_node(a, nodes.size() + 1), std::move(ops)});
    REQUIRE(membership.apply(nodes.back().node, nodes.back().ops, a).ok());
  }

  Membership as(const Identity& me, const std::vector<size_t>& order) const {
    Membership membership(manifest);
    for (const size_t i : order) REQUIRE(membership.apply(nodes[i].node, nodes[i].ops, me).ok());
    return membership;
  }
};

list::Node first_node(const Stage& s, const Identity& writer, std::optional<list::At> grant,
                      bool control = false) {
  list::Node n;
  n.channel = s.manifest.cid;
  n.list = {writer.key(), {}, control};
  n.number = 1;
  n.grant = grant;
  return n;
}

}  // namespace

TEST_CASE_FIXTURE(Stage, "in whatever order control nodes come, what they show is the same") {
  std::vector<size_t> order = {0, 1, 2, 3};
  do {
    for (const Identity* me : {&a, &b, &c, &d}) {
      const Membership m = as(*me, order);
      const auto members = m.members();
      REQUIRE(members.size() == 3);
      CHECK(members[0].id == a.key());
      CHECK(members[0].role == Role::admin);
      CHECK(members[0].since_ms == 1'000);
      CHECK(members[1].id == b.key());
      CHECK(members[1].role == Role::write);
      CHECK(members[1].since_ms == 2'002);
      CHECK(members[2].id == c.key());
      CHECK(members[2].since_ms == 2'003);
      CHECK(m.generation() == 1);
      REQUIRE(m.current_epoch());
      CHECK(m.current_epoch()->cid == nodes[0].node.cid);
      CHECK(m.write_grant(b.key())->at == nodes[3].node.at());
      CHECK(m.write_grant(c.key())->at == nodes[2].node.at());
      CHECK(!m.write_grant(d.key()));
      CHECK(m.role(d.key()) == Role::none);
      CHECK(m.readable() == (me != &d));
      CHECK(m.current_epoch()->secret == (me == &d ? Bytes() : secret));
    }
  } while (std::next_permutation(order.begin(), order.end()));
}

TEST_CASE_FIXTURE(Stage, "whose first node opens a list") {
  const Membership m = as(a, {0, 1, 2, 3});
  const list::At read = nodes[1].node.at(), write_c = nodes[2].node.at(),
                 write_b = nodes[3].node.at();
  const list::Position held = nodes[3].node.position();
  const auto code = [&](const list::Node& first, list::Position h) {
    const auto admitted = m.admits(first, h);
    return admitted.ok() ? 0 : static_cast<int>(admitted.error().code);
  };
  const int never = static_cast<int>(Code::invalid_params),
            later = static_cast<int>(Code::no_manifest);
  CHECK(code(first_node(*this, a, {}), held) == 0);
  CHECK(code(first_node(*this, a, {}, true), held) == 0);
  CHECK(code(first_node(*this, c, write_c), held) == 0);
  CHECK(code(first_node(*this, b, write_b), held) == 0);
  CHECK(code(first_node(*this, c, {}), held) == never);
  CHECK(code(first_node(*this, c, write_b), held) == never);  // another's
  CHECK(code(first_node(*this, b, read), held) == never);
  CHECK(code(first_node(*this, d, write_c), held) == never);
  CHECK(code(first_node(*this, c, write_c, true), held) == never);
  list::At other = write_c;
  other.position.tag ^= 1;
  CHECK(code(first_node(*this, c, other), held) == never);
  other.position.number = 9;
  CHECK(code(first_node(*this, c, other), held) == later);
  CHECK(code(first_node(*this, c, write_c), {}) == 0);
  other = write_c;
  other.list.raw[0] ^= 1;
  CHECK(code(first_node(*this, c, other), {}) == later);
}

TEST_CASE_FIXTURE(Stage, "a control node with an operation that is none is void as a whole") {
  Membership m = as(a, {0});
  const Bytes good = *access::make_grant(m, d.key(), Role::write);
  const list::Node node = control_node(a, 2);
  ipld::CborWriter w;
  w.map(1).key("op").text("revoke");
  Bytes role = good;
  role.replace(role.rfind("ewrite"), 6, "ewrote");
  Bytes none = good;
  none.replace(none.rfind("ewrite"), 6, "dnone");
  for (const Bytes& bad :
       {w.out(), Bytes("\1"), role, none, good + '\0', good.substr(0, good.size() - 1), Bytes()}) {
    CHECK_FALSE(m.apply(node, {good, bad}, a).ok());
    CHECK_FALSE(m.apply(node, {bad, good}, a).ok());
    CHECK(m.members().size() == 1);
  }
  CHECK(m.apply(node, {good}, a).ok());
  CHECK(m.members().size() == 2);
}

TEST_CASE_FIXTURE(Stage, "a sealed secret serves its channel, epoch and recipient only") {
  // The same operations in another channel open nothing.
  Stage other('t');
  Membership m(other.manifest);
  for (const ControlNode& n : nodes) REQUIRE(m.apply(n.node, n.ops, b).ok());
  CHECK_FALSE(m.readable());
  // Sealed to b, it is of no use in a grant to d.
  Membership for_d(manifest);
  Bytes passed_on = nodes[1].ops[0];
  passed_on.replace(passed_on.find(b.key().view()), 32, d.key().view());
  REQUIRE(for_d.apply(nodes[0].node, nodes[0].ops, d).ok());
  REQUIRE(for_d.apply(nodes[1].node, {passed_on}, d).ok());
  CHECK_FALSE(for_d.readable());
  // An epoch whose commitment is another's stays closed.
  Bytes uncommitted = nodes[0].ops[0];
  uncommitted.back() = static_cast<char>(uncommitted.back() ^ 1);
  Membership closed(manifest);
  REQUIRE(closed.apply(nodes[0].node, {uncommitted}, a).ok());
  CHECK_FALSE(closed.readable());
}

TEST_CASE_FIXTURE(Stage, "of two epochs the later counts, and both stay readable") {
  auto second = *access::make_epoch(manifest.cid, {a.key()}, chance);
  const list::Node node = control_node(a, 5);
  for (const bool first : {true, false}) {
    Membership m(manifest);
    if (first) REQUIRE(m.apply(node, {second.op}, a).ok());
    REQUIRE(m.apply(nodes[0].node, nodes[0].ops, a).ok());
    if (!first) REQUIRE(m.apply(node, {second.op}, a).ok());
    CHECK(m.current_epoch()->cid == node.cid);
    CHECK(m.generation() == 2);
    CHECK(m.epoch(nodes[0].node.cid)->secret == secret);
    CHECK(m.epoch(node.cid)->secret == second.secret);
  }
}

TEST_CASE_FIXTURE(Stage, "a public channel needs no key") {
  manifest.is_public = true;
  CHECK(Membership(manifest).readable());
  manifest.is_public = false;
  CHECK_FALSE(Membership(manifest).readable());
}

TEST_CASE("the roles' names") {
  for (const std::string_view name : {"read", "write", "send", "admin"})
    CHECK(access::role_name(*access::role_from(name)) == name);
  for (const std::string_view name : {"", "none", "Read", "writer"})
    CHECK_FALSE(access::role_from(name));
}
