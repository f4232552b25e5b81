// channel.export and channel.import: a channel as a CAR file. On the files' thread.
#include <fmt/format.h>

#include <condition_variable>
#include <filesystem>
#include <mutex>

#include "base/files.h"
#include "engine/archive.h"
#include "engine/engine.h"
#include "ipld/car.h"
#include "rpc/methods/channels.h"
#include "rpc/methods/methods.h"
#include "rpc/reply.h"

namespace ptwop::rpc {
namespace {

namespace fs = std::filesystem;
using engine::Engine;

constexpr size_t kWriteBytes = 256 << 10;
// What one turn takes in: a client that calls meanwhile waits for it.
constexpr size_t kBatchBlocksMax = 256;
constexpr size_t kBatchBytesMax = 1 << 20;

Error ending() {
  return fail(Code::shutting_down, "The daemon is stopping: do it again once it is back.");
}

/// What is wrong with a path is the caller's to mend.
Error path_error(Error error) {
  if (error.code != Code::disk_full) error.code = Code::invalid_params;
  return error;
}

/// Not the daemon's own files.
Result<void> check_outside(const Backend& backend, const std::string& path) {
  std::error_code error;
  const fs::path own = fs::weakly_canonical(backend.data, error);
  const fs::path there = fs::weakly_canonical(path, error);
  if (error || std::mismatch(own.begin(), own.end(), there.begin(), there.end()).first == own.end())
    return fail(Code::invalid_params,
                fmt::format("{} is no place for it: name a file outside of the data folder", path));
  return {};
}

/// Shown while it lives.
class Shown {
 public:
  Shown(Backend& backend, const char* method) : progress_(*backend.progress) {
    progress_.begin(method);
  }
  ~Shown() { progress_.end(); }
  void tell(uint64_t done, uint64_t all) { progress_.tell(done, all); }

 private:
  WorkProgress& progress_;
};

/// Asks the engine and waits for its answer, unless the daemon ends before.
template <class T, class Ask>
Result<T> ask_engine(const Backend& backend, Ask ask) {
  struct Box {
    std::mutex mutex;
    std::condition_variable filled;
    std::optional<Result<T>> answer;
  };
  const auto box = std::make_shared<Box>();
  backend.submit([ask = std::move(ask), box](Engine& engine) mutable {
    ask(engine, [box](Result<T> answer) {
      const std::lock_guard lock(box->mutex);
      box->answer = std::move(answer);
      box->filled.notify_one();
    });
  });
  std::unique_lock lock(box->mutex);
  while (!box->filled.wait_for(lock, std::chrono::milliseconds(50),
                               [&] { return box->answer.has_value(); }))
    if (backend.ending()) return ending();
  return std::move(*box->answer);
}

// --- export --------------------------------------------------------------------------------------

struct Export {
  std::string channel, to;
  engine::ArchiveOf of;
};

Result<std::string> run_export(Backend& backend, const Export& what,
                               const engine::ChannelRef& channel) {
  PTWOP_CHECK(check_outside(backend, what.to));
  auto file = files::NewFile::make(what.to, ".ptwop-part");
  if (!file) return path_error(file.error());
  Shown shown(backend, "channel.export");
  Bytes buffer = ipld::car_header({channel->cid});
  const auto flush = [&]() -> Result<void> {
    PTWOP_CHECK(file->write(buffer));
    buffer.clear();
    shown.tell(file->written(), 0);
    return {};
  };
  PTWOP_TRY(
      const auto done,
      engine::read_archive(*backend.store, *channel, what.of, [&](BytesView block) -> Result<void> {
        append_car_block(buffer, ipld::Cid::of(block), block);
        if (backend.ending()) return ending();
        if (buffer.size() < kWriteBytes) return {};
        return flush();
      }));
  PTWOP_CHECK(flush());
  if (const auto finished = file->finish(); !finished) return path_error(finished.error());
  std::string out;
  json::Writer(out)
      .object()
      .key("lists")
      .number(done.lists)
      .key("nodes")
      .number(done.nodes)
      .key("bytes")
      .number(file->written())
      .end_object();
  return out;
}

// --- import --------------------------------------------------------------------------------------

class Import {
 public:
  Import(Backend& backend, std::string from, std::string name)
      : backend_(backend), from_(std::move(from)), name_(std::move(name)) {}

  Result<std::string> run() {
    auto file = files::Input::open(from_);
    if (!file) return path_error(file.error());
    Shown shown(backend_, "channel.import");
    ipld::CarReader car([&](char* to, size_t size) { return file->read(to, size); });
    PTWOP_CHECK(open_channel(car));
    PTWOP_CHECK(send());  // nothing yet: how much is here before
    const uint64_t before = held_;
    while (true) {
      PTWOP_TRY(const auto block, next(car));
      if (!block) break;
      if (backend_.ending()) return ending();
      shown.tell(car.position(), file->size());
      take(*block);
      if (batch_.size() >= kBatchBlocksMax || batch_bytes_ >= kBatchBytesMax) PTWOP_CHECK(send());
    }
    PTWOP_CHECK(send());
    PTWOP_CHECK(send());  // nothing more: what became of the last ones
    return render(held_ - before);
  }

 private:
  /// An error says how far it came: what was read until then is taken in.
  Result<std::optional<ipld::CarBlock>> next(ipld::CarReader& car) {
    auto block = car.next();
    if (block) return block;
    const auto sent = send();
    return fail(block.error().code,
                fmt::format("{}: {} {} blocks before it were taken in.", from_,
                            block.error().message, sent ? blocks_ : blocks_ - batch_.size()));
  }

  Result<void> open_channel(ipld::CarReader& car) {
    auto roots = car.roots();
    if (!roots) return fail(roots.error().code, from_ + ": " + roots.error().message);
    const auto root = roots->size() == 1 ? ipld::Cid::from_bytes(roots->front())
                                         : Result<ipld::Cid>(fail(Code::corrupt, ""));
    auto first = root ? car.next() : Result<std::optional<ipld::CarBlock>>(root.error());
    if (!first || !*first || (*first)->cid != root->bytes() ||
        ipld::Cid::of((*first)->bytes) != *root)
      return fail(Code::corrupt,
                  from_ + " holds no channel: a file of channel.export begins with its manifest.");
    auto opened = ask_engine<engine::ChannelRef>(
        backend_, [manifest = Bytes((*first)->bytes), name = name_](Engine& engine, auto done) {
          engine.import_channel(manifest, name, done);
        });
    if (!opened) return opened.error();
    channel_ = *opened;
    return {};
  }

  void take(const ipld::CarBlock& block) {
    ++blocks_;
    const auto cid = ipld::Cid::from_bytes(block.cid);
    if (!cid || ipld::Cid::of(block.bytes) != *cid) {
      ++refused_;
      return;
    }
    batch_.emplace_back(block.bytes);
    batch_bytes_ += block.bytes.size();
  }

  Result<void> send() {
    PTWOP_TRY(const auto done,
              ask_engine<engine::Imported>(
                  backend_, [cid = channel_->cid, blocks = std::exchange(batch_, {})](
                                Engine& engine, auto answer) mutable {
                    engine.import_blocks(cid, std::move(blocks), answer);
                  }));
    batch_bytes_ = 0;
    here_ += done.here;
    refused_ += done.refused;
    held_ = done.held;
    return {};
  }

  std::string render(uint64_t taken) const {
    taken = std::min(taken, blocks_ - std::min(blocks_, here_ + refused_));
    std::string out;
    const types::Type* type = channel_->type.load();
    json::Writer w(out);
    w.object().key("name").string(channel_->name).key("address").string(channel_->address);
    w.key("type");
    if (type)
      w.string(type->name());
    else
      w.null();
    w.key("nodes")
        .number(blocks_)
        .key("taken")
        .number(taken)
        .key("here")
        .number(here_)
        .key("refused")
        .number(refused_)
        .key("waiting")
        .number(blocks_ - std::min(blocks_, taken + here_ + refused_))
        .end_object();
    return out;
  }

  Backend& backend_;
  const std::string from_, name_;
  engine::ChannelRef channel_;
  std::vector<Bytes> batch_;
  size_t batch_bytes_ = 0;
  uint64_t blocks_ = 0, here_ = 0, refused_ = 0, held_ = 0;
};

void settle(const Later& later, const Result<std::string>& outcome) {
  if (outcome)
    later.result(*outcome);
  else
    later.fail(outcome.error());
}

}  // namespace

Result<void> channel_export(Request& request) {
  const std::string_view name = request.text(kChannelParam);
  PTWOP_CHECK(check_channel(name));
  PTWOP_CHECK(check_path(request.text(1)));
  Export what{std::string(name), std::string(request.text(1)), {}};
  if (request.has(2)) {
    const auto id = from_hex(request.text(2));
    if (!id || id->size() != list::ListId::kSize)
      return fail(Code::invalid_params, fmt::format("\"{}\" is no list: channel.info names them.",
                                                    shown(request.text(2))));
    what.of.only = list::ListId::from(*id);
  }
  if (request.has(3)) {
    PTWOP_TRY(const auto ats, tokens_from(request.value(3)));
    for (const list::At& at : ats) what.of.since[at.list] = at.position;
  }
  const engine::ChannelRef channel = request.backend.directory->find(name);
  if (!channel) return no_channel(name);
  request.backend.work([&backend = request.backend, later = request.later(), what = std::move(what),
                        channel] { settle(later, run_export(backend, what, channel)); });
  return {};
}

Result<void> channel_import(Request& request) {
  PTWOP_CHECK(check_path(request.text(0)));
  if (request.has(1)) PTWOP_CHECK(check_name(request.text(1)));
  request.backend.work(
      [&backend = request.backend, later = request.later(), from = std::string(request.text(0)),
       name = std::string(request.text(1))] { settle(later, Import(backend, from, name).run()); });
  return {};
}

}  // namespace ptwop::rpc
