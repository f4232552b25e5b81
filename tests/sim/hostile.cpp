#include "hostile.h"

#include <algorithm>

#include "access/again.h"
#include "access/body.h"
#include "access/manifest.h"
#include "base/limits.h"
#include "ipld/dag_cbor.h"
#include "list/pack.h"
#include "types/count.h"
#include "types/kv.h"
#include "types/log.h"
#include "world.h"

namespace ptwop::sim {
namespace {

constexpr size_t kHeardMax = 64;
constexpr size_t kWantBytesMax = 512;  ///< Of one that asks for a manifest, usually.
constexpr uint64_t kFutureMs = 5 * 60 * 1000;
constexpr uint64_t kYearMs = 365ull * 24 * 3600 * 1000;

access::Identity identity(uint64_t seed) {
  Random random(seed);
  Bytes bytes(32, '\0');
  random.fill(u8(bytes), bytes.size());
  return std::move(*access::Identity::from_seed(bytes));
}

template <class O>
O octets(Random& random) {
  O out;
  random.fill(out.raw.data(), O::kSize);
  return out;
}

}  // namespace

Hostile::Hostile(World& world, uint64_t seed)
    : world_(world), member_(identity(mix(seed, 1))), stranger_(identity(mix(seed, 2))) {}

void Hostile::overhear(const ipld::Cid& channel, const Bytes& message) {
  auto& heard = heard_[channel];
  if (heard.size() >= kHeardMax) heard.erase(heard.begin());
  heard.push_back(message);
  if (!world_.hostile() || message.size() > kWantBytesMax) return;
  Bytes covered;
  const auto decoded = sync::decode(message, covered);
  if (!decoded) return;
  const auto* want = std::get_if<sync::Want>(&decoded->body);
  if (!want || !want->manifest) return;
  access::Manifest manifest;  // one's own, and not the one that was wanted
  manifest.type = "kv";
  manifest.is_public = true;
  manifest.creator = stranger_.key();
  manifest.salt = Bytes(16, 's');
  sync::Nodes nodes;
  nodes.manifest = access::seal_manifest(manifest, stranger_);
  channel_ =
      static_cast<size_t>(std::find(world_.channels_.begin(), world_.channels_.end(), channel) -
                          world_.channels_.begin());
  say(stranger_, std::move(nodes));
}

void Hostile::say(const access::Identity& who, Body body, const list::PublicKey* in_whose_name) {
  sync::Message message;
  message.channel = world_.channels_[channel_];
  message.sender = in_whose_name ? *in_whose_name : who.key();
  message.boot = in_whose_name ? UINT64_MAX : boot_;
  message.count = ++count_;
  message.body = std::move(body);
  message.signature = who.sign("message", sync::encode_unsigned(message));
  world_.broadcast(World::kNobody, "enemy", message.channel, sync::encode_signed(message));
}

void Hostile::say_nodes(std::vector<Bytes> blocks) {
  sync::Nodes nodes;
  nodes.nodes = std::move(blocks);
  say(member_, std::move(nodes));
}

Bytes Hostile::operation(Random& random, bool good) {
  ipld::CborWriter value;
  value.array(2).text("evil").unsigned_integer(random.below(1'000));
  Bytes encoded = value.take();
  const std::string& type = world_.plan_.channels[channel_].type;
  if (!good) {
    ipld::CborWriter op;
    if (random.percent(30)) return op.array(3).text("put").text("").unsigned_integer(1).take();
    if (random.percent(50)) return op.map(0).take();
    return type == "kv" ? types::count_add_op("k1", 1) : types::kv_put_op("k1", encoded, {});
  }
  if (type == "count") return types::count_add_op("k1", static_cast<int64_t>(random.below(1'000)));
  if (type == "log") return types::log_add_op(encoded);
  return random.percent(80) ? types::kv_put_op("k1", encoded, {}) : types::kv_del_op("k2");
}

Hostile::List& Hostile::own_list(Random& random, unsigned percent_new) {
  auto& lists = lists_[channel_];
  if (lists.empty() || random.percent(percent_new))
    lists.push_back({{member_.key(), octets<list::Incarnation>(random), false}, {}, {}});
  return lists[random.below(lists.size())];
}

list::Node Hostile::next(List& list, Random& random) {
  list::Node node;
  node.channel = world_.channels_[channel_];
  node.list = list.name;
  node.id = list::list_id(node.channel, list.name);
  node.number = list.nodes.size() + 1;
  node.time = (kWallStartMs + world_.now_ms_) << 16 | random.below(3);
  const auto& heads = world_.checker_->heads(node.channel);
  if (!heads.empty() && random.percent(30))  // the very stamp of another's: ties are to be broken
    node.time = world_.checker_->find(random.pick(heads))->node.time;
  if (!list.nodes.empty()) {
    node.prev = list.nodes.back().cid;
    node.time = std::max(node.time, list.nodes.back().time + 1);
  } else {
    node.grant = world_.checker_->grant_of(node.channel, member_.key());
  }
  for (const ipld::Cid& head : heads)
    if (node.seen.size() < 4 && random.percent(40))
      node.seen.push_back(world_.checker_->find(head)->node.at());
  const access::Membership& membership = world_.checker_->membership(node.channel);
  if (!membership.manifest().is_public && membership.current_epoch()) {
    node.epoch = membership.current_epoch()->cid;
    node.nonce = Bytes(access::kNonceBytes, '\0');
    random.fill(u8(node.nonce), node.nonce.size());
  }
  return node;
}

Bytes Hostile::seal(list::Node& node, const access::Identity& signer,
                    const std::vector<Bytes>& operations) {
  node.id = list::list_id(node.channel, node.list);
  node.body = access::frame_ops(operations, false);
  const access::Epoch* epoch =
      node.epoch ? world_.checker_->membership(node.channel).epoch(node.epoch) : nullptr;
  // The stranger has no key: what it says is sealed is noise.
  if (epoch && &signer == &member_)
    node.body = access::seal_body(node, node.body, access::body_key(epoch->secret));
  node.signature = signer.sign("node", list::encode_unsigned(node));
  Bytes block = list::encode(node);
  node.cid = ipld::Cid::of(block);
  return block;
}

void Hostile::keep(List& list, const list::Node& node, Bytes block) {
  world_.checker_->on_hostile_node(block);
  list.nodes.push_back(node);
  list.blocks.push_back(std::move(block));
}

// Two nodes after one predecessor: one for some, the other for others, or both for all.
void Hostile::fork(Random& random) {
  List& list = own_list(random);
  if (list.nodes.size() > 1 && random.percent(50)) {  // behind what everybody has already
    const size_t back = random.below(list.nodes.size());
    list.nodes.resize(back);
    list.blocks.resize(back);
  }
  std::vector<Bytes> branches;
  list::Node kept;
  for (int i = 0; i < 2; ++i) {
    list::Node node = next(list, random);
    node.time += static_cast<uint64_t>(i);
    branches.push_back(seal(node, member_, {operation(random, true)}));
    world_.checker_->on_hostile_node(branches.back());
    branches_[channel_].push_back(branches.back());
    kept = node;
  }
  list.nodes.push_back(kept);
  list.blocks.push_back(branches[1]);
  if (list.nodes.size() > 1 && random.percent(50)) {  // and one before it that there is not
    sync::ClockMessage clock;
    clock.entries.push_back({kept.at(), 1 + random.below(list.nodes.size() - 1)});
    say(member_, std::move(clock));
  }
  sync::Nodes parts[2];
  parts[0].nodes = {branches[0]};
  parts[1].nodes = {branches[1]};
  for (int i = 0; i < 2; ++i) {
    sync::Message message;
    message.channel = world_.channels_[channel_];
    message.sender = member_.key();
    message.boot = boot_;
    message.count = ++count_;
    message.body = parts[i];
    message.signature = member_.sign("message", sync::encode_unsigned(message));
    const auto bytes = std::make_shared<const Bytes>(sync::encode_signed(message));
    for (size_t to = 0; to < world_.replicas_.size(); ++to)
      if (random.percent(50)) world_.send(World::kNobody, to, "enemy", message.channel, bytes);
  }
}

// Nodes written again: some that are cut off, two for one place, or what may not be there.
void Hostile::again(Random& random) {
  List& from = own_list(random);
  std::vector<Bytes> inner;
  const auto& branches = branches_[channel_];
  const auto& heard = heard_[world_.channels_[channel_]];
  const uint64_t kind = random.percent(20) ? 2 : random.below(8);
  for (uint64_t i = random.below(3); !branches.empty() && kind != 6 && i > 0; --i)
    inner.push_back(random.pick(branches));
  if (kind <= 1) {  // of one place; perhaps one of them is accepted there
    list::Node node = next(from, random);
    for (int i = 0; i < 2; ++i) inner.push_back(seal(node, member_, {operation(random, true)}));
    for (const Bytes& block : inner) world_.checker_->on_hostile_node(block);
    if (random.percent(40)) {
      keep(from, node, inner.back());
      say_nodes({inner.back()});
    }
    if (random.percent(50)) inner.erase(inner.end() - 2 + static_cast<ptrdiff_t>(random.below(2)));
  } else if (kind == 2 && !heard.empty()) {  // another's
    Bytes covered;
    // the latest, which some have not heard yet
    const auto message =
        sync::decode(random.percent(60) ? heard.back() : random.pick(heard), covered);
    if (!message || !std::holds_alternative<sync::Nodes>(message->body)) return;
    const auto& nodes = std::get<sync::Nodes>(message->body).nodes;
    if (!nodes.empty()) inner.push_back(random.pick(nodes));
  } else if (kind == 3) {  // that nobody signed, or only its successor
    list::Node node = next(from, random);
    inner.push_back(seal(node, stranger_, {operation(random, true)}));
    if (random.percent(50)) {
      node.prev = node.cid;
      ++node.number;
      ++node.time;
      inner.push_back(seal(node, member_, {operation(random, true)}));
    }
  } else if (kind == 4) {  // later than what writes it again
    list::Node node = next(from, random);
    node.time += 1'000 << 16;
    inner.push_back(seal(node, member_, {operation(random, true)}));
  } else if (kind == 5 && !from.blocks.empty()) {  // of whatever list, also the outer one's
    inner.push_back(random.pick(from.blocks));
  }
  if (inner.empty()) return;
  List& to = kind == 5 ? from : own_list(random, 40);
  list::Node node = next(to, random);
  node.time += 8;
  if (kind == 2) node.seen.clear();
  std::vector<Bytes> operations;
  for (const Bytes& block : inner) operations.push_back(access::again_op(block));
  if (kind == 7) operations.push_back(operation(random, true));
  const Bytes block = seal(node, member_, operations);
  keep(to, node, block);
  branches_[channel_].push_back(block);  // to be written again in its turn
  say_nodes({block});
  if (random.percent(70)) return;
  ++node.time;  // and a fork takes it all back
  const Bytes other = seal(node, member_, {operation(random, true)});
  world_.checker_->on_hostile_node(other);
  say_nodes({other});
}

// As much of one thing as one message takes.
void Hostile::flood(Random& random) {
  const bool member = world_.plan_.channels[channel_].hostile_member && random.percent(50);
  const access::Identity& who = member ? member_ : stranger_;
  sync::Nodes nodes;
  sync::ClockMessage clock;
  switch (random.below(4)) {
    case 0:  // lists of which the first node does not come
      for (int i = 0; i < 100; ++i) {
        list::Node node;
        node.channel = world_.channels_[channel_];
        node.list = {who.key(), octets<list::Incarnation>(random), false};
        node.number = 2;
        node.prev = ipld::Cid::of("the first");
        node.time = (kWallStartMs + world_.now_ms_) << 16;
        nodes.nodes.push_back(seal(node, who, {operation(random, true)}));
      }
      return say(who, std::move(nodes));
    case 1:  // large nodes that nobody has
      for (int i = 0; i < 100; ++i) {
        const auto id = octets<list::ListId>(random);
        nodes.large.push_back({id, 1, ipld::Cid::of(id.view())});
      }
      return say(who, std::move(nodes));
    case 2:  // lists that there are not
      for (int i = 0; i < 600; ++i)
        clock.entries.push_back({{octets<list::ListId>(random), {1 + random.below(9), 1}}, 0});
      return say(who, std::move(clock));
    default:  // everything, again and again
      for (int i = 0; i < 200; ++i) {
        sync::Want want;
        want.to = world_.replicas_[0]->identity().key();
        for (const ipld::Cid& head : world_.checker_->heads(world_.channels_[channel_]))
          if (want.ranges.size() < sync::kRangesMax)
            want.ranges.push_back({world_.checker_->find(head)->node.id, 1, 2});
        say(who, std::move(want));
      }
      for (uint64_t ms = 1; ms < 64; ms *= 2)
        world_.at(world_.now_ms_ + ms, [this] { world_.check_bounds(); });
  }
}

// Clocks and wants that name everything, and what does not exist.
void Hostile::claim(Random& random) {
  const access::Identity& who = random.percent(50) ? member_ : stranger_;
  const auto& heads = world_.checker_->heads(world_.channels_[channel_]);
  if (random.percent(40)) {
    sync::Want want;
    want.to = world_.replicas_[random.below(world_.replicas_.size())]->identity().key();
    for (const ipld::Cid& head : heads)
      if (want.ranges.size() < sync::kRangesMax)
        want.ranges.push_back({world_.checker_->find(head)->node.id, random.below(2), UINT64_MAX});
    want.manifest = true;
    return say(who, std::move(want));
  }
  sync::ClockMessage clock;
  clock.wall_ms = random.percent(50) ? UINT64_MAX : 0;
  clock.has_manifest = true;
  clock.ask = random.percent(30);
  for (const ipld::Cid& head : heads) {
    list::At at = world_.checker_->find(head)->node.at();
    at.position.number =
        random.percent(50) ? limits::kNumberMax : at.position.number + random.below(3);
    if (random.percent(30)) ++at.position.tag;
    clock.entries.push_back({at, random.percent(30) ? 1 + random.below(at.position.number) : 0});
  }
  for (const List& list : lists_[channel_])  // and forks of one's own lists that are none
    if (!list.nodes.empty() && random.percent(50))
      clock.entries.push_back({list.nodes.back().at(), 1 + random.below(list.nodes.size())});
  for (size_t i = random.below(40); i > 0; --i)
    clock.entries.push_back(
        {{octets<list::ListId>(random), {random.below(limits::kNumberMax), random.next()}},
         random.below(2)});
  const list::PublicKey honest =
      world_.replicas_[random.below(world_.replicas_.size())]->identity().key();
  say(who, std::move(clock), random.percent(25) ? &honest : nullptr);
}

// Nodes in another's name, or that nobody allowed.
void Hostile::forge(Random& random) {
  const auto& heads = world_.checker_->heads(world_.channels_[channel_]);
  list::Node node;
  node.channel = world_.channels_[channel_];
  node.time = (kWallStartMs + world_.now_ms_) << 16;
  const uint64_t kind = random.below(5);
  if (kind <= 1 && !heads.empty()) {  // the next of an honest list, or in the place of its last
    const list::Node& last = world_.checker_->find(random.pick(heads))->node;
    node.list = last.list;
    node.epoch = last.epoch;
    node.nonce = last.nonce;
    node.number = kind == 0 ? last.number + 1 : last.number;
    node.prev = kind == 0 ? last.cid : last.prev;
    node.grant = kind == 0 ? std::nullopt : last.grant;
    node.time = last.time + 1;
    const Bytes block = seal(node, member_, {operation(random, true)});
    return say_nodes({block});  // signed by the wrong key: nobody made it
  }
  const access::Identity& signer = kind == 2 ? member_ : stranger_;
  node.list = {signer.key(), octets<list::Incarnation>(random), kind == 2};
  node.number = 1;
  if (kind == 3) node.grant = world_.checker_->grant_of(node.channel, member_.key());
  if (kind == 4)
    node.grant = list::At{octets<list::ListId>(random), {1 + random.below(9), random.next()}};
  const Bytes block = seal(node, signer, {operation(random, true)});
  world_.checker_->on_hostile_node(block);
  sync::Nodes nodes;
  nodes.nodes = {block};
  say(signer, std::move(nodes));
}

const Bytes* Hostile::block(const ipld::Cid& cid) const {
  const auto it = offered_.find(cid);
  return it == offered_.end() ? nullptr : &it->second;
}

ipld::Cid Hostile::offer(Bytes block) {
  const ipld::Cid cid = ipld::Cid::of(block);
  offered_[cid] = std::move(block);
  return cid;
}

// Roots that lead nowhere, or to what must not be held.
void Hostile::roots(Random& random, uint64_t kind) {
  const ipld::Cid& channel = world_.channels_[channel_];
  const auto& heads = world_.checker_->heads(channel);
  if (heads.empty()) return;
  const list::Node& victim = world_.checker_->find(random.pick(heads))->node;
  list::At at = victim.at();
  at.position.number += random.percent(50) ? 20 : 200;
  ipld::Cid root;
  list::Root lie{channel, at.list, at.position, {}, {}};
  ipld::CborWriter noise;
  noise.map(0);
  // A chain of somebody's nodes, signed by the member. Whose it is said to be is in `first`.
  const auto chain = [&](list::Node first, size_t count, size_t forged, size_t broken) {
    std::vector<Bytes> blocks;
    for (size_t i = 0; i < count; ++i) {
      blocks.push_back(seal(first, i == forged ? stranger_ : member_, {operation(random, true)}));
      world_.checker_->on_hostile_node(blocks.back());
      first.prev = i + 1 == broken ? ipld::Cid::of("another") : first.cid;
      first.grant.reset();
      ++first.number;
      ++first.time;
    }
    return blocks;
  };
  const auto name_chain = [&](const list::ListName& name, size_t count, size_t forged,
                              size_t broken) {
    list::Node node;
    node.channel = channel;
    node.list = name;
    node.number = 1;
    node.time = (kWallStartMs + world_.now_ms_) << 16;
    node.grant = world_.checker_->grant_of(channel, name.writer);
    at.list = list::list_id(channel, name);
    at.position = {count, 1};
    lie.list = at.list;
    lie.position = at.position;
    lie.tail = chain(node, count, forged, broken);
  };
  const list::ListName own{member_.key(), octets<list::Incarnation>(random), false};
  switch (kind) {
    case 0:  // that nobody has, of a list that is very long
      root = ipld::Cid::of(Bytes(at.list.view()) + std::to_string(random.next()));
      if (random.percent(30)) at.position.number = uint64_t{1} << 50;
      break;
    case 1: {  // another list's
      auto decoded = list::decode_root(world_.any_block(random));
      for (int tries = 0; tries < 100 && (!decoded || decoded->position.number < 16); ++tries)
        decoded = list::decode_root(world_.any_block(random));
      if (!decoded) return;
      root = offer(list::encode(*decoded));
      at.position.number = decoded->position.number;
      if (random.percent(70)) at.list = octets<list::ListId>(random);  // as if it were a new one
      break;
    }
    case 2: {  // indexes below indexes, without an end
      list::Run run{1, at.position, ipld::Cid::of("nothing")};
      --run.last.number;
      for (int depth = 0; depth < 100; ++depth) run.cid = offer(list::encode_index({run}));
      lie.levels = {{}, {}, {run}};
      lie.tail = {noise.out()};
      root = offer(list::encode(lie));
      break;
    }
    case 3: {  // packs of too few, of noise, or that nobody has
      list::Run run{1, at.position, ipld::Cid::of(std::to_string(random.next()))};
      --run.last.number;
      if (random.percent(70))
        run.cid = offer(list::encode_pack(std::vector<Bytes>(random.between(1, 300), noise.out())));
      lie.levels = {{run}};
      lie.tail = {noise.out()};
      root = offer(list::encode(lie));
      break;
    }
    case 4:  // nodes in an honest writer's name
      name_chain({victim.list.writer, octets<list::Incarnation>(random), false}, 20, 99, 99);
      root = offer(list::encode(lie));
      break;
    case 5:  // its own, of which the last is not signed
      name_chain(own, 20, 19, 99);
      root = offer(list::encode(lie));
      break;
    case 6:  // its own, of which one does not follow the one before
      name_chain(own, 20, 99, 1 + random.below(18));
      root = offer(list::encode(lie));
      break;
    default:  // its own, as they are; and of some more that are not there
      name_chain(own, 20, 99, 99);
      root = offer(list::encode(lie));
      if (random.percent(50)) at.position.number += 100;
  }
  sync::ClockMessage clock;
  clock.wall_ms = kWallStartMs + world_.now_ms_;
  clock.has_manifest = true;
  clock.entries.push_back({at, 0, at.position.number, root});
  if (kind >= 4) clock.entries.back().root_number = lie.position.number;
  say(member_, std::move(clock));
}

void Hostile::act(const Action& action) {
  Random random(action.salt);
  channel_ = action.channel;
  if (action.a >= 64) return roots(random, static_cast<uint64_t>(action.a) - 64);
  const bool member = world_.plan_.channels[channel_].hostile_member;
  if (random.percent(5)) {
    ++boot_;
    count_ = 0;
  }
  if (random.percent(4)) return flood(random);
  switch (action.a % 16) {
    case 0:
    case 1:
      if (action.a > 32 && member) return again(random);
      return forge(random);
    case 2:
    case 3:
      return claim(random);
    case 4: {  // what was said before: as it was, bent, or elsewhere
      const auto& heard =
          heard_[world_.channels_[random.percent(30) ? random.below(world_.channels_.size())
                                                     : channel_]];
      if (heard.empty()) return;
      Bytes message = random.pick(heard);
      if (random.percent(40))
        message[random.below(message.size())] ^= static_cast<char>(1 << random.below(8));
      return world_.broadcast(World::kNobody, "enemy", world_.channels_[channel_], message);
    }
    case 5: {  // others' nodes in one's own message, also of another channel
      Bytes covered;
      const auto& heard = heard_[world_.channels_[random.below(world_.channels_.size())]];
      if (heard.empty()) return;
      const auto message = sync::decode(random.pick(heard), covered);
      if (!message || !std::holds_alternative<sync::Nodes>(message->body)) return;
      auto nodes = std::get<sync::Nodes>(message->body);
      if (random.percent(30)) nodes.manifest = Bytes("no manifest");
      if (random.percent(30)) nodes.manifest = world_.any_block(random);
      std::reverse(nodes.nodes.begin(), nodes.nodes.end());
      return say(random.percent(50) ? member_ : stranger_, std::move(nodes));
    }
    default:
      break;
  }
  if (!member) return;
  List& list = own_list(random);
  list::Node node = next(list, random);
  std::vector<Bytes> operations = {operation(random, true)};
  switch (action.a % 16) {
    case 6:
      return fork(random);
    case 7:  // far ahead in time
      node.time += (random.percent(70) ? kFutureMs + random.below(120'000) : kYearMs) << 16;
      break;
    case 8:  // back in time
      if (!list.nodes.empty()) node.time = list.nodes.back().time - random.below(2);
      break;
    case 9:  // after another node
      if (node.number > 1) node.prev = ipld::Cid::of("another");
      break;
    case 10:  // void
      operations.insert(operations.begin() + static_cast<ptrdiff_t>(random.below(2)),
                        operation(random, false));
      break;
    case 11:  // a body that is not what it says
      if (node.epoch) node.epoch = random.percent(85) ? ipld::Cid{} : ipld::Cid::of("no epoch");
      if (!node.epoch) node.nonce.clear();
      break;
    case 12:  // it has seen what nobody ever will
      node.seen.clear();
      node.seen.push_back({octets<list::ListId>(random), {1 + random.below(5), random.next()}});
      for (const ipld::Cid& head : world_.checker_->heads(node.channel)) {
        list::At at = world_.checker_->find(head)->node.at();
        at.position.number += 1 + random.below(3);
        if (node.seen.size() < 4) node.seen.push_back(at);
      }
      break;
    case 13: {  // the one before is withheld, perhaps for ever
      const Bytes block = seal(node, member_, operations);
      keep(list, node, block);
      withheld_.emplace_back(node.channel, block);
      node = next(list, random);
      break;
    }
    case 14: {  // what was withheld
      std::vector<Bytes> blocks;
      for (const auto& [channel, block] : withheld_)
        if (channel == node.channel) blocks.push_back(block);
      return say_nodes(blocks);
    }
    case 15:
      if (action.a / 16 > 0) return again(random);
      break;
    default:
      break;  // an ordinary node
  }
  const Bytes block = seal(node, member_, operations);
  const bool sound = list.nodes.empty() ||
                     (node.prev == list.nodes.back().cid && node.time > list.nodes.back().time);
  if (sound && node.time_ms() < kWallStartMs + kYearMs)
    keep(list, node, block);
  else
    world_.checker_->on_hostile_node(block);
  std::vector<Bytes> blocks = {block};
  if (random.percent(30) && list.blocks.size() > 1)
    blocks.insert(blocks.begin(), list.blocks[list.blocks.size() - 2]);
  say_nodes(std::move(blocks));
}

}  // namespace ptwop::sim
