#include "ctl/progress.h"

#include <doctest/doctest.h>

using namespace ptwop;

TEST_CASE("progress is a bar of what is here and what is missing") {
  const auto line = [](const char* info, size_t columns = 80) {
    return ctl::progress_line(*json::parse(info), columns);
  };
  CHECK(line(R"({"name":"notes","nodes":50,"missing":150})") ==
        "notes: [#####---------------]  25 %, 50 of 200 nodes");
  CHECK(line(R"({"name":"notes","nodes":0,"missing":1})", 10) == "notes: [-]   0 %, 0 of 1 nodes");
  CHECK(line(R"({"name":"notes","nodes":7,"missing":0})") ==
        "notes: 7 nodes are here; waiting for more");
  CHECK(line(R"({"name":"\u001b[2J","nodes":-1,"missing":-9223372036854775808})").find('\x1b') ==
        std::string::npos);
}
