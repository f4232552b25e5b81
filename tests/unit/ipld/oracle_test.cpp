#include <doctest/doctest.h>

#include "ipld/dag_cbor.h"
#include "ipld/dag_json.h"
#include "oracle_vectors.h"

using namespace ptwop;

TEST_CASE("an independent encoder makes the same bytes") {
  for (const Vector& vector : kVectors) {
    CAPTURE(vector.json);
    const auto value = json::parse(vector.json);
    REQUIRE(value.ok());
    const auto cbor = ipld::cbor_from_json(*value);
    REQUIRE(cbor.ok());
    CHECK(hex(*cbor) == vector.cbor_hex);
    CHECK(ipld::check_dag_cbor(*cbor).ok());

    std::string shown;
    REQUIRE(ipld::append_json_from_cbor(shown, *cbor).ok());
    CHECK(*ipld::cbor_from_json(*json::parse(shown)) == *cbor);
  }
}
