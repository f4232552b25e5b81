#include "sync/digest.h"

namespace ptwop::sync {

// Names of lists are hashes, and the lists of one part lie side by side.
size_t part_of(const list::ListId& list) { return list.raw[0] * kDigestParts / 256; }

Digest digest_of(const Holdings& holdings) {
  Digest out{};
  Bytes text;
  for (auto it = holdings.begin(); it != holdings.end();) {
    const size_t part = part_of(it->first);
    text.clear();
    for (; it != holdings.end() && part_of(it->first) == part; ++it) {
      text += it->first.view();
      append_be64(text, it->second.position.number);
      append_be64(text, it->second.position.tag);
      append_be64(text, it->second.cut);
    }
    out[part] = read_be64(ipld::sha256(text));
  }
  return out;
}

}  // namespace ptwop::sync
