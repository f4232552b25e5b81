// tests/sim: many replicas in a simulated world, from one seed.
//
//   sim --seed S [--minutes M] [--trace]     replays one seed: prints what came of it, and how it
//   came if it failed sim --from S --count N [--minutes M]     the seeds S, S+1, … sim --fixed N
//   --fresh N [--minutes M]    the seeds 1 to N, and N that nobody has tried sim --seconds N
//   [--write DIR]            fresh seeds for so long; each that fails is written down sim --mutants
//   FILE [--some K]            (option `mutants` only) in how many seeds each deliberate bug is
//   caught
//
// A seed that fails is made smaller: what is printed is the least schedule that still fails in the
// same way, how to replay it, and what happened in it. The same seed gives the same run, always and
// everywhere.
#include <fmt/format.h>
#include <sodium.h>
#include <unistd.h>
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>
#endif

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <random>
#include <thread>

#include "base/log.h"
#include "base/mutant.h"
#include "minimise.h"
#include "pool.h"
#include "world.h"

using namespace ptwop;
using namespace ptwop::sim;

namespace {

struct Options {
  std::optional<uint64_t> seed;
  std::optional<uint64_t> from;
  uint64_t count = 0, fixed = 0, fresh = 0;
  uint64_t minutes = 1;
  size_t jobs = std::max(1u, std::thread::hardware_concurrency());
  double seconds = 0;
  std::vector<size_t> only;
  std::string mutant, mutants, write;
  size_t some = 0;
  bool trace = false, log = false;
};

constexpr uint64_t kTwiceEvery =
    32;  ///< So many seeds apart one is run twice: both runs have to be the same.
constexpr size_t kMinimiseRuns = 400;
constexpr double kMinimiseSeconds = 40;
constexpr size_t kExplainedMax = 3;  ///< Of one call: the others are named only.
constexpr size_t kTraceShown = 80, kActionsShown = 60;
constexpr unsigned kSeedSecondsMax = 600;
[[maybe_unused]] constexpr unsigned kMutantSecondsMax = 30;  // for builds with the mutants

std::string replay_command(const Options& options, uint64_t seed) {
  std::string out = fmt::format("build/tests/sim/sim --seed {}", seed);
  if (options.minutes != 1) out += fmt::format(" --minutes {}", options.minutes);
  if (!options.mutant.empty()) out += " --mutant " + options.mutant;
  return out;
}

std::string trace_of(const Outcome& outcome, size_t most) {
  std::string out;
  const size_t shown = std::min(outcome.trace.size(), most);
  if (shown < outcome.trace.size())
    out += fmt::format("  … {} lines before: --trace\n", outcome.trace.size() - shown);
  for (size_t i = outcome.trace.size() - shown; i < outcome.trace.size(); ++i)
    out += "  " + outcome.trace[i] + "\n";
  return out;
}

std::string failure_of(const Options& options, const Plan& plan, const Outcome& outcome) {
  return fmt::format("seed {} FAILED at {:.3f} s: {}: {}\nreplay: {}\n", plan.seed,
                     static_cast<double>(outcome.failed_at_ms) / 1000, outcome.failure->kind,
                     outcome.failure->text, replay_command(options, plan.seed));
}

std::string explain(const Options& options, const Plan& plan, const Outcome& outcome) {
  const Smaller small = minimise(plan, outcome, kMinimiseRuns, kMinimiseSeconds);
  const Outcome again = World(small.plan, true).run();
  std::string out = fmt::format("{} of {} actions are enough ({} runs), among {} replicas:\n",
                                small.kept.size(), plan.actions.size(), small.runs, plan.replicas);
  std::string numbers;
  if (small.kept.size() > kActionsShown) out += fmt::format("  … the last {}:\n", kActionsShown);
  for (size_t i = 0; i < small.kept.size(); ++i) {
    if (i + kActionsShown >= small.kept.size())
      out += "  " + describe(small.plan.actions[i]) + "\n";
    numbers += (i ? "," : "") + std::to_string(small.kept[i]);
  }
  if (!again.failure) return out;
  out +=
      trace_of(again, kTraceShown) + "  " + again.failure->kind + ": " + again.failure->text + "\n";
  if (small.kept.size() > kActionsShown) return out;  // too many to name
  return out + fmt::format("replay: {} --only {}\n", replay_command(options, plan.seed), numbers);
}

int replay(const Options& options) {
  Plan plan = make_plan(*options.seed, options.minutes * 60'000);
  if (!options.only.empty()) plan = only(plan, options.only);
  const Outcome outcome = World(plan, true).run();
  std::string channels;
  for (const ChannelPlan& c : plan.channels)
    channels += fmt::format(" {}{}", c.is_public ? "public " : "", c.type);
  fmt::print(
      "seed {}: {} replicas, channels:{}, {} actions; {} writes acknowledged, {} messages, equal "
      "{:.1f} s after the faults, digest {:016x}\n",
      *options.seed, plan.replicas, channels, plan.actions.size(), outcome.acknowledged,
      outcome.messages, static_cast<double>(outcome.settle_ms) / 1000, outcome.digest);
  if (options.trace) fmt::print("{}", trace_of(outcome, SIZE_MAX));
  if (outcome.failure) fmt::print("{}", failure_of(options, plan, outcome));
  if (outcome.failure && options.only.empty()) fmt::print("{}", explain(options, plan, outcome));
  fmt::print("[suite] {} passed, {} failed, 0 skipped\n", outcome.failure ? 0 : 1,
             outcome.failure ? 1 : 0);
  return outcome.failure ? 1 : 0;
}

SeedResult run_seed(const Options& options, uint64_t seed, bool explained) {
  const Plan plan = make_plan(seed, options.minutes * 60'000);
  const Outcome outcome = World(plan, false).run();
  SeedResult out{seed,
                 outcome.failure.has_value(),
                 outcome.virtual_ms,
                 outcome.settle_ms,
                 outcome.acknowledged,
                 outcome.messages,
                 outcome.fetched,
                 {}};
  if (outcome.failure) out.text = failure_of(options, plan, outcome);
  if (!out.failed && seed % kTwiceEvery == 0 && World(plan, false).run().digest != outcome.digest) {
    out.failed = true;
    out.text = fmt::format("seed {} FAILED: two runs of it differ\n", seed);
  }
  if (outcome.failure && explained) {
    ::alarm(kSeedSecondsMax);
    out.text += explain(options, plan, outcome);
  }
  return out;
}

uint64_t fresh_base() {
  std::random_device device;
  return (uint64_t{device()} << 32 | device()) >> 16;
}

int run_seeds(const Options& options) {
  std::vector<uint64_t> seeds;
  for (uint64_t i = 0; i < options.count; ++i) seeds.push_back(options.from.value_or(1) + i);
  for (uint64_t i = 0; i < options.fixed; ++i) seeds.push_back(1 + i);
  const uint64_t base = fresh_base();
  for (uint64_t i = 0; i < options.fresh; ++i) seeds.push_back(base + i);
  if (options.fresh)
    fmt::print("{} seeds; {} of them are fresh: from {} on\n", seeds.size(), options.fresh, base);

  size_t at = 0, passed = 0, failed = 0;
  uint64_t virtual_ms = 0, acknowledged = 0, messages = 0, settle_ms_max = 0;
  uint64_t fetched = 0, with_packs = 0;
  const auto started = std::chrono::steady_clock::now();
  const auto seconds = [&] {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
  };
  Pool(options.jobs, kSeedSecondsMax)
      .run(
          [&](uint64_t& seed) {
            if (options.seconds > 0) {  // as long as there is time
              seed = options.from.value_or(base) + at++;
              return seconds() < options.seconds;
            }
            if (at == seeds.size()) return false;
            seed = seeds[at++];
            return true;
          },
          [&](uint64_t seed) {
            return run_seed(options, seed, failed < kExplainedMax || !options.write.empty());
          },
          [&](const SeedResult& result) {
            virtual_ms += result.virtual_ms;
            acknowledged += result.acknowledged;
            messages += result.messages;
            fetched += result.fetched;
            with_packs += result.fetched > 0;
            settle_ms_max = std::max(settle_ms_max, result.settle_ms);
            ++(result.failed ? failed : passed);
            fmt::print("{}", result.text);
            std::fflush(stdout);
            if (result.failed && !options.write.empty())
              std::ofstream(fmt::format("{}/{}-{}m", options.write, result.seed, options.minutes))
                  << result.text;
          });
  fmt::print(
      "{} virtual seconds in {:.1f} s ({:.0f} a second and process, {} at a time); {} writes "
      "acknowledged, {} messages; {} nodes in packs, in {} seeds; equal at most {:.1f} s after the "
      "faults\n",
      virtual_ms / 1000, seconds(),
      static_cast<double>(virtual_ms) / 1000 / seconds() / static_cast<double>(options.jobs),
      options.jobs, acknowledged, messages, fetched, with_packs,
      static_cast<double>(settle_ms_max) / 1000);
  fmt::print("[suite] {} passed, {} failed, 0 skipped\n", passed, failed);
  return failed || !passed ? 1 : 0;
}

#ifdef PTWOP_MUTANTS
std::vector<std::string> mutant_names(const std::string& file) {
  std::vector<std::string> out;
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);)
    if (!line.empty() && line[0] != '#') out.push_back(line.substr(0, line.find(' ')));
  return out;
}

/// Each mutant, until a seed catches it.
int run_mutants(Options options) {
  std::vector<std::string> names = mutant_names(options.mutants);
  if (options.some && options.some < names.size()) {  // a few in turn: others in the next hour
    const auto hour = static_cast<size_t>(std::chrono::duration_cast<std::chrono::hours>(
                                              std::chrono::system_clock::now().time_since_epoch())
                                              .count());
    std::rotate(names.begin(),
                names.begin() + static_cast<ptrdiff_t>(hour * options.some % names.size()),
                names.end());
    names.resize(options.some);
  }
  size_t caught = 0, survived = 0;
  for (const std::string& name : names) {
    options.mutant = name;
    active_mutant = options.mutant;
    uint64_t seed = options.from.value_or(1), tried = 0;
    const uint64_t last = seed + options.count;
    std::optional<SeedResult> by;
    size_t failing = 0;
    Pool(options.jobs, kMutantSecondsMax)
        .run(
            [&](uint64_t& next) {
              next = seed;
              return !by && seed++ < last;
            },
            [&](uint64_t s) { return run_seed(options, s, false); },
            [&](const SeedResult& result) {
              ++tried;
              failing += result.failed;
              if (result.failed && !by) by = result;
            });
    ++(by ? caught : survived);
    if (by)
      fmt::print("{:<24} caught after {:>3} seeds: {}\n", name, tried,
                 by->text.substr(0, by->text.find('\n')));
    else
      fmt::print("{:<24} SURVIVED {} seeds\n", name, tried);
    std::fflush(stdout);
  }
  fmt::print("[suite] {} passed, {} failed, 0 skipped\n", caught, survived);
  return survived ? 1 : 0;
}
#endif

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App app("Simulates PtwopDB");
  app.add_option("--seed", options.seed, "replay this seed");
  app.add_option("--from", options.from, "the first seed");
  app.add_option("--count", options.count, "how many");
  app.add_option("--fixed", options.fixed, "so many seeds from 1 on");
  app.add_option("--fresh", options.fresh, "so many seeds that were never tried");
  app.add_option("--seconds", options.seconds, "seeds from --from on, or fresh ones, for so long");
  app.add_option("--minutes", options.minutes, "virtual minutes with faults");
  app.add_option("--jobs", options.jobs, "seeds at a time");
  app.add_option("--write", options.write,
                 "a folder for what is to be said of each seed that fails");
  app.add_option("--only", options.only, "with --seed: only these of its actions")->delimiter(',');
#ifdef PTWOP_MUTANTS
  app.add_option("--mutant", options.mutant, "with this bug");
  app.add_option("--mutants", options.mutants, "with each bug of this list");
  app.add_option("--some", options.some, "with --mutants: only so many, others every hour");
#endif
  app.add_flag("--trace", options.trace, "print all that happens");
  app.add_flag("--log", options.log, "let the engines log");
  CLI11_PARSE(app, argc, argv);
  if (sodium_init() < 0) return 1;
  log::set_level(options.log ? log::Level::debug : log::Level::error);
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_set_report_fd(reinterpret_cast<void*>(
      static_cast<intptr_t>(::dup(STDERR_FILENO))));  // NOLINT: its interface
#endif
  // Engines on failing disks have much to say.
  if (!options.log && !std::freopen("/dev/null", "w", stderr)) return 1;
#ifdef PTWOP_MUTANTS
  active_mutant = options.mutant;
  if (!options.mutants.empty()) return run_mutants(options);
#endif
  return options.seed ? replay(options) : run_seeds(options);
}
