// Writes good inputs for the targets whose inputs are signed or encoded: `fuzz_seeds FOLDER`, a
// folder in it for each target.
#include <filesystem>
#include <fstream>

#include "access/again.h"
#include "access/manifest.h"
#include "access/membership.h"
#include "ipld/car.h"
#include "ipld/dag_json.h"
#include "list/pack.h"
#include "ports.h"
#include "sync/message.h"
#include "types/kv.h"

using namespace ptwop;

namespace {

std::filesystem::path folder;
int written = 0;

void seed(const char* target, BytesView bytes) {
  std::filesystem::create_directories(folder / target);
  std::ofstream(folder / target / std::to_string(++written), std::ios::binary) << bytes;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return 64;
  folder = argv[1];
  fuzz::Chance chance;
  const access::Identity me = std::move(*access::Identity::from_seed(Bytes(32, 'm')));
  const access::Identity other = std::move(*access::Identity::from_seed(Bytes(32, 'o')));
  for (const char* text :
       {"{\"a\":[1,-2,3.5,null,true,\"\\u00e9\"],\"bb\":{\"/\":{\"bytes\":\"AQID\"}}}", "[]",
        "18446744073709551615",
        "{\"/\":\"bafyreiddv2ottakcu7meysnxhorpmz6i2n345n4dfw3jwgsbmezvmlvesy\"}",
        "[[[[{\"\":{}}]]]]"}) {
    seed("dag_json", text);
    if (const auto cbor = ipld::cbor_from_json(*json::parse(text))) seed("dag_cbor", *cbor);
  }
  access::Manifest manifest;
  manifest.type = "kv";
  manifest.creator = me.key();
  manifest.salt = Bytes(16, 's');
  seed("node", access::seal_manifest(manifest, me));
  seed("cid", manifest.cid.text());
  seed("cid", manifest.cid.bytes());
  seed("cid", "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWKPsV7");
  seed("cid", access::did_from(me.key()));

  access::Membership membership(manifest);
  list::Node node;
  node.channel = manifest.cid;
  node.list = {me.key(), {}, true};
  node.number = 1;
  node.time = uint64_t{1'700'000'000'000} << 16;
  const auto epoch = access::make_epoch(manifest.cid, {me.key(), other.key()}, chance);
  seed("membership", epoch->op);
  const auto sign = [&] {
    node.signature = me.sign("node", list::encode_unsigned(node));
    const Bytes block = list::encode(node);
    node = *list::decode(block);
    seed("node", block);
    seed("dag_cbor", block);
    return block;
  };
  node.body = access::frame_ops({epoch->op}, true);
  const Bytes first = sign();
  if (!membership.apply(node, {epoch->op}, me)) return 1;
  const auto grant = access::make_grant(membership, other.key(), access::Role::write);
  seed("membership", *grant);
  seed("membership", *access::make_grant(membership, other.key(), access::Role::read));

  const list::At granted = node.at();
  node.list.control = false;
  node.grant = granted;
  node.seen = {granted};
  node.prev = {};
  node.epoch = granted.position.number ? membership.current_epoch()->cid : ipld::Cid{};
  node.nonce = Bytes(access::kNonceBytes, 'n');
  const Bytes framed = access::frame_ops(
      {types::kv_put_op("key", "\x01", std::nullopt), types::kv_del_op("key")}, false);
  seed("node", framed);
  seed(
      "node",
      access::frame_ops(
          {types::kv_put_op("key", Bytes("\x79\x04\x00") + Bytes(1024, 'x'), std::nullopt)}, true));
  node.body = access::seal_body(node, framed, access::body_key(epoch->secret));
  const Bytes data = sign();
  Bytes car = ipld::car_header({manifest.cid});
  seed("car", car);
  for (const Bytes& block : {access::seal_manifest(manifest, me), first, data})
    ipld::append_car_block(car, ipld::Cid::of(block), block);
  seed("car", car);
  node.list.incarnation.raw[0] = 1;
  node.time += 1;
  node.epoch = {};
  node.nonce.clear();
  node.body = access::frame_ops({access::again_op(data)}, false);
  sign();

  sync::Message message;
  message.channel = manifest.cid;
  message.sender = me.key();
  message.boot = 1;
  const auto say = [&](decltype(sync::Message::body) body) {
    ++message.count;
    message.body = std::move(body);
    message.signature = me.sign("message", sync::encode_unsigned(message));
    seed("message", sync::encode_signed(message));
  };
  sync::Nodes nodes;
  nodes.nodes = {first, data};
  nodes.large.push_back({node.id, 7, node.cid});
  nodes.last = true;
  say(nodes);
  nodes = {};
  nodes.manifest = access::seal_manifest(manifest, me);
  say(nodes);
  sync::ClockMessage clock;
  clock.wall_ms = 1'700'000'000'000;
  clock.entries = {{granted, 0}, {node.at(), 2}};
  std::sort(clock.entries.begin(), clock.entries.end(),
            [](const auto& a, const auto& b) { return a.at.list < b.at.list; });
  say(clock);
  for (sync::ClockEntry& entry : clock.entries) {
    entry.root_number = entry.at.position.number;
    entry.root = ipld::Cid::of(data);
  }
  say(clock);
  list::Run run{1, {4, 1}, ipld::Cid::of(first)};
  list::Root root{
      manifest.cid, granted.list, {11, 2}, {}, {data, first, list::item_of(Bytes(70'000, 'x'))}};
  root.levels = {{{5, {6, 3}, ipld::Cid::of("5")}, {7, {8, 3}, ipld::Cid::of("7")}}, {run}};
  seed("pack", list::encode(root));
  seed("pack", list::encode_pack(root.tail));
  seed("pack", list::encode_index(root.levels[0]));
  sync::Want want;
  want.to = other.key();
  want.ranges = {{node.id, 1, 9}};
  want.manifest = true;
  say(want);
  return 0;
}
