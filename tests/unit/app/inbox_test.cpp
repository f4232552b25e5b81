#include "app/inbox.h"

#include <doctest/doctest.h>

using ptwop::app::Inbox;

TEST_CASE("what is too much is dropped and counted, and what leaves makes room") {
  Inbox inbox;
  constexpr size_t kLarge = 1 << 20;
  for (size_t bytes = 0; bytes < Inbox::kBytesMax; bytes += kLarge) REQUIRE(inbox.enter(kLarge));
  CHECK(inbox.dropped() == 0);
  CHECK_FALSE(inbox.enter(1));
  CHECK_FALSE(inbox.enter(kLarge));
  CHECK(inbox.dropped() == 2);
  inbox.leave(kLarge);
  CHECK(inbox.enter(kLarge));
  CHECK_FALSE(inbox.enter(1));
  CHECK(inbox.dropped() == 3);
}
