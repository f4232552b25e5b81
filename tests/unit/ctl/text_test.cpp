#include "ctl/text.h"

#include <doctest/doctest.h>

using namespace ptwop::ctl;

TEST_CASE("what a terminal acts on is shown, not sent") {
  CHECK(clean("plain ä 漢") == "plain ä 漢");
  CHECK(clean("a\x1b[31mb\x07") == "a\\u001b[31mb\\u0007");
  CHECK(clean("a\nb\tc\rd\x7f") == "a\\nb\\tc\\rd\\u007f");
  CHECK(clean("\xc2\x9b"
              "31m") == "\\u009b31m");  // CSI as one character
  CHECK(clean("\xe2\x80\xae"
              "txt.exe") == "\\u202etxt.exe");  // turns the direction
  CHECK(clean("\xff\xfe ok") == "\\xff\\xfe ok");
  CHECK(clean("\xe6\xbc") == "\\xe6\\xbc");  // cut off
  CHECK(clean(std::string("\0x", 2)) == "\\u0000x");
  CHECK(clean_lines("a\n\tb\x1b") == "a\n\tb\\u001b");
}

TEST_CASE("cleaned JSON is the same document") {
  CHECK(clean_json("{\"a\":\"\xc2\x9b\x7f ä\"}") == "{\"a\":\"\\u009b\\u007f ä\"}");
  CHECK(clean_json("\"\xf3\xa0\x81\x81\"") == "\"\\udb40\\udc41\"");  // U+E0041, a pair
  CHECK(clean_json("[1,2]") == "[1,2]");
}

TEST_CASE("columns") {
  CHECK(width("abc") == 3);
  CHECK(width("äöü") == 3);
  CHECK(width("漢字") == 4);
  CHECK(width("e\xcc\x81") == 1);
  CHECK(cut("abcdef", 6) == "abcdef");
  CHECK(cut("abcdefg", 6) == "abcde…");
  CHECK(cut("漢字漢字", 6) == "漢字…");
}

TEST_CASE("quoting for a shell") {
  CHECK(shell_quoted("a/b=c") == "a/b=c");
  CHECK(shell_quoted("") == "''");
  CHECK(shell_quoted("a b") == "'a b'");
  CHECK(shell_quoted("it's $HOME") == "'it'\\''s $HOME'");
}
