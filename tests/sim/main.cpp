// tests/sim: many replicas in a simulated world, from one seed.
//
//   sim --seed S [--minutes M] [--trace]     replays one seed: prints what came of it, and how it came if it failed
//   sim --from S --count N [--minutes M]     the seeds S, S+1, …
//   sim --fixed N --fresh N [--minutes M]    the seeds 1 to N, and N that nobody has tried
//
// A seed that fails is made smaller: what is printed is the least schedule that still fails in the same way, how to replay
// it, and what happened in it. The same seed gives the same run, always and everywhere.
#include <fmt/format.h>
#include <sodium.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <random>

#include "base/log.h"
#include "minimise.h"
#include "world.h"

using namespace ptwop;
using namespace ptwop::sim;

namespace {

struct Options {
  std::optional<uint64_t> seed;
  uint64_t from = 1, count = 0, fixed = 0, fresh = 0;
  uint64_t minutes = 1;
  std::vector<size_t> only;
  bool trace = false, log = false;
};

constexpr size_t kMinimiseRuns = 400;
constexpr double kMinimiseSeconds = 40;
constexpr size_t kExplainedMax = 3;  ///< Of one call: the others are named only.
constexpr size_t kTraceShown = 80;

std::string replay_command(const Options& options, uint64_t seed) {
  return fmt::format("build/tests/sim/sim --seed {}{}", seed, options.minutes == 1 ? "" : fmt::format(" --minutes {}", options.minutes));
}

void print_trace(const Outcome& outcome, size_t most) {
  const size_t shown = std::min(outcome.trace.size(), most);
  if (shown < outcome.trace.size()) fmt::print("  … {} lines before: --trace\n", outcome.trace.size() - shown);
  for (size_t i = outcome.trace.size() - shown; i < outcome.trace.size(); ++i) fmt::print("  {}\n", outcome.trace[i]);
}

void print_failure(const Options& options, const Plan& plan, const Outcome& outcome, bool explain) {
  fmt::print("seed {} FAILED at {:.3f} s: {}: {}\n", plan.seed, static_cast<double>(outcome.failed_at_ms) / 1000, outcome.failure->kind,
             outcome.failure->text);
  fmt::print("replay: {}\n", replay_command(options, plan.seed));
  std::fflush(stdout);
  if (!explain) return;
  const Smaller small = minimise(plan, outcome, kMinimiseRuns, kMinimiseSeconds);
  const Outcome again = World(small.plan, true).run();
  fmt::print("{} of {} actions are enough ({} runs), among {} replicas:\n", small.kept.size(), plan.actions.size(), small.runs, plan.replicas);
  std::string numbers;
  for (size_t i = 0; i < small.kept.size(); ++i) {
    fmt::print("  {}\n", describe(small.plan.actions[i]));
    numbers += (i ? "," : "") + std::to_string(small.kept[i]);
  }
  if (!again.failure) return;
  print_trace(again, kTraceShown);
  fmt::print("  {}: {}\n", again.failure->kind, again.failure->text);
  fmt::print("replay: {} --only {}\n", replay_command(options, plan.seed), numbers);
}

int replay(const Options& options) {
  Plan plan = make_plan(*options.seed, options.minutes * 60'000);
  if (!options.only.empty()) plan = only(plan, options.only);
  const Outcome outcome = World(plan, true).run();
  std::string channels;
  for (const ChannelPlan& c : plan.channels) channels += fmt::format(" {}{}", c.is_public ? "public " : "", c.type);
  fmt::print("seed {}: {} replicas, channels:{}, {} actions; {} writes acknowledged, {} messages, equal {:.1f} s after the faults, digest {:016x}\n",
             *options.seed, plan.replicas, channels, plan.actions.size(), outcome.acknowledged, outcome.messages,
             static_cast<double>(outcome.settle_ms) / 1000, outcome.digest);
  if (options.trace) print_trace(outcome, SIZE_MAX);
  if (outcome.failure) print_failure(options, plan, outcome, options.only.empty());
  fmt::print("[suite] {} passed, {} failed, 0 skipped\n", outcome.failure ? 0 : 1, outcome.failure ? 1 : 0);
  return outcome.failure ? 1 : 0;
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App app("Simulates PtwopDB");
  app.add_option("--seed", options.seed, "replay this seed");
  app.add_option("--from", options.from, "the first seed");
  app.add_option("--count", options.count, "how many");
  app.add_option("--fixed", options.fixed, "so many seeds from 1 on");
  app.add_option("--fresh", options.fresh, "so many seeds that were never tried");
  app.add_option("--minutes", options.minutes, "virtual minutes with faults");
  app.add_option("--only", options.only, "with --seed: only these of its actions")->delimiter(',');
  app.add_flag("--trace", options.trace, "print all that happens");
  app.add_flag("--log", options.log, "let the engines log");
  CLI11_PARSE(app, argc, argv);
  if (sodium_init() < 0) return 1;
  log::set_level(options.log ? log::Level::debug : log::Level::error);
  if (!options.log && !std::freopen("/dev/null", "w", stderr)) return 1;

  if (options.seed) return replay(options);
  std::vector<uint64_t> seeds;
  for (uint64_t i = 0; i < options.count; ++i) seeds.push_back(options.from + i);
  for (uint64_t i = 0; i < options.fixed; ++i) seeds.push_back(1 + i);
  if (options.fresh) {
    std::random_device device;
    const uint64_t base = (uint64_t{device()} << 32 | device()) >> 16;
    fmt::print("{} fresh seeds from {} on\n", options.fresh, base);
    for (uint64_t i = 0; i < options.fresh; ++i) seeds.push_back(base + i);
  }

  size_t failed = 0, acknowledged = 0, messages = 0;
  uint64_t virtual_ms = 0, settle_ms_max = 0;
  const auto started = std::chrono::steady_clock::now();
  for (const uint64_t seed : seeds) {
    const Plan plan = make_plan(seed, options.minutes * 60'000);
    const Outcome outcome = World(plan, false).run();
    virtual_ms += outcome.virtual_ms;
    acknowledged += outcome.acknowledged;
    messages += outcome.messages;
    settle_ms_max = std::max(settle_ms_max, outcome.settle_ms);
    if (!outcome.failure) continue;
    print_failure(options, plan, outcome, ++failed <= kExplainedMax);
  }
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
  fmt::print("{} virtual seconds in {:.1f} s ({:.0f} a second); {} writes acknowledged, {} messages; equal at most {:.1f} s after the faults\n",
             virtual_ms / 1000, seconds, static_cast<double>(virtual_ms) / 1000 / seconds, acknowledged, messages,
             static_cast<double>(settle_ms_max) / 1000);
  fmt::print("[suite] {} passed, {} failed, 0 skipped\n", seeds.size() - failed, failed);
  return failed ? 1 : 0;
}
