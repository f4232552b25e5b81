#include "types/log.h"

#include "base/limits.h"
#include "channel.h"
#include "ipld/dag_cbor.h"

using namespace ptwop;
using namespace ptwop::test;
using types::log_add_op;

namespace {

Bytes del(const Placed& entry) { return *types::log_del_op(types::log_id(entry.at.id)); }

std::string listed(const MemoryState& state, const std::optional<types::OpId>& after = {},
                   size_t limit = 100, bool reverse = false) {
  const auto page = types::log_list(state, after, limit, reverse);
  std::string out;
  for (const auto& entry : page->entries) out += shown(entry.value) + " ";
  return out + (page->more ? "…" : "");
}

}  // namespace

TEST_CASE("entries are listed in the channel's order, whatever order they came in") {
  Channel channel(types::log_type());
  channel.write(2, 1, 7, log_add_op(cbor("3")));
  const Placed second = channel.write(1, 1, 7, log_add_op(cbor("2")));
  const auto node = channel.node(1, 2, 8, {log_add_op(cbor("4")), log_add_op(cbor("5"))});
  channel.apply(node[1]);
  channel.apply(node[0]);
  channel.write(3, 1, 3 << 16, log_add_op(cbor("{\"late\":true}")));
  channel.write(4, 1, 1, log_add_op(cbor("1")));
  CHECK(listed(channel.state) == "1 2 3 4 5 {\"late\":true} ");
  CHECK(listed(channel.state, {}, 100, true) == "{\"late\":true} 5 4 3 2 1 ");
  CHECK(listed(channel.state, {}, 2) == "1 2 …");
  CHECK(listed(channel.state, second.at.id, 2) == "3 4 …");
  CHECK(listed(channel.state, second.at.id, 4) == "3 4 5 {\"late\":true} ");
  CHECK(listed(channel.state, second.at.id, 10, true) == "1 ");

  const auto entry = types::log_get(channel.state, second.at.id);
  CHECK(shown(entry->value) == "2");
  CHECK(entry->writer == writer_of(1));
  CHECK(entry->id == second.at.id);
  CHECK(types::log_get(channel.state, {3 << 16, list_id(3), 1, 0})->time_ms() == 3);
  CHECK(types::log_get(channel.state, {7, list_id(1), 1, 1}).error().code == Code::not_found);
}

TEST_CASE(
    "a del hides its entry, before or after it arrives; undoing the last one shows it again") {
  Channel channel(types::log_type());
  const auto entry = channel.node(1, 1, 5, {log_add_op(cbor("\"v\""))})[0];
  const Placed early = channel.write(2, 1, 4, del(entry));
  CHECK(listed(channel.state) == "");
  channel.apply(entry);
  CHECK(listed(channel.state) == "");
  CHECK(types::log_get(channel.state, entry.at.id).error().code == Code::not_found);
  const Placed late = channel.write(3, 1, 6, del(entry));
  channel.undo(early);
  CHECK(listed(channel.state) == "");
  channel.undo(late);
  CHECK(listed(channel.state) == "\"v\" ");
  CHECK(types::log_get(channel.state, entry.at.id)->writer == writer_of(1));

  channel.apply(late);
  channel.undo(entry);
  channel.undo(late);
  CHECK(channel.state.state.empty());
  CHECK(channel.state.index.empty());
}

TEST_CASE("hidden entries cost a listing nothing") {
  Channel channel(types::log_type());
  for (uint64_t number = 1; number <= 500; ++number) {
    const Placed entry = channel.write(1, number, number * 2, log_add_op(cbor("1")));
    if (number % 100 != 0) channel.write(2, number, number * 2 + 1, del(entry));
  }
  channel.state.visited = 0;
  CHECK(listed(channel.state, {}, 3) == "1 1 1 …");
  CHECK(channel.state.visited == 4);
}

TEST_CASE("a page ends early when its values are big") {
  Channel channel(types::log_type());
  const Bytes value = cbor("\"" + std::string(400 << 10, 'x') + "\"");
  for (uint64_t number = 1; number <= 5; ++number)
    channel.write(1, number, number, log_add_op(value));
  const auto page = types::log_list(channel.state, std::nullopt, 100, false);
  CHECK(page->entries.size() == 2);
  CHECK(page->more);
}

TEST_CASE("results and ids") {
  Channel channel(types::log_type());
  const Placed entry = channel.write(1, 1, 5, log_add_op(cbor("1")));
  const auto id = channel.type.result(channel.state, entry.at, entry.op)->id;
  REQUIRE(id);
  CHECK(types::log_id_from(*id) == entry.at.id);
  CHECK_FALSE(channel.type.result(channel.state, entry.at, del(entry))->id);
  CHECK(channel.type.admit(channel.state, del(entry)).ok());
  CHECK(channel.type.admit(channel.state, *types::log_del_op(types::log_id({9, list_id(9), 9, 9})))
            .ok());
  for (const std::string& text : {std::string(), std::string("x"), *id + "A", id->substr(1),
                                  *id + "=", std::string(48, '!')}) {
    CHECK_FALSE(types::log_id_from(text));
    const auto op = types::log_del_op(text);
    REQUIRE_FALSE(op.ok());
    CHECK(op.error().code == Code::invalid_params);
  }
}

TEST_CASE("what is no log operation") {
  const types::Type& type = types::log_type();
  for (const std::string_view text :
       {"[]", "1", R"(["add"])", R"(["add",1,2])", R"(["del"])", R"(["del","x"])",
        R"(["del",{"/":{"bytes":"AQ"}}])", R"(["put",1])", R"({"add":1})"})
    CHECK_FALSE(type.check(cbor(text)).ok());
  CHECK(type.check(log_add_op(cbor("null"))).ok());
  CHECK_FALSE(type.check(log_add_op(cbor("null")) + '\0').ok());
  CHECK_FALSE(type.check(log_add_op("\x18\x01")).ok());
  const auto sized = [](size_t bytes) {
    ipld::CborWriter out;
    out.bytes(Bytes(bytes - 5, 'x'));  // five bytes of head
    REQUIRE(out.out().size() == bytes);
    return log_add_op(out.out());
  };
  CHECK(type.check(sized(limits::kValueBytesMax)).ok());
  CHECK_FALSE(type.check(sized(limits::kValueBytesMax + 1)).ok());
}
