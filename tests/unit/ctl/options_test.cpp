#include "ctl/options.h"

#include <doctest/doctest.h>

#include <vector>

using namespace ptwop;
using namespace ptwop::ctl;

namespace {

Result<Options> parse(std::vector<std::string> arguments) { return parse_options(arguments); }

}  // namespace

TEST_CASE("flags stand anywhere before --") {
  const auto options = parse({"kv", "--raw", "get", "notes", "--default", "--none", "k",
                              "--socket=/s", "--timeout", "0.5"});
  REQUIRE(options);
  CHECK(options->raw);
  CHECK(options->fallback == "--none");
  CHECK(options->socket == "/s");
  CHECK(options->timeout_ms == 500);
  REQUIRE(options->words.size() == 4);
  CHECK(options->words[3].text == "k");
  CHECK_FALSE(options->words[3].literal);
}

TEST_CASE("after -- everything is data") {
  const auto options = parse({"kv", "put", "n", "--", "--raw", "-", "--"});
  REQUIRE(options);
  CHECK_FALSE(options->raw);
  REQUIRE(options->words.size() == 6);
  CHECK(options->words[3].text == "--raw");
  CHECK(options->words[5].text == "--");
  CHECK(options->words[3].literal);
}

TEST_CASE("what only looks like a flag is a word") {
  const auto options = parse({"-", "-5", "-x"});
  REQUIRE(options);
  CHECK(options->words.size() == 3);
}

TEST_CASE("values that may be left out") {
  CHECK(parse({"--wait"})->wait_ms == 30'000);
  CHECK(parse({"--wait=2"})->wait_ms == 2'000);
  CHECK(parse({"--wait", "2"})->words.size() == 1);
  CHECK(parse({"--sync"})->sync == "any");
  CHECK(parse({"--sync=did:key:z"})->sync == "did:key:z");
  CHECK_FALSE(parse({"x"})->sync);
  CHECK(parse({"-h"})->help);
}

TEST_CASE("wrong flags are refused") {
  for (const std::vector<std::string>& arguments : {std::vector<std::string>{"--nope"},
                                                    {"--raw=1"},
                                                    {"--socket"},
                                                    {"--socket="},
                                                    {"--timeout", "soon"},
                                                    {"--timeout", "-1"},
                                                    {"--timeout", "1e3"},
                                                    {"--timeout", "nan"},
                                                    {"--wait="},
                                                    {"--wait=99999999"},
                                                    {"--sync="},
                                                    {"--raw", "--json"}}) {
    CAPTURE(arguments.front());
    CHECK_FALSE(parse(arguments));
  }
}
