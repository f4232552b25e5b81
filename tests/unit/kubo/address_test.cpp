#include "kubo/address.h"

#include <doctest/doctest.h>

#include <cstdlib>

#include "support/temp_folder.h"

using namespace ptwop;
using kubo::parse_api_address;

TEST_CASE("addresses of a Kubo API") {
  struct Row {
    const char* text;
    const char* url;
    const char* unix_path;
  };
  const Row good[] = {
      {"/ip4/127.0.0.1/tcp/5001", "http://127.0.0.1:5001", ""},
      {"/ip4/127.0.0.1/tcp/5001/http", "http://127.0.0.1:5001", ""},
      {"/ip4/0.0.0.0/tcp/5001", "http://127.0.0.1:5001", ""},
      {"/ip6/::1/tcp/5001", "http://[::1]:5001", ""},
      {"/ip6/::/tcp/5001", "http://[::1]:5001", ""},
      {"/dns4/localhost/tcp/5001", "http://localhost:5001", ""},
      {"/dns/kubo.lan/tcp/80/http", "http://kubo.lan:80", ""},
      {"/dns6/my-host_1/tcp/65535", "http://my-host_1:65535", ""},
      {"/unix/run/ipfs/api", "http://localhost", "/run/ipfs/api"},
      {"/unix//run/ipfs/api", "http://localhost", "/run/ipfs/api"},
      {"/unix/run/ipfs/api/http", "http://localhost", "/run/ipfs/api"},
      {"http://127.0.0.1:5001", "http://127.0.0.1:5001", ""},
      {"http://localhost:5001/", "http://localhost:5001", ""},
      {"http://[::1]:5001", "http://[::1]:5001", ""},
      {"http://[::1]", "http://[::1]:80", ""},
      {"http://kubo", "http://kubo:80", ""},
  };
  for (const auto& row : good) {
    CAPTURE(row.text);
    const auto address = parse_api_address(row.text);
    REQUIRE(address.ok());
    CHECK(address->url == row.url);
    CHECK(address->unix_path == row.unix_path);
    CHECK(address->text == row.text);
  }
}

TEST_CASE("what is no address of a Kubo API") {
  const char* bad[] = {"",
                       "/",
                       "5001",
                       "127.0.0.1:5001",
                       "https://127.0.0.1:5001",
                       "ftp://x",
                       "http://",
                       "http:///",
                       "http://user:pass@host:5001",
                       "http://host:0",
                       "http://host:65536",
                       "http://host:50a",
                       "http://host:5001/api/v0",
                       "http://ho st:1",
                       "http://host:1\r\nX: y",
                       "http://[::1",
                       "http://[]:1",
                       "/ip4/127.0.0.1",
                       "/ip4/127.0.0.1/udp/5001",
                       "/ip4/127.0.0.1/tcp/0",
                       "/ip4//tcp/5001",
                       "/ip4/127.0.0.1/tcp/5001/https",
                       "/ip4/127.0.0.1/tcp/5001/p2p/12D3",
                       "/ip4/a@b/tcp/1",
                       "/unix",
                       "/unix/",
                       "/dns4/host?x/tcp/1"};
  for (const char* text : bad) {
    CAPTURE(text);
    const auto address = parse_api_address(text);
    REQUIRE_FALSE(address.ok());
    CHECK(address.error().code == Code::invalid_params);
  }
  CHECK_FALSE(parse_api_address("/unix/" + std::string(200, 'x')).ok());
}

TEST_CASE("the address that a running Kubo wrote down") {
  const test::TempFolder folder;
  const char* repo = std::getenv("IPFS_PATH");
  const std::string repo_before = repo ? repo : "";
  const std::string home_before = std::getenv("HOME") ? std::getenv("HOME") : "";
  ::setenv("IPFS_PATH", folder.path.c_str(), 1);
  auto none = kubo::discover_api_address();
  REQUIRE_FALSE(none.ok());
  CHECK(none.error().code == Code::kubo_offline);
  folder.file("api", "/ip4/127.0.0.1/tcp/4999\n");
  CHECK(kubo::discover_api_address()->url == "http://127.0.0.1:4999");
  folder.file("api", "garbage");
  CHECK(kubo::discover_api_address().error().code == Code::invalid_params);

  ::unsetenv("IPFS_PATH");
  ::setenv("HOME", folder.path.c_str(), 1);
  std::filesystem::create_directory(folder.path + "/.ipfs");
  folder.file(".ipfs/api", "/unix/run/kubo");
  CHECK(kubo::discover_api_address()->unix_path == "/run/kubo");
  ::setenv("HOME", home_before.c_str(), 1);
  if (repo) ::setenv("IPFS_PATH", repo_before.c_str(), 1);
}

TEST_CASE("the secret comes from a file that only its owner reads") {
  const test::TempFolder folder;
  auto read = [&](const std::string& text, int mode = 0600) {
    return kubo::read_authorization(folder.file("secret", text, mode));
  };
  CHECK(*read("bearer:tok-1") == "Bearer tok-1");
  CHECK(*read("bearer:tok:2\n", 0400) == "Bearer tok:2");
  CHECK(*read("basic:user:pass") == "Basic dXNlcjpwYXNz");
  CHECK(*read("basic:u:p") == "Basic dTpw");
  CHECK(*read("basic:us:p") == "Basic dXM6cA==");
  CHECK(kubo::read_authorization(folder.path + "/none").error().code == Code::not_found);
  CHECK(kubo::read_authorization(folder.path).error().code == Code::not_found);
  for (int mode : {0640, 0604, 0620, 0602})
    CHECK(read("bearer:secret", mode).error().code == Code::not_permitted);
  for (const char* text :
       {"", "secret", "bearer:", "basic:user", "bearer:a\nX-Evil: b", "Bearer secret"}) {
    CAPTURE(text);
    const auto refused = read(text);
    REQUIRE_FALSE(refused.ok());
    CHECK(refused.error().code == Code::invalid_params);
    CHECK(refused.error().message.find("secret\"") == std::string::npos);
  }
  CHECK(read("bearer:" + std::string(5000, 'x')).error().code == Code::invalid_params);
}
