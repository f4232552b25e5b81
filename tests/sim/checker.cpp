#include "checker.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/limits.h"
#include "sync/message.h"

namespace ptwop::sim {
namespace {

constexpr uint64_t kFutureMs = 5 * 60 * 1000;
constexpr uint64_t kSeenWaitMs = 10'000;

/// A replica's state as it is on its disk: no fault comes between.
class RawState : public types::StateReader {
 public:
  RawState(const Disk& disk, uint32_t channel)
      : disk_(disk), prefix_(engine::channel_prefix(channel)) {}
  Result<std::optional<Bytes>> get(types::Space space, BytesView key) const override {
    const Bytes* value = disk_.find(table(space), prefix_ + Bytes(key));
    return value ? std::optional<Bytes>(*value) : std::optional<Bytes>();
  }
  Result<void> scan(types::Space space, BytesView from, BytesView until, bool reverse,
                    const types::Visit& visit) const override {
    const auto& map = disk_.table(table(space));
    auto first = map.lower_bound(prefix_ + Bytes(from));
    auto last =
        map.lower_bound(until.empty() ? engine::after_prefix(prefix_) : prefix_ + Bytes(until));
    if (!until.empty() && until <= from) return {};
    while (first != last) {
      const auto& [key, value] = reverse ? *--last : *first++;
      if (!visit(BytesView(key).substr(prefix_.size()), value)) break;
    }
    return {};
  }

 private:
  static engine::Table table(types::Space space) {
    return space == types::Space::state ? engine::Table::state : engine::Table::index;
  }
  const Disk& disk_;
  Bytes prefix_;
};

bool only_once(const Operation& op) {
  return op.kind == Operation::Kind::put || op.kind == Operation::Kind::inc ||
         op.kind == Operation::Kind::add;
}

std::string short_list(const list::ListId& id) { return hex(id.view()).substr(0, 8); }

}  // namespace

Checker::Checker(std::vector<Subject> subjects)
    : subjects_(std::move(subjects)), replicas_(subjects_.size()) {}

void Checker::fail(std::string kind, std::string text) {
  if (!failure_) failure_ = Failure{std::move(kind), std::move(text)};
}

std::string Checker::name(size_t replica) const { return fmt::format("replica {}", replica); }

std::string Checker::where(const Made& made) const {
  std::string writer = "an enemy";
  for (size_t i = 0; i < subjects_.size(); ++i)
    if (subjects_[i].key == made.node.list.writer) writer = name(i);
  return fmt::format("{} {} of list {} by {}", made.node.list.control ? "control node" : "node",
                     made.node.number, short_list(made.node.id), writer);
}

std::string Checker::shown(const ipld::Cid& cid) const {
  const Made* made = find(cid);
  return made ? where(*made) : "an unknown node";
}

// --- nodes ---------------------------------------------------------------------------------------

const Made* Checker::find(const ipld::Cid& cid) const {
  const auto it = made_.find(cid);
  return it == made_.end() ? nullptr : &it->second;
}

// Its creator's identity opens the epochs for us.
void Checker::learn_channel(size_t creator, const engine::ChannelRecord& record) {
  auto read = access::read_manifest(record.manifest);
  if (!read || read->cid != record.cid || read->creator != subjects_[creator].key)
    return fail("manifest", name(creator) + " has a channel with another's manifest");
  channels_.emplace(record.cid, ChannelFacts{read->type,
                                             read->is_public,
                                             read->creator,
                                             subjects_[creator].identity,
                                             access::Membership(*read),
                                             {},
                                             {},
                                             {}});
}

Made* Checker::learn(const list::Node& node, bool hostile) {
  const auto [it, fresh] = made_.try_emplace(node.cid);
  Made& made = it->second;
  if (!fresh) return &made;
  made.node = node;
  made.hostile = hostile;
  auto& here = at_[{node.id, node.number}];
  here.push_back(node.cid);
  if (here.size() > 1) {
    const auto [fork, first] = forks_.try_emplace(node.id, node.number);
    if (!first) fork->second = std::min(fork->second, node.number);
  }
  const auto channel = channels_.find(node.channel);
  if (channel == channels_.end()) return &made;
  ChannelFacts& facts = channel->second;
  made.node.body.clear();
  if (node.list.control) {
    if (node.list.writer == facts.creator && !hostile) learn_control(made, node.body, facts);
    made.readable = true;
    return &made;
  }
  if (!hostile) facts.last[node.id] = node.cid;
  made.readable = true;  // unless its key is nobody's
  if (static_cast<bool>(node.epoch) == facts.is_public) return &made;
  Result<Bytes> framed = node.body;
  if (node.epoch) {
    const access::Epoch* epoch = facts.membership.epoch(node.epoch);
    if (!epoch) {
      made.readable = false;
      return &made;
    }
    framed = access::open_body(node, access::body_key(epoch->secret));
  }
  if (!framed) return &made;
  const auto ops = access::unframe_ops(*framed);
  if (!ops || read_again(made, *ops)) return &made;
  made.good = !ops->empty();
  for (const Bytes& op : *ops) {
    auto operation = read_operation(facts.type, op);
    if (!operation) {
      made.operations.clear();  // one that is none makes the whole node void
      made.good = false;
      break;
    }
    made.operations.push_back(std::move(*operation));
  }
  return &made;
}

void Checker::learn_control(Made& made, BytesView body, ChannelFacts& facts) {
  const auto ops = access::unframe_ops(body);
  if (ops && read_again(made, *ops)) return;
  if (!ops || !facts.membership.apply(made.node, *ops, *facts.identity)) return;
  made.good = true;
  for (const Bytes& op : *ops) {
    ipld::CborReader in(op);
    if (in.map() != 4 || !in.try_key("id")) {
      facts.epoch = made.node.at();
      continue;
    }
    const auto key = list::PublicKey::from(in.bytes(list::PublicKey::kSize));
    facts.grants[made.node.at()] = {key, op.ends_with("write")};
  }
}

// Each block is read once, however many replicas hold it and however often they start.
const list::Node* Checker::read_node(const Bytes& block) {
  const auto known = read_.find(block);
  if (known != read_.end()) return &known->second;
  auto node = list::decode(block);
  return node ? &read_.emplace(block, std::move(*node)).first->second : nullptr;
}

void Checker::on_hostile_node(const Bytes& block) {
  const list::Node* node = read_node(block);
  if (!node) return;
  learn(*node, true)->exposed = true;
}

std::optional<list::At> Checker::grant_of(const ipld::Cid& channel,
                                          const list::PublicKey& key) const {
  for (const auto& [at, grant] : channels_.at(channel).grants)
    if (grant == std::pair(key, true)) return at;
  return std::nullopt;
}

std::vector<ipld::Cid> Checker::heads(const ipld::Cid& channel) const {
  std::vector<ipld::Cid> out;
  for (const auto& [list, cid] : channels_.at(channel).last) out.push_back(cid);
  return out;
}

// Made anew, from the first node on.
std::map<ipld::Cid, std::string> Checker::roots(size_t replica) const {
  std::map<ipld::Cid, std::string> out;
  const Disk& disk = *subjects_[replica].disk;
  for (const auto& [number, mirror] : replicas_[replica].mirrors)
    for (const auto& [id, record] : mirror.lists) {
      const std::vector<ipld::Cid>& chain = mirror.chains.at(id);
      const auto item = [&](uint64_t n) {
        return list::item_of(disk.table(engine::Table::nodes).at(engine::node_key(number, id, n)));
      };
      list::Packer packer(
          {},
          [&](uint64_t first, uint64_t last) -> Result<std::vector<Bytes>> {
            std::vector<Bytes> items;
            for (uint64_t n = first; n <= last; ++n) items.push_back(item(n));
            return items;
          },
          [](const ipld::Cid&, const Bytes&, const std::vector<list::Run>&) {});
      const uint64_t end =
          record.cut ? std::min(record.held.number, record.cut - 1) : record.held.number;
      for (uint64_t n = 1; n <= end; ++n) (void)packer.add(item(n), {n, chain[n - 1].tag()});
      if (end == 0) continue;
      out[ipld::Cid::of(list::encode(list::Root{mirror.channel, id, packer.position(),
                                                packer.packed().levels, packer.tail()}))] =
          fmt::format("number {} of list {}", end, short_list(id));
    }
  return out;
}

size_t Checker::known_lists(size_t replica) const {
  size_t count = 0;
  for (const auto& [number, mirror] : replicas_[replica].mirrors) count += mirror.lists.size();
  return count;
}

size_t Checker::unmet(size_t replica) const {
  size_t count = 0;
  for (const auto& [number, mirror] : replicas_[replica].mirrors) count += mirror.unmet.size();
  return count;
}

bool Checker::forked(const list::ListId& list, uint64_t number) const {
  const auto it = forks_.find(list);
  return it != forks_.end() && it->second <= number;
}

bool Checker::reads(size_t replica, const Mirror& mirror) const {
  const ChannelFacts& facts = channels_.at(mirror.channel);
  if (facts.is_public) return true;
  if (!facts.epoch || !holds(mirror, *facts.epoch)) return false;
  return facts.creator == subjects_[replica].key ||
         std::any_of(facts.grants.begin(), facts.grants.end(), [&](const auto& grant) {
           return grant.second.first == subjects_[replica].key &&
                  (holds(mirror, grant.first) || has_again(mirror, grant.first));
         });
}

// A control node is here that writes it again, whether or not that counts: a key that was given
// stays given.
bool Checker::has_again(const Mirror& mirror, const list::At& at) const {
  const Made* made = find(at);
  return made && std::any_of(mirror.chains.begin(), mirror.chains.end(), [&](const auto& chain) {
           return std::any_of(chain.second.begin(), chain.second.end(), [&](const ipld::Cid& cid) {
             const Made& outer = made_.at(cid);
             return outer.node.list.control && std::find(outer.again.begin(), outer.again.end(),
                                                         made->node.cid) != outer.again.end();
           });
         });
}

// --- nodes that are written again ----------------------------------------------------------------

// True if these are operations that write nodes again; which ones, is noted. One that may not be
// there makes the node void.
bool Checker::read_again(Made& made, const std::vector<Bytes>& ops) {
  std::vector<list::Node> inner;
  bool good = !ops.empty();
  for (const Bytes& op : ops) {
    ipld::CborReader in(op);
    const bool again = in.array() == 2 && in.text() == "again" && in.ok();
    if (!again && inner.empty()) return false;
    const auto node = list::decode(in.bytes());
    good &= again && node.ok() && node->channel == made.node.channel &&
            node->list.writer == made.node.list.writer &&
            node->list.control == made.node.list.control && node->id != made.node.id &&
            node->time < made.node.time;
    if (!node) break;
    inner.push_back(*node);
  }
  // A node's signature covers the one that it follows.
  for (size_t i = 0; i < inner.size() && good; ++i)
    good = (i + 1 < inner.size() && inner[i + 1].prev == inner[i].cid) ||
           access::verify(inner[i].list.writer, "node", list::encode_unsigned(inner[i]),
                          inner[i].signature);
  made.good = good;
  if (!good) return true;
  for (const list::Node& node : inner) {
    made.readable &= learn(node, made.hostile)->readable;
    if (std::find(made.again.begin(), made.again.end(), node.cid) == made.again.end())
      made.again.push_back(node.cid);
    else
      made.twice = true;
  }
  return true;
}

const Made* Checker::find(const list::At& at) const {
  const auto here = at_.find({at.list, at.position.number});
  if (here == at_.end()) return nullptr;
  const auto it = std::find_if(here->second.begin(), here->second.end(),
                               [&](const ipld::Cid& cid) { return cid.tag() == at.position.tag; });
  return it == here->second.end() ? nullptr : &made_.at(*it);
}

bool Checker::written_again(const Mirror& mirror, const list::At& at) {
  for (auto it = mirror.again.lower_bound({at.list, at.position.number, 0});
       it != mirror.again.end() && std::get<0>(it->first) == at.list &&
       std::get<1>(it->first) == at.position.number;
       ++it)
    for (const auto& [cid, times] : it->second)
      if (cid.tag() == at.position.tag) return true;
  return false;
}

bool Checker::grant_counts(const Mirror& mirror, const list::At& at) {
  const auto record = mirror.lists.find(at.list);
  const bool cut = record != mirror.lists.end() && record->second.cut &&
                   record->second.cut <= at.position.number;
  return (holds(mirror, at) && !cut) || written_again(mirror, at);
}

bool Checker::counts(const Mirror& mirror, const list::At& at) const {
  const Made* made = find(at);
  const auto it = made ? mirror.counted.find(spot_of(made->node)) : mirror.counted.end();
  return it != mirror.counted.end() && it->second == made->node.cid;
}

// The grant under which a list was opened stands where a list is forked: it may not count (yet).
bool Checker::grant_forked(const Mirror& mirror, const list::ListId& list) const {
  const auto chain = mirror.chains.find(list);
  if (chain == mirror.chains.end() || chain->second.empty()) return false;
  const auto& grant = made_.at(chain->second[0]).node.grant;
  return grant && forked(grant->list, grant->position.number);
}

// A fork cut its grant off, and a clock that was ahead had stamped that: it is written again when
// it is time.
bool Checker::waits_for_its_grant(size_t replica, const Mirror& mirror,
                                  const list::ListId& list) const {
  if (!grant_forked(mirror, list)) return false;
  const list::At& grant = *made_.at(mirror.chains.at(list)[0]).node.grant;
  const Made* made = find(grant);
  return !grant_counts(mirror, grant) && made &&
         made->node.time_ms() > subjects_[replica].wall_ms() + limits::kOwnLeadMs;
}

uint64_t Checker::applicable(const Mirror& mirror, const list::ListId& list,
                             const engine::ListRecord& record) const {
  if (grant_forked(mirror, list) &&
      !grant_counts(mirror, *made_.at(mirror.chains.at(list)[0]).node.grant))
    return 0;
  return record.cut ? std::min(record.held.number, record.cut - 1) : record.held.number;
}

// What an honest owner wrote beyond a fork and can still be had counts again, at the owner's own
// replica to begin with.
std::string Checker::not_again(const std::vector<size_t>& connected) const {
  for (const size_t r : connected)
    for (const Acknowledged& ack : replicas_[r].acknowledged) {
      const Mirror* mirror = mirror_of(r, ack.channel);
      if (!mirror || !forked(ack.at.list, ack.at.position.number) || counts(*mirror, ack.at))
        continue;
      // What a clock that was ahead stamped waits until it is time.
      if (const Made* made = find(ack.at);
          made && made->node.time_ms() > subjects_[r].wall_ms() + limits::kOwnLeadMs)
        continue;
      const bool there = std::any_of(connected.begin(), connected.end(), [&](size_t other) {
        const Mirror* its = mirror_of(other, ack.channel);
        return its && holds(*its, ack.at);
      });
      if (there)
        return fmt::format("{} has not written number {} of list {} again", name(r),
                           ack.at.position.number, short_list(ack.at.list));
    }
  return {};
}

// --- commits -------------------------------------------------------------------------------------

void Checker::on_commit(size_t replica, const engine::Changes& changes) {
  using engine::Change;
  using engine::Table;
  ReplicaFacts& facts = replicas_[replica];
  applied_now_.clear();
  for (const Change& change : changes)
    if (change.table == Table::meta && change.kind == Change::Kind::put && change.key[0] == 'l')
      if (const auto record = engine::decode_list(change.value))
        applied_now_[list::ListId::from(BytesView(change.key).substr(5))] = record->applied.number;
  for (const Change& change : changes) {
    if (change.table != Table::meta || change.key.size() != 5 || change.key[0] != 'c') continue;
    const uint32_t number = read_be32(BytesView(change.key).substr(1));
    if (change.kind == Change::Kind::erase) {
      facts.mirrors.erase(number);
      continue;
    }
    const auto record = engine::decode_channel(change.value);
    if (record && !record->manifest.empty() && ipld::Cid::of(record->manifest) != record->cid)
      return fail("manifest", name(replica) + " has a channel with another's manifest");
    if (record && !record->manifest.empty() && !channels_.contains(record->cid))
      learn_channel(replica, *record);
    if (!record || !channels_.contains(record->cid))
      return fail("records", name(replica) + " wrote a channel record that is none");
    auto [it, fresh] = facts.mirrors.try_emplace(
        number, Mirror{record->cid, false, {}, {}, {}, {}, Model(channels_.at(record->cid).type)});
    it->second.has_manifest = !record->manifest.empty();
  }
  std::vector<std::pair<const Change*, const list::Node*>> nodes;
  for (const Change& change : changes) {
    if (change.table != Table::nodes || change.kind != Change::Kind::put) continue;
    const list::Node* node = read_node(change.value);
    if (!node) return fail("nodes", name(replica) + " holds something that is no node");
    nodes.emplace_back(&change, node);
  }
  // Control lists first: they say who was allowed to open the others.
  for (const bool control : {true, false})
    for (const auto& [change, node] : nodes)
      if (const auto mirror = facts.mirrors.find(read_be32(change->key));
          node->list.control == control && mirror != facts.mirrors.end()) {
        take_node(replica, mirror->second, change->key, *node, false);
        if (failure_) return;
      }
  std::map<uint32_t, std::vector<Step>> steps;
  for (const Change& change : changes) {
    if (change.table != Table::meta || change.kind != Change::Kind::put || change.key[0] != 'l')
      continue;
    const uint32_t number = read_be32(BytesView(change.key).substr(1));
    const auto mirror = facts.mirrors.find(number);
    if (mirror == facts.mirrors.end()) continue;
    const auto record = engine::decode_list(change.value);
    if (!record) return fail("records", name(replica) + " wrote a list record that is none");
    take_record(replica, mirror->second, list::ListId::from(BytesView(change.key).substr(5)),
                *record, steps[number]);
    if (failure_) return;
  }
  const auto mirror_of_node = [&](const Change& change) {
    return facts.mirrors.find(read_be32(change.key));
  };
  // What was written again before, and not only by a node that is taken back just now.
  std::vector<std::pair<const Made*, ipld::Cid>> twice;
  for (const auto& [change, node] : nodes)
    if (const auto mirror = mirror_of_node(*change);
        mirror != facts.mirrors.end() && node->list.writer == subjects_[replica].key)
      for (const ipld::Cid& cid : made_.at(node->cid).again)
        if (written_again(mirror->second, made_.at(cid).node.at()) && made_.at(node->cid).fresh)
          twice.emplace_back(&made_.at(node->cid), cid);
  for (const auto& [number, taken] : steps) {
    Mirror& mirror = facts.mirrors.at(number);
    check_steps(replica, number, mirror, taken);
    // What waits may have to wait for what was taken back.
    if (std::any_of(taken.begin(), taken.end(), [](const Step& step) { return step.undone; }))
      note_unapplied(replica, mirror);
  }
  for (const auto& [number, taken] : steps) check_grants(replica, facts.mirrors.at(number));
  for (const auto& [change, node] : nodes) {
    const auto mirror = mirror_of_node(*change);
    if (failure_ || mirror == facts.mirrors.end()) continue;
    Made& made = made_.at(node->cid);
    made.fresh = false;
    // A grant may have come, or been written again, in the same turn.
    if (node->number == 1 && !admitted(mirror->second, made, channels_.at(mirror->second.channel)))
      return fail("authority",
                  fmt::format("{} holds {}, which nobody allowed", name(replica), where(made)));
    for (const auto& [outer, cid] : twice)
      if (outer == &made && mirror->second.again.at(spot_of(made_.at(cid).node)).at(cid) > 1)
        return fail("once", fmt::format("{} wrote {} again a second time: {}", name(replica),
                                        shown(cid), where(made)));
  }
}

// A list counts while the grant does under which it was opened.
void Checker::check_grants(size_t replica, const Mirror& mirror) {
  const bool cut = std::any_of(mirror.lists.begin(), mirror.lists.end(), [](const auto& item) {
    return item.second.name.control && item.second.cut;
  });
  if (!cut) return;
  for (const auto& [id, record] : mirror.lists)
    if (!record.name.control && record.applied.number > 0 && grant_forked(mirror, id) &&
        applicable(mirror, id, record) == 0)
      return fail("authority", fmt::format("{} applies list {}, whose grant is cut off",
                                           name(replica), short_list(id)));
}

// A node came to be held.
void Checker::take_node(size_t replica, Mirror& mirror, BytesView key, const list::Node& came,
                        bool reopened) {
  const list::Node* node = &came;
  const list::ListId id = list::ListId::from(key.substr(4));
  const uint64_t number = read_be64(key.substr(20));
  if (node->id != id || node->number != number || node->channel != mirror.channel)
    return fail("nodes", name(replica) + " put a node into the wrong place");
  Made* made = nullptr;
  if (const auto it = made_.find(node->cid); it != made_.end()) made = &it->second;
  if (!made) {
    if (node->list.writer != subjects_[replica].key)
      return fail("forgery", fmt::format("{} holds a node that nobody made: number {} of list {}",
                                         name(replica), number, short_list(id)));
    if (!access::verify(node->list.writer, "node", list::encode_unsigned(*node), node->signature))
      return fail("forgery", name(replica) + " wrote a node without a good signature");
    for (const ipld::Cid& other : at_[{id, number}])
      if (made_.at(other).exposed && !replicas_[replica].copied)
        return fail("own fork", fmt::format("{} made a second node {} of its list {}",
                                            name(replica), number, short_list(id)));
    made = learn(*node, false);
    made->fresh = !reopened;
    if (!reopened) check_own(replica, mirror, *made);
    for (const Operation& op : made->operations)
      if (replicas_[replica].refused.contains(op.encoded))
        return fail("refused", fmt::format("{} answered a write with an error and then made it: {}",
                                           name(replica), where(*made)));
  }
  made->holders |= uint64_t{1} << replica;
  time_max_ms_ = std::max(time_max_ms_, made->node.time_ms());
  auto& chain = mirror.chains[id];
  if (number == 0 || number > chain.size() + 1)
    return fail("chain",
                fmt::format("{} holds {} and not the one before", name(replica), where(*made)));
  if (number <= chain.size()) {
    if (chain[number - 1] != made->node.cid)
      fail("chain",
           fmt::format("{} put another node in the place of {}", name(replica), where(*made)));
    return;
  }
  if (number > 1) {
    const Made& before = made_.at(chain.back());
    if (made->node.prev != chain.back())
      return fail("chain", fmt::format("{} holds {}, which follows another node", name(replica),
                                       where(*made)));
    if (made->node.time <= before.node.time)
      return fail("time", fmt::format("{} holds {}, which is not later than the one before",
                                      name(replica), where(*made)));
  }
  if (!reopened && made->node.time_ms() > subjects_[replica].wall_ms() + kFutureMs)
    return fail("time", fmt::format("{} holds {}, whose time is more than five minutes ahead",
                                    name(replica), where(*made)));
  chain.push_back(made->node.cid);
  if (!made->node.list.control) note_unmet(replica, mirror, *made);
}

// What a replica writes has seen all that it shows, and is not where it has heard that its own past
// is.
void Checker::check_own(size_t replica, const Mirror& mirror, const Made& made) {
  if (const auto told = replicas_[replica].told.find(made.node.id);
      told != replicas_[replica].told.end() && told->second >= made.node.number)
    return fail("own fork", fmt::format("{} wrote {} although it had heard that there is one",
                                        name(replica), where(made)));
  if (!made.good)
    return fail("void", fmt::format("{} wrote {}, which is void", name(replica), where(made)));
  if (made.twice)
    return fail("once", fmt::format("{} wrote a node again twice: {}", name(replica), where(made)));
  // What is written again is written as soon as the cut is found, which takes things back.
  if (mirror.lists.size() > limits::kSeenMax || !made.again.empty()) return;
  for (const auto& [id, record] : mirror.lists) {
    // What is taken back in the same turn it may have seen no more.
    const auto now = applied_now_.find(id);
    const uint64_t shown = now == applied_now_.end() ? record.applied.number
                                                     : std::min(record.applied.number, now->second);
    if (id == made.node.id || shown == 0) continue;
    const auto& seen = made.node.seen;
    const auto at = std::find_if(seen.begin(), seen.end(),
                                 [&id = id](const list::At& a) { return a.list == id; });
    if (at == seen.end() || at->position.number < shown)
      return fail("seen", fmt::format("{} wrote {} as if it had not seen list {}", name(replica),
                                      where(made), short_list(id)));
  }
}

bool Checker::admitted(const Mirror& mirror, const Made& first, const ChannelFacts& facts) const {
  const list::Node& node = first.node;
  if (node.list.writer == facts.creator) return true;
  if (node.list.control || !node.grant) return false;
  const auto grant = facts.grants.find(*node.grant);
  return grant != facts.grants.end() && grant->second == std::pair(node.list.writer, true) &&
         (holds(mirror, *node.grant) || written_again(mirror, *node.grant));
}

void Checker::note_unmet(size_t replica, Mirror& mirror, const Made& made) {
  for (const list::At& at : made.node.seen) {
    const auto other = mirror.lists.find(at.list);
    if (other != mirror.lists.end() && other->second.applied.number >= at.position.number) continue;
    const auto [it, fresh] =
        mirror.unmet.try_emplace(at.list, Unmet{subjects_[replica].mono_ms(), at.position.number});
    it->second.number = std::max(it->second.number, at.position.number);
  }
}

void Checker::note_unapplied(size_t replica, Mirror& mirror) {
  for (const auto& [id, chain] : mirror.chains)
    for (size_t n = mirror.lists.contains(id) ? mirror.lists.at(id).applied.number : 0;
         n < chain.size(); ++n) {
      const Made& made = made_.at(chain[n]);
      if (!made.node.list.control) note_unmet(replica, mirror, made);
    }
}

// A list record changed: what was applied, or taken back?
void Checker::take_record(size_t replica, Mirror& mirror, const list::ListId& id,
                          const engine::ListRecord& record, std::vector<Step>& steps) {
  const engine::ListRecord before =
      mirror.lists.contains(id) ? mirror.lists.at(id) : engine::ListRecord{};
  const auto& chain = mirror.chains[id];
  const std::string what = fmt::format("{}, list {}", name(replica), short_list(id));
  if (record.held.number < before.held.number) return fail("clock", what + ": the clock went back");
  if (record.held.number != chain.size() ||
      (!chain.empty() && (record.head != chain.back() || record.held.tag != chain.back().tag())))
    return fail("records", what + ": the record names another node than the one that is held");
  if (before.cut && (!record.cut || record.cut > before.cut))
    return fail("clock", what + ": a cut was forgotten");
  if (record.cut && record.cut != before.cut && at_[{id, record.cut}].size() < 2)
    return fail("fork", fmt::format("{}: cut at {} without a fork", what, record.cut));
  const uint64_t applicable =
      record.cut ? std::min(record.held.number, record.cut - 1) : record.held.number;
  if (record.applied.number > applicable)
    return fail("fork", what + ": applied beyond what counts");
  if (record.applied.number > 0 && record.applied.tag != chain[record.applied.number - 1].tag())
    return fail("records", what + ": the record names another node than the one that is applied");
  for (uint64_t n = before.applied.number; n > record.applied.number; --n)
    steps.push_back({&made_.at(chain[n - 1]), true});
  for (uint64_t n = before.applied.number + 1; n <= record.applied.number; ++n)
    steps.push_back({&made_.at(chain[n - 1]), false});
  if (record.applied.number < before.applied.number && record.cut == before.cut &&
      !grant_forked(mirror, id))
    return fail("clock", what + ": what was applied went back without a fork");
  mirror.lists[id] = record;
  if (const auto unmet = mirror.unmet.find(id);
      unmet != mirror.unmet.end() &&
      record.applied.number >=
          (record.cut ? std::min(unmet->second.number, record.cut - 1) : unmet->second.number))
    mirror.unmet.erase(unmet);
}

void Checker::check_steps(size_t replica, uint32_t number, Mirror& mirror,
                          const std::vector<Step>& steps) {
  for (const Step& step : steps) {
    if (step.made->node.list.control) continue;
    if (!reads(replica, mirror))
      return fail("authority",
                  fmt::format("{} applied {} without a key", name(replica), where(*step.made)));
    if (!step.undone) check_seen(replica, mirror, *step.made);
  }
  std::set<const Made*> changed;
  if (failure_ || !count(replica, mirror, steps, changed)) return;
  const RawState state(*subjects_[replica].disk, number);
  for (const Step& step : steps) changed.insert(step.made);
  for (const Made* made : changed)
    for (uint32_t i = 0; i < made->operations.size(); ++i) {
      const list::Node& node = made->node;
      const std::string wrong =
          mirror.model.compare(state, made->operations[i], {node.time, node.id, node.number, i});
      if (!wrong.empty())
        return fail("state", fmt::format("{} after applying or taking back {}: {}", name(replica),
                                         where(*made), wrong));
    }
}

void Checker::check_seen(size_t replica, const Mirror& mirror, const Made& made) {
  for (const list::At& at : made.node.seen) {
    const auto other = mirror.lists.find(at.list);
    if (other != mirror.lists.end() &&
        (other->second.applied.number >= at.position.number ||
         (other->second.cut && at.position.number >= other->second.cut)))
      continue;
    const auto unmet = mirror.unmet.find(at.list);
    const uint64_t waited =
        unmet == mirror.unmet.end() ? 0 : subjects_[replica].mono_ms() - unmet->second.since_ms;
    if (waited < kSeenWaitMs)
      return fail(
          "seen",
          fmt::format(
              "{} applied {} before number {} of list {}, which its writer had seen, after {} ms",
              name(replica), where(made), at.position.number, short_list(at.list), waited));
  }
}

// At each place one node counts: the one that is applied there, else of those written again the one
// with the smallest CID.
const Made* Checker::what_counts(const Mirror& mirror, const Spot& spot) const {
  const auto& [list, number, time] = spot;
  if (const auto record = mirror.lists.find(list);
      record != mirror.lists.end() && record->second.applied.number >= number) {
    const Made& accepted = made_.at(mirror.chains.at(list)[number - 1]);
    if (accepted.node.time == time) return &accepted;
  }
  const auto again = mirror.again.find(spot);
  return again == mirror.again.end() ? nullptr : &made_.at(again->second.begin()->first);
}

bool Checker::count(size_t replica, Mirror& mirror, const std::vector<Step>& steps,
                    std::set<const Made*>& changed) {
  std::set<Spot> spots;
  for (const Step& step : steps) {
    if (!step.made->node.list.control) spots.insert(spot_of(step.made->node));
    for (const ipld::Cid& cid : step.made->again) {
      const list::Node& inner = made_.at(cid).node;
      auto& times = mirror.again[spot_of(inner)];
      if ((times[cid] += step.undone ? -1 : 1) == 0) times.erase(cid);
      if (times.empty()) mirror.again.erase(spot_of(inner));
      if (!inner.list.control) spots.insert(spot_of(inner));
    }
  }
  for (const Spot& spot : spots) {
    const Made* now = what_counts(mirror, spot);
    const auto before = mirror.counted.find(spot);
    const Made* last = before == mirror.counted.end() ? nullptr : &made_.at(before->second);
    if (now == last) continue;
    if (last && !replay(replica, mirror, *last, true)) return false;
    if (now && !replay(replica, mirror, *now, false)) return false;
    if (now)
      mirror.counted[spot] = now->node.cid;
    else
      mirror.counted.erase(spot);
    for (const Made* made : {last, now})
      if (made) changed.insert(made);
  }
  return true;
}

bool Checker::replay(size_t replica, Mirror& mirror, const Made& made, bool undo) {
  const list::Node& node = made.node;
  if (!made.readable && !undo) {
    fail("state", fmt::format("{} applied {}, which nobody can read", name(replica), where(made)));
    return false;
  }
  for (uint32_t i = 0; i < made.operations.size(); ++i) {
    const Operation& op = made.operations[i];
    const Place place{node.time, node.id, node.number, i};
    if (undo ? !mirror.model.undo(place, op) : !mirror.model.apply(node, i, op)) {
      fail("once", fmt::format("{} {} {} twice", name(replica), undo ? "took back" : "applied",
                               where(made)));
      return false;
    }
    if (made.hostile || !only_once(op)) continue;
    if (undo) {
      if (const auto it = mirror.once.find(op.encoded);
          it != mirror.once.end() && it->second == place)
        mirror.once.erase(it);
      continue;
    }
    const auto [it, fresh] = mirror.once.try_emplace(op.encoded, place);
    bool restored =
        false;  // a client whose request was forgotten with the folder may have repeated it
    for (size_t r = 0; r < subjects_.size(); ++r)
      restored |= replicas_[r].restored && subjects_[r].key == node.list.writer;
    if (!fresh && !restored) {
      fail("once", fmt::format("{}: one request was carried out twice, the second time in {}",
                               name(replica), where(made)));
      return false;
    }
  }
  return true;
}

// --- what leaves a replica -----------------------------------------------------------------------

Checker::Mirror* Checker::mirror_of(size_t replica, const ipld::Cid& channel) {
  for (auto& [number, mirror] : replicas_[replica].mirrors)
    if (mirror.channel == channel) return &mirror;
  return nullptr;
}

const Checker::Mirror* Checker::mirror_of(size_t replica, const ipld::Cid& channel) const {
  return const_cast<Checker*>(this)->mirror_of(replica, channel);
}

uint32_t Checker::number_of(size_t replica, const ipld::Cid& channel) const {
  for (const auto& [number, mirror] : replicas_[replica].mirrors)
    if (mirror.channel == channel) return number;
  return 0;
}

void Checker::on_published(size_t replica, const ipld::Cid& channel, BytesView bytes) {
  Bytes covered;
  const auto message = sync::decode(bytes, covered);
  if (!message) return fail("messages", name(replica) + " sends what is no message");
  const Disk& disk = *subjects_[replica].disk;
  const Mirror* mirror = mirror_of(replica, channel);
  if (!mirror) return;  // it left, and something is still on its way out
  const uint32_t number = number_of(replica, channel);
  if (const auto* nodes = std::get_if<sync::Nodes>(&message->body)) {
    for (const Bytes& block : nodes->nodes) {
      const list::Node* read = read_node(block);
      const auto it = read ? made_.find(read->cid) : made_.end();
      if (it == made_.end())
        return fail("durable", name(replica) + " sends a node that it never stored");
      const list::Node& node = it->second.node;
      const Bytes key = engine::node_key(number, node.id, node.number);
      const Bytes proof = engine::meta_key('f', number, node.id.view());
      const Bytes* held = disk.find(engine::Table::nodes, key);
      const Bytes* other = disk.find(engine::Table::meta, proof);
      const Bytes* durable = disk.durable(engine::Table::nodes, key);
      // Another branch is kept as a proof, or was until a lower fork was found.
      const bool heard = !(held && *held == block) && it->second.exposed &&
                         node.list.writer != subjects_[replica].key;
      const bool kept = held && *held == block && durable && *durable == block;
      if (!kept && !heard && !(other && *other == block) &&
          !written_again(*mirror, it->second.node.at()))
        return fail("durable", fmt::format("{} sends {}, which a crash could still take away",
                                           name(replica), where(it->second)));
      it->second.exposed = true;
    }
  } else if (const auto* clock = std::get_if<sync::ClockMessage>(&message->body)) {
    for (const sync::ClockEntry& entry : clock->entries) {
      const auto here = mirror->lists.find(entry.at.list);
      const Bytes key = engine::meta_key('l', number, entry.at.list.view());
      const Bytes* durable = disk.durable(engine::Table::meta, key);
      const auto record = durable ? engine::decode_list(*durable)
                                  : Result<engine::ListRecord>(ptwop::fail(Code::not_found, ""));
      if (here == mirror->lists.end() || here->second.held != entry.at.position ||
          here->second.cut != entry.cut)
        return fail("clock",
                    fmt::format("{} names number {} of list {}, and holds another", name(replica),
                                entry.at.position.number, short_list(entry.at.list)));
      if (!record || record->held != entry.at.position)
        return fail(
            "durable",
            fmt::format("{} promises number {} of list {}, which a crash could still take away",
                        name(replica), entry.at.position.number, short_list(entry.at.list)));
      uint64_t& promised = replicas_[replica].promised[{channel, entry.at.list}];
      promised = std::max(promised, entry.at.position.number);
    }
  }
}

void Checker::on_heard(size_t replica, const ipld::Cid& channel, BytesView bytes) {
  Bytes covered;
  const auto message = sync::decode(bytes, covered);
  const Mirror* mirror = mirror_of(replica, channel);
  if (!message || !mirror || !mirror->has_manifest ||
      !std::holds_alternative<sync::ClockMessage>(message->body))
    return;
  const auto honest = std::find_if(subjects_.begin(), subjects_.end(),
                                   [&](const Subject& s) { return s.key == message->sender; });
  const ChannelFacts& facts = channels_.at(channel);
  const bool member = message->sender == facts.creator ||
                      std::any_of(facts.grants.begin(), facts.grants.end(), [&](const auto& grant) {
                        return grant.second.first == message->sender && holds(*mirror, grant.first);
                      });
  if (honest == subjects_.end() || message->sender == subjects_[replica].key || !member) return;
  for (const sync::ClockEntry& entry : std::get<sync::ClockMessage>(message->body).entries)
    if (const auto own = mirror->lists.find(entry.at.list);
        own != mirror->lists.end() && own->second.name.writer == subjects_[replica].key) {
      uint64_t& told = replicas_[replica].told_now[entry.at.list];
      told = std::max(told, entry.at.position.number);
    }
}

void Checker::on_turn_ended(size_t replica) {
  ReplicaFacts& facts = replicas_[replica];
  for (const auto& [list, number] : facts.told_now)
    facts.told[list] = std::max(facts.told[list], number);
  facts.told_now.clear();
}

void Checker::on_fault(size_t replica) {
  replicas_[replica].told.clear();
  replicas_[replica].told_now.clear();
}

void Checker::on_put(size_t, const engine::Block& block) {
  if (const auto it = made_.find(block.cid); it != made_.end()) it->second.exposed = true;
}

bool Checker::holds(const Mirror& mirror, const list::At& at) {
  const auto chain = mirror.chains.find(at.list);
  return chain != mirror.chains.end() && chain->second.size() >= at.position.number &&
         at.position.number > 0 && chain->second[at.position.number - 1].tag() == at.position.tag;
}

void Checker::on_acknowledged(size_t replica, const ipld::Cid& channel, const std::string& token,
                              const std::vector<Bytes>& operations) {
  const auto at = list::At::from_token(token);
  const Mirror* mirror = mirror_of(replica, channel);
  if (!at || !mirror) return fail("acknowledged", name(replica) + " gives a token that is none");
  const uint32_t number = number_of(replica, channel);
  if (!holds(*mirror, *at))
    return fail("acknowledged", name(replica) + " acknowledged a write that it does not hold");
  if (!subjects_[replica].disk->durable(engine::Table::nodes,
                                        engine::node_key(number, at->list, at->position.number)))
    return fail("acknowledged",
                name(replica) + " acknowledged a write that a crash could still take away");
  const Made& made = made_.at(mirror->chains.at(at->list)[at->position.number - 1]);
  auto from = made.operations.begin();
  for (const Bytes& op : operations) {
    from = std::find_if(from, made.operations.end(),
                        [&](const Operation& other) { return other.encoded == op; });
    if (from == made.operations.end())
      return fail("acknowledged", fmt::format("{}: {} does not hold what was acknowledged",
                                              name(replica), where(made)));
    ++from;
  }
  ++acknowledged_;
  replicas_[replica].acknowledged.push_back({channel, *at, false});
}

void Checker::on_refused(size_t replica, const std::vector<Bytes>& operations) {
  for (const Bytes& op : operations)
    for (const auto& [cid, channel] : channels_)
      if (const auto read = read_operation(channel.type, op); read && only_once(*read))
        replicas_[replica].refused.insert(op);
}

void Checker::on_reached(size_t replica, const ipld::Cid& channel, const std::string& token,
                         std::optional<size_t> peer) {
  const auto at = list::At::from_token(token);
  const Mirror* mirror = mirror_of(replica, channel);
  const Bytes key = engine::node_key(number_of(replica, channel), at->list, at->position.number);
  if (mirror && written_again(*mirror, *at)) {
    const auto here = mirror->lists.find(at->list);
    const bool beyond =
        here != mirror->lists.end() && here->second.cut && here->second.cut <= at->position.number;
    if (peer && beyond && !may_hold_again(*peer, *at))
      fail("wait",
           fmt::format("{} says that {} reached a position that was written again, and it did not",
                       name(replica), name(*peer)));
    return;
  }
  if (!mirror || !holds(*mirror, *at) ||
      !subjects_[replica].disk->durable(engine::Table::nodes, key) ||
      (reads(replica, *mirror) && mirror->lists.at(at->list).applied.number < at->position.number))
    return fail("wait", name(replica) + " says that it reached a position, and did not");
  // Of a fork that nobody told it of, it cannot know which branch the peer has.
  if (!peer || forked(at->list, at->position.number)) return;
  const Made& made = made_.at(mirror->chains.at(at->list)[at->position.number - 1]);
  if (!(made.holders >> *peer & 1))
    fail("wait", fmt::format("{} says that {} reached a position, and it did not", name(replica),
                             name(*peer)));
}

// It held a node that writes this one again, or another of a list that is forked there.
bool Checker::may_hold_again(size_t replica, const list::At& at) const {
  const Made* made = find(at);
  return made && std::any_of(made_.begin(), made_.end(), [&](const auto& item) {
           const Made& outer = item.second;
           const auto& again = outer.again;
           return std::find(again.begin(), again.end(), made->node.cid) != again.end() &&
                  (outer.holders >> replica & 1 || forked(outer.node.id, outer.node.number));
         });
}

void Checker::on_left(size_t replica, const ipld::Cid& channel) {
  ReplicaFacts& facts = replicas_[replica];
  facts.left.insert(channel);
  for (Acknowledged& ack : facts.acknowledged)
    if (ack.channel == channel) ack.may_be_lost = true;
  std::erase_if(facts.promised, [&](const auto& item) { return item.first.first == channel; });
}

// --- folders that are opened again ---------------------------------------------------------------

void Checker::on_opened(size_t replica, Reopened how) {
  using engine::Table;
  ReplicaFacts& facts = replicas_[replica];
  const Disk& disk = *subjects_[replica].disk;
  facts.mirrors.clear();
  on_fault(replica);
  const bool older = how != Reopened::after_a_crash;
  facts.restored |= older;
  facts.copied |= how == Reopened::from_an_old_copy;
  const auto& meta = disk.table(Table::meta);
  for (auto it = meta.lower_bound(BytesView("c")); it != meta.end() && it->first[0] == 'c'; ++it) {
    const auto record = engine::decode_channel(it->second);
    if (!record || !channels_.contains(record->cid))
      return fail("records", name(replica) + " has a channel record that is none");
    const uint32_t number = read_be32(BytesView(it->first).substr(1));
    Mirror& mirror = facts.mirrors
                         .try_emplace(number, Mirror{record->cid,
                                                     !record->manifest.empty(),
                                                     {},
                                                     {},
                                                     {},
                                                     {},
                                                     Model(channels_.at(record->cid).type)})
                         .first->second;
    const Bytes prefix = engine::channel_prefix(number);
    const auto& nodes = disk.table(Table::nodes);
    // Control lists first: they say who was allowed to open the others.
    for (const bool control : {true, false})
      for (auto at = nodes.lower_bound(prefix); at != nodes.end() && at->first.starts_with(prefix);
           ++at) {
        const list::Node* node = read_node(at->second);
        if (!node || node->list.control != control) continue;
        take_node(replica, mirror, at->first, *node, true);
        if (failure_) return;
      }
    std::vector<Step> steps;
    const Bytes lists = engine::meta_key('l', number);
    for (auto at = meta.lower_bound(lists); at != meta.end() && at->first.starts_with(lists);
         ++at) {
      const auto list = engine::decode_list(at->second);
      if (!list) return fail("records", name(replica) + " has a list record that is none");
      take_record(replica, mirror, list::ListId::from(BytesView(at->first).substr(5)), *list,
                  steps);
      if (failure_) return;
    }
    std::set<const Made*> changed;
    if (!count(replica, mirror, steps, changed)) return;
    mirror.unmet.clear();
    note_unapplied(replica, mirror);
    if (std::string wrong =
            mirror.model.compare_all(RawState(disk, number), subjects_[replica].wall_ms());
        !wrong.empty())
      return fail("atomic", fmt::format("{} opened again: {}", name(replica), wrong));
  }
  for (Acknowledged& ack : facts.acknowledged) {
    const Mirror* mirror = mirror_of(replica, ack.channel);
    if (mirror && holds(*mirror, ack.at)) continue;
    if (older) ack.may_be_lost = true;
    if (!ack.may_be_lost)
      return fail("lost",
                  fmt::format("{} lost the acknowledged write at number {} of list {} in a crash",
                              name(replica), ack.at.position.number, short_list(ack.at.list)));
  }
  if (older) facts.promised.clear();
  for (const auto& [where, number] : facts.promised) {
    const Mirror* mirror = mirror_of(replica, where.first);
    const auto chain =
        mirror ? mirror->chains.find(where.second) : decltype(mirror->chains.end()){};
    if (!mirror || chain == mirror->chains.end() || chain->second.size() < number)
      return fail("clock", fmt::format("{} lost number {} of list {}, which its clock had named",
                                       name(replica), number, short_list(where.second)));
  }
}

// --- what is shown -------------------------------------------------------------------------------

std::vector<engine::Member> Checker::members(size_t replica, const ipld::Cid& channel) const {
  const Mirror* mirror = mirror_of(replica, channel);
  const ChannelFacts& facts = channels_.at(channel);
  std::map<list::PublicKey, engine::Member> by_key;
  for (const auto& [at, grant] : facts.grants) {
    const Made* made = find(at);
    if (!mirror || !made || what_counts(*mirror, spot_of(made->node)) != made) continue;
    const auto& [key, writes] = grant;
    engine::Member& member =
        by_key.try_emplace(key, engine::Member{access::did_from(key), "read", UINT64_MAX})
            .first->second;
    if (writes) member.role = "write";
    member.since_ms = std::min(member.since_ms, made->node.time_ms());
  }
  by_key.erase(facts.creator);
  std::vector<std::pair<list::PublicKey, engine::Member>> sorted(by_key.begin(), by_key.end());
  std::stable_sort(sorted.begin(), sorted.end(), [](const auto& a, const auto& b) {
    return a.second.since_ms < b.second.since_ms;
  });
  std::vector<engine::Member> out = {
      {access::did_from(facts.creator), "admin", facts.membership.manifest().created_ms}};
  for (auto& [key, member] : sorted) out.push_back(std::move(member));
  return out;
}

std::map<std::string, std::tuple<uint64_t, std::string, bool>> Checker::lists(
    size_t replica, const ipld::Cid& channel) const {
  std::map<std::string, std::tuple<uint64_t, std::string, bool>> out;
  const Mirror* mirror = mirror_of(replica, channel);
  if (!mirror) return out;
  for (const auto& [id, record] : mirror->lists) {
    const uint64_t count = record.name.control || reads(replica, *mirror)
                               ? record.applied.number
                               : applicable(*mirror, id, record);
    if (count > 0)
      out[hex(id.view())] = {count, mirror->chains.at(id)[count - 1].text(), record.cut > 0};
  }
  return out;
}

std::string Checker::look(size_t replica, const ipld::Cid& channel, const types::NodeSource& source,
                          Random* random) const {
  const Mirror* mirror = mirror_of(replica, channel);
  if (!mirror) return {};
  const RawState state(*subjects_[replica].disk, number_of(replica, channel));
  std::string wrong = mirror->model.compare_siblings(state, source, random);
  if (wrong.empty() && random)
    wrong = mirror->model.compare_page(state, subjects_[replica].wall_ms(), *random);
  return wrong;
}

// --- the end -------------------------------------------------------------------------------------

std::string Checker::difference(const std::vector<size_t>& connected) const {
  for (const auto& [cid, facts] : channels_) {
    const Mirror *first = nullptr, *first_reader = nullptr;
    size_t one = 0, one_reader = 0;
    const bool known = std::any_of(connected.begin(), connected.end(), [&](size_t r) {
      const Mirror* mirror = mirror_of(r, cid);
      return mirror && mirror->has_manifest;
    });
    if (!known) continue;  // those who knew it are gone
    for (const size_t r : connected) {
      const Mirror* mirror = mirror_of(r, cid);
      if (!mirror) continue;
      if (!mirror->has_manifest) return fmt::format("{} has no manifest", name(r));
      const bool reader = reads(r, *mirror);
      for (const auto& [id, record] : mirror->lists) {
        const uint64_t applicable = this->applicable(*mirror, id, record);
        const bool stuck = record.applied.number < applicable &&
                           !made_.at(mirror->chains.at(id)[record.applied.number]).readable;
        if ((reader || record.name.control) && record.applied.number < applicable && !stuck)
          return fmt::format("{} has not applied number {} of list {}", name(r),
                             record.applied.number + 1, short_list(id));
      }
      const auto differs = [&](const Mirror& other, size_t o) -> std::string {
        for (const auto& [a, b] : {std::pair(mirror, &other), std::pair(&other, mirror)})
          for (const auto& [id, record] : a->lists) {
            const size_t ra = a == mirror ? r : o, rb = a == mirror ? o : r;
            const auto it = b->lists.find(id);
            // While its grant does not count there the list is refused.
            if (it == b->lists.end() && grant_forked(*a, id) &&
                !grant_counts(*b, *made_.at(a->chains.at(id)[0]).node.grant))
              continue;
            if (it == b->lists.end())
              return fmt::format("{} knows nothing of list {}, {} does", name(rb), short_list(id),
                                 name(ra));
            if (record.cut != it->second.cut)
              return fmt::format("list {} is cut at {} by {}, at {} by {}", short_list(id),
                                 record.cut, name(ra), it->second.cut, name(rb));
            if (!record.cut && record.held != it->second.held)
              return fmt::format("{} holds list {} up to {}, {} up to {}", name(ra), short_list(id),
                                 record.held.number, name(rb), it->second.held.number);
          }
        return {};
      };
      if (first)
        if (std::string wrong = differs(*first, one); !wrong.empty()) return wrong;
      if (!first) first = mirror, one = r;
      if (!reader) continue;
      if (first_reader)
        for (const auto& [id, record] : mirror->lists)
          if (first_reader->lists.contains(id) &&
              record.applied != first_reader->lists.at(id).applied)
            return fmt::format("{} applied list {} up to {}, {} up to {}", name(r), short_list(id),
                               record.applied.number, name(one_reader),
                               first_reader->lists.at(id).applied.number);
      if (!first_reader) first_reader = mirror, one_reader = r;
    }
  }
  return not_again(connected);
}

size_t Checker::known_channels(size_t replica) const {
  const auto& mirrors = replicas_[replica].mirrors;
  return static_cast<size_t>(std::count_if(mirrors.begin(), mirrors.end(),
                                           [](const auto& m) { return m.second.has_manifest; }));
}

// No table has rows that nothing here explains.
std::string Checker::rows(size_t replica) const {
  using engine::Table;
  const ReplicaFacts& facts = replicas_[replica];
  const Disk& disk = *subjects_[replica].disk;
  std::map<char, size_t> expected, there;
  expected['c'] = facts.mirrors.size();
  expected['p'] = known_channels(replica);
  for (const auto& [number, mirror] : facts.mirrors) {
    expected['l'] += mirror.lists.size();
    for (const auto& [id, record] : mirror.lists) expected['f'] += record.cut > 0;
    for (const auto& [spot, nodes] : mirror.again)
      for (const auto& [cid, times] : nodes) expected['a'] += static_cast<size_t>(times);
  }
  for (const auto& [key, value] : disk.table(Table::meta))
    if (key.size() > 1) ++there[key[0]];
  there.erase('r');  // requests are kept for a day
  if (there['w'] >= subjects_.size()) return "the meta table knows peers who are nobody";
  there.erase('w');  // where others were
  std::erase_if(expected, [](const auto& item) { return item.second == 0; });
  if (there != expected) {
    std::string out = "the meta table has";
    for (const auto& [kind, count] : there) out += fmt::format(" {} of {},", count, kind);
    out += " and has to have";
    for (const auto& [kind, count] : expected) out += fmt::format(" {} of {},", count, kind);
    return out;
  }
  for (const Table table : {Table::nodes, Table::state, Table::index, Table::outbox})
    for (const auto& [key, value] : disk.table(table))
      if (!facts.mirrors.contains(read_be32(key)))
        return fmt::format("table {} has a row of a channel that was left",
                           static_cast<int>(table));
  return {};
}

void Checker::check_all(const std::vector<size_t>& connected) {
  std::map<ipld::Cid, std::pair<size_t, std::map<Bytes, Bytes>>> dumps;
  for (const size_t r : connected) {
    const Disk& disk = *subjects_[r].disk;
    size_t nodes = 0;
    for (const auto& [number, mirror] : replicas_[r].mirrors) {
      if (std::string wrong =
              mirror.model.compare_all(RawState(disk, number), subjects_[r].wall_ms());
          !wrong.empty())
        return fail("state", name(r) + ": " + wrong);
      for (const auto& [id, chain] : mirror.chains) nodes += chain.size();
      if (!reads(r, mirror)) continue;
      std::map<Bytes, Bytes> dump;
      const Bytes prefix = engine::channel_prefix(number);
      for (const engine::Table table : {engine::Table::state, engine::Table::index})
        for (auto it = disk.table(table).lower_bound(prefix);
             it != disk.table(table).end() && it->first.starts_with(prefix); ++it)
          dump[Bytes(1, static_cast<char>(table)) + it->first.substr(prefix.size())] = it->second;
      const auto [it, fresh] = dumps.try_emplace(mirror.channel, r, dump);
      if (!fresh && it->second.second != dump)
        return fail("equal", fmt::format("{} and {} applied the same and show different states",
                                         name(r), name(it->second.first)));
    }
    if (disk.table(engine::Table::nodes).size() != nodes)
      return fail("growth", name(r) + " keeps nodes of channels that it has left");
    if (const std::string wrong = rows(r); !wrong.empty())
      return fail("growth", name(r) + ": " + wrong);
    for (const Acknowledged& ack : replicas_[r].acknowledged) {
      if (ack.may_be_lost || forked(ack.at.list, ack.at.position.number)) continue;
      const Mirror* mirror = mirror_of(r, ack.channel);
      const bool held = mirror && holds(*mirror, ack.at);
      if (held && waits_for_its_grant(r, *mirror, ack.at.list)) continue;
      if (!held || mirror->lists.at(ack.at.list).applied.number < ack.at.position.number)
        return fail("lost", fmt::format("{} lost the acknowledged write at number {} of list {}",
                                        name(r), ack.at.position.number, short_list(ack.at.list)));
    }
  }
}

}  // namespace ptwop::sim
