// Any text or bytes as CIDs and multibase: what is read is written the same way.
#include "ipld/cid.h"
#include "fuzz.h"
#include "ipld/multibase.h"

using namespace ptwop;

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const BytesView in = fuzz::view(data, size);
  if (const auto cid = ipld::Cid::from_text(in))
    fuzz::expect(cid->text() == in, "our CIDs have one text");
  if (const auto cid = ipld::Cid::from_bytes(in))
    fuzz::expect(cid->bytes() == in, "and one binary form");
  if (const auto bytes = ipld::cid_bytes_from_text(in)) {
    const auto text = ipld::cid_text_from_bytes(*bytes);
    fuzz::expect(text.ok(), "a CID that was read has a text");
    fuzz::expect(*ipld::cid_bytes_from_text(*text) == *bytes, "that means the same");
  }
  fuzz::expect(ipld::valid_cid_bytes(in) == ipld::cid_text_from_bytes(in).ok(),
               "valid is what can be shown");
  if (const auto bytes = ipld::from_base32(in))
    fuzz::expect(ipld::from_base32(ipld::to_base32(*bytes)) == *bytes, "base32");
  if (const auto bytes = ipld::from_base58(in))
    fuzz::expect(ipld::to_base58(*bytes) == in, "base58");
  (void)ipld::from_multibase(in);
  if (size <= 128)
    fuzz::expect(ipld::from_base58(ipld::to_base58(in)) == Bytes(in), "base58 there and back");
  return 0;
}
