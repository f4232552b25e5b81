// The load driver of tests/bench/run.py: measures, prints one JSON object, ends.
//
//   bench_driver loop NAME=VALUE … redis=SOCKET ptwop=SOCKET    rounds that alternate between the
//   servers named
//       op=get|put connections= depth= count= keys= first= in_order=1 value= rounds= channel=
//   bench_driver visible|replicated a=SOCKET b=SOCKET NAME=VALUE …
//       channel= count= value= api_a=PORT api_b=PORT topic=
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <charconv>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "closed_loop.h"
#include "visible.h"

namespace bench {
namespace {

using Arguments = std::map<std::string, std::string, std::less<>>;

Arguments parse(int count, char** words) {
  Arguments arguments;
  for (int i = 2; i < count; ++i) {
    const std::string_view word = words[i];
    const size_t equals = word.find('=');
    if (equals == std::string_view::npos) give_up(fmt::format("not NAME=VALUE: {}", word));
    arguments.emplace(word.substr(0, equals), word.substr(equals + 1));
  }
  return arguments;
}

template <class Number>
void set(const Arguments& arguments, std::string_view name, Number& number) {
  const auto found = arguments.find(name);
  if (found == arguments.end()) return;
  const std::string& text = found->second;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size())
    give_up(fmt::format("{} is no number: {}", name, text));
}

void set(const Arguments& arguments, std::string_view name, std::string& text) {
  if (const auto found = arguments.find(name); found != arguments.end()) text = found->second;
}

Load load_of(const Arguments& arguments) {
  Load load;
  std::string op = "get";
  int in_order = 0;
  set(arguments, "op", op);
  load.op = op == "put" ? Op::put : Op::get;
  set(arguments, "connections", load.connections);
  set(arguments, "depth", load.depth);
  set(arguments, "count", load.count);
  set(arguments, "keys", load.keys);
  set(arguments, "first", load.first);
  set(arguments, "in_order", in_order);
  load.in_order = in_order != 0;
  set(arguments, "value", load.value_bytes);
  return load;
}

struct Series {
  Series(Target target, const Load& load) : loop(std::move(target), load) {}

  ClosedLoop loop;
  std::vector<double> p50_us, p99_us, per_s;
};

void measure_loop(const Arguments& arguments) {
  const Load load = load_of(arguments);
  size_t rounds = 1;
  set(arguments, "rounds", rounds);
  std::map<std::string, Series> series;
  for (const auto protocol : {Protocol::redis, Protocol::ptwop}) {
    const std::string name = protocol == Protocol::redis ? "redis" : "ptwop";
    Target target;
    target.protocol = protocol;
    set(arguments, name, target.socket_path);
    set(arguments, "channel", target.channel);
    if (!target.socket_path.empty()) series.try_emplace(name, target, load);
  }
  for (size_t i = 0; i < rounds; ++i) {
    for (auto& [name, one] : series) {
      const Round round = one.loop.run();
      one.p50_us.push_back(round.percentile_us(0.5));
      one.p99_us.push_back(round.percentile_us(0.99));
      one.per_s.push_back(round.per_second());
    }
  }
  std::vector<std::string> parts;
  for (const auto& [name, one] : series)
    parts.push_back(fmt::format(R"("{}":{{"p50_us":[{:.2f}],"p99_us":[{:.2f}],"per_s":[{:.0f}]}})",
                                name, fmt::join(one.p50_us, ","), fmt::join(one.p99_us, ","),
                                fmt::join(one.per_s, ",")));
  fmt::print("{{{}}}\n", fmt::join(parts, ","));
}

Pair pair_of(const Arguments& arguments) {
  Pair pair;
  set(arguments, "a", pair.socket_a);
  set(arguments, "b", pair.socket_b);
  set(arguments, "channel", pair.channel);
  set(arguments, "api_a", pair.api_a);
  set(arguments, "api_b", pair.api_b);
  set(arguments, "topic", pair.topic);
  set(arguments, "count", pair.count);
  set(arguments, "value", pair.value_bytes);
  return pair;
}

}  // namespace
}  // namespace bench

int main(int count, char** words) {
  const std::string_view kind = count > 1 ? words[1] : "";
  const auto arguments = bench::parse(count, words);
  if (kind == "loop")
    bench::measure_loop(arguments);
  else if (kind == "visible")
    bench::measure_visible(bench::pair_of(arguments));
  else if (kind == "replicated")
    bench::measure_replicated(bench::pair_of(arguments));
  else
    bench::give_up("the first word is loop, visible or replicated");
}
