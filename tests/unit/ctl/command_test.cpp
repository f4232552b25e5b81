#include "ctl/command.h"

#include <doctest/doctest.h>

#include "ctl/batch.h"
#include "ctl/client.h"
#include "ctl/values.h"

using namespace ptwop;
using namespace ptwop::ctl;

namespace {

using Words = std::vector<std::string>;

std::string request(std::string_view line) {
  BatchInput input;
  const BatchLine read = read_batch_line(line, 7, input);
  return read.id + " " +
         (read.call ? read.call->method + " " + to_json(read.call->params) : "wrong");
}

std::string called(const Words& words) {
  BatchInput input;
  const auto call = read_call(*parse_options(words), input);
  return call ? call->method + " " + to_json(call->params) : "wrong";
}

}  // namespace

TEST_CASE("words as a shell splits them") {
  CHECK(*split_words("kv put  notes\ta") == Words{"kv", "put", "notes", "a"});
  CHECK(*split_words("a 'b c' \"d e\" f\\ g '' h\"i\"'j'") ==
        Words{"a", "b c", "d e", "f g", "", "hij"});
  CHECK(*split_words(R"('{"a":"b\n"}' "say \"hi\" \n")") ==
        Words{R"({"a":"b\n"})", R"(say "hi" \n)"});
  CHECK(*split_words("a\r") == Words{"a"});
  CHECK(split_words("")->empty());
  CHECK_FALSE(split_words("a 'b"));
  CHECK_FALSE(split_words("a \"b"));
}

TEST_CASE("call takes an object or a list") {
  CHECK(called({"call", "kv.put", R"({"channel":"c","value":1.50})"}) ==
        R"(kv.put {"channel":"c","value":1.50})");
  CHECK(called({"call", "kv.get", R"(["c","k"])"}) == R"(kv.get ["c","k"])");
  CHECK(called({"call", "new.method"}) == "new.method {}");
  CHECK(called({"call", "kv.put", "5"}) == "wrong");
  CHECK(called({"call", "kv.put", "{"}) == "wrong");
  CHECK(called({"call", "kv.put", R"({"a":1,"a":2})"}) == "wrong");
  CHECK(called({"call"}) == "wrong");
  CHECK(called({"call", "m", "{}", "x"}) == "wrong");
}

TEST_CASE("lines of a batch") {
  CHECK(request("kv put notes a 1") == R"(7 kv.put {"channel":"notes","key":"a","value":1})");
  CHECK(request("ptwopctl kv del notes 'a b'") == R"(7 kv.del {"channel":"notes","key":"a b"})");
  CHECK(request(R"({"method":"system.info"})") == "7 system.info {}");
  CHECK(request(R"({"jsonrpc":"2.0","id":"x\n","method":"kv.get","params":["n","k"]})") ==
        "\"x\\n\" kv.get [\"n\",\"k\"]");
  CHECK(request(R"({"id":123456789012345678901234567890,"method":"m"})") ==
        "123456789012345678901234567890 m {}");
  CHECK(request(R"({"id":null,"method":"m"})") == "null m {}");
  CHECK(request("log add j --bytes abc") ==
        R"(7 log.add {"channel":"j","value":{"/":{"bytes":"YWJj"}}})");
  for (const char* bad : {"kv", "kv put notes", R"({"method":5})", R"({"id":[],"method":"m"})",
                          R"({"method":"m","params":1})", R"({"method":"m","extra":1})", "{",
                          "kv get n k --raw", "log add j -", "kv get 'n"}) {
    CAPTURE(bad);
    CHECK(request(bad).ends_with("wrong"));
  }
  CHECK(is_skipped("  # note"));
  CHECK(is_skipped(" \r"));
  CHECK_FALSE(is_skipped("kv"));
}

TEST_CASE("answers") {
  const auto good = read_answer(R"({"jsonrpc":"2.0","id":3,"result":{"a":1}})");
  REQUIRE(good);
  CHECK(good->ok);
  CHECK(good->id.integer == 3);
  const auto bad = read_answer(R"({"jsonrpc":"2.0","id":null,"error":{"code":102,"message":"m"}})");
  REQUIRE(bad);
  CHECK_FALSE(bad->ok);
  for (const char* line : {"", "HTTP/1.1 400 Bad Request", "{}", R"({"id":1})",
                           R"({"id":1,"result":1,"error":{}})", R"({"id":1,"error":5})"}) {
    CAPTURE(line);
    CHECK_FALSE(read_answer(line));
  }
}

TEST_CASE("how long an answer may take") {
  Call call{"channel.wait", object_value()};
  CHECK(answer_ms(call) == 0);
  set(call.params, "timeout_ms", integer_value(60'000));
  CHECK(answer_ms(call) == 60'000);
  set(call.params, "timeout_ms", integer_value(-1));
  CHECK(answer_ms(call) == 0);
}
