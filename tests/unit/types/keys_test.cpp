#include "types/keys.h"

#include <doctest/doctest.h>

using namespace ptwop;
using namespace ptwop::types;
using namespace std::string_literals;

TEST_CASE("places sort as the channel's order and come back") {
  const auto id = [](uint64_t time, int list, uint64_t number, uint32_t index) {
    OpId made{time, {}, number, index};
    made.list.raw.fill(static_cast<uint8_t>(list));
    return made;
  };
  const OpId sorted[] = {id(1, 9, 9, 9),   id(2, 1, 3, 0),   id(2, 1, 3, 1),
                         id(2, 1, 256, 0), id(2, 200, 1, 0), id(1ull << 60, 0, 0, 0)};
  for (size_t i = 0; i < std::size(sorted); ++i) {
    CHECK(op_id_from(op_id_bytes(sorted[i])) == sorted[i]);
    if (i > 0) {
      CHECK(sorted[i - 1] < sorted[i]);
      CHECK(op_id_bytes(sorted[i - 1]) < op_id_bytes(sorted[i]));
    }
  }
  CHECK_FALSE(op_id_from(Bytes(35, 'x')));
  CHECK_FALSE(op_id_from(Bytes(37, 'x')));
}

TEST_CASE("escaped components keep their order and none is a prefix of another") {
  const Bytes sorted[] = {
      ""s,     "\0"s,    "\0\0"s, "\0\x01"s, "\0\xff"s,          "\x01"s, "a"s, "a\0"s,
      "a\0b"s, "a\x01"s, "aa"s,   "b"s,      "\xf4\x8f\xbf\xbf"s};
  for (size_t i = 0; i < std::size(sorted); ++i)
    for (size_t j = 0; j < std::size(sorted); ++j) {
      CAPTURE(i);
      CAPTURE(j);
      CHECK((escaped(sorted[i]) < escaped(sorted[j])) == (sorted[i] < sorted[j]));
      if (i != j) CHECK_FALSE(escaped(sorted[i]).starts_with(escaped(sorted[j])));
      // whatever follows cannot turn the order around
      if (i < j) CHECK(escaped(sorted[i]) + "\xff\xff" < escaped(sorted[j]));
    }
}

TEST_CASE("ranges") {
  CHECK(after_prefix("a") == "b");
  CHECK(after_prefix("a\xff\xff") == "b");
  CHECK(after_prefix("\xff") == "");
  CHECK(after_prefix("") == "");
  const auto range = [](std::string_view prefix, std::optional<std::string> after, bool reverse) {
    const KeyRange made = page_range(prefix, after, reverse);
    return std::pair(made.from, made.until);
  };
  CHECK(range("", std::nullopt, false) == std::pair(""s, ""s));
  CHECK(range("ab", std::nullopt, true) == std::pair("ab"s, "ac"s));
  CHECK(range("ab", "abc", false) == std::pair("abc\0"s, "ac"s));
  CHECK(range("ab", "abc", true) == std::pair("ab"s, "abc"s));
  CHECK(range("", "x", true) == std::pair(""s, "x"s));
  CHECK(range("ab", "x", false) == std::pair("ac"s, "ac"s));
  CHECK(range("ab", "aa", true) == std::pair("aa"s, "aa"s));
  CHECK(range("ab", "aa", false) == std::pair("ab"s, "ac"s));
  CHECK(range("ab", "x", true) == std::pair("ab"s, "ac"s));
}
