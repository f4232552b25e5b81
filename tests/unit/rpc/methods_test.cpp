// What the methods promise beyond their schemas, over a real socket.
#include "base/limits.h"
#include "daemon.h"

using namespace ptwop;
using namespace ptwop::test;

namespace {

const std::string kStranger = "/ptwop/bafyreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy";

struct Fixture {
  Daemon daemon;
  Client client{daemon};
  Fixture() {
    for (const std::string type : {"kv", "log", "count"})
      client.call("channel.create", "[\"" + type + "\",\"" + type + "\"]");
  }
  std::string get(const std::string& key) {
    return client.call("kv.get", "[\"kv\",\"" + key + "\"]");
  }
  std::string put(const std::string& key, const std::string& rest) {
    return client.call("kv.put", R"({"channel":"kv","key":")" + key + "\"," + rest + "}");
  }
};

size_t entries_of(const std::string& page) {
  return json::parse(page)->find("entries")->items.size();
}

/// The keys or ids of all pages, following `next`.
std::string walk(Client& client, const std::string& method, const std::string& params,
                 const std::string& shown) {
  std::string out, after;
  for (int pages = 0; pages < 100; ++pages) {
    const std::string page = client.call(
        method, "{" + params + (after.empty() ? "" : ",\"after\":\"" + after + "\"") + "}");
    const auto parsed = json::parse(page);
    REQUIRE_MESSAGE(parsed.ok(), page);
    for (const auto& entry : parsed->find("entries")->items) {
      json::append(out, *entry.find(shown));
      out += ' ';
    }
    if (parsed->find("next")->is(json::Kind::null)) return out;
    after = parsed->find("next")->text;
    out += "| ";
  }
  return "no end";
}

}  // namespace

TEST_CASE_FIXTURE(Fixture, "errors come in the contract's order") {
  client.call("channel.join", "[\"" + kStranger + "\",\"far\"]");
  const std::string long_key(limits::kKeyBytesMax + 1, 'k');
  const std::string big = "\"" + std::string(limits::kValueBytesMax, 'x') + "\"";
  CHECK(client.call("kv.nothing", "{}") == "error -32601");
  CHECK(client.call("kv.put", R"(["nowhere","",1])") == "error -32602");
  CHECK(client.call("kv.put", R"(["nowhere","k",{"/":1}])") == "error -32602");
  CHECK(client.call("kv.put", R"(["nowhere","k",1e999])") == "error -32602");
  CHECK(client.call("kv.put", R"(["nowhere","k",1,0])") == "error -32602");
  CHECK(client.call("kv.put", R"(["nowhere","k",1,null,""])") == "error -32602");
  CHECK(client.call("kv.put", "[\"nowhere\",\"k\",1,null,\"" + std::string(65, 'r') + "\"]") ==
        "error -32602");
  for (const std::string bad : {"", "/nowhere", "/ptwop/x", "a\\u0001"})
    CHECK(client.call("kv.get", "[\"" + bad + "\",\"k\"]") == "error -32602");
  CHECK(client.call("kv.put", "[\"nowhere\",\"" + long_key + "\",1]") == "error 101");
  CHECK(client.call("kv.get", "[\"nowhere\",\"" + long_key + "\"]") == "error 101");
  CHECK(client.call("kv.get", "[\"" + kStranger + "x\",\"k\"]") == "error -32602");
  for (const std::string& far : {std::string("far"), kStranger}) {
    CHECK(client.call("kv.put", "[\"" + far + "\",\"" + long_key + "\",1]") == "error 301");
    CHECK(client.call("kv.get", "[\"" + far + "\",\"" + long_key + "\"]") == "error 301");
  }
  CHECK(client.call("kv.put", "[\"log\",\"k\"," + big + "]") == "error 103");
  CHECK(client.call("kv.get", R"(["log","k"])") == "error 103");
  CHECK(client.call("kv.put", "[\"kv\",\"k\"," + big + "]") == "error 105");
  CHECK(client.call("kv.put", "[\"kv\",\"" + long_key + "\",1]") == "error 105");
  CHECK(client.call("kv.get", "[\"kv\",\"" + long_key + "\"]") == "error 105");
  CHECK(client.call("kv.del", "[\"kv\",\"" + long_key + "\"]") == "error 105");
  CHECK(client.call("count.get", "[\"count\",\"" + long_key + "\"]") == "error 105");
  CHECK(client.call("count.add", "[\"count\",\"" + long_key + "\"]") == "error 105");
  CHECK(client.call("log.add", "[\"log\"," + big + "]") == "error 105");
  CHECK(client.call("kv.del", R"(["kv","k"])") == "error 102");
  CHECK(client.call("count.add", R"({"channel":"count","by":1.0})") == "error -32602");
  CHECK(client.call("count.add", R"({"channel":"count","by":9223372036854775808})") ==
        "error -32602");
  // The longest that fits: five bytes of head in DAG-CBOR.
  CHECK(member(put("full", "\"value\":\"" + std::string(limits::kValueBytesMax - 5, 'x') + "\""),
               "at") != "");
  CHECK(put("full", "\"value\":\"" + std::string(limits::kValueBytesMax - 4, 'x') + "\"") ==
        "error 105");
}

TEST_CASE_FIXTURE(Fixture, "kv: what is not there, was deleted or has expired is 102") {
  CHECK(get("a") == "error 102");
  put("a", R"("value":{"b":[1,1.0,true,null,"é",{"/":{"bytes":"AAE"}}]})");
  CHECK(member(get("a"), "value") == R"({"b":[1,1.0,true,null,"é",{"/":{"bytes":"AAE"}}]})");
  CHECK(member(get("a"), "writer") == member(client.call("identity.show"), "id"));
  CHECK(member(client.call("kv.del", R"(["kv","a"])"), "at") != "");
  CHECK(get("a") == "error 102");
  CHECK(client.call("kv.del", R"(["kv","a"])") == "error 102");
  put("t", R"("value":1,"ttl_ms":60000)");
  CHECK(member(get("t"), "value") == "1");
  daemon.clock.ahead_ms += 60'001;
  CHECK(get("t") == "error 102");
  CHECK(client.call("kv.get", R"(["kv","t",true])") == "error 102");
  CHECK(entries_of(client.call("kv.list", R"(["kv"])")) == 0);
  const std::string nodes = member(client.call("channel.info", R"(["kv"])"), "nodes");
  CHECK(client.call("kv.del", R"(["kv","t"])") == "error 102");
  CHECK(member(client.call("channel.info", R"(["kv"])"), "nodes") == nodes);
  // A delete that follows a new put in the same turn meets that put.
  daemon.engine_thread.pause();
  client.send(R"({"jsonrpc":"2.0","id":1,"method":"kv.put","params":["kv","t",2]})"
              "\n"
              R"({"jsonrpc":"2.0","id":2,"method":"kv.del","params":["kv","t"]})"
              "\n");
  CHECK(client.quiet(50));
  daemon.engine_thread.resume();
  CHECK(client.line().find("\"at\"") != std::string::npos);
  CHECK(client.line().find("\"at\"") != std::string::npos);
  CHECK(get("t") == "error 102");
  CHECK(member(put("t", R"("value":3,"ttl_ms":9223372036854775807)"), "at") != "");
  CHECK(member(get("t"), "value") == "3");
}

TEST_CASE_FIXTURE(Fixture, "reads that are not in memory are done by the reader") {
  put("a", R"("value":1)");
  client.call("count.add", R"(["count"])");
  const std::string id = member(client.call("log.add", R"(["log","x"])"), "id");
  daemon.store.cold = true;
  CHECK(member(get("a"), "value") == "1");
  CHECK(get("b") == "error 102");
  CHECK(member(client.call("count.get", R"(["count"])"), "value") == "1");
  CHECK(member(client.call("log.get", "[\"log\",\"" + id + "\"]"), "value") == "x");
  CHECK(
      client
          .ask(
              R"([{"jsonrpc":"2.0","id":1,"method":"kv.get","params":["kv","b"]},{"jsonrpc":"2.0","method":"kv.get","params":["kv","b"]}])")
          .find("\"code\":102") != std::string::npos);
}

TEST_CASE_FIXTURE(Fixture, "kv.get shows siblings on request") {
  put("a", R"("value":1)");
  CHECK(member(client.call("kv.get", R"(["kv","a",true])"), "siblings") == "[]");
  CHECK(member(client.call("kv.get", R"(["kv","a",true])"), "value") == "1");
  CHECK(client.call("kv.get", R"(["kv","b",true])") == "error 102");
}

TEST_CASE_FIXTURE(Fixture, "kv.batch is all or nothing, and one node") {
  const auto batch = [&](const std::string& ops) {
    return client.call("kv.batch", R"({"channel":"kv","ops":)" + ops + "}");
  };
  const auto nodes = [&] {
    return std::stoi(member(client.call("channel.list"), "channels").empty()
                         ? "0"
                         : member(client.call("channel.info", R"(["kv"])"), "nodes"));
  };
  const int before = nodes();
  CHECK(
      member(
          batch(
              R"([{"put":{"key":"a","value":1}},{"put":{"key":"b","value":2,"ttl_ms":null}},{"del":{"key":"none"}}])"),
          "at") != "");
  CHECK(nodes() == before + 1);
  CHECK(member(batch(R"([{"del":{"key":"none"}}])"), "at") != "");
  for (const std::string wrong :
       {R"([])", R"([1])", R"([{}])", R"([{"put":{"key":"c","value":1},"del":{"key":"a"}}])",
        R"([{"put":{"key":"c"}}])", R"([{"put":{"key":"","value":1}}])",
        R"([{"put":{"key":"c","value":1}},{"put":{"key":"d","value":1,"more":1}}])",
        R"([{"put":{"key":"c","value":1,"ttl_ms":0}}])", R"([{"get":{"key":"c"}}])",
        R"([{"del":{"key":"a","value":1}}])", R"([{"put":{"key":"c","value":{"/":"x"}}}])",
        R"({"put":{"key":"c","value":1}})"})
    CHECK(batch(wrong) == "error -32602");
  const std::string half = "\"" + std::string(480 << 10, 'x') + "\"";
  CHECK(batch(R"([{"put":{"key":"c","value":)" + half + R"(}},{"put":{"key":"d","value":)" + half +
              "}}]") == "error 105");
  CHECK(batch(R"([{"put":{"key":"c","value":1}},{"put":{"key":"d","value":"x)" +
              std::string(limits::kValueBytesMax, 'x') + "\"}}]") == "error 105");
  CHECK(get("c") == "error 102");
  CHECK(member(get("b"), "value") == "2");
}

TEST_CASE_FIXTURE(Fixture, "the same request id writes once") {
  const std::string first = put("a", R"("value":1,"request":"r1")");
  CHECK(put("a", R"("value":2,"request":"r1")") == first);
  CHECK(member(get("a"), "value") == "1");
  const std::string add = R"({"channel":"count","by":5,"request":"c"})";
  const std::string sum = client.call("count.add", add);
  CHECK(client.call("count.add", add) == sum);
  CHECK(member(client.call("count.get", R"(["count"])"), "value") == "5");
  const std::string entry = client.call("log.add", R"({"channel":"log","value":1,"request":"l"})");
  CHECK(client.call("log.add", R"({"channel":"log","value":1,"request":"l"})") == entry);
}

TEST_CASE_FIXTURE(Fixture, "count") {
  CHECK(client.call("count.get", R"(["count"])") == R"({"value":0})");
  CHECK(member(client.call("count.add", R"({"channel":"count","by":9223372036854775807})"),
               "value") == "9223372036854775807");
  CHECK(client.call("count.add", R"({"channel":"count"})") == "error 106");
  CHECK(member(client.call("count.add", R"({"channel":"count","by":-9223372036854775808})"),
               "value") == "-1");
  CHECK(client.call("count.get", R"({"channel":"count","key":"default"})") == R"({"value":-1})");
}

TEST_CASE_FIXTURE(Fixture, "log") {
  const std::string id = member(client.call("log.add", R"(["log",{"n":1}])"), "id");
  CHECK(member(client.call("log.get", "[\"log\",\"" + id + "\"]"), "id") == id);
  CHECK(client.call("log.get", R"(["log","nope"])") == "error 102");
  CHECK(client.call("log.get", R"(["log",""])") == "error -32602");
  CHECK(member(client.call("log.del", "[\"log\",\"" + id + "\"]"), "at") != "");
  CHECK(member(client.call("log.del", "[\"log\",\"" + id + "\"]"), "at") != "");
  CHECK(client.call("log.get", "[\"log\",\"" + id + "\"]") == "error 102");
  CHECK(client.call("log.del", R"(["log","nope"])") == "error -32602");
}

TEST_CASE_FIXTURE(Fixture, "lists page in both directions, and a place belongs to its list") {
  for (const std::string key : {"b/1", "a", "b/2", "c", "b/3"}) {
    put(key, R"("value":1)");
    client.call("count.add", "[\"count\",\"" + key + "\"]");
    client.call("log.add", "[\"log\",\"" + key + "\"]");
  }
  CHECK(walk(client, "kv.list", R"("channel":"kv")", "key") == R"("a" "b/1" "b/2" "b/3" "c" )");
  CHECK(walk(client, "kv.list", R"("channel":"kv","limit":2)", "key") ==
        R"("a" "b/1" | "b/2" "b/3" | "c" )");
  CHECK(walk(client, "kv.list", R"("channel":"kv","limit":2,"reverse":true)", "key") ==
        R"("c" "b/3" | "b/2" "b/1" | "a" )");
  CHECK(walk(client, "kv.list", R"("channel":"kv","limit":3,"prefix":"b/")", "key") ==
        R"("b/1" "b/2" "b/3" )");
  CHECK(walk(client, "kv.list", R"("channel":"kv","limit":1,"prefix":"b/","reverse":true)",
             "key") == R"("b/3" | "b/2" | "b/1" )");
  CHECK(walk(client, "count.list", R"("channel":"count","limit":4)", "key") ==
        R"("a" "b/1" "b/2" "b/3" | "c" )");
  CHECK(walk(client, "log.list", R"("channel":"log","limit":3)", "value") ==
        R"("b/1" "a" "b/2" | "c" "b/3" )");
  CHECK(walk(client, "log.list", R"("channel":"log","limit":3,"reverse":true)", "value") ==
        R"("b/3" "c" "b/2" | "a" "b/1" )");
  for (const std::string limit : {"0", "-1", "1001"})
    CHECK(client.call("kv.list", R"({"channel":"kv","limit":)" + limit + "}") == "error -32602");

  const std::string next = member(client.call("kv.list", R"({"channel":"kv","limit":2})"), "next");
  const auto after = [&](const std::string& method, const std::string& params,
                         const std::string& place) {
    return client.call(method, "{" + params + ",\"after\":\"" + place + "\"}");
  };
  client.call("channel.create", R"(["kv2","kv"])");
  CHECK(entries_of(after("kv.list", R"("channel":"kv")", next)) == 3);
  CHECK(after("kv.list", R"("channel":"kv2")", next) == "error -32602");
  CHECK(after("kv.list", R"("channel":"kv","reverse":true)", next) == "error -32602");
  CHECK(after("kv.list", R"("channel":"kv","prefix":"b")", next) == "error -32602");
  CHECK(after("count.list", R"("channel":"count")", next) == "error -32602");
  CHECK(after("log.list", R"("channel":"log")", next) == "error -32602");
  for (const std::string& wrong :
       {std::string(""), std::string("x"), std::string("####"), next + "=", std::string(200, 'A')})
    CHECK(after("kv.list", R"("channel":"kv")", wrong) == "error -32602");
  const std::string address = member(client.call("channel.info", R"(["kv"])"), "address");
  CHECK(entries_of(after("kv.list", "\"channel\":\"" + address + "\"", next)) == 3);
}

TEST_CASE_FIXTURE(Fixture, "a page of big values ends early and goes on") {
  for (int i = 0; i < 8; ++i)
    put("k" + std::to_string(i), "\"value\":\"" + std::string(400 << 10, 'x') + "\"");
  const std::string page = client.call("kv.list", R"(["kv"])");
  CHECK(entries_of(page) < 8);
  CHECK(walk(client, "kv.list", R"("channel":"kv")", "key").find("\"k7\"") != std::string::npos);
}

TEST_CASE_FIXTURE(Fixture, "channels: what list, info, clock, wait, grant and members say") {
  CHECK(member(client.call("channel.join", "[\"" + kStranger + "\",\"far\"]"), "type") == "null");
  CHECK(client.call("channel.join", "[\"" + kStranger + "\",\"kv\"]") == "error 104");
  CHECK(client.call("channel.join", R"(["/ptwop/nothing","x"])") == "error -32602");
  CHECK(client.call("channel.create", R"(["kv","log"])") == "error 104");
  const std::string far = client.call("channel.info", R"(["far"])");
  CHECK(member(far, "readable") == "false");
  CHECK(member(far, "writable") == "false");
  CHECK(member(far, "type") == "null");
  CHECK(client.call("kv.list", R"(["far"])") == "error 301");
  const std::string at = member(put("a", R"("value":1)"), "at");
  CHECK(member(client.call("channel.clock", R"(["kv"])"), "at").find(at) != std::string::npos);
  CHECK(client.call("channel.wait", "[\"kv\",\"" + at + "\"]") == R"({"reached":true})");
  CHECK(client.call("channel.wait", "[\"kv\",[\"" + at + "\"],0]") == R"({"reached":true})");
  CHECK(client.call("channel.wait", R"(["far",[]])") == R"({"reached":true})");
  CHECK(client.call("channel.wait", "[\"far\",\"" + at + "\",20]") == "error 302");
  for (const std::string wrong : {R"(["kv","no token"])", R"(["kv",[1]])", R"(["kv",[],-1])",
                                  R"(["kv",[],1,"nobody"])", R"(["kv"])", R"(["kv",null])"})
    CHECK(client.call("channel.wait", wrong) == "error -32602");
  CHECK(client.call("channel.wait", R"(["nowhere",[]])") == "error 101");
  const std::string did = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK";
  CHECK(client.call("channel.grant", R"(["kv","nobody","read"])") == "error -32602");
  CHECK(client.call("channel.grant", "[\"kv\",\"" + did + "\",\"owner\"]") == "error -32602");
  CHECK(member(client.call("channel.grant", "[\"kv\",\"" + did + "\",\"write\"]"), "at") != "");
  CHECK(client.call("channel.members", R"(["kv"])")
            .find("{\"id\":\"" + did + "\",\"role\":\"write\"") != std::string::npos);
  CHECK(client.call("channel.leave", R"(["far"])") == R"({"left":true})");
  CHECK(client.call("channel.leave", R"(["far"])") == "error 101");
  CHECK(client.call("channel.revoke", "[\"kv\",\"" + did + "\"]") == "error -32601");
}

TEST_CASE_FIXTURE(Fixture, "a full disk refuses writes and not reads") {
  put("a", R"("value":1)");
  daemon.store.fail_commits = true;
  CHECK(put("a", R"("value":2)") == "error 501");
  CHECK(member(get("a"), "value") == "1");
  daemon.store.fail_commits = false;
  CHECK(member(put("a", R"("value":3)"), "at") != "");
  CHECK(member(get("a"), "value") == "3");
}

TEST_CASE("what was no good as it came from Kubo is counted") {
  Daemon daemon;
  Client client(daemon);
  CHECK(member(client.call("system.stats"), "refused") == "{}");
  daemon.on_loop([&] { daemon.backend.kubo_refused = [] { return uint64_t{3}; }; });
  CHECK(member(client.call("system.stats"), "refused") == R"({"kubo":3})");
  daemon.on_loop([&] { daemon.backend.messages_dropped = [] { return uint64_t{7}; }; });
  CHECK(member(client.call("system.stats"), "messages").find(R"("dropped":7)") !=
        std::string::npos);
}
