#include "ctl/render.h"

#include <doctest/doctest.h>

#include <cstdlib>
#include <ctime>

using namespace ptwop;
using namespace ptwop::ctl;

namespace {

json::Value parsed(std::string_view text) { return *json::parse(text); }
std::string raw(std::string_view text) { return render_raw(parsed(text)); }
std::string human(std::string_view text, size_t columns = 100) {
  return render_human(parsed(text), columns);
}

}  // namespace

TEST_CASE("a list of objects is a table with aligned columns") {
  CHECK(
      human(
          R"({"entries":[{"key":"a","value":"x"},{"key":"long key","value":{"n":1}}],"next":"p"})") ==
      "KEY       VALUE\na         x\nlong key  {\"n\":1}\n");
  CHECK(human(R"({"entries":[{"key":"漢","value":1},{"key":"abc","value":2}],"next":null})") ==
        "KEY  VALUE\n漢   1\nabc  2\n");
  CHECK(human(R"({"channels":[]})").empty());
  CHECK(human(R"({"at":["t1","t2"]})") == "t1\nt2\n");
}

TEST_CASE("long values are cut to the width, ids never") {
  const std::string id(60, 'i');
  const std::string value(200, 'v');
  const std::string out =
      human(R"({"entries":[{"id":")" + id + R"(","value":")" + value + R"("}],"next":null})", 80);
  CHECK(out.find(id) != std::string::npos);
  CHECK(out.find(value) == std::string::npos);
  CHECK(out.find("vv…") != std::string::npos);
}

TEST_CASE("stored data does not reach the terminal's ear") {
  const std::string out =
      human(R"({"entries":[{"key":"a\u001b]0;x\u0007","value":"\u009b31m\n"}],"next":null})");
  CHECK(out.find('\x1b') == std::string::npos);
  CHECK(out.find('\x07') == std::string::npos);
  CHECK(out.find("\xc2\x9b") == std::string::npos);
  CHECK(human(R"({"value":"a\nb","writer":"w"})") == "value   a\\nb\nwriter  w\n");
  CHECK(human(R"({"\u001bname":1})").find('\x1b') == std::string::npos);
}

TEST_CASE("fields, then tables") {
  CHECK(
      human(
          R"({"name":"n","ok":true,"none":null,"kubo":{"state":"offline","v":null},"peers":[{"id":"p"}],"lists":[]})") ==
      "name  n\nok    yes\nnone  -\nkubo  state offline, v -\n\npeers:\nID\np\n");
}

TEST_CASE("times are dates") {
  ::setenv("TZ", "UTC", 1);
  ::tzset();
  CHECK(local_time(1795259036000) == "2026-11-21 11:03:56");
  CHECK(human(R"({"value":1,"time_ms":1795259036000})") ==
        "value  1\ntime   2026-11-21 11:03:56\n");
  CHECK(human(R"({"timeout_ms":5})") == "timeout_ms  5\n");
}

TEST_CASE("--raw shows the value alone") {
  CHECK(raw(R"({"value":"hello","writer":"w","time_ms":1})") == "hello\n");
  CHECK(raw(R"({"value":[1,"a"],"writer":"w"})") == "[1,\"a\"]\n");
  CHECK(raw(R"({"value":1.0,"writer":"w"})") == "1.0\n");
  CHECK(raw(R"({"value":null,"writer":"w"})") == "null\n");
  CHECK(raw(R"({"value":{"/":{"bytes":"/wAK"}},"writer":"w"})") == std::string("\xff\0\n", 3));
  CHECK(raw(R"({"value":{"/":"bafy"},"writer":"w"})") == "{\"/\":\"bafy\"}\n");
  CHECK(raw(R"({"id":"i","at":"t"})") == "i\n");
  CHECK(raw(R"({"at":"t"})") == "t\n");
  CHECK(raw(R"({"at":["t","u"]})") == "t\nu\n");
  CHECK(raw(R"({"name":"n","address":"/ptwop/x","type":"kv"})") == "/ptwop/x\n");
  CHECK(raw(R"({"entries":[{"key":"a","value":"x"},{"key":"b","value":[]}],"next":null})") ==
        "x\n[]\n");
  CHECK(raw(R"({"channels":[{"name":"n","address":"a"}]})") == "n\n");
  CHECK(raw(R"({"members":[{"id":"d","role":"read"}]})") == "d\n");
  CHECK(raw(R"({"version":"1","kubo":{}})") == "{\"version\":\"1\",\"kubo\":{}}\n");
}
