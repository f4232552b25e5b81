// Framing, limits, ids, batches and hostile input, over a real socket.
#include "daemon.h"

using namespace ptwop;
using namespace ptwop::test;

namespace {

const std::string kReady = R"({"jsonrpc":"2.0","id":7,"method":"system.ready"})";
const std::string kReadyAnswer = R"({"jsonrpc":"2.0","id":7,"result":{"ready":true,"reason":""}})";

std::string with_id(const std::string& id) {
  return R"({"jsonrpc":"2.0","id":)" + id + R"(,"method":"system.ready"})";
}

/// The error's code, and "null" or the id that came back.
std::string code_and_id(const std::string& answer) {
  const auto parsed = json::parse(answer);
  if (!parsed.ok() || !parsed->find("error")) return answer;
  std::string id;
  json::append(id, *parsed->find("id"));
  return parsed->find("error")->find("code")->text + " " + id;
}

std::string error_of(Client& client, const std::string& request) {
  return code_and_id(client.ask(request));
}

}  // namespace

TEST_CASE("a request is answered in one line without white space") {
  Daemon daemon;
  Client client(daemon);
  CHECK(client.ask(kReady) == kReadyAnswer);
  CHECK(client.ask(" {\t\"method\" : \"system.ready\", \"id\" : 7, \"jsonrpc\" : \"2.0\", "
                   "\"params\": [] }\r") == kReadyAnswer);
  CHECK(error_of(client, R"({"jsonrpc":"2.0","id":1,"method":"no.such"})") == "-32601 1");
  CHECK(client.ask(R"({"jsonrpc":"2.0","id":1,"method":"no.such"})")
            .find(R"("data":{"kind":"method_not_found","retryable":false}})") != std::string::npos);
}

TEST_CASE("an id's bytes come back unchanged") {
  Daemon daemon;
  Client client(daemon);
  for (const std::string id :
       {"null", "0", "-0", "1.0", "1e400", "123456789012345678901234567890", "\"\"", "\"a\"",
        "\"\\u0061\\/\\n\"", "\"\xC3\xA9\"", "\"\\ud83d\\ude00\"", "\"\\\"}\""}) {
    const std::string answer = client.ask(with_id(id));
    CHECK(answer == R"({"jsonrpc":"2.0","id":)" + id + R"(,"result":{"ready":true,"reason":""}})");
    CHECK(client.ask("[" + kReady + "," + with_id(id) + "]") ==
          "[" + kReadyAnswer + "," + answer + "]");
  }
  // A name may be written with escapes too, and another member may look like an id.
  CHECK(client.ask(R"({"jsonrpc":"2.0","x":{"id":"\n"},"\u0069d":"\t","method":"system.ready"})")
            .find(R"("id":"\t")") != std::string::npos);
  for (const std::string id : {"true", "{}", "[1]"})
    CHECK(error_of(client, with_id(id)) == "-32600 null");
}

TEST_CASE("a notification is not answered") {
  Daemon daemon;
  Client client(daemon);
  client.send(R"({"jsonrpc":"2.0","method":"system.ready"})"
              "\n");
  client.send(R"({"jsonrpc":"2.0","method":"no.such"})"
              "\n");
  client.send(R"({"jsonrpc":"2.0","method":"system.stats"})"
              "\n");
  client.send(R"({"jsonrpc":"2.0","method":"kv.get","params":{}})"
              "\n");
  CHECK(client.ask(kReady) == kReadyAnswer);
}

TEST_CASE("what is no request is refused, and the next request is not affected") {
  Daemon daemon;
  Client client(daemon);
  for (const std::string broken : {"{", "nonsense", "{\"jsonrpc\":\"2.0\",}", "{} {}",
                                   "{\"id\":\"\xFF\"}", "{\"id\":\"\\ud800\"}", "{\"a\":1,\"a\":2}",
                                   "[{\"a\":1,\"\\u0061\":2}]", "\"\x01\"", "01", "]"})
    CHECK(error_of(client, broken) == "-32700 null");
  for (const std::string wrong : {"1", "\"text\"", "null", "{}", "[]",
                                  R"({"jsonrpc":"1.0","id":null,"method":"system.ready"})",
                                  R"({"jsonrpc":"2.0","method":1})"})
    CHECK(error_of(client, wrong) == "-32600 null");
  CHECK(error_of(client, R"({"jsonrpc":"2.0","id":4})") == "-32600 4");
  CHECK(error_of(client, R"({"id":4,"method":"system.ready"})") == "-32600 4");
  CHECK(error_of(client, R"({"jsonrpc":"2.0","id":4,"method":"system.ready","params":1})") ==
        "-32600 4");
  CHECK(client.ask(kReady) == kReadyAnswer);
  CHECK(member(member(client.call("system.stats"), "refused"), "parse_error") == "11");
}

TEST_CASE("parameters come by name or by place") {
  Daemon daemon;
  Client client(daemon);
  const auto create = [&](const std::string& params) {
    return client.call("channel.create", params);
  };
  CHECK(member(create(R"({"name":"a","type":"kv"})"), "name") == "a");
  CHECK(member(create(R"({"name":"b","type":"kv","public":null})"), "name") == "b");
  CHECK(member(create(R"(["c","kv"])"), "name") == "c");
  CHECK(member(create(R"(["d","kv",null])"), "name") == "d");
  for (const std::string wrong :
       {R"(["e","kv",false,null])", R"({"name":"e","type":"kv","extra":null})", R"({"name":"e"})",
        R"({"name":null,"type":"kv"})", R"({"name":1,"type":"kv"})",
        R"({"name":"e","type":"kv","public":1})", R"({"name":"e","type":"nosuch"})", R"([])",
        R"({"name":"/e","type":"kv"})", R"({"name":"","type":"kv"})",
        R"({"name":"a\u0085","type":"kv"})"})
    CHECK(create(wrong) == "error -32602");
  CHECK(create(R"({"name":"a","type":"log"})") == "error 104");
  // For `value` a null is a value.
  CHECK(member(client.call("kv.put", R"({"channel":"a","key":"k","value":null})"), "at") != "");
  CHECK(member(client.call("kv.get", R"(["a","k"])"), "value") == "null");
  CHECK(client.call("kv.put", R"({"channel":"a","key":"k"})") == "error -32602");
  CHECK(client.call("kv.list", R"({"channel":"a","limit":1.0})") == "error -32602");
}

TEST_CASE("batches") {
  Daemon daemon;
  Client client(daemon);
  const auto batch = [&](size_t size) {
    std::string out = "[";
    for (size_t i = 0; i < size; ++i) out += (i ? "," : "") + kReady;
    return out + "]";
  };
  CHECK(error_of(client, "[]") == "-32600 null");
  CHECK(error_of(client, batch(101)) == "-32600 null");
  const auto full = json::parse(client.ask(batch(100)));
  REQUIRE(full.ok());
  CHECK(full->items.size() == 100);
  // Errors in their places, notifications left out, nothing at all for notifications only.
  const auto mixed =
      json::parse(client.ask("[1," + kReady + R"(,{"jsonrpc":"2.0","method":"system.ready"},{}])"));
  REQUIRE(mixed.ok());
  CHECK(mixed->items.size() == 3);
  client.send(
      R"([{"jsonrpc":"2.0","method":"system.ready"},{"jsonrpc":"2.0","method":"system.stats"}])"
      "\n");
  CHECK(client.ask(kReady) == kReadyAnswer);
  // Those that take longer are waited for.
  const auto slow = json::parse(
      client.ask(R"([{"jsonrpc":"2.0","id":1,"method":"system.info"},)" + kReady + "]"));
  REQUIRE(slow.ok());
  CHECK(slow->items.size() == 2);
}

TEST_CASE("a line of 4 MiB is taken, a longer one ends the connection") {
  Daemon daemon;
  const size_t limit = 4 << 20;
  Client good(daemon);
  CHECK(good.ask(kReady + std::string(limit - kReady.size(), ' ')) == kReadyAnswer);
  CHECK(good.ask(kReady) == kReadyAnswer);
  Client bad(daemon);
  bad.send(kReady + "\n" + kReady + std::string(limit - kReady.size() + 1, ' '));
  CHECK(bad.line() == kReadyAnswer);
  CHECK(code_and_id(bad.line()) == "-32600 null");
  CHECK(bad.line() == "<end>");
  Client endless(daemon);
  endless.send(std::string(2 * limit, 'x'));
  CHECK(code_and_id(endless.line()) == "-32600 null");
  CHECK(endless.line() == "<end>");
}

TEST_CASE("64 brackets are taken, a 65th ends the connection, also before the line ends") {
  Daemon daemon;
  Client good(daemon);
  const auto nested = [](size_t depth) {
    return std::string(depth, '[') + "1" + std::string(depth, ']');
  };
  // The request's own bracket is the first.
  const std::string head = R"({"jsonrpc":"2.0","id":7,"method":"system.ready","x":)";
  CHECK(good.ask(head + nested(63) + "}") == kReadyAnswer);
  CHECK(good.ask(R"({"jsonrpc":"2.0","id":7,"method":"system.ready","x":")" +
                 std::string(100, '[') + "\"}") == kReadyAnswer);
  CHECK(good.ask(R"({"jsonrpc":"2.0","id":7,"method":"system.ready","x":")" +
                 std::string(100, '{') + "\\\"[\"}") == kReadyAnswer);
  CHECK(good.ask(head + "[" + nested(1) + std::string(100, ' ') + "]}") == kReadyAnswer);
  for (const std::string& deep : {head + nested(64) + "}\n", "[" + head + nested(63) + "}]\n",
                                  std::string(65, '['), std::string(100, '{') + "\n"}) {
    Client client(daemon);
    client.send(deep);
    CHECK(code_and_id(client.line()) == "-32600 null");
    CHECK(client.line() == "<end>");
  }
  Client flat(daemon);
  std::string wide = head + "[";
  for (int i = 0; i < 200; ++i) wide += "[],";
  CHECK(flat.ask(wide + "[]]}") == kReadyAnswer);
}

TEST_CASE("requests may come in pieces and many at once; blank lines are nothing") {
  Daemon daemon;
  Client client(daemon);
  for (const char c : kReady + "\n\n \r\n") client.send(std::string(1, c));
  CHECK(client.line() == kReadyAnswer);
  std::string many;
  for (int i = 0; i < 1000; ++i) many += with_id(std::to_string(i)) + "\n";
  client.send(many);
  for (int i = 0; i < 1000; ++i)
    CHECK(client.line() == R"({"jsonrpc":"2.0","id":)" + std::to_string(i) +
                               R"(,"result":{"ready":true,"reason":""}})");
  CHECK(client.quiet(50));
}

TEST_CASE("a client that shuts its sending side still gets its answers") {
  Daemon daemon;
  Client client(daemon);
  client.send(R"({"jsonrpc":"2.0","id":1,"method":"channel.create","params":["a","kv"]})"
              "\n");
  client.send(R"({"jsonrpc":"2.0","id":2,"method":"kv.put","params":["a","k",1]})"
              "\n");
  client.send(kReady);  // without a newline
  client.shut();
  size_t answers = 0;
  std::string line;
  while ((line = client.line()).starts_with('{')) {
    CHECK(line.find("result") != std::string::npos);
    ++answers;
  }
  CHECK(answers == 3);
  CHECK(line == "<end>");
}

TEST_CASE("writes of one connection take effect in order, also in one turn") {
  Daemon daemon;
  Client client(daemon);
  daemon.engine_thread.pause();
  std::string all = R"({"jsonrpc":"2.0","id":0,"method":"channel.create","params":["a","kv"]})"
                    "\n";
  for (int i = 1; i <= 40; ++i)
    all += R"({"jsonrpc":"2.0","id":)" + std::to_string(i) +
           R"(,"method":"kv.put","params":["a","k",)" + std::to_string(i) + "]}\n";
  all += R"({"jsonrpc":"2.0","id":41,"method":"kv.put","params":["a","gone",1]})"
         "\n";
  all += R"({"jsonrpc":"2.0","id":42,"method":"kv.del","params":["a","gone"]})"
         "\n";
  all += R"({"jsonrpc":"2.0","id":43,"method":"kv.del","params":["a","gone"]})"
         "\n";
  client.send(all);
  CHECK(client.quiet(100));
  daemon.engine_thread.resume();
  std::string refused;
  for (int i = 0; i <= 43; ++i)
    if (const std::string line = client.line(); line.find("error") != std::string::npos)
      refused += code_and_id(line) + ";";
  CHECK(refused == "102 43;");
  CHECK(member(client.call("kv.get", R"(["a","k"])"), "value") == "40");
  CHECK(client.call("kv.get", R"(["a","gone"])") == "error 102");
}

TEST_CASE("a batch of a hundred that must wait is done too") {
  Daemon daemon;
  Client client(daemon);
  std::string batch = "[";
  for (int i = 0; i < 100; ++i)
    batch += std::string(i ? "," : "") + R"({"jsonrpc":"2.0","id":)" + std::to_string(i) +
             R"(,"method":"system.info"})";
  const auto answers = json::parse(client.ask(batch + "]"));
  REQUIRE(answers.ok());
  CHECK(answers->items.size() == 100);
}

TEST_CASE("an answer that comes in the middle of a big batch waits for its end") {
  Daemon daemon;
  Client client(daemon);
  client.call("channel.create", R"(["a","kv"])");
  client.call("kv.put",
              R"({"channel":"a","key":"big","value":")" + std::string(500'000, 'x') + "\"}");
  daemon.engine_thread.pause();
  const std::string get = R"({"jsonrpc":"2.0","id":1,"method":"kv.get","params":["a","big"]})";
  const std::string info = R"({"jsonrpc":"2.0","id":2,"method":"system.info"})";
  client.send(info + "\n[" + get + "," + info + "," + get + "]\n");
  // The batch's beginning is here already.
  char first = 0;
  CHECK(recv(client.fd(), &first, 1, MSG_PEEK) == 1);
  CHECK(first == '[');
  daemon.engine_thread.resume();
  const auto batch = json::parse(client.line());
  REQUIRE(batch.ok());
  CHECK(batch->items.size() == 3);
  CHECK(client.line().starts_with(R"({"jsonrpc":"2.0","id":2,)"));
}

TEST_CASE("clients that vanish leave nothing behind") {
  Daemon daemon;
  for (int i = 0; i < 50; ++i) {
    Client client(daemon);
    client.send(R"({"jsonrpc":"2.0","id":1,"method":"system.info"})"
                "\n"
                R"({"jsonrpc")");
  }
  Client last(daemon);
  for (int i = 0;
       i < 100 && member(member(last.call("system.stats"), "queues"), "connections") != "1"; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  CHECK(member(member(last.call("system.stats"), "queues"), "connections") == "1");
  CHECK(member(member(last.call("system.stats"), "queues"), "in_flight") == "0");
}

TEST_CASE("while it starts or stops it says so") {
  Daemon daemon;
  Client client(daemon);
  daemon.on_loop([&] {
    daemon.backend.phase = rpc::Phase::starting;
    daemon.backend.reason = "opening storage";
  });
  CHECK(client.call("system.ready") == R"({"ready":false,"reason":"opening storage"})");
  CHECK(member(client.call("system.info"), "outbox") == "0");
  CHECK(client.call("channel.list") == "error -32002");
  CHECK(client.call("no.such") == "error -32601");
  CHECK(client.call("system.stop") == R"({"stopping":true})");
  CHECK(daemon.stopped);
  daemon.on_loop([&] { daemon.backend.phase = rpc::Phase::stopping; });
  CHECK(client.call("channel.list") == "error -32000");
  // What was taken but cannot be done any more is answered too.
  daemon.on_loop([&] { daemon.backend.phase = rpc::Phase::ready; });
  daemon.on_loop([&] { daemon.backend.submit = [](std::function<void(engine::Engine&)>) {}; });
  CHECK(client.call("channel.leave", R"(["a"])") == "error -32000");
}
