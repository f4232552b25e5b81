// Any bytes as DAG-CBOR: what is accepted is shown as DAG-JSON and comes back from it byte for
// byte, if our RPC could have made it at all.
#include "ipld/dag_cbor.h"
#include "fuzz.h"
#include "ipld/dag_json.h"

using namespace ptwop;

namespace {

// What append_json_from_cbor says cannot come from our RPC: the name `/`, and integers beyond
// int64.
bool foreign(ipld::CborReader& r) {
  switch (r.peek()) {
    case ipld::CborKind::array: {
      bool found = false;
      for (size_t n = r.array(); n > 0; --n) found |= foreign(r);
      return found;
    }
    case ipld::CborKind::map: {
      bool found = false;
      for (size_t n = r.map(); n > 0; --n) {
        found |= r.key() == "/";
        found |= foreign(r);
      }
      return found;
    }
    case ipld::CborKind::uint:
    case ipld::CborKind::nint:
      return r.magnitude() > INT64_MAX;
    default:
      r.item();
      return false;
  }
}

}  // namespace

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const BytesView bytes = fuzz::view(data, size);
  std::string text;
  const bool strict = ipld::check_dag_cbor(bytes).ok();
  const bool shown = ipld::append_json_from_cbor(text, bytes).ok();
  fuzz::expect(strict == shown, "what is strict can be shown");
  ipld::CborReader item(bytes);
  fuzz::expect((item.item().size() == size && item.ok() && size > 0) == strict,
               "one item is the whole of it");
  ipld::CborReader walk(bytes);
  if (!strict || foreign(walk)) return 0;
  const auto value = json::parse(text, 1000);
  fuzz::expect(value.ok(), "it is JSON");
  const auto again = ipld::cbor_from_json(*value);
  fuzz::expect(again.ok() && *again == bytes, "JSON gives the same bytes again");
  return 0;
}
