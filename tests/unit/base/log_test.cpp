#include "base/log.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <cstdio>
#include <regex>

using namespace ptwop;

namespace {

/// What `body` writes to stderr.
template <class Body>
std::string stderr_of(Body body) {
  std::FILE* file = std::tmpfile();
  const int saved = dup(STDERR_FILENO);
  dup2(fileno(file), STDERR_FILENO);
  body();
  dup2(saved, STDERR_FILENO);
  close(saved);
  std::rewind(file);
  std::string text;
  for (int c; (c = std::fgetc(file)) != EOF;) text += static_cast<char>(c);
  std::fclose(file);
  return text;
}

}  // namespace

TEST_CASE("a line has time, level, room, message and fields") {
  log::set_level(log::Level::info);
  const std::string line = stderr_of([] {
    log::info("kubo", "connected",
              {{"peer", "12D3"}, {"nodes", 7}, {"why", "two words"}, {"empty", ""}});
  });
  const std::regex form(
      R"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z info kubo: connected peer=12D3 nodes=7 why="two words" empty=""\n)");
  CHECK_MESSAGE(std::regex_match(line, form), line);
}

TEST_CASE("what strangers sent stays on its line") {
  log::set_level(log::Level::info);
  const std::string line = stderr_of([] {
    log::warn("sync", "bad\nmessage \x1b[31m", {{"from", "a\nb\x1b\xff\"\\"}});
  });
  CHECK(line.find('\n') == line.size() - 1);
  CHECK(line.find('\x1b') == line.npos);
  CHECK(line.ends_with("from=\"a\\nb\\u001b\xEF\xBF\xBD\\\"\\\\\"\n"));
}

TEST_CASE("levels") {
  CHECK(log::level_from("debug") == log::Level::debug);
  CHECK(log::level_from("error") == log::Level::error);
  CHECK_FALSE(log::level_from("Error"));
  log::set_level(log::Level::warn);
  const std::string text = stderr_of([] {
    log::debug("a", "hidden");
    log::info("a", "hidden");
    log::warn("a", "shown");
    log::error("a", "shown");
  });
  log::set_level(log::Level::info);
  CHECK(text.find("hidden") == text.npos);
  CHECK(std::count(text.begin(), text.end(), '\n') == 2);
}
