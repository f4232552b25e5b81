#include "types/kv.h"

#include "base/limits.h"
#include "channel.h"
#include "ipld/dag_cbor.h"

using namespace ptwop;
using namespace ptwop::test;
using namespace std::string_literals;
using types::kv_del_op;

namespace {

Bytes put(std::string_view key, std::string_view json_text,
          std::optional<uint64_t> expires_ms = {}) {
  return types::kv_put_op(key, cbor(json_text), expires_ms);
}

std::string value_of(const MemoryState& state, std::string_view key) {
  const auto entry = types::kv_get(state, key);
  REQUIRE(entry.ok());
  if (!*entry) return "none";
  return (*entry)->deleted ? "deleted" : shown((*entry)->value);
}

std::string siblings_of(const Channel& channel, std::string_view key) {
  const auto entries = types::kv_siblings(channel.state, channel.source, key);
  REQUIRE(entries.ok());
  std::string out;
  for (const auto& entry : *entries) out += (entry.deleted ? "deleted" : shown(entry.value)) + " ";
  return out;
}

std::string listed(const MemoryState& state, std::string_view prefix,
                   std::optional<std::string> after = {}, size_t limit = 100, bool reverse = false,
                   uint64_t now_ms = 0) {
  const auto page = types::kv_list(state, prefix, after, limit, reverse, now_ms);
  std::string out;
  for (const auto& [key, entry] : page->entries) out += key + "=" + shown(entry.value) + " ";
  return out + (page->more ? "…" : "");
}

}  // namespace

TEST_CASE("the later time wins, ties by list, then by place in the node") {
  Channel channel(types::kv_type());
  CHECK(value_of(channel.state, "k") == "none");
  channel.write(1, 1, 10, put("k", "1"));
  channel.write(2, 1, 9, put("k", "2"));
  CHECK(value_of(channel.state, "k") == "1");
  channel.write(3, 1, 10, put("k", "3"));
  CHECK(value_of(channel.state, "k") == "3");
  const auto node = channel.node(3, 2, 11, {put("k", "4"), put("k", "5")});
  channel.apply(node[1]);
  channel.apply(node[0]);
  CHECK(value_of(channel.state, "k") == "5");
  channel.write(2, 2, 12, kv_del_op("k"));
  CHECK(value_of(channel.state, "k") == "deleted");
  channel.write(1, 2, 11, put("k", "6"));
  CHECK(value_of(channel.state, "k") == "deleted");
}

TEST_CASE("an entry says who, when and until when; it is one point read") {
  Channel channel(types::kv_type());
  channel.write(2, 5, (123ull << 16) + 7, put("k", "[1]", 456));
  const auto stored = channel.state.get(types::Space::state, "k");
  const auto entry = types::kv_entry_from(**stored);
  CHECK(entry->id == types::OpId{(123ull << 16) + 7, list_id(2), 5, 0});
  CHECK(entry->writer == writer_of(2));
  CHECK(entry->time_ms() == 123);
  CHECK(entry->expires_ms == 456);
  CHECK(shown(entry->value) == "[1]");
  CHECK(entry->live(455));
  CHECK_FALSE(entry->live(456));
  CHECK(types::kv_entry_from("short").error().code == Code::corrupt);
}

TEST_CASE("an expired put still hides what is older") {
  Channel channel(types::kv_type());
  channel.write(1, 1, 1, put("k", "1"));
  channel.write(2, 1, 2, put("k", "2", 100));
  CHECK(listed(channel.state, "", {}, 10, false, 99) == "k=2 ");
  CHECK(listed(channel.state, "", {}, 10, false, 100) == "");
}

TEST_CASE("undo finds the winner among what remains") {
  Channel channel(types::kv_type());
  channel.write(1, 1, 1, put("k", "1"));
  const Placed second = channel.write(2, 1, 2, put("k", "2", 9));
  const Placed third = channel.write(3, 1, 3, kv_del_op("k"));
  channel.undo(third);
  CHECK(value_of(channel.state, "k") == "2");
  CHECK((*types::kv_get(channel.state, "k"))->expires_ms == 9);
  CHECK((*types::kv_get(channel.state, "k"))->writer == writer_of(2));
  channel.apply(third);
  channel.undo(second);
  CHECK(value_of(channel.state, "k") == "deleted");
  channel.undo(third);
  CHECK(value_of(channel.state, "k") == "1");
}

TEST_CASE("undo costs one seek a list, however often the key was written") {
  Channel channel(types::kv_type());
  for (uint64_t number = 1; number <= 1000; ++number)
    channel.write(1, number, number, put("k", "1"));
  channel.write(2, 1, 500, put("k", "2"));
  const Placed last = channel.write(3, 1, 5000, put("k", "3"));
  channel.state.visited = 0;
  channel.undo(last);
  CHECK(value_of(channel.state, "k") == "1");
  CHECK(channel.state.visited == 2);
}

TEST_CASE("siblings are the last of each list that nobody had seen") {
  Channel channel(types::kv_type());
  CHECK(siblings_of(channel, "k") == "");
  channel.write(1, 1, 10, put("k", "\"a1\""));
  CHECK(siblings_of(channel, "k") == "\"a1\" ");
  channel.write(1, 2, 20, put("k", "\"a2\""));
  const Placed b = channel.write(2, 1, 15, put("k", "\"b\""));
  CHECK(siblings_of(channel, "k") == "\"a2\" \"b\" ");
  channel.write(3, 1, 12, kv_del_op("k"));
  CHECK(siblings_of(channel, "k") == "\"a2\" \"b\" deleted ");
  // Its writer had seen a2 and the del, but of b's list only what came before.
  const Placed merged =
      channel.write(4, 1, 30, put("k", "\"m\""),
                    {{list_id(1), {2, 0}}, {list_id(3), {5, 0}}, {list_id(2), {0, 0}}});
  CHECK(siblings_of(channel, "k") == "\"m\" \"b\" ");
  channel.undo(b);
  CHECK(siblings_of(channel, "k") == "\"m\" ");
  channel.undo(merged);
  CHECK(siblings_of(channel, "k") == "\"a2\" deleted ");
  // Keys that only share a beginning are not mixed up.
  channel.write(5, 1, 40, put("k\0"s, "1"));
  channel.write(5, 2, 41, put("kk", "1"));
  CHECK(siblings_of(channel, "k") == "\"a2\" deleted ");
}

TEST_CASE("live keys are listed in byte order") {
  Channel channel(types::kv_type());
  uint64_t time = 0;
  for (const std::string& key : {"b"s, "a\0z"s, "ab"s, "a"s, "\xC3\xA9"s, "gone"s}) {
    ++time;
    channel.write(1, time, time, put(key, std::to_string(time)));
  }
  channel.write(1, 7, 7, kv_del_op("gone"));
  CHECK(listed(channel.state, "") == "a=4 a\0z=2 ab=3 b=1 \xC3\xA9=5 "s);
  CHECK(listed(channel.state, "", {}, 100, true) == "\xC3\xA9=5 b=1 ab=3 a\0z=2 a=4 "s);
  CHECK(listed(channel.state, "a") == "a=4 a\0z=2 ab=3 "s);
  CHECK(listed(channel.state, "a", "a", 1) == "a\0z=2 …"s);
  CHECK(listed(channel.state, "a", "ab", 5, true) == "a\0z=2 a=4 "s);
  CHECK(listed(channel.state, "", "ab", 1) == "b=1 …");
  CHECK(listed(channel.state, "b", {}, 1) == "b=1 ");
  // What follows is gone, so there is no more.
  CHECK(listed(channel.state, "", "b", 1) == "\xC3\xA9=5 ");
}

TEST_CASE("a page ends early when its values are big") {
  Channel channel(types::kv_type());
  const std::string value = "\"" + std::string(800 << 10, 'x') + "\"";
  for (uint64_t number = 1; number <= 3; ++number)
    channel.write(1, number, number, put(std::to_string(number), value));
  const auto page = types::kv_list(channel.state, "", std::nullopt, 100, false, 0);
  CHECK(page->entries.size() == 1);
  CHECK(page->more);
}

TEST_CASE("a local del needs a value") {
  Channel channel(types::kv_type());
  CHECK(channel.type.admit(channel.state, put("k", "1")).ok());
  CHECK(channel.type.admit(channel.state, kv_del_op("k")).error().code == Code::not_found);
  channel.write(1, 1, 1, put("k", "1"));
  CHECK(channel.type.admit(channel.state, kv_del_op("k")).ok());
  channel.write(1, 2, 2, kv_del_op("k"));
  CHECK(channel.type.admit(channel.state, kv_del_op("k")).error().code == Code::not_found);
}

TEST_CASE("what is no kv operation") {
  const types::Type& type = types::kv_type();
  CHECK(type.check(put("k", "null")).ok());
  CHECK(type.check(put(std::string(limits::kKeyBytesMax, 'k'), "null", 1)).ok());
  CHECK(type.check(put("\0"s, "null", UINT64_MAX)).ok());
  CHECK_FALSE(type.check(put("", "null")).ok());
  CHECK_FALSE(type.check(put(std::string(limits::kKeyBytesMax + 1, 'k'), "null")).ok());
  CHECK_FALSE(type.check(put("\xed\xa0\x80", "null")).ok());
  CHECK_FALSE(type.check(put("k", "null", 0)).ok());
  CHECK_FALSE(type.check(kv_del_op("")).ok());
  CHECK_FALSE(type.check(types::kv_put_op("k", "\xf7", {})).ok());
  CHECK_FALSE(type.check(put("k", "1") + '\0').ok());
  for (const std::string_view text :
       {"[]", "1", R"(["put"])", R"(["put","k"])", R"(["put","k",1,2,3])", R"(["put","k",1,-1])",
        R"(["put","k",1,1.0])", R"(["put","k",1,null])", R"(["del"])", R"(["del","k",1])",
        R"(["put",1,1])", R"(["inc","k",1])"})
    CHECK_FALSE(type.check(cbor(text)).ok());
  ipld::CborWriter big;
  big.bytes(Bytes(limits::kValueBytesMax - 4, 'x'));
  CHECK_FALSE(type.check(types::kv_put_op("k", big.out(), {})).ok());
}
