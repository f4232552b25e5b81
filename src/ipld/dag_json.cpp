#include "ipld/dag_json.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <cmath>
#include <iterator>

#include "base/limits.h"
#include "ipld/dag_cbor.h"

namespace ptwop::ipld {
namespace {

using json::Kind;
using json::Value;

constexpr std::string_view kReserved = "/";

Error refuse(std::string message) { return fail(Code::invalid_params, std::move(message)); }

Result<void> write_value(CborWriter& out, const Value& value, size_t depth);

/// `{"/": …}`: a link or bytes.
Result<void> write_reserved(CborWriter& out, const Value& object) {
  const Value& content = object.members[0].value;
  if (object.members.size() == 1 && content.is(Kind::string)) {
    PTWOP_TRY(const Bytes cid, cid_bytes_from_text(content.text));
    out.link_bytes(cid);
    return {};
  }
  if (object.members.size() == 1 && content.is(Kind::object) && content.members.size() == 1 &&
      content.members[0].name == "bytes" && content.members[0].value.is(Kind::string)) {
    const auto bytes = from_base64(content.members[0].value.text);
    if (!bytes) return refuse("Bytes are written in base64 without padding.");
    out.bytes(*bytes);
    return {};
  }
  return refuse("The name \"/\" is reserved for links and bytes.");
}

Result<void> write_object(CborWriter& out, const Value& object, size_t depth) {
  std::vector<const json::Member*> sorted;
  sorted.reserve(object.members.size());
  for (const auto& member : object.members) {
    if (member.name == kReserved && object.members.size() > 1)
      return refuse("The name \"/\" is reserved for links and bytes.");
    sorted.push_back(&member);
  }
  std::sort(sorted.begin(), sorted.end(),
            [](const auto* a, const auto* b) { return key_in_order(a->name, b->name); });
  out.map(sorted.size());
  for (size_t i = 0; i < sorted.size(); ++i) {
    assert(i == 0 || sorted[i - 1]->name != sorted[i]->name);  // json::parse refuses it
    out.key(sorted[i]->name);
    PTWOP_CHECK(write_value(out, sorted[i]->value, depth));
  }
  return {};
}

Result<void> write_value(CborWriter& out, const Value& value, size_t depth) {
  switch (value.kind) {
    case Kind::null:
      out.null();
      return {};
    case Kind::boolean:
      out.boolean(value.boolean);
      return {};
    case Kind::integer:
      out.integer(value.integer);
      return {};
    case Kind::real:
      out.real(value.real);
      return {};
    case Kind::out_of_range:
      return refuse(
          "The number " + value.text.substr(0, 40) +
          " fits neither 64-bit integers nor floats (an integer has no \".\" and no \"e\").");
    case Kind::string:
      out.text(value.text);
      return {};
    case Kind::array:
    case Kind::object:
      break;
  }
  if (value.is(Kind::object) && value.members.size() == 1 && value.members[0].name == kReserved)
    return write_reserved(out, value);
  if (depth == limits::kIpldDepthMax) return refuse("The value is nested too deep.");
  if (value.is(Kind::object)) return write_object(out, value, depth + 1);
  out.array(value.items.size());
  for (const Value& item : value.items) PTWOP_CHECK(write_value(out, item, depth + 1));
  return {};
}

void append_real(std::string& out, double value) {
  const size_t start = out.size();
  fmt::format_to(std::back_inserter(out), "{}",
                 value);  // the shortest text that reads back the same
  if (out.find_first_of(".e", start) == out.npos) out += ".0";
}

void append_integer(std::string& out, CborReader& in) {
  const bool negative = in.peek() == CborKind::nint;
  const uint64_t value = in.magnitude();
  if (!negative)
    fmt::format_to(std::back_inserter(out), "{}", value);
  else if (value == UINT64_MAX)
    out += "-18446744073709551616";
  else
    fmt::format_to(std::back_inserter(out), "-{}", value + 1);
}

void append_bytes(std::string& out, BytesView bytes) {
  out += R"({"/":{"bytes":")";
  out += base64(bytes);
  out += R"("}})";
}

void append_link(std::string& out, CborReader& in) {
  const auto text = cid_text_from_bytes(in.link());
  if (!text) return in.fail();
  out += R"({"/":")";
  out += *text;
  out += R"("})";
}

void append_item(std::string& out, CborReader& in, size_t depth);

void append_array(std::string& out, CborReader& in, size_t depth) {
  const size_t items = in.array();
  out += '[';
  for (size_t i = 0; i < items && in.ok(); ++i) {
    if (i > 0) out += ',';
    append_item(out, in, depth);
  }
  out += ']';
}

void append_map(std::string& out, CborReader& in, size_t depth) {
  const size_t pairs = in.map();
  std::string_view last;
  out += '{';
  for (size_t i = 0; i < pairs && in.ok(); ++i) {
    const std::string_view name = in.key();
    if (i > 0 && !key_in_order(last, name)) in.fail();
    last = name;
    if (i > 0) out += ',';
    json::append_string(out, name);
    out += ':';
    append_item(out, in, depth);
  }
  out += '}';
}

// Checks as it goes: what a read shows is walked once.
void append_item(std::string& out, CborReader& in, size_t depth) {
  switch (in.peek()) {
    case CborKind::uint:
    case CborKind::nint:
      return append_integer(out, in);
    case CborKind::bytes:
      return append_bytes(out, in.bytes());
    case CborKind::text:
      return json::append_string(out, in.text());
    case CborKind::link:
      return append_link(out, in);
    case CborKind::boolean:
      out += in.boolean() ? "true" : "false";
      return;
    case CborKind::null:
      in.null();
      out += "null";
      return;
    case CborKind::real:
      return append_real(out, in.real());
    case CborKind::array:
    case CborKind::map:
      break;
    case CborKind::end:
    case CborKind::bad:
      return in.fail();
  }
  if (depth == limits::kIpldDepthMax) return in.fail();
  if (in.peek() == CborKind::array)
    append_array(out, in, depth + 1);
  else
    append_map(out, in, depth + 1);
}

}  // namespace

Result<Bytes> cbor_from_json(const Value& value) {
  CborWriter out;
  PTWOP_CHECK(write_value(out, value, 0));
  return out.take();
}

Result<void> append_json_from_cbor(std::string& out, BytesView cbor) {
  const size_t start = out.size();
  CborReader in(cbor);
  append_item(out, in, 0);
  auto finished = in.finish("value", Code::corrupt);
  if (!finished) out.resize(start);
  return finished;
}

}  // namespace ptwop::ipld
