#include "access/membership.h"

#include <sodium.h>

#include <algorithm>
#include <array>

#include "base/mutant.h"
#include "ipld/dag_cbor.h"

namespace ptwop::access {
namespace {

constexpr size_t kSecretBytes = 32;
constexpr size_t kReadersMax = 4096;

constexpr std::array<std::pair<Role, std::string_view>, 5> kRoles = {{{Role::none, "none"},
                                                                      {Role::read, "read"},
                                                                      {Role::send, "send"},
                                                                      {Role::write, "write"},
                                                                      {Role::admin, "admin"}}};

Bytes commitment_of(BytesView secret) {
  Bytes out(32, '\0');
  crypto_generichash(u8(out), out.size(), u8(secret), secret.size(), nullptr, 0);
  return out;
}

Bytes public_part(BytesView secret) {
  Bytes out(crypto_scalarmult_BYTES, '\0');
  crypto_scalarmult_base(u8(out), u8(secret));
  return out;
}

Bytes sealed_text(const ipld::Cid& channel, BytesView epoch_key, const PublicKey& recipient,
                  BytesView secret) {
  ipld::CborWriter w;
  w.map(4).key("epoch").bytes(epoch_key).key("secret").bytes(secret);
  w.key("channel").bytes(channel.bytes()).key("recipient").bytes(recipient.view());
  return w.take();
}

struct SealedKey {
  BytesView name, sealed;
};

std::vector<SealedKey> read_keys(ipld::CborReader& r) {
  std::vector<SealedKey> keys;
  const size_t count = r.array();
  if (count > kReadersMax) r.fail();
  for (size_t i = 0; i < count && r.ok(); ++i) {
    r.array(2);
    const BytesView name = r.bytes(32);
    keys.push_back({name, r.bytes()});
  }
  return keys;
}

}  // namespace

std::string_view role_name(Role role) {
  for (const auto& [r, name] : kRoles)
    if (r == role) return name;
  return "none";
}

std::optional<Role> role_from(std::string_view name) {
  for (const auto& [r, n] : kRoles)
    if (n == name && r != Role::none) return r;
  return std::nullopt;
}

Result<void> Membership::apply(const list::Node& node, const std::vector<Bytes>& ops,
                               const Identity& me) {
  Membership next = *this;
  for (const Bytes& op : ops) {
    ipld::CborReader r(op);
    const size_t pairs = r.map();
    const bool grant = pairs == 4 && r.try_key("id");
    PTWOP_CHECK(grant ? next.apply_grant(node, op, me) : next.apply_epoch(node, op, me));
  }
  *this = std::move(next);
  return {};
}

Result<void> Membership::apply_grant(const list::Node& node, BytesView op, const Identity& me) {
  ipld::CborReader r(op);
  r.map(4);
  r.expect_key("id");
  const BytesView id = r.bytes(PublicKey::kSize);
  r.expect_key("op");
  if (r.text() != "grant") r.fail();
  r.expect_key("keys");
  const std::vector<SealedKey> keys = read_keys(r);
  r.expect_key("role");
  const auto role = role_from(r.text());
  PTWOP_CHECK(r.finish("grant"));
  if (!role) return fail(Code::invalid_params, "a grant names an unknown role");
  const Grant grant{node.at(), PublicKey::from(id), *role, node.time_ms()};
  grants_.push_back(grant);
  if (grant.id == me.key())
    for (const SealedKey& key : keys) learn(key.name, key.sealed, me);
  return {};
}

Result<void> Membership::apply_epoch(const list::Node& node, BytesView op, const Identity& me) {
  ipld::CborReader r(op);
  r.map(4);
  r.expect_key("op");
  if (r.text() != "epoch") r.fail();
  r.expect_key("key");
  const BytesView key = r.bytes(32);
  r.expect_key("keys");
  const std::vector<SealedKey> keys = read_keys(r);
  r.expect_key("commit");
  const BytesView commitment = r.bytes(32);
  PTWOP_CHECK(r.finish("epoch"));
  Epoch& epoch = epochs_[node.cid];
  epoch = {node.cid, node.time, Bytes(key), Bytes(commitment), {}};
  for (const SealedKey& k : keys)
    if (k.name == me.key().view()) learn(key, k.sealed, me);
  if (const auto known = secrets_.find(epoch.key);
      known != secrets_.end() && commitment_of(known->second) == epoch.commitment)
    epoch.secret = known->second;
  return {};
}

void Membership::learn(BytesView epoch_key, BytesView sealed, const Identity& me) {
  const auto text = me.open(sealed);
  if (!text) return;
  ipld::CborReader r(*text);
  r.map(4);
  r.expect_key("epoch");
  r.bytes(32);
  r.expect_key("secret");
  const BytesView secret = r.bytes(kSecretBytes);
  // The sealed text names channel, epoch and recipient: nobody can pass it off as another's.
  if (!r.ok() || *text != sealed_text(manifest_.cid, epoch_key, me.key(), secret) ||
      public_part(secret) != epoch_key)
    return;
  secrets_[Bytes(epoch_key)] = Bytes(secret);
  for (auto& [cid, epoch] : epochs_)
    if (epoch.key == epoch_key && commitment_of(secret) == epoch.commitment)
      epoch.secret = Bytes(secret);
}

Result<void> Membership::admits(const list::Node& first, list::Position held) const {
  const PublicKey& writer = first.list.writer;
  if (is_admin(writer)) return {};
  if (first.list.control)
    return fail(Code::invalid_params, "a control list by one who is no admin");
  if (!first.grant)
    return fail(Code::invalid_params, "a list without a grant by one who is not the creator");
  for (const Grant& grant : grants_)
    if (grant.at == *first.grant && (grant.id == writer || PTWOP_MUTANT(anybodys_grant)) &&
        grant.role >= Role::send)
      return {};
  if (first.grant->position.number > held.number)
    return fail(Code::no_manifest, "the grant is not here yet");
  return fail(Code::invalid_params, "a list whose grant does not exist");
}

const Grant* Membership::write_grant(const PublicKey& id) const {
  const Grant* best = nullptr;
  for (const Grant& grant : grants_)
    if (grant.id == id && grant.role >= Role::write && (!best || grant.at < best->at))
      best = &grant;
  return best;
}

const Grant* Membership::find_grant(const PublicKey& id, Role role) const {
  const auto it = std::find_if(grants_.begin(), grants_.end(),
                               [&](const Grant& g) { return g.id == id && g.role == role; });
  return it == grants_.end() ? nullptr : &*it;
}

Role Membership::role(const PublicKey& id) const {
  if (is_admin(id)) return Role::admin;
  Role best = Role::none;
  for (const Grant& grant : grants_)
    if (grant.id == id) best = std::max(best, grant.role);
  return best;
}

std::vector<Member> Membership::members() const {
  std::map<PublicKey, uint64_t> since;
  for (const Grant& grant : grants_) {
    const auto [it, fresh] = since.emplace(grant.id, grant.time_ms);
    if (!fresh) it->second = std::min(it->second, grant.time_ms);
  }
  since.erase(manifest_.creator);
  std::vector<Member> out;
  for (const auto& [id, time_ms] : since) out.push_back({id, role(id), time_ms});
  std::sort(out.begin(), out.end(), [](const Member& a, const Member& b) {
    return std::tie(a.since_ms, a.id) < std::tie(b.since_ms, b.id);
  });
  out.insert(out.begin(), {manifest_.creator, Role::admin, manifest_.created_ms});
  return out;
}

const Epoch* Membership::epoch(const ipld::Cid& cid) const {
  const auto it = epochs_.find(cid);
  return it == epochs_.end() ? nullptr : &it->second;
}

const Epoch* Membership::current_epoch() const {
  const Epoch* best = nullptr;
  for (const auto& [cid, epoch] : epochs_)
    if (!best || std::tie(epoch.time, cid) > std::tie(best->time, best->cid)) best = &epoch;
  return best;
}

bool Membership::readable() const {
  if (manifest_.is_public) return true;
  const Epoch* epoch = current_epoch();
  return epoch && !epoch->secret.empty();
}

Result<NewEpoch> make_epoch(const ipld::Cid& channel, const std::vector<PublicKey>& readers,
                            Entropy& entropy) {
  NewEpoch epoch;
  epoch.secret = entropy.bytes(kSecretBytes);
  const Bytes key = public_part(epoch.secret);
  ipld::CborWriter w;
  w.map(4).key("op").text("epoch").key("key").bytes(key).key("keys").array(readers.size());
  for (const PublicKey& reader : readers) {
    PTWOP_TRY(const Bytes sealed, seal(reader, sealed_text(channel, key, reader, epoch.secret)));
    w.array(2).bytes(reader.view()).bytes(sealed);
  }
  w.key("commit").bytes(commitment_of(epoch.secret));
  epoch.op = w.take();
  return epoch;
}

Result<Bytes> make_grant(const Membership& membership, const PublicKey& id, Role role) {
  std::vector<std::pair<Bytes, Bytes>> keys;
  if (const Epoch* epoch = membership.current_epoch(); epoch && !epoch->secret.empty()) {
    PTWOP_TRY(Bytes sealed,
              seal(id, sealed_text(membership.manifest().cid, epoch->key, id, epoch->secret)));
    keys.emplace_back(epoch->key, std::move(sealed));
  }
  ipld::CborWriter w;
  w.map(4).key("id").bytes(id.view()).key("op").text("grant").key("keys").array(keys.size());
  for (const auto& [key, sealed] : keys) w.array(2).bytes(key).bytes(sealed);
  w.key("role").text(role_name(role));
  return w.take();
}

}  // namespace ptwop::access
