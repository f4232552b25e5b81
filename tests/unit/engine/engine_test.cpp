#include "engine/engine.h"

#include <doctest/doctest.h>

#include <set>

#include "replicas.h"
#include "types/count.h"
#include "types/kv.h"
#include "types/log.h"

using namespace ptwop;
using test::Network;

namespace {

Bytes text(std::string_view t) {
  ipld::CborWriter w;
  w.text(t);
  return w.take();
}

std::vector<Bytes> put(std::string_view key, std::string_view value) {
  return {types::kv_put_op(key, text(value), {})};
}

std::optional<types::KvEntry> get(test::Replica& replica, const engine::ChannelRef& channel,
                                  std::string_view key) {
  return *types::kv_get(engine::StateView(replica.store(), channel->number), key);
}

}  // namespace

TEST_CASE("a write is in the store when it is answered, and there after a restart") {
  Network net(1, 1);
  const auto ref = net[0].create("notes", "kv");
  CHECK(ref->readable);
  CHECK(ref->writable);
  const auto written = net[0].write("notes", types::kv_type(), put("a", "1"));
  REQUIRE(written.ok());
  CHECK(get(net[0], ref, "a")->value == text("1"));
  net[0].restart();
  const auto again = net[0]->directory().find("notes");
  REQUIRE(again);
  CHECK(again->writable);
  CHECK(get(net[0], again, "a")->value == text("1"));
  CHECK(net[0].write("notes", types::kv_type(), put("a", "2")).ok());
  CHECK(get(net[0], again, "a")->value == text("2"));
  CHECK(net[0].info("notes").lists[0].count == 2);
}

TEST_CASE("writes of one turn become one node") {
  Network net(1, 2);
  net[0].create("c", "count", true);
  std::vector<std::string> tokens;
  for (int i = 0; i < 10; ++i)
    net[0]->write("c", types::count_type(), {types::count_add_op("k", 1)}, "",
                  [&](Result<engine::Written> w) {
                    tokens.push_back(w->at);
                    CHECK(*w->result.value == static_cast<int64_t>(tokens.size()));
                  });
  net[0]->turn();
  REQUIRE(tokens.size() == 10);
  for (const auto& token : tokens) CHECK(token == tokens[0]);
  CHECK(net[0].info("c").lists[0].count == 1);
}

TEST_CASE(
    "a request carried out once is answered the same again, also in one turn and across a "
    "restart") {
  Network net(1, 3);
  const auto ref = net[0].create("c", "count");
  std::vector<engine::Written> answers;
  for (int i = 0; i < 2; ++i)
    net[0]->write("c", types::count_type(), {types::count_add_op("k", 5)}, "id-1",
                  [&](Result<engine::Written> w) { answers.push_back(*w); });
  net[0]->turn();
  net[0].restart();
  answers.push_back(*net[0].write("c", types::count_type(), {types::count_add_op("k", 5)}, "id-1"));
  REQUIRE(answers.size() == 3);
  for (const auto& a : answers) {
    CHECK(a.at == answers[0].at);
    CHECK(*a.result.value == 5);
  }
  CHECK(types::count_get(engine::StateView(net[0].store(), ref->number), "k")->value == 5);
}

TEST_CASE("a failed commit keeps nothing, and the next write goes through") {
  Network net(1, 4);
  const auto ref = net[0].create("notes", "kv");
  REQUIRE(net[0].write("notes", types::kv_type(), put("a", "1")).ok());
  net[0].store().fail_commits = true;
  const auto refused = net[0].write("notes", types::kv_type(), put("a", "2"));
  REQUIRE(!refused.ok());
  CHECK(refused.error().code == Code::disk_full);
  CHECK(get(net[0], ref, "a")->value == text("1"));
  net[0].store().fail_commits = false;
  REQUIRE(net[0].write("notes", types::kv_type(), put("b", "3")).ok());
  CHECK(get(net[0], ref, "a")->value == text("1"));
  CHECK(get(net[0], ref, "b")->value == text("3"));
  CHECK(net[0].info("notes").lists[0].count == 2);
}

TEST_CASE("two replicas: join, grant, write both ways") {
  Network net(2, 5);
  const auto a = net[0].create("notes", "kv");
  const auto b = net[1].join(a->address, "mine");
  CHECK(!b->readable);
  CHECK(net[1].write("mine", types::kv_type(), put("x", "1")).error().code == Code::no_manifest);
  REQUIRE(net.run_until(20'000, [&] { return b->type.load() != nullptr; }));
  CHECK(net[1].write("mine", types::kv_type(), put("x", "1")).error().code == Code::no_write_role);
  REQUIRE(net[0].write("notes", types::kv_type(), put("before", "grant")).ok());
  REQUIRE(net[0].grant("notes", net[1].did(), "read").ok());
  REQUIRE(net.run_until(20'000, [&] { return b->readable.load(); }));
  REQUIRE(net.run_until(20'000, [&] { return get(net[1], b, "before").has_value(); }));
  CHECK(net[1].write("mine", types::kv_type(), put("x", "1")).error().code == Code::no_write_role);
  REQUIRE(net[0].grant("notes", net[1].did(), "write").ok());
  REQUIRE(net.run_until(20'000, [&] { return b->writable.load(); }));
  REQUIRE(net[1].write("mine", types::kv_type(), put("x", "from b")).ok());
  REQUIRE(net.run_until(20'000, [&] { return get(net[0], a, "x").has_value(); }));
  CHECK(get(net[0], a, "x")->value == text("from b"));
}

TEST_CASE("a token can be waited for before anything of the channel is here") {
  Network net(2, 6);
  const auto a = net[0].create("notes", "kv", true);
  const std::string at = net[0].write("notes", types::kv_type(), put("k", "v"))->at;
  net[1].join(a->address, "notes");
  std::optional<Result<bool>> answer;
  net[1]->wait("notes", {at}, 30'000, "", [&](Result<bool> r) { answer.emplace(std::move(r)); });
  REQUIRE(net.run_until(30'000, [&] { return answer.has_value(); }));
  CHECK(answer->ok());
  CHECK(get(net[1], net[1]->directory().find("notes"), "k").has_value());
  SUBCASE("and one that never comes times out") {
    answer.reset();
    auto later = *list::At::from_token(at);
    later.position.number += 5;
    net[1]->wait("notes", {later.token()}, 500, "",
                 [&](Result<bool> r) { answer.emplace(std::move(r)); });
    REQUIRE(net.run_until(2'000, [&] { return answer.has_value(); }));
    CHECK(answer->error().code == Code::not_reached);
  }
  SUBCASE("and the writer learns that another has it") {
    answer.reset();
    net[0]->wait("notes", {at}, 20'000, "any",
                 [&](Result<bool> r) { answer.emplace(std::move(r)); });
    REQUIRE(net.run_until(300, [&] { return answer.has_value(); }));
    CHECK(answer->ok());
  }
}

TEST_CASE("leaving and joining again starts a new list and gets everything back") {
  Network net(2, 7);
  const auto a = net[0].create("c", "count", true);
  net[1].join(a->address, "c");
  REQUIRE(net[0].grant("c", net[1].did(), "write").ok());
  REQUIRE(net.run_until(20'000, [&] { return net[1]->directory().find("c")->writable.load(); }));
  REQUIRE(net[1].write("c", types::count_type(), {types::count_add_op("k", 3)}).ok());
  REQUIRE(net.run_until(20'000, [&] {
    return types::count_get(engine::StateView(net[0].store(), a->number), "k")->value == 3;
  }));
  bool left = false;
  net[1]->leave("c", [&](Result<bool> r) { left = r.ok(); });
  net[1]->turn();
  CHECK(left);
  CHECK(!net[1]->directory().find("c"));
  for (const auto table :
       {engine::Table::nodes, engine::Table::state, engine::Table::index, engine::Table::outbox})
    CHECK(net[1].store().size(table) == 0);
  const auto b = net[1].join(a->address, "again");
  REQUIRE(net.run_until(20'000, [&] { return b->writable.load(); }));
  REQUIRE(net[1].write("again", types::count_type(), {types::count_add_op("k", 4)}).ok());
  for (size_t i = 0; i < 2; ++i)
    REQUIRE(net.run_until(20'000, [&] {
      const auto channel = net[i]->directory().find(a->address);
      return types::count_get(engine::StateView(net[i].store(), channel->number), "k")->value == 7;
    }));
}

TEST_CASE("a channel that is left and joined again in one turn is the new one everywhere") {
  Network net(1, 13);
  const auto old = net[0].create("c", "count", true);
  REQUIRE(net[0].write("c", types::count_type(), {types::count_add_op("k", 3)}).ok());
  engine::ChannelRef joined;
  net[0]->leave("c", [](Result<bool> r) { CHECK(r.ok()); });
  net[0]->join(old->address, "again", [&](Result<engine::ChannelRef> r) { joined = *r; });
  net[0]->turn();
  REQUIRE(joined);
  CHECK(joined != old);
  engine::Directory& directory = net[0]->directory();
  CHECK(directory.find("again") == joined);
  CHECK(directory.find(old->address) == joined);
  CHECK_FALSE(directory.find("c"));
  CHECK(directory.all().size() == 1);
  CHECK(types::count_get(engine::StateView(net[0].store(), joined->number), "k")->value == 0);
}

TEST_CASE("a node over 64 KiB travels by CID") {
  Network net(2, 8);
  const auto a = net[0].create("notes", "kv", true);
  const auto b = net[1].join(a->address, "notes");
  std::string big(300'000, 'x');
  std::mt19937_64 random(1);
  for (char& c : big) c = static_cast<char>('a' + random() % 26);
  REQUIRE(net[0].write("notes", types::kv_type(), put("big", big)).ok());
  REQUIRE(net.run_until(20'000, [&] { return get(net[1], b, "big").has_value(); }));
  CHECK(get(net[1], b, "big")->value == text(big));
  for (const auto& [channel, message] : net.published) CHECK(message.size() < 100'000);
}

TEST_CASE("a large node comes from a writer that has restarted, and whose Kubo has forgotten it") {
  Network net(2, 10);
  const auto a = net[0].create("notes", "kv", true);
  std::string big(300'000, 'x');
  std::mt19937_64 random(2);
  for (char& c : big) c = static_cast<char>('a' + random() % 26);
  REQUIRE(net[0].write("notes", types::kv_type(), put("big", big)).ok());
  net.run_ms(5'000);
  REQUIRE(net[0]->stats().outbox == 0);
  net[0].restart();
  net[0].collect_garbage();
  const auto b = net[1].join(a->address, "notes");
  REQUIRE(net.run_until(60'000, [&] { return get(net[1], b, "big").has_value(); }));
  CHECK(get(net[1], b, "big")->value == text(big));
}

TEST_CASE(
    "values that nobody had seen of each other are read from the nodes, also after a restart") {
  Network net(2, 11);
  const auto a = net[0].create("notes", "kv");
  const auto b = net[1].join(a->address, "notes");
  REQUIRE(net.run_until(20'000, [&] { return b->type.load() != nullptr; }));
  REQUIRE(net[0].grant("notes", net[1].did(), "write").ok());
  REQUIRE(net.run_until(20'000, [&] { return b->writable.load(); }));
  REQUIRE(net[0].write("notes", types::kv_type(), put("k", "one")).ok());
  REQUIRE(net[1].write("notes", types::kv_type(), put("k", "two")).ok());
  const auto values = [&](size_t i) {
    const auto ref = net[i]->directory().find(a->address);
    const auto source = net[i]->source(ref);
    REQUIRE(source);
    const auto all =
        types::kv_siblings(engine::StateView(net[i].store(), ref->number), *source, "k");
    REQUIRE_MESSAGE(all.ok(), (all.ok() ? "" : all.error().message));
    std::set<Bytes> out;
    for (const types::KvEntry& entry : *all) out.insert(entry.value);
    return out;
  };
  const std::set<Bytes> both = {text("one"), text("two")};
  for (size_t i : {0, 1}) REQUIRE(net.run_until(20'000, [&] { return values(i) == both; }));
  net[1].restart();
  CHECK(values(1) == both);
  // Whoever has seen both ends it.
  REQUIRE(net[1].write("notes", types::kv_type(), put("k", "three")).ok());
  for (size_t i : {0, 1})
    REQUIRE(net.run_until(20'000, [&] { return values(i) == std::set<Bytes>{text("three")}; }));
}

TEST_CASE("names, addresses, roles and tokens that are no good, and what is the creator's alone") {
  Network net(2, 12);
  const auto code = [&](size_t i, auto call) {
    std::optional<Code> out;
    call(*net[i], [&](const auto& result) { out = result.ok() ? Code{} : result.error().code; });
    net[i]->turn();
    REQUIRE(out);
    return *out;
  };
  const auto create = [&](const char* name, const char* type) {
    return code(0, [&](engine::Engine& e, auto done) { e.create(name, type, false, done); });
  };
  const auto join = [&](const std::string& address, const char* name) {
    return code(1, [&](engine::Engine& e, auto done) { e.join(address, name, done); });
  };
  const auto a = net[0].create("notes", "kv");
  CHECK(create("notes", "kv") == Code::exists);
  CHECK(create("/notes", "kv") == Code::invalid_params);
  CHECK(create("", "kv") == Code::invalid_params);
  CHECK(create("more", "sql") == Code::invalid_params);
  CHECK(join("/ptwop/nonsense", "n") == Code::invalid_params);
  CHECK(join(a->address + "/", "n") == Code::invalid_params);
  CHECK(join(a->address, "a\nb") == Code::invalid_params);
  const auto b = net[1].join(a->address, "notes");
  CHECK(join(a->address, "other") == Code::exists);
  net[0].create("second", "log");
  CHECK(join(net[0]->directory().find("second")->address, "notes") == Code::exists);
  CHECK(net[1].grant("notes", net[1].did(), "write").error().code == Code::no_manifest);
  REQUIRE(net.run_until(20'000, [&] { return b->type.load() != nullptr; }));
  CHECK(net[1].grant("notes", net[1].did(), "write").error().code == Code::not_admin);
  CHECK(net[0].grant("notes", net[1].did(), "admin").error().code == Code::invalid_params);
  const auto granted = net[0].grant("notes", net[1].did(), "read");
  REQUIRE(granted.ok());
  CHECK(*net[0].grant("notes", net[1].did(), "read") == *granted);
  CHECK(net[0].write("notes", types::log_type(), {text("x")}).error().code == Code::wrong_type);
  CHECK(net[0]
            .write("notes", types::kv_type(),
                   {types::kv_put_op("k1", text(std::string(500'000, 'x')), {}),
                    types::kv_put_op("k2", text(std::string(500'000, 'y')), {})})
            .error()
            .code == Code::too_large);
  CHECK(code(0, [](engine::Engine& e, auto done) { e.wait("notes", {"x"}, 10, "", done); }) ==
        Code::invalid_params);

  // Both know who may do what, and what is here.
  const auto members = [&](size_t i) {
    std::map<std::string, std::string> out;
    net[i]->members("notes", [&](const auto& all) {
      for (const engine::Member& m : *all) out[m.id] = m.role;
    });
    net[i]->turn();
    return out;
  };
  const auto clock = [&](size_t i) {
    std::set<std::string> out;
    net[i]->clock("notes", [&](const auto& all) { out.insert(all->begin(), all->end()); });
    net[i]->turn();
    return out;
  };
  CHECK(members(0).at(net[1].did()) == "read");
  CHECK(net.run_until(20'000, [&] { return members(1) == members(0); }));
  REQUIRE(net[0].write("notes", types::kv_type(), put("k", "1")).ok());
  CHECK(clock(0).size() == 2);  // the creator's list, and its list of data
  CHECK(net.run_until(20'000, [&] { return clock(1) == clock(0); }));
  CHECK(clock(0).contains(*granted));
}

TEST_CASE(
    "own stamps follow others, so that a write after a read wins, also with a clock that is "
    "behind") {
  Network net(2, 9);
  const auto a = net[0].create("notes", "kv", true);
  const auto b = net[1].join(a->address, "notes");
  net[1].clock_offset_ms = -60'000;
  REQUIRE(net[0].grant("notes", net[1].did(), "write").ok());
  REQUIRE(net[0].write("notes", types::kv_type(), put("k", "first")).ok());
  REQUIRE(
      net.run_until(20'000, [&] { return b->writable.load() && get(net[1], b, "k").has_value(); }));
  REQUIRE(net[1].write("notes", types::kv_type(), put("k", "second")).ok());
  REQUIRE(net.run_until(20'000, [&] { return get(net[0], a, "k")->value == text("second"); }));
}

TEST_CASE("a writer far in the future waits") {
  Network net(2, 10);
  net[0].clock_offset_ms = 20 * 60'000;
  const auto a = net[0].create("notes", "kv", true);
  const auto b = net[1].join(a->address, "notes");
  REQUIRE(net[0].write("notes", types::kv_type(), put("k", "tomorrow")).ok());
  net.run_ms(5'000);
  CHECK(!get(net[1], b, "k").has_value());
  REQUIRE(net.run_until(17 * 60'000, [&] { return get(net[1], b, "k").has_value(); }));
}
