#include "rpc/framing.h"

#include <doctest/doctest.h>

#include <string>

#include "base/limits.h"
#include "rpc/request_id.h"

using namespace ptwop;
using rpc::Framing;

namespace {

/// All lines of `text`, which comes in pieces of `size` bytes; what ends it in brackets.
std::string lines(const std::string& text, size_t size, bool ended) {
  Framing framing;
  std::string pending, out;
  for (size_t at = 0; at < text.size() || at == 0; at += size) {
    pending += text.substr(at, size);
    const bool last = ended && at + size >= text.size();
    for (;;) {
      const auto next = framing.next(pending, last);
      if (next.found == Framing::Found::too_long) return out + "[long]";
      if (next.found == Framing::Found::too_deep) return out + "[deep]";
      if (next.found == Framing::Found::line) out += std::string(next.line) + "|";
      pending.erase(0, next.consumed);
      if (next.found == Framing::Found::nothing) break;
    }
  }
  return out + "(" + pending + ")";
}

}  // namespace

TEST_CASE("lines are the same whatever the pieces are") {
  const std::string deep(65, '[');
  for (const size_t size : {1, 2, 3, 7, 1000}) {
    CHECK(lines("a\nbc\n", size, false) == "a|bc|()");
    CHECK(lines("a\nbc", size, false) == "a|(bc)");
    CHECK(lines("a\nbc", size, true) == "a|bc|()");
    CHECK(lines("\n\r\n \t\na", size, true) == "a|()");
    CHECK(lines("a\n  ", size, true) == "a|()");
    CHECK(lines("", size, true) == "()");
    CHECK(lines("a\n" + deep, size, false) == "a|[deep]");
    CHECK(lines(deep.substr(1) + "\n" + deep.substr(1) + "\n", size, false) ==
          deep.substr(1) + "|" + deep.substr(1) + "|()");
    CHECK(lines("\"" + deep + "\\\"" + deep + "\"\n", size, false) ==
          "\"" + deep + "\\\"" + deep + "\"|()");
    CHECK(lines("\"\\\\\"" + deep + "\n", size, false) == "[deep]");
    CHECK(lines(std::string(100, ']') + deep.substr(1) + "\n", size, false) ==
          std::string(100, ']') + deep.substr(1) + "|()");
  }
}

TEST_CASE("a line has 4 MiB at most") {
  const std::string full(limits::kRequestBytesMax, 'x');
  CHECK(lines(full + "\n", 65536, false).size() == full.size() + 3);
  CHECK(lines(full + "y", 65536, false) == "[long]");
  CHECK(lines(full + "y\n", full.size() + 2, false) == "[long]");
}

TEST_CASE("an id's source text") {
  const auto id = [](const std::string& text) {
    const auto parsed = json::parse(text);
    REQUIRE(parsed.ok());
    return rpc::id_text(*parsed, text).value_or("none");
  };
  CHECK(id(R"({"id":"a"})") == R"("a")");
  CHECK(id(R"({ "x" : [ "\"id\":1" , {"id":"\n"} ] , "id" : "\u0041" })") == R"("\u0041")");
  CHECK(id(R"({"i\u0064":"\\","method":"id"})") == R"("\\")");
  CHECK(id(R"({"id":1E+2,"x":"\n"})") == "1E+2");
  CHECK(id(R"({"x":"\n"})") == "none");
  CHECK(id(R"({"id":[1]})") == "none");
  const auto texts = rpc::element_texts(R"( [ {"a":"]\""} , 1,[[]] ,"," ] )");
  REQUIRE(texts.size() == 4);
  CHECK(texts[0] == R"({"a":"]\""})");
  CHECK(texts[1] == "1");
  CHECK(texts[2] == "[[]]");
  CHECK(texts[3] == R"(",")");
  CHECK(rpc::element_texts("[]").empty());
}
