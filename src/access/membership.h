// Who may do what in a channel, and with which keys: evaluated from the control lists (formats.md,
// "Membership").
//
// Now: the creator is the one admin; grants of `read` and `write`; one epoch, opened when the
// channel is made. What this shows is a function of the set of control nodes applied, whatever
// their order.
//
// Control operations (DAG-CBOR maps):
//   {"id": key, "op": "grant", "keys": [[epoch's public key, sealed]…], "role": "write"}
//   {"op": "epoch", "key": X25519 public key, "keys": [[reader's key, sealed]…], "commit":
//   BLAKE2b-256 of the secret}
// Sealed is a map {"epoch", "secret", "channel", "recipient"} in a sealed box. An epoch is named by
// its node's CID; inside that very node it can only be named by its public key.
#pragma once
#include <map>
#include <vector>

#include "access/body.h"
#include "access/identity.h"
#include "access/manifest.h"
#include "list/node.h"

namespace ptwop::access {

enum class Role : uint8_t { none, read, send, write, admin };
std::string_view role_name(Role role);
std::optional<Role> role_from(std::string_view name);

struct Grant {
  list::At at;  ///< The control node it stands in.
  PublicKey id;
  Role role = Role::none;
  uint64_t time_ms = 0;
};

struct Member {
  PublicKey id;
  Role role = Role::none;
  uint64_t since_ms = 0;
};

/// One generation of a private channel's key.
struct Epoch {
  ipld::Cid cid;      ///< The control node that opened it.
  uint64_t time = 0;  ///< That node's.
  Bytes key;          ///< X25519 public, 32 bytes
  Bytes commitment;   ///< 32 bytes
  Bytes secret;       ///< 32 bytes, or empty: not ours to read
};

class Membership {
 public:
  explicit Membership(Manifest manifest) : manifest_(std::move(manifest)) {}

  const Manifest& manifest() const { return manifest_; }
  /// The same channel before any control node. What was opened once stays opened.
  Membership anew() const {
    Membership out(manifest_);
    out.secrets_ = secrets_;
    return out;
  }

  /// One accepted control node, once. `me` opens what is sealed to it. Unknown or malformed
  /// operations make the node void: it is skipped whole, with an error for the log.
  Result<void> apply(const list::Node& node, const std::vector<Bytes>& ops, const Identity& me);

  /// May this first node open its list? Ok; invalid_params: never; no_manifest: the grant it names
  /// is not here yet. `held`: the position held of the list that the grant stands in (number 0:
  /// none).
  Result<void> admits(const list::Node& first, list::Position held) const;

  /// A grant under which `id` may write data (the earliest); nothing if none. The creator needs
  /// none: see is_admin.
  const Grant* write_grant(const PublicKey& id) const;
  /// A grant of exactly this role.
  const Grant* find_grant(const PublicKey& id, Role role) const;
  bool is_admin(const PublicKey& id) const { return id == manifest_.creator; }
  bool may_write(const PublicKey& id) const { return is_admin(id) || write_grant(id); }
  Role role(const PublicKey& id) const;
  std::vector<Member> members() const;  ///< Creator first, then by time of the first grant.

  const Epoch* epoch(const ipld::Cid& cid) const;
  const std::map<ipld::Cid, Epoch>& epochs() const { return epochs_; }
  const Epoch* current_epoch()
      const;  ///< Null in a public channel, or before its first control node is here.
  uint64_t generation() const { return epochs_.size(); }
  bool readable() const;

 private:
  Result<void> apply_grant(const list::Node& node, BytesView op, const Identity& me);
  Result<void> apply_epoch(const list::Node& node, BytesView op, const Identity& me);
  void learn(BytesView epoch_key, BytesView sealed, const Identity& me);

  Manifest manifest_;
  std::vector<Grant> grants_;
  std::map<ipld::Cid, Epoch> epochs_;
  std::map<Bytes, Bytes>
      secrets_;  ///< By the epoch's public key: opened, not yet or already bound to its epoch.
};

/// A new epoch: its operation, sealed to `readers`, and its secret.
struct NewEpoch {
  Bytes op;
  Bytes secret;
};
Result<NewEpoch> make_epoch(const ipld::Cid& channel, const std::vector<PublicKey>& readers,
                            Entropy& entropy);

/// A grant, with the current epoch's secret sealed to `id`.
Result<Bytes> make_grant(const Membership& membership, const PublicKey& id, Role role);

}  // namespace ptwop::access
