#include "ctl/arguments.h"

#include <doctest/doctest.h>

#include <map>
#include <vector>

#include "ctl/command.h"
#include "ctl/schemas.h"
#include "ctl/values.h"

using namespace ptwop;
using namespace ptwop::ctl;

namespace {

class FakeInput final : public Input {
 public:
  std::map<std::string, std::string> files;
  std::string standard;
  Result<std::string> file(const std::string& path) override {
    if (files.contains(path)) return files[path];
    return fail(Code::invalid_params, "no such file");
  }
  Result<std::string> standard_input() override { return standard; }
};

FakeInput input;

Result<json::Value> read(std::string_view method, const std::vector<Word>& words,
                         bool bytes = false) {
  return read_arguments(*rpc::find_method(method), words, bytes, input);
}

/// The parameters as JSON, or "wrong".
std::string params(std::string_view method, const std::vector<Word>& words, bool bytes = false) {
  const auto result = read(method, words, bytes);
  return result ? to_json(*result) : "wrong";
}

std::string command_error(const std::vector<Word>& words) {
  const auto result = find_command(words);
  return result ? "" : result.error().message;
}

}  // namespace

TEST_CASE("words fill what was not set by name, in order") {
  CHECK(params("kv.put", {{"notes"}, {"k"}, {"v"}}) ==
        R"({"channel":"notes","key":"k","value":"v"})");
  CHECK(params("kv.put", {{"value=v"}, {"notes"}, {"k"}}) ==
        R"({"channel":"notes","key":"k","value":"v"})");
  CHECK(params("count.add", {{"visits"}, {"by=5"}}) == R"({"channel":"visits","by":5})");
  CHECK(params("count.add", {{"visits"}, {"clicks"}, {"-5"}}) ==
        R"({"channel":"visits","key":"clicks","by":-5})");
  CHECK(params("system.info", {}) == "{}");
}

TEST_CASE("only the method's own parameters are names, and -- ends that") {
  CHECK(params("kv.get", {{"notes"}, {"a=b"}}) == R"({"channel":"notes","key":"a=b"})");
  CHECK(params("kv.put", {{"notes"}, {"k"}, {"value=5", true}}) ==
        R"({"channel":"notes","key":"k","value":"value=5"})");
  CHECK(params("kv.put", {{"notes"}, {"k"}, {"value==x"}}) ==
        R"({"channel":"notes","key":"k","value":"=x"})");
  CHECK(params("kv.put", {{"notes"}, {"k"}, {"value="}}) ==
        R"({"channel":"notes","key":"k","value":""})");
}

TEST_CASE("texts are never JSON; values are JSON where they parse") {
  CHECK(params("kv.get", {{"123"}, {"{}"}}) == R"({"channel":"123","key":"{}"})");
  const auto value = [](const char* text) { return params("log.add", {{"c"}, {text}}); };
  CHECK(value("123") == R"({"channel":"c","value":123})");
  CHECK(value("1.0") == R"({"channel":"c","value":1.0})");
  CHECK(value("9223372036854775807") == R"({"channel":"c","value":9223372036854775807})");
  CHECK(value("null") == R"({"channel":"c","value":null})");
  CHECK(value("\"123\"") == R"({"channel":"c","value":"123"})");
  CHECK(value("{\"a\": [1]}") == R"({"channel":"c","value":{"a":[1]}})");
  CHECK(value("{a:1}") == R"({"channel":"c","value":"{a:1}"})");
  CHECK(value("01") == R"({"channel":"c","value":"01"})");
  CHECK(value("") == R"({"channel":"c","value":""})");
  CHECK(value("\xff") == "wrong");
  CHECK(params("kv.get", {{"c"}, {"\xff"}}) == "wrong");
}

TEST_CASE("integers, yes or no, lists") {
  CHECK(params("count.add", {{"c"}, {"by=1.0"}}) == "wrong");
  CHECK(params("count.add", {{"c"}, {"by=9223372036854775808"}}) == "wrong");
  CHECK(params("count.add", {{"c"}, {"by="}}) == "wrong");
  CHECK(params("kv.get", {{"c"}, {"k"}, {"siblings=true"}}) ==
        R"({"channel":"c","key":"k","siblings":true})");
  CHECK(params("kv.get", {{"c"}, {"k"}, {"siblings=yes"}}) == "wrong");
  CHECK(params("kv.batch", {{"c"}, {R"([{"del":{"key":"k"}}])"}}) ==
        R"({"channel":"c","ops":[{"del":{"key":"k"}}]})");
  CHECK(params("kv.batch", {{"c"}, {"{}"}}) == "wrong");
}

TEST_CASE("tokens: one, a list, or a result that holds them") {
  const auto at = [](const char* text) { return params("channel.wait", {{"c"}, {text}}); };
  CHECK(at("abc") == R"({"channel":"c","at":"abc"})");
  CHECK(at("12345") == R"({"channel":"c","at":"12345"})");
  CHECK(at("[\"a\",\"b\"]") == R"({"channel":"c","at":["a","b"]})");
  CHECK(at("{\"id\":\"x\",\"at\":\"a\"}") == R"({"channel":"c","at":"a"})");
}

TEST_CASE("@file and -") {
  input.files = {{"f", "text\n"}, {"j", "{\"a\":1}\n"}, {"two", "x\n\n"}};
  input.standard = "from stdin\n";
  CHECK(params("log.add", {{"c"}, {"@f"}}) == R"({"channel":"c","value":"text"})");
  CHECK(params("log.add", {{"c"}, {"value=@j"}}) == R"({"channel":"c","value":{"a":1}})");
  CHECK(params("log.add", {{"c"}, {"@two"}}) == R"({"channel":"c","value":"x\n"})");
  CHECK(params("log.add", {{"c"}, {"-"}}) == R"({"channel":"c","value":"from stdin"})");
  CHECK(params("log.add", {{"c"}, {"@gone"}}) == "wrong");
  CHECK(params("log.add", {{"c"}, {"@f", true}}) == R"({"channel":"c","value":"@f"})");
  CHECK(params("log.add", {{"c"}, {"-", true}}) == R"({"channel":"c","value":"-"})");
  CHECK(params("kv.get", {{"c"}, {"@f"}}) == R"({"channel":"c","key":"@f"})");
}

TEST_CASE("--bytes sends the value exactly") {
  input.files = {{"f", std::string("\xff\0\n", 3)}};
  CHECK(params("log.add", {{"c"}, {"@f"}}, true) ==
        R"({"channel":"c","value":{"/":{"bytes":"/wAK"}}})");
  CHECK(params("log.add", {{"c"}, {"123"}}, true) ==
        R"({"channel":"c","value":{"/":{"bytes":"MTIz"}}})");
  CHECK(params("kv.get", {{"c"}, {"k"}}, true) == "wrong");
}

TEST_CASE("too few, too many, twice") {
  CHECK(params("kv.put", {{"notes"}, {"k"}}) == "wrong");
  CHECK(params("kv.del", {{"notes"}, {"k"}, {"x"}}) == "wrong");
  CHECK(params("kv.get", {{"notes"}, {"key=a"}, {"key=b"}}) == "wrong");
}

TEST_CASE("a command that is not there") {
  CHECK(command_error({{"kv"}, {"put"}}).empty());
  CHECK(command_error({{"kv"}, {"pit"}}).find("kv put") != std::string::npos);
  CHECK(command_error({{"kw"}, {"put"}}).find("kv") != std::string::npos);
  CHECK(command_error({{"kv"}}).find("batch, del, get, list, put") != std::string::npos);
  CHECK_FALSE(command_error({}).empty());
  CHECK_FALSE(command_error({{"kv"}, {"\x1b[2J"}}).find("\\u001b") == std::string::npos);
}

TEST_CASE("every example of the schemas goes through the grammar and comes back") {
  size_t examples = 0;
  for (const rpc::Method& method : rpc::methods()) {
    for (const Example& example : Schemas::get().examples(method.name)) {
      ++examples;
      const std::string line = command_line(method, example.params);
      CAPTURE(line);
      const auto words = split_words(line);
      REQUIRE(words);
      const auto options = parse_options(*words);
      REQUIRE(options);
      const auto command = find_command(options->words);
      REQUIRE(command);
      const auto back =
          read_arguments(**command, std::span(options->words).subspan(2), false, input);
      REQUIRE(back);
      for (const auto& [name, value] : example.params.members) {
        REQUIRE(back->find(name));
        CHECK(to_json(*back->find(name)) == to_json(value));
      }
    }
  }
  CHECK(examples >= rpc::methods().size());
}

TEST_CASE("a command line keeps what could be read as something else") {
  const rpc::Method& put = *rpc::find_method("kv.put");
  for (const char* text : {"123", "-", "@f", "key=x", "--raw", "a b", "it's", "{}", "", "null"}) {
    json::Value wanted = object_value();
    set(wanted, "channel", text_value("c"));
    set(wanted, "key", text_value(text));
    set(wanted, "value", text_value(text));
    const std::string line = command_line(put, wanted);
    CAPTURE(line);
    const auto options = parse_options(*split_words(line));
    REQUIRE(options);
    const auto back = read_arguments(put, std::span(options->words).subspan(2), false, input);
    REQUIRE(back);
    CHECK(to_json(*back) == to_json(wanted));
  }
}
