// A copy of the whole data folder while it is in use, brought up to date step by step, and a data
// folder made from it again.
//
//   TO/BACKUP          which files belong to it, with their hashes; replaced last, and whole
//   TO/files/<sha256>  the files' bytes as they are on disk: what is encrypted stays so
//
// It is not laid out as a data folder, so that nobody starts a daemon on it by mistake: that would
// fork the lists of its owner.
#pragma once
#include <functional>

#include "store/data_folder.h"
#include "store/rocks_store.h"

namespace ptwop::store {

struct BackupDone {
  uint64_t files = 0, bytes = 0;                ///< Of the whole backup.
  uint64_t copied_files = 0, copied_bytes = 0;  ///< Now: the rest was there from last time.
  bool identity = false;                        ///< The private key is in it.
};

/// Told how far it has come; false: give up.
using Progress = std::function<bool(uint64_t done_bytes, uint64_t bytes)>;

/// Writes what `to` (absolute, made if it is missing) lacks. `identity`: the folder's did:key. All
/// that was committed before the call is in it. Interrupted, the backup that was there before stays
/// as it was. One at a time. Errors: invalid_params (no place for a backup), exists (there is
/// something else), disk_full, shutting_down (given up), corrupt, internal.
Result<BackupDone> back_up(const DataFolder& folder, RocksStore& store, const std::string& identity,
                           const std::string& to, uint64_t wall_ms, const Progress& progress);

struct RestoreDone {
  uint64_t files = 0, bytes = 0;
  uint64_t made_ms = 0;  ///< When the backup was made.
  std::string identity;  ///< did:key
  bool has_key = false;  ///< The private key came with it.
};

/// Makes the data folder `data`, which is missing or empty, from a backup. Every file is held
/// against its hash; if anything is wrong it is named, and nothing is left. Errors: not_found (no
/// backup there), corrupt, exists (not empty, or in use), disk_full, internal.
Result<RestoreDone> restore(const std::string& from, const std::string& data);

}  // namespace ptwop::store
