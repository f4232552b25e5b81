#include "access/manifest.h"

#include <doctest/doctest.h>

using namespace ptwop;
using access::Identity;
using access::Manifest;

namespace {

const Identity& creator() {
  static const Identity id = std::move(*Identity::from_seed(Bytes(32, '\1')));
  return id;
}

Manifest manifest() {
  Manifest m;
  m.type = "kv";
  m.is_public = true;
  m.creator = creator().key();
  m.salt = Bytes(16, 's');
  m.created_ms = 1'700'000'000'000;
  return m;
}

}  // namespace

TEST_CASE("a manifest comes back as it was, also one of a type that is not known here") {
  for (const std::string type : {"kv", "raft"}) {
    Manifest m = manifest();
    m.type = type;
    const Bytes block = access::seal_manifest(m, creator());
    const auto back = access::read_manifest(block);
    REQUIRE(back.ok());
    CHECK(back->type == type);
    CHECK(back->is_public);
    CHECK(back->creator == m.creator);
    CHECK(back->salt == m.salt);
    CHECK(back->created_ms == m.created_ms);
    CHECK(back->cid == ipld::Cid::of(block));
    CHECK(back->cid == m.cid);
  }
}

TEST_CASE("a manifest that was changed, cut or lengthened anywhere is refused") {
  Manifest m = manifest();
  const Bytes block = access::seal_manifest(m, creator());
  for (size_t i = 0; i < block.size(); ++i) {
    CHECK_FALSE(access::read_manifest(block.substr(0, i)).ok());
    for (const int bit : {1, 16, 128}) {
      Bytes other = block;
      other[i] = static_cast<char>(other[i] ^ bit);
      CHECK_FALSE(access::read_manifest(other).ok());
    }
  }
  CHECK_FALSE(access::read_manifest(block + '\0').ok());
}

TEST_CASE("only the creator named in it signs it, and its members keep to their limits") {
  Manifest m = manifest();
  const Identity other = std::move(*Identity::from_seed(Bytes(32, '\2')));
  CHECK_FALSE(access::read_manifest(access::seal_manifest(m, other)).ok());
  for (const std::string& type : {std::string(), std::string(33, 't')}) {
    m.type = type;
    CHECK_FALSE(access::read_manifest(access::seal_manifest(m, creator())).ok());
  }
  m = manifest();
  m.salt = Bytes(17, 's');
  CHECK_FALSE(access::read_manifest(access::seal_manifest(m, creator())).ok());
}
