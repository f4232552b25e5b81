// Any bytes as a pack, an index and a root: what is accepted encodes to the same bytes, and is
// whole.
#include "list/pack.h"

#include "base/limits.h"
#include "fuzz.h"

using namespace ptwop;

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const BytesView in = fuzz::view(data, size);
  if (const auto items = list::decode_pack(in)) {
    fuzz::expect(list::encode_pack(*items) == in, "a pack has one encoding");
    for (const Bytes& item : *items)
      if (const ipld::Cid cid = list::linked(item)) {
        ipld::CborWriter w;
        fuzz::expect(w.link(cid).out() == item, "an item that is a link is nothing else");
      }
  }
  const auto follow = [](const std::vector<list::Run>& runs, uint64_t& number) {
    for (const list::Run& run : runs) {
      fuzz::expect(run.first == number + 1 && run.last.number >= run.first, "runs without a gap");
      number = run.last.number;
    }
  };
  if (const auto runs = list::decode_index(in)) {
    fuzz::expect(list::encode_index(*runs) == in, "an index has one encoding");
    fuzz::expect(!runs->empty() && runs->size() <= list::kIndexMax, "of so many runs");
    uint64_t number = runs->front().first - 1;
    follow(*runs, number);
  }
  if (const auto root = list::decode_root(in)) {
    fuzz::expect(list::encode(*root) == in, "a root has one encoding");
    fuzz::expect(root->levels.size() <= list::kLevelsMax, "of so many levels");
    uint64_t number = 0;
    for (size_t level = root->levels.size(); level-- > 0;) follow(root->levels[level], number);
    fuzz::expect(!root->tail.empty() && number + root->tail.size() == root->position.number &&
                     root->position.number <= limits::kNumberMax,
                 "the tail leads to the position");
  }
  return 0;
}
