#include "base/json.h"

#include <doctest/doctest.h>
#include <simdjson.h>

#include <random>

using namespace ptwop;
using json::Kind;

namespace {

std::string round_trip(std::string_view text) {
  const auto value = json::parse(text);
  if (!value) return "refused: " + value.error().message;
  std::string out;
  json::append(out, *value);
  return out;
}

std::string nested(size_t depth) { return std::string(depth, '[') + std::string(depth, ']'); }

}  // namespace

TEST_CASE("documents come back compact, in source order, with numbers as written") {
  const std::pair<std::string_view, std::string_view> known[] = {
      {" { \"b\" : [ 1 , -0 , 2.50 , 1E5 , true , false , null ] , \"a\" : { } , \"c\":[] }\r\n\t",
       R"({"b":[1,-0,2.50,1E5,true,false,null],"a":{},"c":[]})"},
      {R"("\u0041\/\ud83d\ude00\n\u0000é")", "\"A/\xF0\x9F\x98\x80\\n\\u0000\xC3\xA9\""},
      {"\"\x7f\"", "\"\x7f\""},
      {"0", "0"},
      {"null", "null"},
      {"true ", "true"},
      {"\"\"", "\"\""},
      {"123456789012345678901234567890", "123456789012345678901234567890"},
      {R"({"":{"":1}})", R"({"":{"":1}})"},
      {R"([{"a":1},{"a":2}])", R"([{"a":1},{"a":2}])"}};
  for (const auto& [text, expected] : known) CHECK(round_trip(text) == expected);
}

TEST_CASE("numbers") {
  const auto kind = [](std::string_view text) { return json::parse(text)->kind; };
  CHECK(json::parse("9223372036854775807")->integer == INT64_MAX);
  CHECK(json::parse("-9223372036854775808")->integer == INT64_MIN);
  CHECK(kind("9223372036854775808") == Kind::out_of_range);
  CHECK(kind("-9223372036854775809") == Kind::out_of_range);
  CHECK(kind("1e400") == Kind::out_of_range);
  CHECK(kind("[-1e999]") == Kind::array);
  CHECK(json::parse("-0")->integer == 0);
  CHECK(kind("-0") == Kind::integer);
  CHECK(kind("1.0") == Kind::real);
  CHECK(json::parse("1e5")->real == 100000.0);
  CHECK(std::signbit(json::parse("-0.0")->real));
  CHECK(json::parse("1e-400")->real == 0.0);
  CHECK(json::parse("1.7976931348623157e308")->real == 1.7976931348623157e308);
  CHECK(json::parse("0.1")->real == 0.1);
}

TEST_CASE("what is not one JSON document is refused, wherever it stands") {
  using namespace std::string_literals;
  const std::string scalars[] = {"01",
                                 "-",
                                 "1.",
                                 ".5",
                                 "+1",
                                 "1e",
                                 "1e+",
                                 "0x10",
                                 "NaN",
                                 "Infinity",
                                 "tru",
                                 "truex",
                                 "nul",
                                 "nullnull",
                                 "True",
                                 "1\0"s,
                                 "\"a",
                                 "\"\\x\"",
                                 "\"\\u00g0\"",
                                 "\"\t\"",
                                 "\"\n\"",
                                 "\"\\ud800\"",
                                 "\"\\udc00\"",
                                 "\"\\ud800\\u0041\"",
                                 "\"\\udfff\\ud800\"",
                                 "\"\xff\"",
                                 "\"\xc0\x80\"",
                                 "\"\xed\xa0\x80\"",
                                 "'a'",
                                 "a",
                                 "[1,]",
                                 "[,1]",
                                 "[1 2]",
                                 "[1,,2]",
                                 "{\"a\":1,}",
                                 "{\"a\"}",
                                 "{\"a\" 1}",
                                 "{\"a\":}",
                                 "{1:2}",
                                 "{a:1}",
                                 "{\"a\":1 \"b\":2}",
                                 "[",
                                 "{",
                                 "[1",
                                 "{\"a\":1",
                                 "{\"a\":",
                                 "{]",
                                 "[}",
                                 "[\"a\"\"b\"]",
                                 "[true false]",
                                 "/**/1",
                                 "\"a\"x",
                                 "{\"a\":1,\"a\":1}",
                                 "{\"a\":1,\"\\u0061\":2}",
                                 "1 1",
                                 "\\",
                                 "[1]]",
                                 "{}}",
                                 "\xef\xbb\xbf"
                                 "1"};
  for (const std::string& text : scalars) {
    CAPTURE(text);
    for (const std::string& document :
         {text, "[" + text + "]", "[0," + text + ",0]", "{\"z\":" + text + "}",
          "{\"y\":[{\"x\":" + text + "}],\"z\":1}"}) {
      const auto value = json::parse(document);
      CAPTURE(document);
      REQUIRE_FALSE(value.ok());
      CHECK(value.error().code == Code::parse_error);
    }
  }
  for (const std::string_view text :
       {"", " ", "\n", "1,2", "1] [2", "]", "],[", "1]", "{},{}", "[] []", "\xef\xbb\xbf"})
    CHECK_FALSE(json::parse(text).ok());
  CHECK_FALSE(json::parse(std::string("1 \0", 3)).ok());
}

TEST_CASE("repeated names are found in objects of any size") {
  for (const size_t size : {2, 16, 17, 1000}) {
    std::string text = "{";
    for (size_t i = 0; i < size; ++i)
      text += "\"n" + std::to_string(i) + "\":" + std::to_string(i) + ",";
    CHECK(json::parse(text + "\"other\":1}").ok());
    CHECK_FALSE(json::parse(text + "\"n0\":1}").ok());
    CHECK_FALSE(
        json::parse("[{\"in\":" + text + "\"n" + std::to_string(size - 1) + "\":1}}]").ok());
  }
}

TEST_CASE("depth is counted in brackets") {
  CHECK(json::parse(nested(64)).ok());
  CHECK_FALSE(json::parse(nested(65)).ok());
  CHECK(json::parse("[1]", 1).ok());
  CHECK_FALSE(json::parse("[{}]", 1).ok());
  CHECK(json::parse("1", 0).ok());
  CHECK(json::parse("[[],[],{},{}]", 2).ok());
  CHECK(json::parse(nested(1000), 5000).ok());
  CHECK_FALSE(json::parse(nested(1001), 5000).ok());
  CHECK_FALSE(json::parse(nested(100000)).ok());
  CHECK_FALSE(json::parse(std::string(100000, '[')).ok());
}

TEST_CASE("documents beyond the kept buffer parse the same") {
  const std::string text = "{\"a\":\"" + std::string(300000, 'x') + "\",\"b\":[1,2]}";
  CHECK(round_trip(text) == text);
  CHECK(round_trip("[1]") == "[1]");
}

TEST_CASE("strings are written with quotes, whatever they hold") {
  std::string out;
  json::append_string(out, "a\"\\\b\f\n\r\t\x01\x7f\xC3\xA9");
  CHECK(out == "\"a\\\"\\\\\\b\\f\\n\\r\\t\\u0001\x7f\xC3\xA9\"");
  out.clear();
  json::append_string(out, "ok\xff\xC3\xA9\xC3\"\xed\xa0\x80");
  CHECK(out == "\"ok\xEF\xBF\xBD\xC3\xA9\xEF\xBF\xBD\\\"\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\"");
}

TEST_CASE("the writer sets the commas") {
  std::string out;
  json::Writer w(out);
  w.object()
      .key("a")
      .string("x")
      .key("b")
      .array()
      .number(int64_t{-1})
      .number(uint64_t{2})
      .array()
      .end_array();
  w.object()
      .end_object()
      .end_array()
      .key("c")
      .null()
      .key("d")
      .boolean(true)
      .key("e")
      .raw("{}")
      .end_object();
  CHECK(out == R"({"a":"x","b":[-1,2,[],{}],"c":null,"d":true,"e":{}})");
}

// simdjson's other front end, which checks everything itself, is the oracle.
TEST_CASE("damaged documents are accepted and refused as by a second parser") {
  const std::string seed_document =
      R"({"jsonrpc":"2.0","id":1,"method":"kv.put","params":{"key":"a\u0041\"","value":[1,-2.5e3,{"x":null,"y":true}]}})";
  const std::string alphabet = "{}[]\",:\\ue012.-+Etrufalsn \n\x01\xC3\xA9";
  std::mt19937 random(7);
  simdjson::dom::parser oracle;
  size_t accepted = 0;
  for (int round = 0; round < 50000; ++round) {
    std::string text = seed_document;
    for (size_t edits = 1 + random() % 2; edits > 0; --edits) {
      const size_t at = random() % text.size();
      switch (random() % 3) {
        case 0:
          text[at] = alphabet[random() % alphabet.size()];
          break;
        case 1:
          text.erase(at, 1 + random() % 4);
          break;
        default:
          text.insert(at, 1, alphabet[random() % alphabet.size()]);
      }
    }
    CAPTURE(text);
    const auto ours = json::parse(text);
    simdjson::dom::element element;
    const auto error = oracle.parse(text).get(element);
    // Repeated names and numbers out of range are where the two differ by intent; neither is made
    // here often.
    if (ours.ok() && error) {
      CHECK(error == simdjson::NUMBER_ERROR);
    } else if (!ours.ok() && !error) {
      CHECK(ours.error().message.find("repeats") != std::string::npos);
    } else if (ours.ok()) {
      ++accepted;
      CHECK(round_trip(round_trip(text)) == round_trip(text));
    }
  }
  CHECK(accepted > 1000);
}
