// Any bytes as control operations, after a real channel's.
#include "access/membership.h"
#include "fuzz.h"
#include "ports.h"

using namespace ptwop;

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const access::Identity me = std::move(*access::Identity::from_seed(Bytes(32, 'm')));
  fuzz::Chance chance;
  access::Manifest manifest;
  manifest.type = "kv";
  manifest.creator = me.key();
  manifest.salt = Bytes(16, 's');
  (void)access::seal_manifest(manifest, me);
  access::Membership membership(manifest);
  list::Node node;
  node.channel = manifest.cid;
  node.list = {me.key(), {}, true};
  node.number = 1;
  node.cid = ipld::Cid::of("1");
  const auto epoch = access::make_epoch(manifest.cid, {me.key()}, chance);
  fuzz::expect(membership.apply(node, {epoch->op}, me).ok() && membership.readable(),
               "a channel's own epoch");
  node.number = 2;
  node.cid = ipld::Cid::of("2");
  const auto before = membership.members();
  std::vector<Bytes> ops{Bytes(fuzz::view(data, size))};
  if (size > 8)
    ops.emplace_back(fuzz::view(data, size / 2)),
        ops.emplace_back(fuzz::view(data + size / 2, size - size / 2));
  for (const Bytes& op : ops) {
    const bool applied = membership.apply(node, {op}, me).ok();
    if (!applied)
      fuzz::expect(membership.members().size() >= before.size(), "what is void changes nothing");
    fuzz::expect(membership.members().front().id == me.key(), "the creator stays");
    fuzz::expect(membership.is_admin(me.key()), "and is the admin");
  }
  (void)membership.readable();
  (void)access::make_grant(membership, me.key(), access::Role::read);
  return 0;
}
