// Chance that is none, and an engine's ports that lead nowhere.
#pragma once
#include "engine/ports.h"

namespace ptwop::fuzz {

struct Chance : Entropy {
  unsigned char next = 0;
  void fill(unsigned char* out, size_t size) override {
    for (size_t i = 0; i < size; ++i) out[i] = ++next;
  }
};

struct Ports final : engine::Gossip, engine::BlockStore, engine::PeerStream, Clock, Chance {
  uint64_t wall = 1'700'000'000'000, mono = 1'000;
  void subscribe(const ipld::Cid&) override {}
  void unsubscribe(const ipld::Cid&) override {}
  void publish(const ipld::Cid&, Bytes) override {}
  void put(uint64_t, std::vector<engine::Block>) override {}
  void get(const ipld::Cid&) override {}
  void pin(const ipld::Cid&, const ipld::Cid&) override {}
  void unpin(const ipld::Cid&) override {}
  void want(std::vector<engine::PeerAddress>) override {}
  void meet(std::vector<ipld::Cid>, std::vector<ipld::Cid>) override {}
  void send(const list::PublicKey&, uint64_t, Bytes, bool) override {}
  void drop(const list::PublicKey&) override {}
  uint64_t wall_ms() const override { return wall; }
  uint64_t mono_ms() const override { return mono; }
};

}  // namespace ptwop::fuzz
