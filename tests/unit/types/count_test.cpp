#include "types/count.h"

#include "base/limits.h"
#include "channel.h"
#include "ipld/dag_cbor.h"

using namespace ptwop;
using namespace ptwop::test;
using types::count_add_op;

TEST_CASE("sums by key") {
  Channel channel(types::count_type());
  CHECK(types::count_get(channel.state, "a")->value == 0);
  const Placed first = channel.write(1, 1, 10, count_add_op("a", 5));
  CHECK(channel.type.result(channel.state, first.at, first.op)->value == 5);
  const Placed second = channel.write(2, 1, 9, count_add_op("a", -7));
  CHECK(channel.type.result(channel.state, second.at, second.op)->value == -2);
  CHECK(types::count_get(channel.state, "a")->value == -2);
  CHECK_FALSE(types::count_get(channel.state, "a")->saturated);
}

TEST_CASE("sums beyond 64 bits are exact inside and clamped outside") {
  Channel channel(types::count_type());
  const Placed a = channel.write(1, 1, 1, count_add_op("k", INT64_MAX));
  const Placed b = channel.write(2, 1, 1, count_add_op("k", INT64_MAX));
  channel.write(3, 1, 1, count_add_op("low", INT64_MIN));
  channel.write(4, 1, 1, count_add_op("low", -1));
  const auto high = types::count_get(channel.state, "k");
  CHECK(high->value == INT64_MAX);
  CHECK(high->saturated);
  const auto low = types::count_get(channel.state, "low");
  CHECK(low->value == INT64_MIN);
  CHECK(low->saturated);
  CHECK(channel.type.result(channel.state, b.at, b.op)->value == INT64_MAX);
  channel.write(1, 2, 2, count_add_op("k", -INT64_MAX));
  CHECK(types::count_get(channel.state, "k")->value == INT64_MAX);
  CHECK_FALSE(types::count_get(channel.state, "k")->saturated);
  channel.undo(a);
  CHECK(types::count_get(channel.state, "k")->value == 0);
}

TEST_CASE("a local write that would leave 64 bits is refused") {
  Channel channel(types::count_type());
  const auto admitted = [&](std::string_view key, int64_t by) {
    const auto done = channel.type.admit(channel.state, count_add_op(key, by));
    if (!done) CHECK(done.error().code == Code::overflow);
    return done.ok();
  };
  CHECK(admitted("k", INT64_MAX));
  CHECK(admitted("k", INT64_MIN));
  channel.write(1, 1, 1, count_add_op("k", INT64_MAX - 1));
  CHECK(admitted("k", 1));
  CHECK_FALSE(admitted("k", 2));
  channel.write(1, 2, 2, count_add_op("low", INT64_MIN));
  CHECK(admitted("low", 0));
  CHECK_FALSE(admitted("low", -1));
  channel.write(2, 1, 2, count_add_op("k", 100));  // another's write pushed it over
  CHECK_FALSE(admitted("k", 1));
  CHECK(admitted("k", -1));
  channel.write(2, 2, 3, count_add_op("low", -100));
  CHECK(admitted("low", 0));
  CHECK(admitted("low", 1));
}

TEST_CASE("every key ever added to is listed, in byte order") {
  Channel channel(types::count_type());
  using namespace std::string_literals;
  for (const std::string& key : {"b"s, "a\0"s, "ab"s, "a"s, "\xC3\xA9"s})
    channel.write(1, 1, 1, count_add_op(key, 1));
  channel.write(1, 2, 2, count_add_op("a", -1));
  const auto keys = [&](std::string_view prefix, std::optional<std::string> after, size_t limit) {
    const auto page = types::count_list(channel.state, prefix, after, limit);
    std::string out;
    for (const auto& [key, value] : page->entries)
      out += key + "=" + std::to_string(value.value) + " ";
    return out + (page->more ? "…" : "");
  };
  CHECK(keys("", std::nullopt, 10) == "a=0 a\0=1 ab=1 b=1 \xC3\xA9=1 "s);
  CHECK(keys("", std::nullopt, 4) == "a=0 a\0=1 ab=1 b=1 …"s);
  CHECK(keys("", std::nullopt, 5) == "a=0 a\0=1 ab=1 b=1 \xC3\xA9=1 "s);
  CHECK(keys("a", "a", 1) == "a\0=1 …"s);
  CHECK(keys("a", "a\0"s, 10) == "ab=1 ");
  CHECK(keys("x", std::nullopt, 10) == "");
}

TEST_CASE("what is no count operation") {
  const types::Type& type = types::count_type();
  CHECK(type.check(count_add_op("k", 0)).ok());
  CHECK(type.check(count_add_op(std::string(limits::kKeyBytesMax, 'k'), 1)).ok());
  CHECK_FALSE(type.check(count_add_op("", 1)).ok());
  CHECK_FALSE(type.check(count_add_op(std::string(limits::kKeyBytesMax + 1, 'k'), 1)).ok());
  CHECK_FALSE(type.check(count_add_op("\xff", 1)).ok());
  for (const std::string_view text :
       {"[]", "1", "{}", R"(["inc"])", R"(["inc","k"])", R"(["inc","k",1,1])", R"(["inc","k",1.0])",
        R"(["inc","k","1"])", R"(["inc",1,1])", R"(["add","k",1])",
        R"(["inc",{"/":{"bytes":"aw"}},1])"})
    CHECK_FALSE(type.check(cbor(text)).ok());
  CHECK_FALSE(type.check(count_add_op("k", 1) + "x").ok());
  ipld::CborWriter big;
  big.array(3).text("inc").text("k").unsigned_integer(1ull << 63);
  CHECK_FALSE(type.check(big.out()).ok());
}
