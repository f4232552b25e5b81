#include "ipld/dag_cbor.h"

#include <doctest/doctest.h>

#include <cmath>

#include "base/limits.h"

using namespace ptwop;
using ipld::CborKind;
using ipld::CborReader;
using ipld::CborWriter;

namespace {

Bytes from(std::string_view text) { return *from_hex(text); }
bool strict(BytesView bytes) { return ipld::check_dag_cbor(bytes).ok(); }

}  // namespace

TEST_CASE("what the writer makes is as in the specification") {
  CborWriter out;
  out.map(3)
      .key("a")
      .array(4)
      .unsigned_integer(UINT64_MAX)
      .integer(INT64_MIN)
      .integer(-1)
      .integer(500);
  out.key("b")
      .map(0)
      .key("aa")
      .array(6)
      .text("\xC3\xA9")
      .bytes("\xff")
      .boolean(true)
      .boolean(false)
      .null()
      .real(1.5);
  CHECK(hex(out.out()) ==
        "a3"
        "6161"
        "84"
        "1bffffffffffffffff"
        "3b7fffffffffffffff"
        "20"
        "1901f4"
        "6162"
        "a0"
        "626161"
        "86"
        "62c3a9"
        "41ff"
        "f5"
        "f4"
        "f6"
        "fb3ff8000000000000");
  CHECK(strict(out.out()));

  CborWriter link;
  link.link(ipld::Cid::of("x"));
  CHECK(hex(link.out()).starts_with("d82a58250001711220"));
  CborReader in(link.out());
  CHECK(in.cid() == ipld::Cid::of("x"));
  CHECK(in.finish("link").ok());
}

TEST_CASE("the reader gives back what was written") {
  CborWriter out;
  out.map(2).key("k").array(3).unsigned_integer(7).integer(-300).text("t");
  out.key("long").array(5).bytes("ab").boolean(true).null().real(-0.5).raw(from("82010a"));
  CborReader in(out.out());
  in.map(2);
  in.expect_key("k");
  CHECK(in.array() == 3);
  CHECK(in.unsigned_integer() == 7);
  CHECK(in.peek() == CborKind::nint);
  CHECK(in.integer() == -300);
  CHECK(in.text() == "t");
  CHECK_FALSE(in.try_key("other"));
  CHECK(in.try_key("long"));
  in.array(5);
  CHECK(in.bytes(2) == "ab");
  CHECK(in.boolean());
  in.null();
  CHECK(in.real() == -0.5);
  CHECK(hex(in.item()) == "82010a");
  CHECK(in.peek() == CborKind::end);
  CHECK(in.at_end());
  CHECK(in.finish("thing").ok());
}

TEST_CASE("errors stick") {
  const Bytes bytes = from("830102f5");
  CborReader in(bytes);
  in.array(2);
  CHECK_FALSE(in.ok());
  CHECK(in.unsigned_integer() == 0);
  CHECK(in.text().empty());
  CHECK(in.array() == 0);
  CHECK(in.item().empty());
  CHECK(in.peek() == CborKind::bad);
  const auto finished = in.finish("node", Code::corrupt);
  REQUIRE_FALSE(finished.ok());
  CHECK(finished.error().code == Code::corrupt);
  CHECK(finished.error().message.find("node") != std::string::npos);

  CborReader rest(bytes);
  rest.array(3);
  CHECK_FALSE(rest.finish("node").ok());

  const Bytes big = from("1bffffffffffffffff");
  CborReader overflow(big);
  CHECK(overflow.integer() == 0);
  CHECK_FALSE(overflow.ok());
  CborReader magnitude(big);
  CHECK(magnitude.magnitude() == UINT64_MAX);
}

TEST_CASE("strict items are accepted") {
  for (const std::string_view text : {"00",
                                      "17",
                                      "1818",
                                      "18ff",
                                      "190100",
                                      "1a00010000",
                                      "1b0000000100000000",
                                      "1bffffffffffffffff",
                                      "20",
                                      "3bffffffffffffffff",
                                      "40",
                                      "4100",
                                      "60",
                                      "6161",
                                      "80",
                                      "8100",
                                      "a0",
                                      "a1616101",
                                      "a2616101616202",
                                      "a261620162616102",
                                      "f4",
                                      "f5",
                                      "f6",
                                      "fb0000000000000000",
                                      "fb8000000000000000",
                                      "fb3ff0000000000000",
                                      "d82a450001550000",
                                      "d82a46000155000161"}) {
    CAPTURE(text);
    CHECK(strict(from(text)));
  }
}

TEST_CASE("what would not encode to the same bytes is refused") {
  const std::string_view refused[] = {"",
                                      "0000",  // nothing; something after
                                      "1800",
                                      "1817",
                                      "1900ff",
                                      "1a0000ffff",
                                      "1b00000000ffffffff",
                                      "3817",
                                      "5800",
                                      "7800",
                                      "9800",
                                      "b800",  // longer than needed
                                      "18",
                                      "19ff",
                                      "41",
                                      "62c3",
                                      "81",
                                      "a1",
                                      "a16161",
                                      "fb00000000000000",  // cut short
                                      "1c",
                                      "1d",
                                      "1e",
                                      "1f",
                                      "5f4100ff",
                                      "7f6161ff",
                                      "9f00ff",
                                      "bf616101ff",
                                      "ff",  // reserved; indefinite
                                      "61ff",
                                      "62c080",
                                      "63eda080",  // not UTF-8
                                      "a201020304",
                                      "a1f601",
                                      "a1416101",  // keys that are no text
                                      "a2616201616102",
                                      "a2626161016162"
                                      "02",
                                      "a2616101616102",  // order; twice
                                      "f7",
                                      "f0",
                                      "f800",
                                      "f820",
                                      "f8ff",
                                      "e0",
                                      "f93c00",
                                      "fa3f800000",  // simple values; short floats
                                      "fb7ff8000000000000",
                                      "fb7ff0000000000000",
                                      "fbfff0000000000000",  // not finite
                                      "c000",
                                      "c11a00000000",
                                      "c24100",
                                      "d82b00",
                                      "d9002a00",
                                      "d82a00",
                                      "d82a40",
                                      "d82a4100",
                                      "d82a6100",  // tags; no CID
                                      "d82a450101550000",
                                      "d82a440155000"
                                      "0",
                                      "d82a46000155000061",
                                      "d81a450001550000",
                                      "d82a"};
  for (const std::string_view text : refused) {
    CAPTURE(text);
    CHECK_FALSE(strict(from(text)));
    CHECK_FALSE(strict(from("82" + std::string(text.substr(0, text == "0000" ? 2 : text.size())))));
    CHECK_FALSE(
        strict(from("a1"
                    "6161" +
                    std::string(text))));
  }
}

TEST_CASE("lengths are compared with what is left before anything is believed") {
  for (const std::string_view text :
       {"5bffffffffffffffff", "7bffffffffffffffff", "9bffffffffffffffff", "bbffffffffffffffff",
        "5b7fffffffffffffff", "9affffffff", "ba80000000", "830102", "a26161"}) {
    const Bytes bytes = from(text);
    CHECK_FALSE(strict(bytes));
    CborReader array(bytes), map(bytes);
    CHECK(array.array() <= bytes.size());
    CHECK(map.map() <= bytes.size());
  }
}

TEST_CASE("depth is bounded") {
  const auto nested = [](size_t depth) { return Bytes(depth, '\x81') + '\0'; };
  CHECK(strict(nested(limits::kIpldDepthMax)));
  CHECK_FALSE(strict(nested(limits::kIpldDepthMax + 1)));
  CHECK_FALSE(strict(nested(900000)));
  Bytes maps;
  for (size_t i = 0; i < 200000; ++i) maps += from("a160");
  CHECK_FALSE(strict(maps + '\0'));
}

TEST_CASE("the order of keys") {
  CHECK(ipld::key_in_order("", "a"));
  CHECK(ipld::key_in_order("b", "aa"));
  CHECK(ipld::key_in_order("a", "b"));
  CHECK(ipld::key_in_order("z", "\xC3\xA9"));
  CHECK_FALSE(ipld::key_in_order("a", "a"));
  CHECK_FALSE(ipld::key_in_order("\xf0", "a"));
}
