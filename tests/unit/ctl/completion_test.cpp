#include "ctl/completion.h"

#include <doctest/doctest.h>

using namespace ptwop::ctl;

namespace {

using Words = std::vector<std::string>;

Words after(const Words& words) {
  return complete(words, [] { return Words{"notes", "visits"}; });
}

}  // namespace

TEST_CASE("nouns, verbs and flags come from the table") {
  CHECK(after({"k"}) == Words{"kv"});
  CHECK(after({"b"}) == Words{"backup", "batch"});
  CHECK(after({"c"}) == Words{"call", "channel", "completion", "count"});
  CHECK(after({"kv", ""}) == Words{"batch", "del", "get", "list", "put"});
  CHECK(after({"help", "kv", "p"}) == Words{"put"});
  CHECK(after({"call", "kv.p"}) == Words{"kv.put"});
  CHECK(after({"completion", "b"}) == Words{"bash"});
  CHECK(after({"kv", "get", "--ra"}) == Words{"--raw"});
  CHECK(after({"nothing", "x", ""}).empty());
  CHECK(after({}).empty());
}

TEST_CASE("arguments") {
  CHECK(after({"kv", "get", "n"}) == Words{"notes"});
  CHECK(after({"kv", "get", "channel=v"}) == Words{"channel=visits"});
  CHECK(after({"channel", "create", "x", ""}) == Words{"count", "kv", "log", "public="});
  CHECK(after({"channel", "create", "x", "kv", "public="}) == Words{"public=false", "public=true"});
  CHECK(after({"channel", "grant", "notes", "did:key:z", ""}) ==
        Words{"admin", "read", "send", "write"});
  CHECK(after({"kv", "get", "notes", "key=a", ""}) == Words{"false", "siblings=", "true"});
  CHECK(after({"--socket", "/s", "kv", "--raw", "get", "v"}) == Words{"visits"});
}

TEST_CASE("paths") {
  CHECK(after({"channel", "import", "/et"}) == Words{"/etc/"});
  CHECK(after({"channel", "export", "notes", "/etc/hostn"}) == Words{"/etc/hostname"});
  CHECK(after({"channel", "export", "notes", "to=/etc/hostn"}) == Words{"to=/etc/hostname"});
  CHECK(after({"restore", "/et"}) == Words{"/etc/"});
  CHECK(after({"backup", "/no/such/folder/x"}).empty());
}

TEST_CASE("scripts") {
  for (const char* shell : {"bash", "zsh", "fish"}) {
    REQUIRE(completion_script(shell));
    CHECK(completion_script(shell)->find("__complete --") != std::string_view::npos);
  }
  CHECK_FALSE(completion_script("tcsh"));
}
