#include "store/backup.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sodium.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <map>
#include <set>

#include "base/files.h"
#include "store/encryption.h"

namespace ptwop::store {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kFirstLine = "ptwopdb backup 1\n";
constexpr const char* kList = "BACKUP";
constexpr size_t kListBytesMax = 64 << 20;
constexpr size_t kPieceBytes = 256 << 10;
constexpr size_t kNamedMax = 10;
// Of the folder's own files; those of its database stand in rocksdb/.
constexpr std::array kSmallFiles = {"FORMAT", "store.key", "identity"};

struct File {
  std::string name;  ///< Below the data folder.
  std::string hash;  ///< SHA-256, hex.
  uint64_t size = 0;
};

struct List {
  std::string identity;
  uint64_t made_ms = 0;
  std::vector<File> files;
};

class Hash {
 public:
  Hash() { crypto_hash_sha256_init(&state_); }
  void add(BytesView bytes) { crypto_hash_sha256_update(&state_, u8(bytes), bytes.size()); }
  std::string hex() {
    Bytes digest(crypto_hash_sha256_BYTES, '\0');
    crypto_hash_sha256_final(&state_, u8(digest));
    return ptwop::hex(digest);
  }

 private:
  crypto_hash_sha256_state state_;
};

std::string hash_of(BytesView bytes) {
  Hash hash;
  hash.add(bytes);
  return hash.hex();
}

bool is_hash(std::string_view text) {
  return text.size() == 64 && text.find_first_not_of("0123456789abcdef") == text.npos;
}

/// It is shown to people.
bool is_did(std::string_view text) {
  return text.starts_with("did:key:") && text.size() <= 256 &&
         std::all_of(text.begin() + 8, text.end(),
                     [](unsigned char c) { return std::isalnum(c) != 0; });
}

/// What a backup may hold, and so what a restore may write.
bool is_name(std::string_view name) {
  if (std::find(kSmallFiles.begin(), kSmallFiles.end(), name) != kSmallFiles.end()) return true;
  if (!name.starts_with("rocksdb/")) return false;
  name.remove_prefix(8);
  return !name.empty() && name.size() <= 64 && name[0] != '.' &&
         std::all_of(name.begin(), name.end(), [](unsigned char c) {
           return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
                  c == '.' || c == '-' || c == '_';
         });
}

std::string write_list(const List& list) {
  std::string out(kFirstLine);
  out += fmt::format("made by ptwopd {}\nidentity {}\ntime_ms {}\n", PTWOP_VERSION, list.identity,
                     list.made_ms);
  for (const File& file : list.files)
    out += fmt::format("file {} {} {}\n", file.hash, file.size, file.name);
  return out + fmt::format("sha256 {}\n", hash_of(out));
}

/// The part up to the next `end`, which is taken off as well.
std::string_view cut(std::string_view& text, char end) {
  const size_t at = std::min(text.find(end), text.size());
  const std::string_view part = text.substr(0, at);
  text.remove_prefix(std::min(at + 1, text.size()));
  return part;
}

std::optional<uint64_t> number_from(std::string_view text) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || text.empty()) return {};
  return value;
}

Error damaged(const std::string& path) {
  return fail(Code::corrupt, fmt::format("{} is damaged", path));
}

Result<List> read_list(const std::string& path) {
  PTWOP_TRY(auto input, files::Input::open(path, false));
  if (input.size() > kListBytesMax) return damaged(path);
  std::string text(input.size(), '\0');
  PTWOP_TRY(const size_t size, input.read(text.data(), text.size()));
  text.resize(size);
  if (!text.starts_with("ptwopdb backup ")) return damaged(path);
  if (!text.starts_with(kFirstLine))
    return fail(Code::corrupt,
                fmt::format("{} was made by another version of PtwopDB, and this ptwopd {} cannot "
                            "read it: use that version",
                            path, PTWOP_VERSION));
  const size_t last = text.rfind("sha256 ");
  if (last == text.npos ||
      text.substr(last) != fmt::format("sha256 {}\n", hash_of(BytesView(text).substr(0, last))))
    return damaged(path);
  List list;
  std::set<std::string_view> names;
  std::string_view rest = std::string_view(text).substr(0, last);
  while (!rest.empty()) {
    std::string_view line = cut(rest, '\n');
    const std::string_view word = cut(line, ' ');
    if (word == "identity") list.identity = line;
    if (word == "time_ms") list.made_ms = number_from(line).value_or(0);
    if (word != "file") continue;
    const std::string_view hash = cut(line, ' ');
    const auto bytes = number_from(cut(line, ' '));
    if (!is_hash(hash) || !bytes || !is_name(line) || !names.insert(line).second)
      return damaged(path);
    list.files.push_back({std::string(line), std::string(hash), *bytes});
  }
  if (!is_did(list.identity)) return damaged(path);
  return list;
}

/// Holds it against other backups and restores of the same place.
Result<files::Fd> lock_folder(const std::string& path, int how) {
  files::Fd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd) return files::system_error("open", path);
  if (::flock(fd.get(), how | LOCK_NB) != 0)
    return fail(Code::exists, fmt::format("another backup or restore uses {} now", path));
  return fd;
}

// --- backup --------------------------------------------------------------------------------------

/// A file to be copied.
struct Source {
  std::string name;
  std::string path;
  uint64_t size = 0;
  bool immutable = false;  ///< Or appended to only; and it starts with a nonce of its own.
};

/// What was there before stays usable until the new list takes the old one's place.
class Backup {
 public:
  Backup(std::string to, const Progress& progress) : to_(std::move(to)), progress_(progress) {}

  Result<void> open(const std::string& identity) {
    if (::mkdir(to_.c_str(), 0700) != 0 && errno != EEXIST) {
      Error error = files::system_error("make", to_);
      if (error.code != Code::disk_full) error.code = Code::invalid_params;  // not a place of ours
      return error;
    }
    PTWOP_TRY(lock_, lock_folder(to_, LOCK_EX));
    std::error_code error;
    bool ours = true;
    for (const auto& entry : fs::directory_iterator(to_, error)) {
      const std::string name = entry.path().filename();
      ours = ours && (name == "files" || name == kList || name == std::string(kList) + ".new");
    }
    if (error || !ours)
      return fail(
          Code::exists,
          fmt::format("{} holds something else than a backup of PtwopDB: name an empty or a "
                      "new folder",
                      to_));
    if (auto old = read_list(list_path())) {
      if (old->identity != identity)
        return fail(Code::exists, fmt::format("{} holds the backup of another data folder, that of "
                                              "{}: name another one",
                                              to_, old->identity));
      for (File& file : old->files) old_.emplace(file.name, std::move(file));
    } else if (old.error().code != Code::not_found && old.error().code != Code::corrupt) {
      return old.error();  // a damaged one is made anew
    }
    if (::mkdir(files_path().c_str(), 0700) != 0 && errno != EEXIST)
      return files::system_error("make", files_path());
    list_.identity = identity;
    return {};
  }

  Result<void> copy_all(const std::vector<Source>& sources) {
    for (const Source& source : sources) done_.bytes += source.size;
    for (const Source& source : sources) PTWOP_CHECK(copy(source));
    done_.files = sources.size();
    return {};
  }

  Result<BackupDone> finish(uint64_t wall_ms) {
    list_.made_ms = wall_ms;
    if (!files::sync_folder(files_path())) return files::system_error("sync", files_path());
    PTWOP_TRY(auto file, files::NewFile::make(list_path()));
    PTWOP_CHECK(file.write(write_list(list_)));
    PTWOP_CHECK(file.finish());
    std::set<std::string> used;
    for (const File& one : list_.files) used.insert(one.hash);
    std::error_code ignored;
    for (const auto& entry : fs::directory_iterator(files_path(), ignored))
      if (!used.contains(entry.path().filename())) fs::remove(entry.path(), ignored);
    return done_;
  }

 private:
  std::string list_path() const { return to_ + '/' + kList; }
  std::string files_path() const { return to_ + "/files"; }

  /// The same file is in the backup already: RocksDB writes no file twice, and each has a nonce of
  /// its own.
  Result<bool> there(const Source& source) {
    const auto old = old_.find(source.name);
    if (!source.immutable || old == old_.end() || old->second.size != source.size) return false;
    auto copied = files::Input::open(files_path() + '/' + old->second.hash, false);
    if (!copied || copied->size() != source.size) return false;
    PTWOP_TRY(auto here, files::Input::open(source.path, false));
    char a[kNonceBytes], b[kNonceBytes];
    PTWOP_TRY(const size_t got_a, here.read(a, sizeof a));
    const auto got_b = copied->read(b, sizeof b);
    if (!got_b || *got_b != sizeof b || got_a != sizeof a || std::memcmp(a, b, sizeof a) != 0)
      return false;
    list_.files.push_back(old->second);
    return true;
  }

  Result<void> copy(const Source& source) {
    PTWOP_TRY(const bool same, there(source));
    if (same) return tell(source.size);
    PTWOP_TRY(auto from, files::Input::open(source.path, false));
    PTWOP_TRY(auto to, files::NewFile::make(files_path() + "/copy"));
    Hash hash;
    Bytes piece(kPieceBytes, '\0');
    for (uint64_t left = source.size; left > 0;) {
      PTWOP_TRY(const size_t got, from.read(piece.data(), std::min<uint64_t>(left, piece.size())));
      if (got == 0)
        return fail(Code::corrupt, fmt::format("{} is shorter than it should be", source.path));
      const BytesView part = BytesView(piece).substr(0, got);
      hash.add(part);
      PTWOP_CHECK(to.write(part));
      left -= got;
      PTWOP_CHECK(tell(got));
    }
    list_.files.push_back({source.name, hash.hex(), source.size});
    ++done_.copied_files;
    done_.copied_bytes += source.size;
    if (source.name == "identity") done_.identity = true;
    return to.finish(files_path() + '/' + list_.files.back().hash);
  }

  Result<void> tell(uint64_t bytes) {
    told_ += bytes;
    if (progress_(told_, done_.bytes)) return {};
    return fail(Code::shutting_down,
                "The daemon is stopping: the backup is as it was before; make it again.");
  }

  const std::string to_;
  const Progress& progress_;
  files::Fd lock_;
  std::map<std::string, File> old_;
  List list_;
  BackupDone done_;
  uint64_t told_ = 0;
};

/// A folder that is gone afterwards.
struct Snapshot {
  explicit Snapshot(std::string in) : path(std::move(in)) {
    std::error_code ignored;
    fs::remove_all(path, ignored);  // left by a crash
  }
  ~Snapshot() {
    std::error_code ignored;
    fs::remove_all(path, ignored);
  }
  Snapshot(const Snapshot&) = delete;
  Snapshot& operator=(const Snapshot&) = delete;
  const std::string path;
};

Result<std::vector<Source>> sources_of(const DataFolder& folder, RocksStore& store,
                                       const Snapshot& snapshot) {
  std::vector<Source> sources;
  for (const char* name : kSmallFiles) {
    struct stat info {};
    if (::stat(folder.in(name).c_str(), &info) == 0)
      sources.push_back({name, folder.in(name), static_cast<uint64_t>(info.st_size)});
  }
  if (::mkdir(snapshot.path.c_str(), 0700) != 0) return files::system_error("make", snapshot.path);
  PTWOP_TRY(const auto files, store.snapshot(snapshot.path));
  for (const SnapshotFile& file : files)
    sources.push_back({"rocksdb/" + file.name, snapshot.path + '/' + file.name, file.size, true});
  return sources;
}

// --- restore -------------------------------------------------------------------------------------

/// All that a restore made in a folder that was empty.
void take_back(const DataFolder& folder) {
  std::error_code ignored;
  fs::remove_all(folder.in("rocksdb"), ignored);
  for (const std::string name : kSmallFiles)
    for (const std::string& file : {name, name + ".new"}) fs::remove(folder.in(file), ignored);
  fs::remove(folder.in(kRestored), ignored);
  fs::remove(folder.in(kRestoring), ignored);
}

Result<void> check_empty(const DataFolder& folder) {
  if (folder.has(kRestoring)) {  // the last one was interrupted
    take_back(folder);
    PTWOP_CHECK(folder.remove(kRestoring));
  }
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder.path(), error))
    if (entry.path().filename() != "LOCK")
      return fail(
          Code::exists,
          fmt::format("the data folder {} is not empty ({} is in it): name another one with "
                      "--data, or move that one away; nothing was changed",
                      folder.path(), entry.path().filename().string()));
  if (error) return fail(Code::internal, error.message());
  return {};
}

/// Copies one file if it is what its hash says; else says what is wrong with it.
Result<std::string> restore_file(const std::string& from, const File& file, const std::string& to) {
  auto input = files::Input::open(from + "/files/" + file.hash, false);
  if (!input) return std::string("missing");
  if (input->size() != file.size)
    return fmt::format("{} bytes long instead of {}", input->size(), file.size);
  PTWOP_TRY(auto output, files::NewFile::make(to));
  Hash hash;
  Bytes piece(kPieceBytes, '\0');
  for (;;) {
    const auto got = input->read(piece.data(), piece.size());
    if (!got) return got.error().message;
    if (*got == 0) break;
    hash.add(BytesView(piece).substr(0, *got));
    PTWOP_CHECK(output.write(BytesView(piece).substr(0, *got)));
  }
  if (hash.hex() != file.hash) return std::string("changed");
  PTWOP_CHECK(output.finish());
  return std::string();
}

Result<RestoreDone> restore_into(const DataFolder& folder, const std::string& from,
                                 const List& list) {
  if (::mkdir(folder.in("rocksdb").c_str(), 0700) != 0)
    return files::system_error("make", folder.in("rocksdb"));
  std::vector<std::string> wrong;
  RestoreDone done;
  for (const File& file : list.files) {
    // What makes it a data folder comes last.
    const std::string to = folder.in(file.name == "FORMAT" ? "FORMAT.new" : file.name);
    PTWOP_TRY(const std::string why, restore_file(from, file, to));
    if (!why.empty())
      wrong.push_back(fmt::format("{} ({}/files/{}): {}", file.name, from, file.hash, why));
    ++done.files;
    done.bytes += file.size;
    done.has_key |= file.name == "identity";
  }
  const size_t count = wrong.size();
  if (count > kNamedMax) wrong.resize(kNamedMax);
  if (count > 0)
    return fail(
        Code::corrupt,
        fmt::format("the backup in {} is damaged, and nothing was restored: {}{}", from,
                    fmt::join(wrong, "; "),
                    count > kNamedMax ? fmt::format("; and {} more", count - kNamedMax) : ""));
  PTWOP_CHECK(folder.write(kRestored, fmt::format("from the backup of {}\n", list.made_ms)));
  if (::rename(folder.in("FORMAT.new").c_str(), folder.in("FORMAT").c_str()) != 0)
    return files::system_error("rename", folder.in("FORMAT.new"));
  PTWOP_CHECK(folder.remove(kRestoring));
  done.made_ms = list.made_ms;
  done.identity = list.identity;
  return done;
}

}  // namespace

Result<BackupDone> back_up(const DataFolder& folder, RocksStore& store, const std::string& identity,
                           const std::string& to, uint64_t wall_ms, const Progress& progress) {
  std::error_code error;
  const fs::path own = fs::weakly_canonical(folder.path(), error);
  const fs::path there = fs::weakly_canonical(to, error);
  const auto inside = std::mismatch(own.begin(), own.end(), there.begin(), there.end()).first;
  if (error || inside == own.end() || !fs::path(to).is_absolute())
    return fail(
        Code::invalid_params,
        fmt::format("{} is no place for a backup: name a folder outside of the data folder, "
                    "best on another disk",
                    to));
  Backup backup(to, progress);
  const auto run = [&]() -> Result<BackupDone> {
    PTWOP_CHECK(backup.open(identity));
    const Snapshot snapshot(folder.in(kSnapshot));
    PTWOP_TRY(const auto sources, sources_of(folder, store, snapshot));
    PTWOP_CHECK(backup.copy_all(sources));
    return backup.finish(wall_ms);
  };
  auto done = run();
  if (!done && done.error().code == Code::not_found)  // the place went away meanwhile
    return fail(Code::internal, done.error().message);
  return done;
}

Result<RestoreDone> restore(const std::string& from, const std::string& data) {
  auto list = read_list(from + '/' + kList);
  if (!list && list.error().code == Code::not_found)
    return fail(Code::not_found,
                fmt::format("{} holds no backup: there is no file {} in it; nothing "
                            "was changed",
                            from, kList));
  if (!list) return fail(list.error().code, list.error().message + "; nothing was changed");
  for (const char* name : {"FORMAT", "store.key", "rocksdb/CURRENT"})
    if (std::none_of(list->files.begin(), list->files.end(),
                     [&](const File& file) { return file.name == name; }))
      return fail(Code::corrupt,
                  fmt::format("the backup in {} is without {}; nothing was changed", from, name));
  PTWOP_TRY(const files::Fd lock, lock_folder(from, LOCK_SH));
  PTWOP_TRY(const DataFolder folder, DataFolder::lock(data));
  PTWOP_CHECK(check_empty(folder));
  PTWOP_CHECK(folder.write(kRestoring, ""));
  auto done = restore_into(folder, from, *list);
  if (!done) take_back(folder);
  return done;
}

}  // namespace ptwop::store
