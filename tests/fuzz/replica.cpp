// A replica that is sent what a member could send: nodes whose bodies, order, links, times and
// `seen` are any bytes, signed; clocks and wants. Nothing of it may stop it, and it says the same
// after a restart.
#include <fuzzer/FuzzedDataProvider.h>

#include "access/again.h"
#include "access/manifest.h"
#include "engine/engine.h"
#include "fuzz.h"
#include "list/pack.h"
#include "memory_store.h"
#include "ports.h"
#include "sync/message.h"

using namespace ptwop;

namespace {

access::Identity identity(char seed) {
  return std::move(*access::Identity::from_seed(Bytes(32, seed)));
}

struct Fuzzed {
  explicit Fuzzed(FuzzedDataProvider& from) : in(from) {}

  FuzzedDataProvider& in;
  fuzz::Ports ports;
  test::MemoryStore store;
  access::Identity member = identity('c');
  access::Manifest manifest;
  std::unique_ptr<engine::Engine> engine;
  std::vector<list::Node> nodes;
  std::vector<std::pair<ipld::Cid, Bytes>> offered;
  uint64_t count = 0;

  void start() {
    engine = std::make_unique<engine::Engine>(
        engine::Ports{store, ports, ports, ports, ports, &ports}, identity('m'));
    fuzz::expect(engine->open().ok(), "it opens what it wrote");
    engine->on_kubo({true, true});
    engine->on_streams(true, "kubo");
    engine->on_peer(member.key(), true, Bytes(32, 'b'));
    engine->turn();
    stream('h');
  }

  /// Over the member's stream: its hello with our channel, bent or not, or any bytes.
  void stream(char kind) {
    const Bytes tag(BytesView(ipld::sha256(Bytes(32, 'b') + Bytes(member.key().view()) +
                                           Bytes(manifest.cid.bytes())))
                        .substr(0, 16));
    Bytes message(1, kind);
    if (kind == 'h') {
      ipld::CborWriter w;
      w.map(2).key("pubsub").boolean(false).key("channels").bytes(tag);
      message += w.take();
    } else {
      message += tag;
    }
    if (const Bytes more = in.ConsumeRandomLengthString(64); !more.empty()) {
      if (in.ConsumeBool()) message.resize(in.ConsumeIntegralInRange<size_t>(0, message.size()));
      message += more;
    }
    engine->on_peer_message(member.key(), message);
  }

  void send(decltype(sync::Message::body) body) {
    sync::Message m;
    m.channel = manifest.cid;
    m.sender = member.key();
    m.boot = 5;
    m.count = ++count;
    m.body = std::move(body);
    m.signature = member.sign("message", sync::encode_unsigned(m));
    engine->on_message(manifest.cid, "peer", sync::encode_signed(m));
  }

  list::At any_at() {
    if (!nodes.empty() && in.ConsumeBool())
      return nodes[in.ConsumeIntegralInRange<size_t>(0, nodes.size() - 1)].at();
    list::At at;
    at.list.raw[0] = in.ConsumeIntegral<uint8_t>();
    at.position = {in.ConsumeIntegralInRange<uint64_t>(1, 9), in.ConsumeIntegral<uint8_t>()};
    return at;
  }

  /// An operation: any bytes, one of the type's, one of control, or a node written again.
  Bytes op() {
    ipld::CborWriter w;
    switch (in.ConsumeIntegralInRange(0, 6)) {
      case 0:
        return in.ConsumeRandomLengthString(64);
      case 1:
        w.array(3)
            .text("put")
            .text(in.ConsumeRandomLengthString(2))
            .unsigned_integer(in.ConsumeIntegral<uint8_t>());
        break;
      case 2:
        w.array(2).text("del").text(in.ConsumeRandomLengthString(2));
        break;
      case 3:
        w.array(3)
            .text("inc")
            .text(in.ConsumeRandomLengthString(2))
            .integer(in.ConsumeIntegral<int64_t>());
        break;
      case 4:
        w.array(2).text("add").unsigned_integer(in.ConsumeIntegral<uint8_t>());
        break;
      case 5:
        w.map(4)
            .key("id")
            .bytes(identity(in.ConsumeBool() ? 'm' : 'x').key().view())
            .key("op")
            .text("grant")
            .key("keys")
            .array(0);
        w.key("role").text(in.ConsumeBool() ? "write" : "read");
        break;
      default:
        if (nodes.empty()) return {};
        return access::again_op(
            list::encode(nodes[in.ConsumeIntegralInRange<size_t>(0, nodes.size() - 1)]));
    }
    return w.take();
  }

  void node() {
    list::Node n;
    n.channel = manifest.cid;
    n.list = {member.key(), {}, in.ConsumeIntegralInRange(0, 3) == 0};
    n.list.incarnation.raw[0] = in.ConsumeIntegralInRange<uint8_t>(0, 3);
    const list::Node* last = nullptr;
    for (const list::Node& other : nodes)
      if (other.list == n.list && (!last || in.ConsumeIntegralInRange(0, 7) != 0)) last = &other;
    n.number = last ? last->number + 1 : 1;
    if (last) n.prev = last->cid;
    n.time =
        std::max(last ? last->time + 1 : 0, (ports.wall << 16) + in.ConsumeIntegral<uint8_t>());
    if (in.ConsumeIntegralInRange(0, 15) == 0)
      n.time += uint64_t{in.ConsumeIntegral<uint8_t>()} << 34;
    for (int i = in.ConsumeIntegralInRange(0, 2); i > 0; --i) {
      const list::At at = any_at();
      const bool twice = std::any_of(n.seen.begin(), n.seen.end(),
                                     [&](const list::At& s) { return s.list == at.list; });
      if (!twice) n.seen.push_back(at);
    }
    std::vector<Bytes> ops;
    for (int i = in.ConsumeIntegralInRange(1, 3); i > 0; --i)
      if (Bytes one = op(); ipld::check_dag_cbor(one).ok()) ops.push_back(std::move(one));
    n.body = ops.empty() ? in.ConsumeRandomLengthString(64) : access::frame_ops(ops, false);
    n.signature = member.sign("node", list::encode_unsigned(n));
    const Bytes block = list::encode(n);
    const auto read = list::decode(block);
    if (!read) return;  // a `seen` of its own list, or the like
    nodes.push_back(*read);
    sync::Nodes body;
    if (in.ConsumeIntegralInRange(0, 7) != 0)
      body.nodes.push_back(block);  // else it is withheld for now
    if (in.ConsumeIntegralInRange(0, 7) == 0)
      body.nodes.push_back(
          list::encode(nodes[in.ConsumeIntegralInRange<size_t>(0, nodes.size() - 1)]));
    send(std::move(body));
  }

  /// A root of what there is of a list, and of what there is not, below it what may be there or
  /// not.
  void root(sync::ClockMessage& clock) {
    if (nodes.empty()) return;
    const list::Node& last = nodes[in.ConsumeIntegralInRange<size_t>(0, nodes.size() - 1)];
    std::vector<Bytes> items;
    for (const list::Node& n : nodes)
      if (n.id == last.id || in.ConsumeIntegralInRange(0, 7) == 0) items.push_back(list::encode(n));
    const auto more = in.ConsumeIntegralInRange<size_t>(0, 40);
    while (items.size() < more)
      items.push_back(items[in.ConsumeIntegralInRange<size_t>(0, items.size() - 1)]);
    list::Root root{manifest.cid, last.id, {items.size(), last.cid.tag()}, {}, items};
    if (items.size() > 1 && in.ConsumeBool()) {
      const auto packed = in.ConsumeIntegralInRange<size_t>(1, items.size() - 1);
      const Bytes pack =
          list::encode_pack({items.begin(), items.begin() + static_cast<ptrdiff_t>(packed)});
      list::Run run{1, {packed, 1}, offer(pack)};
      if (in.ConsumeBool()) run.cid = offer(list::encode_index({run}));
      root.levels = {{run}};
      root.tail.erase(root.tail.begin(), root.tail.begin() + static_cast<ptrdiff_t>(packed));
    }
    std::erase_if(clock.entries, [&](const auto& e) { return e.at.list == last.id; });
    const uint64_t number = root.position.number + in.ConsumeIntegralInRange<uint64_t>(0, 1);
    clock.entries.push_back(
        {{last.id, {number, last.cid.tag()}}, 0, number, offer(list::encode(root))});
    std::sort(clock.entries.begin(), clock.entries.end(),
              [](const auto& a, const auto& b) { return a.at.list < b.at.list; });
  }

  ipld::Cid offer(const Bytes& block) {
    const ipld::Cid cid = ipld::Cid::of(block);
    offered.emplace_back(cid, block);
    return cid;
  }

  /// Kubo answers, perhaps what nobody asked for, perhaps that nobody has it.
  void answer() {
    engine->turn();
    for (const auto& [cid, block] : offered) {
      if (in.ConsumeIntegralInRange(0, 7) == 0)
        engine->on_block(cid, fail(Code::timed_out, "nobody has it"));
      else
        engine->on_block(cid, block);
      engine->turn();
    }
    const auto stats = engine->stats();
    fuzz::expect(stats.bulk_jobs > 0 || stats.bulk_blocks == 0,
                 "what bulk asked for is given back");
  }

  void step() {
    switch (in.ConsumeIntegralInRange(0, 13)) {
      case 0: {
        sync::ClockMessage clock;
        clock.wall_ms = in.ConsumeIntegral<uint64_t>() >> 16;
        std::map<list::ListId, list::Position> entries;
        for (int i = in.ConsumeIntegralInRange(0, 3); i > 0; --i) {
          const list::At at = any_at();
          entries[at.list] = at.position;
        }
        for (const auto& [list, position] : entries)
          clock.entries.push_back({{list, position}, in.ConsumeIntegralInRange<uint64_t>(0, 3)});
        if (in.ConsumeBool()) root(clock);
        return send(std::move(clock));
      }
      case 1: {
        sync::Want want;
        want.to = engine->identity().key();
        want.ranges.push_back(
            {any_at().list, in.ConsumeIntegralInRange<uint64_t>(1, 9), UINT64_MAX});
        return send(std::move(want));
      }
      case 2:
        ports.mono += 5'000;
        ports.wall += 5'000;
        engine->tick();
        return;
      case 3:
        engine->turn();
        return;
      case 4:
        engine->turn();
        return start();
      case 5:
        return answer();
      case 6:
        return stream(in.ConsumeBool() ? 'h' : 'c');
      case 7:
        engine->on_peer(member.key(), in.ConsumeBool(), Bytes(32, 'b'));
        return engine->on_sent(member.key(), in.ConsumeIntegral<uint8_t>(), true);
      default:
        return node();
    }
  }
};

}  // namespace

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  FuzzedDataProvider in(data, size);
  Fuzzed fuzzed(in);
  fuzzed.manifest.type = in.PickValueInArray({"kv", "log", "count"});
  fuzzed.manifest.is_public = true;
  fuzzed.manifest.creator = fuzzed.member.key();
  fuzzed.manifest.salt = Bytes(16, 's');
  const Bytes block = access::seal_manifest(fuzzed.manifest, fuzzed.member);
  fuzzed.start();
  engine::ChannelRef ref;
  fuzzed.engine->join("/ptwop/" + fuzzed.manifest.cid.text(), "c",
                      [&](Result<engine::ChannelRef> r) { ref = *r; });
  fuzzed.engine->turn();
  sync::Nodes with_manifest;
  with_manifest.manifest = block;
  fuzzed.send(std::move(with_manifest));
  for (int steps = 0; in.remaining_bytes() > 0 && steps < 64; ++steps) fuzzed.step();
  fuzzed.engine->turn();
  const auto state = [&] {
    return std::pair(fuzzed.store.dump(engine::Table::state, ref->number),
                     fuzzed.store.dump(engine::Table::index, ref->number));
  };
  const auto before = state();
  fuzzed.start();
  fuzzed.engine->turn();
  const auto info = [&] {
    std::optional<engine::ChannelInfo> out;
    fuzzed.engine->info("c", [&](Result<engine::ChannelInfo> r) { out = *r; });
    fuzzed.engine->turn();
    return *out;
  }();
  fuzz::expect(info.damaged.empty(), "nothing that is sent damages a channel");
  fuzz::expect(before == state(), "a restart changes no state");
  return 0;
}
