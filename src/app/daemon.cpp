#include "app/daemon.h"

#include <fmt/format.h>
#include <sodium.h>
#include <sys/stat.h>

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <csignal>

#include "app/identity_file.h"
#include "app/inbox.h"
#include "app/notify.h"
#include "app/worker.h"
#include "engine/engine.h"
#include "kubo/adapter.h"
#include "kubo/client.h"
#include "rpc/backend.h"
#include "rpc/server.h"
#include "store/backup.h"
#include "store/data_folder.h"
#include "store/rocks_store.h"
#include "store/store_key.h"

namespace ptwop::app {
namespace {

namespace asio = boost::asio;

class SystemClock final : public Clock {
 public:
  uint64_t wall_ms() const override {
    using namespace std::chrono;
    return static_cast<uint64_t>(
        duration_cast<milliseconds>(system_clock::now().time_since_epoch()).count());
  }
  uint64_t mono_ms() const override { return app::mono_ms(); }
};

class SystemEntropy final : public Entropy {
 public:
  void fill(unsigned char* out, size_t size) override { randombytes_buf(out, size); }
};

class Daemon {
 public:
  explicit Daemon(const Config& config, store::DataFolder folder, access::Identity identity);
  int run();

 private:
  bool listen();
  void open_engine();
  void on_ready(Result<void> opened);
  void watch_signals();
  void reload();
  void stop();
  void follow_kubo();
  void beat();
  kubo::Events kubo_events();
  uint64_t engine_turn();
  using EngineJob = std::function<void(engine::Engine&)>;
  void to_engine(EngineJob job);
  void hand_over();
  Result<rpc::BackupDone> back_up(const std::string& to);

  Config config_;
  store::DataFolder folder_;
  SystemClock clock_;
  SystemEntropy entropy_;
  asio::io_context loop_{1};
  asio::signal_set signals_{loop_, SIGINT, SIGTERM, SIGHUP};
  asio::steady_timer watchdog_{loop_};
  rpc::Backend backend_;
  rpc::Server server_{loop_, backend_};
  kubo::Client kubo_;
  kubo::Adapter adapter_{loop_, kubo_};
  std::optional<access::Identity> identity_;  ///< Until the engine takes it.
  std::unique_ptr<store::RocksStore> store_;
  std::unique_ptr<engine::Engine> engine_;  ///< Used by the engine's thread only.
  uint64_t tick_at_ms_ = 0;
  std::atomic<bool> engine_beat_ = true;  ///< It went round since it was last asked to.
  std::vector<EngineJob> engine_jobs_;    ///< Not handed over yet.
  Inbox inbox_;
  Worker engine_worker_;
  Worker reader_worker_;
  std::atomic<bool> ending_ = false;
  Worker files_worker_;  ///< What takes long.
  int exit_code_ = kExitStopped;
};

kubo::Options kubo_options(const Config& config) {
  kubo::Options options;
  options.address = config.kubo;
  options.auth_file = config.kubo_auth_file;
  return options;
}

Daemon::Daemon(const Config& config, store::DataFolder folder, access::Identity identity)
    : config_(config),
      folder_(std::move(folder)),
      kubo_(loop_, kubo_options(config), kubo_events()),
      identity_(std::move(identity)),
      engine_worker_("ptwop-engine", [this] { return engine_turn(); }),
      reader_worker_("ptwop-reader", nullptr),
      files_worker_("ptwop-files", nullptr) {
  backend_.clock = &clock_;
  backend_.started_mono_ms = clock_.mono_ms();
  backend_.identity = identity_->did();
  kubo_.open_streams(std::move(*access::Identity::from_seed(identity_->seed())), entropy_);
  backend_.data = config_.data;
  backend_.submit = [this](EngineJob job) {
    if (loop_.get_executor().running_in_this_thread()) return to_engine(std::move(job));
    asio::post(loop_, [this, job = std::move(job)]() mutable { to_engine(std::move(job)); });
  };
  backend_.kubo_refused = [this] { return kubo_.snapshot().bad_answers; };
  backend_.kubo_trouble = [this] { return kubo_.snapshot().last_error; };
  backend_.streams_open = [this] { return kubo_.snapshot().streams_open; };
  backend_.streams_refused = [this] { return kubo_.snapshot().streams_refused; };
  backend_.messages_dropped = [this] { return inbox_.dropped(); };
  backend_.read = [this](std::function<void()> job) { reader_worker_.run(std::move(job)); };
  backend_.work = [this](std::function<void()> job) {
    files_worker_.run([this, job = std::move(job)] {
      if (!ending_) job();
    });
  };
  backend_.ending = [this] { return ending_.load(); };
  backend_.backup = [this](const std::string& to) { return back_up(to); };
  backend_.stop = [this] { asio::post(loop_, [this] { stop(); }); };
}

// On the loop's thread. What all connections that are ready bring goes over together: fewer and
// larger turns.
void Daemon::to_engine(EngineJob job) {
  engine_jobs_.push_back(std::move(job));
  if (engine_jobs_.size() == 1) asio::post(loop_, [this] { hand_over(); });
}

void Daemon::hand_over() {
  if (engine_jobs_.empty()) return;
  engine_worker_.run([this, jobs = std::exchange(engine_jobs_, {})] {
    if (!engine_) return;
    for (const EngineJob& job : jobs) job(*engine_);
  });
}

uint64_t Daemon::engine_turn() {
  if (!engine_) return 0;
  if (app::mono_ms() >= tick_at_ms_) engine_->tick();
  tick_at_ms_ = std::max(engine_->turn(), app::mono_ms() + 1);
  return tick_at_ms_;
}

kubo::Events Daemon::kubo_events() {
  kubo::Events events;
  events.on_state = [this](bool connected, bool pubsub) {
    follow_kubo();
    to_engine([=](engine::Engine& engine) { engine.on_kubo({connected, pubsub}); });
  };
  events.on_message = [this](const ipld::Cid& channel, std::string_view from, Bytes message) {
    const size_t bytes = message.size();
    if (!inbox_.enter(bytes)) return;
    to_engine([this, channel, bytes, from = std::string(from),
               message = std::move(message)](engine::Engine& engine) {
      inbox_.leave(bytes);
      engine.on_message(channel, from, message);
    });
  };
  events.on_streams = [this](bool on, const std::string& peer_id) {
    follow_kubo();
    to_engine([=](engine::Engine& engine) { engine.on_streams(on, peer_id); });
  };
  events.on_peer = [this](const list::PublicKey& peer, bool up, Bytes binding) {
    to_engine([peer, up, binding = std::move(binding)](engine::Engine& engine) {
      engine.on_peer(peer, up, binding);
    });
  };
  events.on_peer_address = [this](const list::PublicKey& peer, const std::string& id,
                                  const std::string& address) {
    to_engine([=](engine::Engine& engine) { engine.on_peer_address(peer, id, address); });
  };
  // What the engine has not taken yet its sender may not follow with more: nothing is dropped here.
  events.on_peer_message = [this](const list::PublicKey& peer, uint64_t link, Bytes message) {
    to_engine([this, peer, link, message = std::move(message)](engine::Engine& engine) {
      engine.on_peer_message(peer, message);
      asio::post(loop_, [this, link, size = message.size()] { kubo_.consumed(link, size); });
    });
  };
  events.on_sent = [this](const list::PublicKey& peer, uint64_t ticket, bool sent) {
    to_engine([=](engine::Engine& engine) { engine.on_sent(peer, ticket, sent); });
  };
  events.on_published = [this](const ipld::Cid& channel, bool ok) {
    to_engine([=](engine::Engine& engine) { engine.on_published(channel, ok); });
  };
  events.on_stored = [this](uint64_t ticket, bool ok) {
    to_engine([=](engine::Engine& engine) { engine.on_stored(ticket, ok); });
  };
  events.on_pinned = [this](const ipld::Cid& next, bool ok) {
    to_engine([=](engine::Engine& engine) { engine.on_pinned(next, ok); });
  };
  events.on_block = [this](const ipld::Cid& cid, Result<Bytes> block) {
    to_engine(
        [cid, block = std::move(block)](engine::Engine& engine) { engine.on_block(cid, block); });
  };
  return events;
}

void Daemon::follow_kubo() {
  const kubo::Snapshot now = kubo_.snapshot();
  const bool known = now.pubsub != kubo::Pubsub::unknown;
  backend_.kubo = {now.connected, now.version, now.peer_id,
                   known ? std::optional(now.pubsub == kubo::Pubsub::ok) : std::nullopt,
                   known ? std::optional(now.streams == kubo::Pubsub::ok) : std::nullopt};
  if (backend_.phase == rpc::Phase::ready)
    notify_status(now.connected ? "serving, beside Kubo " + now.version
                                : "serving offline: no Kubo answers");
}

// On the files' thread.
Result<rpc::BackupDone> Daemon::back_up(const std::string& to) {
  const auto progress = [this](uint64_t done, uint64_t all) {
    backend_.progress->tell(done, all);
    return !ending_;
  };
  PTWOP_TRY(const auto done,
            store::back_up(folder_, *store_, backend_.identity, to, clock_.wall_ms(), progress));
  log::info("app", "backed up",
            {{"to", to}, {"bytes", done.bytes}, {"copied_bytes", done.copied_bytes}});
  return rpc::BackupDone{done.files, done.bytes, done.copied_files, done.copied_bytes,
                         done.identity};
}

bool Daemon::listen() {
  const auto passed = passed_socket();
  if (passed) config_.socket = "passed in by systemd";
  const auto listening = passed ? server_.adopt(*passed) : server_.listen(config_.socket);
  if (listening) return true;
  log::error("app", listening.error().message, {{"socket", config_.socket}});
  switch (listening.error().code) {
    case Code::exists:
      exit_code_ = kExitInUse;
      break;
    case Code::invalid_params:
      exit_code_ = kExitConfig;
      break;
    default:
      exit_code_ = kExitOther;
  }
  return false;
}

int Daemon::run() {
  if (!listen()) return exit_code_;
  watch_signals();
  log::info("app", "starting",
            {{"version", PTWOP_VERSION},
             {"data", config_.data},
             {"socket", config_.socket},
             {"identity", backend_.identity}});
  engine_worker_.run([this] { open_engine(); });
  loop_.run();
  return exit_code_;
}

// On the engine's thread: opening may take a while, and whoever connects meanwhile is told so.
void Daemon::open_engine() {
  const auto open = [this]() -> Result<void> {
    PTWOP_TRY(const Bytes key, store::load_store_key(folder_, *identity_, entropy_));
    PTWOP_TRY(store_, store::open_store(folder_, {.key = key}));
    auto engine = std::make_unique<engine::Engine>(
        engine::Ports{*store_, adapter_, adapter_, clock_, entropy_, &adapter_},
        std::move(*identity_));
    const bool restored = folder_.has(store::kRestored);
    PTWOP_CHECK(engine->open(restored));
    if (restored) {
      log::info("app", "restored from a backup: every channel goes on with new lists of its own");
      PTWOP_CHECK(folder_.remove(store::kRestored));
    }
    engine_ = std::move(engine);
    return {};
  };
  auto opened = open();
  asio::post(loop_, [this, opened = std::move(opened)] { on_ready(opened); });
}

void Daemon::on_ready(Result<void> opened) {
  if (backend_.phase == rpc::Phase::stopping) return;
  if (!opened) {
    log::error("app", opened.error().message, {{"data", config_.data}});
    exit_code_ = kExitOther;
    return stop();
  }
  backend_.directory = &engine_->directory();
  backend_.store = store_.get();
  backend_.phase = rpc::Phase::ready;
  backend_.reason.clear();
  if (config_.kubo == "none")
    log::info("app", "serving offline: no Kubo was asked for");
  else
    kubo_.start();
  notify_ready("serving");
  follow_kubo();
  log::info("app", "ready");
  beat();
}

// The watchdog hears from us while loop and engine go round. A disk that hangs is no reason to end:
// reads go on, and another start would hang on it as well.
void Daemon::beat() {
  const uint64_t interval = watchdog_interval_ms();
  if (interval == 0) return;
  watchdog_.expires_after(std::chrono::milliseconds(interval));
  watchdog_.async_wait([this](const boost::system::error_code& error) {
    if (error || backend_.phase == rpc::Phase::stopping) return;  // the store may be gone
    if (engine_beat_ || store_->writing()) notify_watchdog();
    if (engine_beat_.exchange(false)) to_engine([this](engine::Engine&) { engine_beat_ = true; });
    beat();
  });
}

void Daemon::watch_signals() {
  signals_.async_wait([this](const boost::system::error_code& error, int signal) {
    if (error) return;
    if (signal == SIGHUP)
      reload();
    else
      stop();
    if (backend_.phase != rpc::Phase::stopping) watch_signals();
  });
}

void Daemon::reload() {
  notify_reloading();
  std::string wrong;
  const auto fresh = reread_config(config_, wrong);
  if (!fresh) {
    log::error("app", "reload: the configuration file is wrong; going on with what was in force",
               {{"why", wrong}});
  } else {
    log::set_level(fresh->log_level);
    config_.log_level = fresh->log_level;
    if (const auto secret = kubo_.reload(); !secret)
      log::error("app", "reload: Kubo's secret cannot be read; going on with the old one",
                 {{"why", secret.error().message}});
    else
      log::info("app", "reloaded");
  }
  if (backend_.phase == rpc::Phase::ready) notify_ready("serving");
  follow_kubo();
}

void Daemon::stop() {
  if (backend_.phase == rpc::Phase::stopping) return;
  log::info("app", "stopping");
  notify_stopping();
  backend_.phase = rpc::Phase::stopping;
  backend_.reason = "stopping";
  server_.stop_listening();
  watchdog_.cancel();
  signals_.cancel();
  // What was taken is finished and answered; what comes from now on is refused.
  hand_over();
  ending_ = true;
  files_worker_.stop();
  reader_worker_.stop();
  engine_worker_.stop();
  // Who waits in the engine is answered by its end, and that goes out before the connections close.
  backend_.directory = nullptr;
  engine_.reset();
  asio::post(loop_, [this] {
    server_.close();
    kubo_.stop();
    store_.reset();
    log::info("app", "stopped");
  });
}

int exit_code_of(const Error& error) {
  return error.code == Code::exists ? kExitInUse : kExitOther;
}

}  // namespace

int restore(const Config& config) {
  ::umask(0077);
  if (sodium_init() < 0) {
    fmt::print(stderr, "ptwopd: libsodium cannot start\n");
    return kExitOther;
  }
  const auto done = store::restore(config.restore, config.data);
  if (!done) {
    fmt::print(stderr, "ptwopd: {}\n", done.error().message);
    return exit_code_of(done.error());
  }
  fmt::print(
      "Restored {} into {}: {} files, {} bytes, all as their hashes say. Started with this folder, "
      "ptwopd is again\n{}, and every channel goes on with new lists of its own.\n{}",
      config.restore, config.data, done->files, done->bytes, done->identity,
      done->has_key ? ""
                    : "The private key is not in the backup: pass it as the credential "
                      "ptwop-identity.\n");
  return kExitStopped;
}

int serve(const Config& config) {
  std::signal(SIGPIPE, SIG_IGN);
  ::umask(0077);
  log::set_level(config.log_level);
  if (sodium_init() < 0) {
    log::error("app", "libsodium cannot start");
    return kExitOther;
  }
  auto folder = store::DataFolder::open(config.data);
  if (!folder) {
    log::error("app", folder.error().message, {{"data", config.data}});
    return exit_code_of(folder.error());
  }
  SystemEntropy entropy;
  auto identity = load_identity(*folder, entropy);
  if (!identity) {
    log::error("app", identity.error().message, {{"data", config.data}});
    return exit_code_of(identity.error());
  }
  Daemon daemon(config, std::move(*folder), std::move(*identity));
  return daemon.run();
}

}  // namespace ptwop::app
