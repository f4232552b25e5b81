#include "kubo/wire.h"

#include <doctest/doctest.h>

#include "base/limits.h"

using namespace ptwop;
using namespace ptwop::kubo;

namespace {
std::string line_of(const std::string& data, const std::string& from = "12D3Koo") {
  return R"({"from":")" + from + R"(","data":")" + data +
         R"(","seqno":"uAA","topicIDs":["uYWJj"]})";
}
}  // namespace

TEST_CASE("multibase is base64url with a u before it") {
  CHECK(multibase("abc") == "uYWJj");
  CHECK(multibase("") == "u");
  CHECK(*from_multibase("uYWJj") == "abc");
  for (const char* text : {"", "YWJj", "mYWJj", "uYWJj=", "uYW Jj", "uY"}) {
    CAPTURE(text);
    CHECK_FALSE(from_multibase(text).ok());
  }
}

TEST_CASE("version and id are short printable words") {
  CHECK(*parse_version(R"({"Version":"0.43.0","Commit":""})") == "0.43.0");
  CHECK(*parse_peer_id(R"({"ID":"12D3KooW"})") == "12D3KooW");
  for (const std::string body :
       {"", "[]", "{}", R"({"Version":1})", R"({"Version":""})", R"({"Version":"a b"})",
        R"({"Version":"0.43\u0000"})", R"({"Version":"0.43.0"} x)", R"({"Version":"ä"})"}) {
    CAPTURE(body);
    CHECK_FALSE(parse_version(body).ok());
  }
  CHECK_FALSE(parse_version(R"({"Version":")" + std::string(129, '1') + "\"}").ok());
}

TEST_CASE("versions are compared as numbers") {
  CHECK(version_at_least("0.43.0", 0, 13));
  CHECK(version_at_least("0.13.0-dev", 0, 13));
  CHECK(version_at_least("1.0.0", 0, 13));
  CHECK(version_at_least("0.13", 0, 13));
  CHECK_FALSE(version_at_least("0.9.1", 0, 13));
  for (const char* text : {"", "x", "1", "0.", "0.x", ".5", "99999999999999999999.1"}) {
    CAPTURE(text);
    CHECK_FALSE(version_at_least(text, 0, 13));
  }
}

TEST_CASE("an error's text is Kubo's sentence, made harmless") {
  CHECK(error_text(500, R"({"Message":"not pinned","Code":0,"Type":"error"})") == "not pinned");
  CHECK(error_text(500, "{\"Message\":\"a\\nb\\u001b[31m\"}") == "a?b?[31m");
  CHECK(error_text(500, R"({"Message":")" + std::string(5000, 'x') + "\"}").size() == 300);
  CHECK(error_text(502, "<html>") == "Kubo answered HTTP 502");
  CHECK(error_text(500, R"({"Message":7})") == "Kubo answered HTTP 500");
}

TEST_CASE("block/put must name exactly what was sent, in order") {
  const std::vector<engine::Block> blocks = {{ipld::Cid::of("a"), "a"}, {ipld::Cid::of("b"), "b"}};
  const std::string a = R"({"Key":")" + blocks[0].cid.text() + "\",\"Size\":1}\n";
  const std::string b = R"({"Key":")" + blocks[1].cid.text() + "\",\"Size\":1}\n";
  CHECK(check_stored(a + b, blocks).ok());
  for (const std::string& body : {std::string(), a, b + a, a + a, a + b + b, a + "x\n",
                                  a + b.substr(0, 20), a + "{}\n", std::string(10'000, 'x')}) {
    CAPTURE(body);
    CHECK_FALSE(check_stored(body, blocks).ok());
  }
}

TEST_CASE("a pubsub line is a message or refused") {
  const auto message = parse_message(line_of("uAAH_"));
  REQUIRE(message.ok());
  CHECK(message->from == "12D3Koo");
  CHECK(message->data == Bytes("\x00\x01\xff", 3));
  for (const std::string& line :
       {std::string(), std::string("{"), std::string("[]"), std::string("{}"), line_of("AAH_"),
        line_of("u*"), line_of("uAA", ""), line_of("uAA", std::string(200, 'x')),
        std::string(R"({"from":1,"data":"uAA"})"), std::string(R"({"from":"x","data":null})"),
        line_of("uAA") + "x", std::string(R"({"from":"x","from":"y","data":"uAA"})")}) {
    CAPTURE(line);
    CHECK_FALSE(parse_message(line).ok());
  }
  CHECK(parse_message(line_of(multibase(Bytes(limits::kMessageBytesMax, 'x')))).ok());
  CHECK_FALSE(parse_message(line_of(multibase(Bytes(limits::kMessageBytesMax + 1, 'x')))).ok());
}

TEST_CASE("lines are the same however the stream is cut") {
  const std::string text = "one\n\ntwo\nthree three\n";
  for (size_t size = 1; size <= text.size(); ++size) {
    LineSplitter splitter(11);
    std::string lines;
    for (size_t at = 0; at < text.size(); at += size) {
      CHECK(splitter.feed(BytesView(text).substr(at, size), [&](std::string_view line) {
        lines += "[" + std::string(line) + "]";
        return true;
      }));
    }
    CHECK(lines == "[one][two][three three]");
  }
}

TEST_CASE("a line that is too long ends the stream, whether it ends or not") {
  const auto ignore = [](std::string_view) { return true; };
  CHECK(LineSplitter(4).feed("1234\n", ignore));
  CHECK_FALSE(LineSplitter(4).feed("12345\n", ignore));
  LineSplitter splitter(4);
  CHECK(splitter.feed("123", ignore));
  CHECK(splitter.feed("4", ignore));
  CHECK_FALSE(splitter.feed("5", ignore));
}

TEST_CASE("what Kubo says of p2p streams and peers") {
  const auto all = kubo::parse_listeners(
      R"({"Listeners":[{"Protocol":"/x/a","ListenAddress":"/p2p/1","TargetAddress":"/ip4/127.0.0.1/tcp/5"},{"Protocol":"/x/b"},7]})");
  REQUIRE(all.ok());
  REQUIRE(all->size() == 1);
  CHECK((*all)[0].protocol == "/x/a");
  CHECK((*all)[0].target == "/ip4/127.0.0.1/tcp/5");
  CHECK(kubo::parse_listeners(R"({"Listeners":null})")->empty());
  for (const char* bad : {"", "{}", R"({"Listeners":3})", "404 page not found"})
    CHECK_FALSE(kubo::parse_listeners(bad).ok());

  // Where it listens, rather than the port it happened to call from.
  const auto peers = kubo::parse_swarm_peers(
      R"({"Peers":[{"Addr":"/ip4/1.2.3.4/tcp/50000","Peer":"Qm1","Identify":{"Addresses":["/ip4/127.0.0.1/tcp/4001/p2p/Qm1","/ip4/1.2.3.4/tcp/4001/p2p/Qm1","/ip4/1.2.3.4/tcp/4001/p2p/Qm2"],"Protocols":["/ipfs/ping/1.0.0","/x/"]}},
          {"Addr":"/ip4/1.2.3.4/tcp/1?arg=x","Peer":"Qm2","Identify":{"Addresses":null,"Protocols":null}},
          {"Addr":"/ip4/1.2.3.4/tcp/1","Peer":"Qm&2"}]})");
  REQUIRE(peers.ok());
  REQUIRE(peers->size() == 2);
  CHECK((*peers)[0].address == "/ip4/1.2.3.4/tcp/4001/p2p/Qm1");
  CHECK((*peers)[0].streams);
  CHECK((*peers)[1].address.empty());
  CHECK_FALSE((*peers)[1].streams);

  CHECK(kubo::parse_providers("{\"Type\":4,\"Responses\":[{\"ID\":\"Qm1\"},{\"ID\":\"../x\"}]}\n"
                              "{\"Type\":0,\"Responses\":null}\nnonsense\n"
                              "{\"Responses\":[{\"ID\":\"Qm2\"}]}") ==
        std::vector<std::string>{"Qm1", "Qm2"});
  CHECK(kubo::loopback_port("/ip4/127.0.0.1/tcp/65535") == 65535);
  for (const char* bad :
       {"/ip4/127.0.0.1/tcp/65536", "/ip4/127.0.0.1/tcp/", "/ip4/127.0.0.1/tcp/1x",
        "/ip4/10.0.0.1/tcp/1", "/ip4/127.0.0.1/tcp/1/quic", "/unix/x"})
    CHECK(kubo::loopback_port(bad) == 0);
}
