#include "ipld/dag_json.h"

#include <doctest/doctest.h>

#include <random>

#include "base/limits.h"
#include "ipld/dag_cbor.h"

using namespace ptwop;

namespace {

Result<Bytes> encode(std::string_view text, size_t depth_max = limits::kRequestDepthMax) {
  PTWOP_TRY(const auto value, json::parse(text, depth_max));
  return ipld::cbor_from_json(value);
}

std::string shown(BytesView cbor) {
  std::string out = "x";
  const auto done = ipld::append_json_from_cbor(out, cbor);
  return done ? out.substr(1) : "refused";
}

/// One random item, strict by construction; `kShowable` leaves out what JSON cannot say.
Bytes random_item(std::mt19937_64& random, int depth) {
  ipld::CborWriter out;
  const auto some_bytes = [&](size_t size_max) {
    Bytes bytes(random() % (size_max + 1), '\0');
    for (char& c : bytes) c = static_cast<char>(random());
    return bytes;
  };
  const auto some_text = [&] {
    static constexpr std::string_view kParts[] = {"a",  "B",    "\"",       "\\",
                                                  "\n", "\x01", "\xC3\xA9", "\xF0\x9F\x98\x80"};
    std::string text;
    for (size_t n = random() % 6; n > 0; --n) text += kParts[random() % std::size(kParts)];
    return text + std::string(random() % 40 == 0, '\0');
  };
  switch (random() % (depth > 0 ? 10 : 8)) {
    case 0:
      out.integer(static_cast<int64_t>(random() >> random() % 64));
      break;
    case 1:
      out.integer(-1 - static_cast<int64_t>(random() >> (1 + random() % 63)));
      break;
    case 2:
      out.text(some_text());
      break;
    case 3:
      out.bytes(some_bytes(20));
      break;
    case 4:
      out.boolean(random() % 2);
      break;
    case 5:
      out.null();
      break;
    case 6:
      out.real(static_cast<double>(static_cast<int64_t>(random())) /
               static_cast<double>(1 + random() % 1000));
      break;
    case 7:
      out.link(ipld::Cid::of(some_bytes(3)));
      break;
    case 8: {
      const size_t items = random() % 5;
      out.array(items);
      for (size_t i = 0; i < items; ++i) out.raw(random_item(random, depth - 1));
      break;
    }
    default: {
      std::vector<std::string> keys(random() % 5);
      for (auto& key : keys) key = some_text();
      std::sort(keys.begin(), keys.end(), ipld::key_in_order);
      keys.erase(std::unique(keys.begin(), keys.end()), keys.end());
      out.map(keys.size());
      for (const auto& key : keys) out.key(key).raw(random_item(random, depth - 1));
    }
  }
  return out.take();
}

}  // namespace

TEST_CASE("JSON as it is, bytes and links in their DAG-JSON form") {
  const std::pair<std::string_view, std::string_view> known[] = {
      {R"({"/":{"bytes":"AQID"}})", "43010203"},
      {R"({"/":{"bytes":""}})", "40"},
      {R"({"/":"bafkqaa3bmjrq"})", "d82a480001550003616263"},
      {R"([{"/":{"bytes":"AQ"}},{"a":1}])", "824101a1616101"},
      {"1.0", "fb3ff0000000000000"},
      {"-0.0", "fb8000000000000000"},
      {"-1", "20"},
      {"\"\\u0000\"", "6100"},
      {"9223372036854775807", "1b7fffffffffffffff"},
      {"-9223372036854775808", "3b7fffffffffffffff"},
      {R"({"bb":1,"c":2,"a":3})",
       "a36161036163026262"
       "6201"}};
  for (const auto& [text, cbor] : known) {
    CAPTURE(text);
    REQUIRE(encode(text).ok());
    CHECK(hex(*encode(text)) == cbor);
  }
  CHECK(shown(*encode(R"({"bb":1,"c":2,"a":3})")) == R"({"a":3,"c":2,"bb":1})");
  CHECK(hex(*encode("-0")) == "00");
  CHECK(hex(*encode(R"({"/":"QmQPeNsJPyVWPFDVHb77w8G42Fvo15z4bG2X8D2GhfbSXc"})"))
            .starts_with("d82a5823001220"));
  CHECK(shown(*encode(R"({"/":"QmQPeNsJPyVWPFDVHb77w8G42Fvo15z4bG2X8D2GhfbSXc"})")) ==
        R"({"/":"QmQPeNsJPyVWPFDVHb77w8G42Fvo15z4bG2X8D2GhfbSXc"})");
}

TEST_CASE("what is no value is invalid_params") {
  for (const std::string_view text :
       {R"({"/":1})", R"({"/":null})", R"({"/":"no cid"})", R"({"/":""})", R"({"/":{}})",
        R"({"/":{"bytes":1}})", R"({"/":{"bytes":"AQ=="}})", R"({"/":{"bytes":"A"}})",
        R"({"/":{"bytes":"AR"}})", R"({"/":{"bytes":"-_"}})", R"({"/":{"bytes":"AQ","x":1}})",
        R"({"/":{"Bytes":"AQ"}})", R"({"/":{"bytes":"AQ"},"x":1})",
        R"({"x":1,"/":"bafkqaa3bmjrq"})", R"({"/":["a"]})", "9223372036854775808",
        "-9223372036854775809", "1e400", R"({"a":[1e400]})"}) {
    CAPTURE(text);
    const auto cbor = encode(text);
    REQUIRE_FALSE(cbor.ok());
    CHECK(cbor.error().code == Code::invalid_params);
  }
  CHECK(encode(std::string(128, '[') + std::string(128, ']'), 1000).ok());
  CHECK_FALSE(encode(std::string(129, '[') + std::string(129, ']'), 1000).ok());
}

TEST_CASE("floats stay floats, in the shortest text that reads back the same") {
  for (const std::string_view text : {"1.0", "-0.0", "0.1", "100000.0", "1e+22", "1.5e-07",
                                      "5e-324", "1.7976931348623157e+308", "123456789.125"}) {
    CAPTURE(text);
    CHECK(shown(*encode(text)) == text);
  }
  CHECK(shown(*encode("1E5")) == "100000.0");
}

TEST_CASE("foreign integers are shown as digits") {
  CHECK(shown(*from_hex("1bffffffffffffffff")) == "18446744073709551615");
  CHECK(shown(*from_hex("3bffffffffffffffff")) == "-18446744073709551616");
  CHECK(shown(*from_hex("3b8000000000000000")) == "-9223372036854775809");
}

TEST_CASE("what is not one strict item appends nothing") {
  for (const std::string_view text : {"", "0000", "1800", "a2616201616102", "a2616101616102",
                                      "82017f", "f7", "fb7ff0000000000000", "8201", "d82a4100"}) {
    std::string out = "before";
    const auto done = ipld::append_json_from_cbor(out, *from_hex(text));
    REQUIRE_FALSE(done.ok());
    CHECK(done.error().code == Code::corrupt);
    CHECK(out == "before");
  }
  const auto nested = [](size_t depth) { return Bytes(depth, '\x81') + '\0'; };
  CHECK(shown(nested(128)) != "refused");
  CHECK(shown(nested(129)) == "refused");
  CHECK(shown(nested(900000)) == "refused");
}

TEST_CASE("random items come through JSON unchanged") {
  std::mt19937_64 random(11);
  for (int round = 0; round < 20000; ++round) {
    const Bytes cbor = random_item(random, 4);
    CAPTURE(hex(cbor));
    REQUIRE(ipld::check_dag_cbor(cbor).ok());
    const std::string text = shown(cbor);
    CAPTURE(text);
    const auto back = encode(text);
    REQUIRE(back.ok());
    CHECK(*back == cbor);
  }
}

TEST_CASE("the check and the display agree on damaged items") {
  std::mt19937_64 random(12);
  size_t accepted = 0;
  for (int round = 0; round < 100000; ++round) {
    Bytes cbor = random_item(random, 3);
    for (size_t edits = 1 + random() % 2; edits > 0; --edits) {
      const size_t at = random() % (cbor.size() + 1);
      if (random() % 2 && at < cbor.size())
        cbor[at] = static_cast<char>(random());
      else
        cbor.insert(at, 1, static_cast<char>(random()));
    }
    CAPTURE(hex(cbor));
    const bool strict = ipld::check_dag_cbor(cbor).ok();
    const std::string text = shown(cbor);
    CHECK(strict == (text != "refused"));
    if (!strict) continue;
    ++accepted;
    const auto back =
        encode(text);  // not when it holds foreign integers or a map that looks like a link
    if (back.ok()) CHECK(*back == cbor);
  }
  CHECK(accepted > 1000);
}
