// Log files that are longer than what is in them: where the bytes were there before, as zeros, a
// sync has no new length and no new blocks to write down, nor a journal to wait for. Internal to
// this room.
#pragma once
#include <rocksdb/file_system.h>

#include <memory>
#include <string>

namespace ptwop::store {

/// The files of `base`; to each that is named *.log, zeros are written ahead of the data. They go
/// when it is closed.
std::shared_ptr<rocksdb::FileSystem> with_log_space(
    const std::shared_ptr<rocksdb::FileSystem>& base);

/// Takes the zeros off a log that was not closed. The data is ciphertext: that it ends in a few
/// zeros itself is provided for, that it ends in more does not happen.
void trim_log(const std::string& path);

}  // namespace ptwop::store
