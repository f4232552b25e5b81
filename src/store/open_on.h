// open_store on files of the caller's choice. Internal to this room and to its tests, which let the
// disk fail here.
#pragma once
#include <rocksdb/file_system.h>

#include "store/rocks_store.h"

namespace ptwop::store {

Result<std::unique_ptr<RocksStore>> open_store_on(const std::shared_ptr<rocksdb::FileSystem>& disk,
                                                  const DataFolder& folder,
                                                  const StoreOptions& options);

}  // namespace ptwop::store
