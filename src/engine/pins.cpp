#include "engine/pins.h"

#include "ipld/dag_cbor.h"

namespace ptwop::engine {

Block Pins::block(const ipld::Cid& manifest) const {
  ipld::CborWriter w;
  w.map(6).key("kind").text("pin").key("roots").array(0).key("channel").bytes(manifest.bytes());
  w.key("version")
      .unsigned_integer(1)
      .key("identity")
      .bytes(world_.me.key().view())
      .key("manifest")
      .link(manifest);
  Bytes bytes = w.take();
  return {ipld::Cid::of(bytes), std::move(bytes)};
}

void Pins::want(uint32_t channel, const ipld::Cid& manifest, BytesView manifest_block) {
  if (!world_.kubo.connected || !done_.insert(channel).second) return;
  Block pinned = block(manifest);
  const uint64_t ticket = ++world_.tickets;
  puts_[ticket] = {channel, pinned.cid};
  std::vector<Block> blocks;
  blocks.push_back({manifest, Bytes(manifest_block)});
  blocks.push_back(std::move(pinned));
  world_.ports.blocks.put(ticket, std::move(blocks));
}

void Pins::release(uint32_t channel, const ipld::Cid& manifest) {
  done_.erase(channel);
  world_.ports.blocks.unpin(block(manifest).cid);
}

void Pins::on_stored(uint64_t ticket, bool ok) {
  const auto it = puts_.find(ticket);
  if (it == puts_.end()) return;
  if (ok && done_.contains(it->second.first))
    world_.ports.blocks.pin({}, it->second.second);
  else
    done_.erase(it->second.first);
  puts_.erase(it);
}

void Pins::on_online() {
  done_.clear();
  puts_.clear();
}

}  // namespace ptwop::engine
