// Any text as DAG-JSON: what is accepted becomes strict DAG-CBOR, and is the same after one more
// round.
#include "ipld/dag_json.h"
#include "fuzz.h"
#include "ipld/dag_cbor.h"

using namespace ptwop;

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto value = json::parse(fuzz::view(data, size));
  if (!value) return 0;
  std::string text;
  json::append(text, *value);
  fuzz::expect(json::parse(text).ok(), "what was parsed is written as JSON");
  const auto cbor = ipld::cbor_from_json(*value);
  if (!cbor) return 0;
  fuzz::expect(ipld::check_dag_cbor(*cbor).ok(), "it is strict");
  std::string shown;
  fuzz::expect(ipld::append_json_from_cbor(shown, *cbor).ok(), "it can be shown");
  const auto again = ipld::cbor_from_json(*json::parse(shown, 1000));
  fuzz::expect(again.ok() && *again == *cbor, "and read again");
  return 0;
}
