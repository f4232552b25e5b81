#include "ctl/help.h"

#include <doctest/doctest.h>

#include "ctl/arguments.h"
#include "ctl/man.h"
#include "ctl/options.h"
#include "ctl/schemas.h"

using namespace ptwop;
using namespace ptwop::ctl;

namespace {

bool has(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

}  // namespace

TEST_CASE("every method has help with its parameters, errors and an example") {
  const std::vector<std::string_view> none;
  const auto all = help_text(none);
  REQUIRE(all);
  for (const rpc::Method& method : rpc::methods()) {
    CAPTURE(method.name);
    CHECK(has(*all, words_of(method)));
    const std::string help = method_help(method);
    CHECK(has(help, method.summary));
    for (const rpc::Param& param : method.params) {
      CHECK(has(help, param.name));
      CHECK(has(help, presence(param)));
    }
    for (const ErrorText& error : Schemas::get().errors(method.name)) CHECK(has(help, error.kind));
    CHECK(has(help, "$ ptwopctl " + words_of(method)));
    CHECK_FALSE(has(help, "Result: \n"));
  }
  for (const Flag& flag : flags()) CHECK(has(*all, flag.name));
}

TEST_CASE("help for words") {
  const auto help = [](std::vector<std::string_view> words) { return help_text(words); };
  CHECK(has(*help({"kv", "put"}), "ttl_ms"));
  CHECK(has(*help({"kv"}), "put CHANNEL KEY VALUE"));
  CHECK(has(*help({"batch"}), "64"));
  CHECK_FALSE(help({"kv", "nope"}));
  CHECK_FALSE(help({"nope"}));
  CHECK(has(*help({"channel", "create"}), "log|count|kv"));
  CHECK(has(*help({"count", "add"}), "default \"default\""));
}

TEST_CASE("wrapping") {
  CHECK(wrapped("aa bb cc", 5, 0) == "aa bb\ncc");
  CHECK(wrapped("aa bb cc", 8, 3) == "aa bb\n   cc");
  CHECK(wrapped("", 5, 2).empty());
  CHECK(wrapped("verylongword b", 4, 0) == "verylongword\nb");
}

TEST_CASE("what the schemas say of the flags") {
  const Schemas& schemas = Schemas::get();
  CHECK(schemas.is_write("kv.put"));
  CHECK(schemas.is_write("channel.grant"));
  CHECK_FALSE(schemas.is_write("channel.clock"));
  CHECK_FALSE(schemas.is_write("kv.get"));
  CHECK(schemas.has_pages("log.list"));
  CHECK_FALSE(schemas.has_pages("channel.list"));
  CHECK(schemas.can_fail_with("kv.get", "not_found"));
  CHECK_FALSE(schemas.can_fail_with("count.get", "not_found"));
  CHECK_FALSE(schemas.is_write("no.such"));
}

TEST_CASE("man pages name every method, flag and error, and hold no stray roff") {
  for (const char* name : {"ptwopctl", "ptwopd"}) {
    const auto page = man_page(name);
    REQUIRE(page);
    CHECK(page->starts_with(".TH PTWOP"));
    for (const rpc::Method& method : rpc::methods())
      CHECK(has(*page, roff(name == std::string_view("ptwopd") ? std::string(method.name)
                                                               : words_of(method))));
  }
  for (const Flag& flag : flags()) CHECK(has(*man_page("ptwopctl"), roff(flag.name)));
  for (const ErrorRow& row : ErrorTable()) CHECK(has(*man_page("ptwopd"), row.kind));
  CHECK_FALSE(man_page("other"));
  CHECK(roff(".x\n'y \\n -z") == "\\&.x\n\\&\\(aqy \\en \\-z");
}
