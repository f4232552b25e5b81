#include "ipld/car.h"

#include <doctest/doctest.h>

#include <algorithm>

#include "ipld/dag_cbor.h"

namespace ptwop::ipld {
namespace {

/// Gives at most `piece` bytes at a time where that is allowed: all but the last read are full.
CarReader::Read from(const Bytes& bytes) {
  return [bytes, at = size_t{0}](char* to, size_t size) mutable -> Result<size_t> {
    const size_t count = std::min(size, bytes.size() - at);
    bytes.copy(to, count, at);
    at += count;
    return count;
  };
}

Bytes block(size_t size) {
  CborWriter w;
  w.bytes(Bytes(size, 'x'));
  return w.take();
}

/// "roots: block sizes", or the error.
std::string read_all(const Bytes& car) {
  CarReader reader(from(car));
  const auto roots = reader.roots();
  if (!roots) return roots.error().message;
  CHECK((roots.ok() || roots.error().code == Code::corrupt));
  std::string out = std::to_string(roots->size()) + ":";
  for (;;) {
    const auto next = reader.next();
    if (!next) return out + " " + next.error().message;
    if (!*next) return out;
    out += " " + std::to_string((*next)->bytes.size());
    if (const auto cid = Cid::from_bytes((*next)->cid)) CHECK(*cid == Cid::of((*next)->bytes));
  }
}

bool refused(const Bytes& car, const std::string& why) {
  const std::string said = read_all(car);
  CAPTURE(said);
  CAPTURE(why);
  const bool found = said.find(why) != std::string::npos;
  CHECK(found);
  return found;
}

Bytes section(BytesView content) {
  Bytes out;
  append_varint(out, content.size());
  return out += content;
}

TEST_CASE("what is written is read again, block by block") {
  const Bytes small = block(1), large = block(1 << 20);
  Bytes car = car_header({Cid::of(small)});
  CHECK(read_all(car) == "1:");
  for (int i = 0; i < 3; ++i) {
    append_car_block(car, Cid::of(small), small);
    append_car_block(car, Cid::of(large), large);
  }
  const std::string both = " " + std::to_string(small.size()) + " " + std::to_string(large.size());
  CHECK(read_all(car) == "1:" + both + both + both);
  CarReader reader(from(car));
  REQUIRE(reader.roots().ok());
  while (true) {
    const auto next = reader.next();
    REQUIRE(next.ok());
    if (!*next) break;
  }
  CHECK(reader.position() == car.size());
}

TEST_CASE("the header is the specification's own example's, byte for byte") {
  // {"roots": [], "version": 1}
  CHECK(hex(car_header({})) == "11a265726f6f7473806776657273696f6e01");
  const Cid root = Cid::of("x");
  CHECK(hex(car_header({root})) ==
        "3aa265726f6f747381d82a582500" + hex(root.bytes()) + "6776657273696f6e01");
}

TEST_CASE("cut anywhere it is damaged, but for the ends of blocks") {
  const Bytes one = block(5);
  Bytes car = car_header({Cid::of(one)});
  std::vector<size_t> ends = {car.size()};
  for (int i = 0; i < 2; ++i) {
    append_car_block(car, Cid::of(one), one);
    ends.push_back(car.size());
  }
  for (size_t size = 0; size < car.size(); ++size) {
    CAPTURE(size);
    const bool whole = std::find(ends.begin(), ends.end(), size) != ends.end();
    CHECK((read_all(car.substr(0, size)).find("damaged") == std::string::npos) == whole);
  }
}

TEST_CASE("headers that are none") {
  CborWriter v2;
  v2.map(2).key("roots").array(0).key("version").unsigned_integer(2);
  CHECK(refused(section(v2.out()), "the header"));
  CborWriter extra;
  extra.map(3).key("a").null().key("roots").array(0).key("version").unsigned_integer(1);
  CHECK(refused(section(extra.out()), "the header"));
  CborWriter text_root;
  text_root.map(2).key("roots").array(1).text("x").key("version").unsigned_integer(1);
  CHECK(refused(section(text_root.out()), "the header"));
  CHECK(refused("", "nothing is there"));
  CHECK(refused(Bytes("\0", 1), "an empty part"));
  CHECK(refused(section(Bytes(kCarHeaderBytesMax + 1, 'x')), "a part of 4097 bytes"));
  // The file format's second version begins like this (0x0a a1 "version" 2).
  CHECK(refused(Bytes("\x0a\xa1\x67version\x02", 11), "the header"));
}

TEST_CASE("blocks that are none, and those of others") {
  const Bytes header = car_header({});
  CHECK(refused(header + Bytes("\0", 1), "an empty part"));
  CHECK(refused(header + Bytes("\x80\0", 2), "a length that is none"));
  CHECK(refused(header + Bytes(9, '\xff') + "\x01", "a length that is none"));
  Bytes huge;
  append_varint(huge, kCarSectionBytesMax + 1);
  CHECK(refused(header + huge, "a part of"));
  CHECK(refused(header + section("x"), "without a CID"));
  CHECK(refused(header + section("\x12\x20short"), "without a CID"));
  CHECK(refused(header + section(Bytes("\x02\x71\x12\x01x", 5)), "without a CID"));
  CHECK(refused(header + section(Bytes("\x01\x71\x12\x20x", 5)), "without a CID"));
  // A v0 of 34 bytes, and a raw block under an identity hash.
  CHECK(read_all(header + section("\x12\x20" + Bytes(32, 'd') + "data")) == "0: 4");
  CHECK(read_all(header + section(Bytes("\x01\x55\x00\x02hi", 6))) == "0: 0");
}

TEST_CASE("an error of the input is passed on") {
  CarReader reader([](char*, size_t) -> Result<size_t> { return fail(Code::internal, "gone"); });
  const auto roots = reader.roots();
  REQUIRE_FALSE(roots.ok());
  CHECK(roots.error().message == "gone");
}

}  // namespace
}  // namespace ptwop::ipld
