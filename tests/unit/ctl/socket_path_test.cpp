#include "ctl/socket_path.h"

#include <doctest/doctest.h>

#include <map>

using namespace ptwop::ctl;

namespace {

std::map<std::string, std::string> variables;
std::string lookup(const char* name) {
  const auto found = variables.find(name);
  return found == variables.end() ? "" : found->second;
}
using Paths = std::vector<std::string>;

}  // namespace

TEST_CASE("where the socket is looked for") {
  variables = {{"HOME", "/home/u"}};
  CHECK(*socket_candidates("", lookup) == Paths{"/run/ptwop/rpc.sock",
                                                "/home/u/.local/state/ptwop/rpc.sock",
                                                "/var/lib/ptwop/rpc.sock"});
  variables = {{"HOME", "/home/u"},
               {"XDG_RUNTIME_DIR", "/run/user/1"},
               {"XDG_STATE_HOME", "/s"},
               {"PTWOP_DATA", "/d"}};
  CHECK(*socket_candidates("", lookup) == Paths{"/run/user/1/ptwop/rpc.sock", "/run/ptwop/rpc.sock",
                                                "/d/rpc.sock", "/s/ptwop/rpc.sock",
                                                "/var/lib/ptwop/rpc.sock"});
}

TEST_CASE("a given path is the only one, the flag before the environment") {
  variables = {{"PTWOP_SOCKET", "/e.sock"}, {"XDG_RUNTIME_DIR", "/run/user/1"}};
  CHECK(*socket_candidates("", lookup) == Paths{"/e.sock"});
  CHECK(*socket_candidates("/f.sock", lookup) == Paths{"/f.sock"});
}

TEST_CASE("a path that is too long") {
  variables = {};
  CHECK(socket_candidates(std::string(kSocketPathBytesMax, 'x'), lookup));
  CHECK_FALSE(socket_candidates(std::string(kSocketPathBytesMax + 1, 'x'), lookup));
  variables = {{"XDG_RUNTIME_DIR", "/" + std::string(200, 'x')}};
  CHECK(socket_candidates("", lookup)->front() == "/run/ptwop/rpc.sock");
}
