#include "store/rocks_options.h"

#include <fmt/format.h>
#include <rocksdb/cache.h>
#include <rocksdb/convenience.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/table.h>
#include <rocksdb/write_buffer_manager.h>

#include <algorithm>
#include <cstdarg>
#include <cstdio>

#include "base/log.h"
#include "engine/ports.h"

namespace ptwop::store {
namespace {

/// RocksDB's errors go where ours go; its warnings are about its own pace. It writes no LOG file:
/// that one would not be encrypted.
class LogLines final : public rocksdb::Logger {
 public:
  LogLines() : Logger(rocksdb::InfoLogLevel::WARN_LEVEL) {}
  void LogHeader(const char*, va_list) override {}
  void Logv(const rocksdb::InfoLogLevel level, const char* format, va_list values) override {
    const bool error = level >= rocksdb::InfoLogLevel::ERROR_LEVEL;
    const auto ours = error ? log::Level::warn : log::Level::debug;
    if (level < GetInfoLogLevel() || !log::enabled(ours)) return;
    char line[512];
    std::vsnprintf(line, sizeof line, format, values);
    log::write(ours, "store", "rocksdb", {{"says", std::string_view(line)}});
  }
};

rocksdb::CompressionType compression() {
  const auto there = rocksdb::GetSupportedCompressions();
  for (const auto type : {rocksdb::kLZ4Compression, rocksdb::kSnappyCompression})
    if (std::find(there.begin(), there.end(), type) != there.end()) return type;
  return rocksdb::kNoCompression;
}

rocksdb::ColumnFamilyOptions table_options(const std::shared_ptr<rocksdb::Cache>& cache) {
  rocksdb::BlockBasedTableOptions blocks;
  blocks.block_cache = cache;
  blocks.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10));
  // Everything that is in memory counts against the cache's size.
  blocks.cache_index_and_filter_blocks = true;
  blocks.metadata_cache_options.unpartitioned_pinning = rocksdb::PinningTier::kAll;
  blocks.data_block_index_type = rocksdb::BlockBasedTableOptions::kDataBlockBinaryAndHash;
  blocks.block_restart_interval = 4;  // fewer neighbours to read past; our keys are short

  rocksdb::ColumnFamilyOptions options;
  options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(blocks));
  options.compression = compression();
  options.write_buffer_size = kMemtableBytesMax;
  options.max_write_buffer_number = 3;
  options.memtable_prefix_bloom_size_ratio = 0.02;  // most keys asked for are not in there
  options.memtable_whole_key_filtering = true;
  options.target_file_size_base = 16 << 20;
  options.max_bytes_for_level_base = 64 << 20;
  options.level_compaction_dynamic_level_bytes = true;
  return options;
}

}  // namespace

rocksdb::DBOptions database_options(rocksdb::Env* env,
                                    const std::shared_ptr<rocksdb::Cache>& cache) {
  rocksdb::DBOptions options;
  options.env = env;
  options.info_log = std::make_shared<LogLines>();
  options.create_if_missing = true;
  options.create_missing_column_families = true;
  options.write_buffer_manager =
      std::make_shared<rocksdb::WriteBufferManager>(kMemtablesBytesMax, cache);
  options.max_total_wal_size = 2 * kMemtablesBytesMax;
  options.max_background_jobs = 2;
  options.max_open_files = 256;
  options.stats_dump_period_sec = 0;
  options.stats_persist_period_sec = 0;
  options.skip_stats_update_on_db_open = true;
  options.recycle_log_file_num = 0;  // formats.md: no offset is encrypted twice
  options.allow_mmap_reads = false;
  options.allow_mmap_writes = false;  // the encryption has no way into a mapping
  options.allow_data_in_errors = false;
  options.avoid_flush_during_shutdown = true;  // the log has it all
  return options;
}

std::vector<rocksdb::ColumnFamilyDescriptor> column_families(
    const std::shared_ptr<rocksdb::Cache>& cache) {
  std::vector<rocksdb::ColumnFamilyDescriptor> families;
  for (const char* name : {"default", "nodes", "state", "index", "meta", "outbox"})
    families.emplace_back(name, table_options(cache));
  families[1].options.compression = rocksdb::kNoCompression;  // most nodes are ciphertext
  return families;
}

Error error_from(const rocksdb::Status& status, std::string_view what) {
  const std::string text = status.ToString();
  const bool full = status.IsNoSpace() || text.find("No space left") != std::string::npos ||
                    text.find("quota exceeded") != std::string::npos;
  const Code code = full                    ? Code::disk_full
                    : status.IsCorruption() ? Code::corrupt
                    : status.IsIncomplete() ? Code::overloaded
                                            : Code::internal;
  return fail(code, fmt::format("cannot {}: {}", what, text));
}

}  // namespace ptwop::store
