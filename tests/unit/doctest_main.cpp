#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include "base/log.h"

int main(int argc, char** argv) {
  ptwop::log::set_level(ptwop::log::Level::error);  // what is refused on purpose need not be read
  return doctest::Context(argc, argv).run();
}
