// What the methods stand on, wired by app.
#pragma once
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <map>
#include <optional>
#include <string>

#include "base/clock.h"
#include "engine/directory.h"
#include "engine/ports.h"

namespace ptwop::engine {
class Engine;
}

namespace ptwop::rpc {

/// Starting: -32002 for all but system.info, system.ready, system.stop and rpc.discover. Stopping:
/// -32000 for all but system.ready.
enum class Phase : uint8_t { starting, ready, stopping };

struct KuboSnapshot {
  bool connected = false;
  std::string version;  ///< Empty while offline.
  std::string peer_id;
  std::optional<bool> pubsub;   ///< Nothing: not known yet.
  std::optional<bool> streams;  ///< The same.
};

struct BackupDone {
  uint64_t files = 0, bytes = 0;                ///< Of the whole backup.
  uint64_t copied_files = 0, copied_bytes = 0;  ///< Now.
  bool identity = false;                        ///< The private key is in it.
};

/// How far what takes long has come. Safe from any thread.
struct WorkProgress {
  std::atomic<const char*> method{nullptr};  ///< Null: nothing is under way.
  std::atomic<uint64_t> done_bytes{0}, bytes{0};
  void begin(const char* what) {
    done_bytes = bytes = 0;
    method = what;
  }
  void tell(uint64_t done, uint64_t all) {
    done_bytes = done;
    bytes = all;
  }
  void end() { method = nullptr; }
};

/// Lives on the loop's thread: app changes it there and only there. The pointers are set before
/// `phase` becomes ready and what they point to outlives the reader's and the engine's thread.
struct Backend {
  Phase phase = Phase::starting;
  std::string reason = "starting";  ///< Why it is not ready, for a person; empty when ready.
  std::string identity;             ///< did:key; empty until it is known.
  std::string data;                 ///< The data folder.
  KuboSnapshot kubo;
  /// Answers and messages of Kubo that were refused since start. May be unset.
  std::function<uint64_t()> kubo_refused;
  /// Streams that are open, and connections that led to nothing, by kind. May be unset.
  std::function<uint64_t()> streams_open;
  std::function<std::map<std::string, uint64_t>()> streams_refused;
  /// What keeps Kubo or its pubsub from working, for a person; empty where nothing does. May be
  /// unset.
  std::function<std::string()> kubo_trouble;
  /// Messages of others that came faster than they could be taken. May be unset.
  std::function<uint64_t()> messages_dropped;

  const Clock* clock = nullptr;  ///< From the start. Its functions are safe from any thread.
  uint64_t started_mono_ms = 0;
  engine::Directory* directory = nullptr;
  const engine::StateStore* store = nullptr;

  /// Runs it on the engine's thread, in the order submitted, followed by a turn. What cannot run
  /// any more is destroyed without being called. From any thread.
  std::function<void(std::function<void(engine::Engine&)>)> submit;
  /// Runs it on the reader's thread; the same.
  std::function<void(std::function<void()>)> read;
  /// Runs it on the files' thread: backup, export, import, one after the other; the same.
  std::function<void(std::function<void()>)> work;
  /// The daemon is to end: what takes long gives up. From any thread.
  std::function<bool()> ending;
  std::shared_ptr<WorkProgress> progress = std::make_shared<WorkProgress>();
  /// On the files' thread.
  std::function<Result<BackupDone>(const std::string& to)> backup;
  /// Begins to stop the daemon: returns at once, and the answers of this turn of the loop are still
  /// sent.
  std::function<void()> stop;
};

}  // namespace ptwop::rpc
