#include "base/bytes.h"

#include <doctest/doctest.h>

#include <cctype>

using namespace ptwop;

TEST_CASE("integers are big-endian") {
  Bytes out;
  append_be32(out, 0x01020384);
  append_be64(out, 0xf102030405060708);
  CHECK(hex(out) == "01020384f102030405060708");
  CHECK(read_be32(out) == 0x01020384);
  CHECK(read_be64(BytesView(out).substr(4)) == 0xf102030405060708);
}

TEST_CASE("varints as in multiformats") {
  const std::pair<uint64_t, std::string_view> known[] = {
      {0, "00"},     {1, "01"},     {127, "7f"},       {128, "8001"},
      {255, "ff01"}, {300, "ac02"}, {16384, "808001"}, {INT64_MAX, "ffffffffffffffff7f"}};
  for (const auto& [value, text] : known) {
    Bytes out;
    append_varint(out, value);
    CHECK(hex(out) == text);
    out += 'x';
    BytesView in = out;
    CHECK(read_varint(in) == value);
    CHECK(in == "x");
  }
  for (const std::string_view text : {"", "80", "ffffffffffffffffff01", "8000", "ff00", "818000"}) {
    const Bytes bytes = *from_hex(text);
    BytesView in = bytes;
    CHECK_FALSE(read_varint(in));
    CHECK(in.size() == bytes.size());
  }
}

TEST_CASE("base64 has one form") {
  CHECK(base64("") == "");
  CHECK(base64("f") == "Zg");
  CHECK(base64("foobar") == "Zm9vYmFy");
  CHECK(base64("\xfb\xff\xfe") == "+//+");
  CHECK(base64url("\xfb\xff\xfe") == "-__-");
  CHECK(from_base64("Zm9vYg") == "foob");
  CHECK(from_base64("+//+") == "\xfb\xff\xfe");
  CHECK(from_base64url("-__-") == "\xfb\xff\xfe");
  CHECK(from_base64("") == "");
  for (int c = 1; c < 256; ++c) {
    const std::string text{'A', 'A', static_cast<char>(c), 'A'};
    const bool both = std::isalnum(c) && c < 0x80;
    CHECK(from_base64(text).has_value() == (both || c == '+' || c == '/'));
    CHECK(from_base64url(text).has_value() == (both || c == '-' || c == '_'));
  }
  for (const std::string_view text :
       {"Zg==", "Z", "Zh", "Zm9vYh", "Z g", "Zg\n", "-__-", "Zm9*", "Zm9vY"})
    CHECK_FALSE(from_base64(text));
  CHECK_FALSE(from_base64url("+//+"));
  CHECK_FALSE(from_base64(std::string_view("Zg\0", 3)));
}

TEST_CASE("hex") {
  CHECK(hex(std::string_view("\0\xff", 2)) == "00ff");
  CHECK(from_hex("00Ff") == std::string("\0\xff", 2));
  CHECK(from_hex("") == "");
  for (const std::string_view text : {"0", "0g", "00 ", "0x00"}) CHECK_FALSE(from_hex(text));
}

TEST_CASE("UTF-8") {
  for (const std::string_view text :
       {"", "a", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80", "\xf4\x8f\xbf\xbf"})
    CHECK(valid_utf8(text));
  for (const std::string_view text :
       {"\x80", "\xc0\x80", "\xc3", "\xe0\x80\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xff"})
    CHECK_FALSE(valid_utf8(text));
  CHECK(valid_utf8(std::string_view("\0", 1)));
}
