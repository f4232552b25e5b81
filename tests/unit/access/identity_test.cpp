#include "access/identity.h"

#include <doctest/doctest.h>

using namespace ptwop;
using access::Identity;

namespace {

Identity identity(uint8_t last) {
  Bytes seed(31, '\0');
  seed += static_cast<char>(last);
  return std::move(*Identity::from_seed(seed));
}

}  // namespace

// https://w3c-ccg.github.io/did-method-key/#ed25519-x25519 and its file of test vectors: seeds and
// the keys of them.
TEST_CASE("did:keys are those of the specification's vectors") {
  const std::string_view dids[] = {"did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp",
                                   "did:key:z6MkjchhfUsD6mmvni8mCdXHw216Xrm9bQe2mBH1P5RDjVJG",
                                   "did:key:z6MknGc3ocHs3zdPiJbnaaqDi58NGb4pk1Sp9WxWufuXSdxf"};
  for (uint8_t i = 0; i < 3; ++i) {
    const Identity id = identity(i);
    CHECK(id.did() == dids[i]);
    CHECK(*access::key_from_did(dids[i]) == id.key());
    CHECK(identity(i).seed() == id.seed());
  }
}

TEST_CASE("a did that is not the one form of an Ed25519 key is refused") {
  const std::string did = identity(1).did();
  for (const std::string& text :
       {std::string(), std::string("did:key:z"), did + "1", did + " ",
        did.substr(0, did.size() - 1), "did:key:" + did.substr(9), "did:web:" + did.substr(8),
        "did:key:z1" + did.substr(9), "DID" + did.substr(3),
        did.substr(0, 12) + "0" + did.substr(13),
        std::string("did:key:z6LSeu9HkTHSfLLeUs2nnzUSNedgDUevfNQgQjQC23ZCit6F"),  // X25519
        std::string("did:key:zQ3shokFTS3brHcDQrn82RUDfCZESWL1ZdCEJwekUDPQiYBme"),
        "did:key:z" + std::string(1000, '6')})
    CHECK_MESSAGE(!access::key_from_did(text).ok(), text);
  access::PublicKey small;  // of small order: nothing can be sealed to it
  CHECK_FALSE(access::key_from_did(access::did_from(small)).ok());
  small.raw[0] = 1;
  CHECK_FALSE(access::key_from_did(access::did_from(small)).ok());
}

TEST_CASE("a signature holds for its key, kind and bytes only") {
  const Identity a = identity(1), b = identity(2);
  const auto signature = a.sign("node", "text");
  CHECK(access::verify(a.key(), "node", "text", signature));
  CHECK_FALSE(access::verify(b.key(), "node", "text", signature));
  CHECK_FALSE(access::verify(a.key(), "message", "text", signature));
  CHECK_FALSE(access::verify(a.key(), "node", "texx", signature));
  for (size_t i = 0; i < signature.raw.size(); i += 7) {
    auto other = signature;
    other.raw[i] ^= 4;
    CHECK_FALSE(access::verify(a.key(), "node", "text", other));
  }
}

TEST_CASE("what is sealed to a key opens with its private half only") {
  const Identity a = identity(1), b = identity(2);
  const auto sealed = access::seal(a.key(), "secret");
  REQUIRE(sealed.ok());
  CHECK(sealed->find("secret") == Bytes::npos);
  CHECK(*a.open(*sealed) == "secret");
  CHECK_FALSE(b.open(*sealed));
  for (size_t i = 0; i < sealed->size(); ++i) {
    Bytes other = *sealed;
    other[i] = static_cast<char>(other[i] ^ 1);
    CHECK_FALSE(a.open(other));
    CHECK_FALSE(a.open(sealed->substr(0, i)));
  }
  CHECK(*access::seal(a.key(), "secret") != *sealed);
  CHECK_FALSE(access::seal({}, "secret").ok());
}

TEST_CASE("an identity moves, and a wrong length makes none") {
  Identity a = identity(1);
  const std::string did = a.did();
  Identity b = std::move(a);
  CHECK(b.did() == did);
  CHECK(access::verify(b.key(), "k", "t", b.sign("k", "t")));
  b = identity(2);
  CHECK(access::verify(b.key(), "k", "t", b.sign("k", "t")));
  for (const size_t size : {0u, 31u, 33u, 64u})
    CHECK_FALSE(Identity::from_seed(Bytes(size, 'x')).ok());
}
