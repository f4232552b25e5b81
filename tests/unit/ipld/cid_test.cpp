#include "ipld/cid.h"

#include <doctest/doctest.h>

using namespace ptwop;
using ipld::Cid;

namespace {

// `ipfs cid format` of one CID: the directory of Kubo's readme.
constexpr std::string_view kV0 = "QmQPeNsJPyVWPFDVHb77w8G42Fvo15z4bG2X8D2GhfbSXc";
constexpr std::string_view kV1Base32 =
    "bafybeia6po64b6tfqq73lckadrhpihg2oubaxgqaoushquhcek46y3zumm";

}  // namespace

TEST_CASE("the CID of a block") {
  // `ipfs dag put --input-codec dag-cbor` of the bytes a0 (an empty map).
  CHECK(Cid::of("\xa0").text() == "bafyreigbtj4x7ip5legnfznufuopl4sg4knzc2cof6duas4b3q2fy6swua");
  CHECK(hex(ipld::sha256("abc")) ==
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CHECK(hex(Cid::of("abc").bytes()) ==
        "01711220ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CHECK(Cid::of("abc").tag() == 0xba7816bf8f01cfea);
  CHECK_FALSE(Cid());
  CHECK(Cid::of("abc"));
}

TEST_CASE("only our own kind is a Cid, in one form of text") {
  const Cid cid = Cid::of("x");
  CHECK(*Cid::from_text(cid.text()) == cid);
  CHECK(*Cid::from_bytes(cid.bytes()) == cid);
  std::string upper = cid.text();
  upper.back() = 'A';
  CHECK_FALSE(Cid::from_text(upper).ok());
  std::string stray = cid.text();  // 288 bits in 58 digits: the last two bits are to be zero
  stray.back() = stray.back() == 'a' ? 'b' : static_cast<char>(stray.back() + 1);
  CHECK_FALSE(Cid::from_text(stray).ok());
  for (const std::string& text :
       {std::string(), std::string("b"), cid.text() + "a", cid.text().substr(1), std::string(kV0),
        std::string(kV1Base32), "z" + cid.text()})
    CHECK_FALSE(Cid::from_text(text).ok());
  CHECK_FALSE(Cid::from_bytes("").ok());
  CHECK_FALSE(Cid::from_bytes(std::string(36, '\0')).ok());
}

TEST_CASE("any CID keeps its bytes through text") {
  const Bytes v0 = *ipld::cid_bytes_from_text(kV0);
  CHECK(v0.size() == 34);
  CHECK(*ipld::cid_text_from_bytes(v0) == kV0);
  const Bytes v1 = *ipld::cid_bytes_from_text(kV1Base32);
  CHECK(*ipld::cid_text_from_bytes(v1) == kV1Base32);

  // The same CID in other bases (`ipfs cid format -b`), and an identity hash.
  const Bytes raw =
      *from_hex("01551220e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  CHECK(*ipld::cid_text_from_bytes(raw) ==
        "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku");
  CHECK(*ipld::cid_bytes_from_text("BAFKREIHDWDCEFGH4DQKJV67UZCMW7OJEE6XEDZDETOJUZJEVTENXQUVYKU") ==
        raw);
  CHECK(*ipld::cid_bytes_from_text("zb2rhmy65F3REf8SZp7De11gxtECBGgUKaLdiDj7MCGCHxbDW") == raw);
  CHECK(*ipld::cid_bytes_from_text("k2cwueebp9wws0fnm29jatrrbqocjaivp132efhd99cd5phw2odywbit") ==
        raw);
  CHECK(*ipld::cid_bytes_from_text("K2CWUEEBP9WWS0FNM29JATRRBQOCJAIVP132EFHD99CD5PHW2ODYWBIT") ==
        raw);
  CHECK(*ipld::cid_bytes_from_text("k2jmtxs4gmv7e6433f6bula82cy8eg800nuu2yy7vrk4rd5u011bzxpf") ==
        v1);
  const Bytes identity = *from_hex("01550003616263");
  CHECK(*ipld::cid_text_from_bytes(identity) == "bafkqaa3bmjrq");
  CHECK(*ipld::cid_bytes_from_text("bafkqaa3bmjrq") == identity);
}

TEST_CASE("malformed CIDs") {
  for (const std::string_view text : {"", "b", "z", "Q", "Qm", "hello", "bafy!", "f01711220",
                                      "QmQPeNsJPyVWPFDVHb77w8G42Fvo15z4bG2X8D2GhfbSX",
                                      "QmQPeNsJPyVWPFDVHb77w8G42Fvo15z4bG2X8D2GhfbSX0",
                                      "QmQPeNsJPyVWPFDVHb77w8G42Fvo15z4bG2X8D2GhfbSXcc"})
    CHECK_FALSE(ipld::cid_bytes_from_text(text).ok());
  CHECK_FALSE(ipld::cid_bytes_from_text("z" + std::string(kV0)).ok());
  CHECK_FALSE(ipld::cid_bytes_from_text("z" + std::string(100000, '2')).ok());
  // version 2; digest too short, too long; varint not the shortest; nothing after the codec
  for (const std::string_view bytes :
       {"", "02551201ff", "01551202ff", "01551200ff", "0155920001ff", "0155", "01", "1221", "8155"})
    CHECK_FALSE(ipld::valid_cid_bytes(*from_hex(bytes)));
  CHECK(ipld::valid_cid_bytes(*from_hex("01551201ff")));
}
