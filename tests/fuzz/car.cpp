// Any bytes as a CAR file, in pieces of any size: what is read, written again, is the same file,
// and nothing is read that is larger than the limits say.
#include "ipld/car.h"

#include <algorithm>

#include "fuzz.h"

using namespace ptwop;

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const BytesView in = fuzz::view(data, size);
  size_t at = 0;
  ipld::CarReader reader([&](char* to, size_t room) -> Result<size_t> {
    const size_t count = std::min(room, in.size() - at);
    in.copy(to, count, at);
    at += count;
    return count;
  });
  const auto roots = reader.roots();
  if (!roots) return 0;
  std::vector<ipld::Cid> own;
  for (const Bytes& root : *roots) {
    fuzz::expect(ipld::valid_cid_bytes(root), "a root is a CID");
    if (const auto cid = ipld::Cid::from_bytes(root)) own.push_back(*cid);
  }
  if (own.size() == roots->size())
    fuzz::expect(in.starts_with(ipld::car_header(own)), "a header has one form");
  for (;;) {
    const uint64_t before = reader.position();
    const auto block = reader.next();
    if (!block || !*block) break;
    fuzz::expect(ipld::valid_cid_bytes((*block)->cid), "a block has a CID");
    fuzz::expect((*block)->bytes.size() <= ipld::kCarSectionBytesMax, "a block is bounded");
    fuzz::expect(reader.position() > before && reader.position() <= in.size(), "it goes on");
    if (const auto cid = ipld::Cid::from_bytes((*block)->cid)) {
      Bytes again;
      ipld::append_car_block(again, *cid, (*block)->bytes);
      fuzz::expect(in.substr(before, again.size()) == again, "a block has one form");
    }
  }
  return 0;
}
