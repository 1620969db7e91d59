// Ten thousand scenarios of rudp (scenario.h), by seed. One that fails prints its seed; `rudp_scenarios_test SEED` plays it
// again, and `rudp_scenarios_test FROM TO` others.
#include "sim/scenario.h"

#include <cstdint>
#include <cstdio>
#include <cstdlib>

namespace {

// As other tests scale their crowds: a tenth where an emulator or a sanitizer makes all slower.
double scale() {
  const char* text = std::getenv("PORTOLAN_TEST_SCALE");
  return text ? std::atof(text) : 1.0;
}

}  // namespace

int main(int argc, char** argv) {
  std::uint64_t from = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 1;
  std::uint64_t to = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : argc > 1 ? from : 10'000;
  if (argc > 2) to = from + static_cast<std::uint64_t>(static_cast<double>(to - from) * scale());
  std::uint64_t failures = 0;
  for (std::uint64_t seed = from; seed <= to; ++seed) {
    const portolan::sim::Verdict verdict = portolan::sim::play_scenario(seed);
    if (argc == 2) std::printf("seed %llu: %s\n", static_cast<unsigned long long>(seed), verdict.story.c_str());
    if (verdict.problem.empty()) continue;
    std::printf("seed %llu: %s\n  %s\n", static_cast<unsigned long long>(seed), verdict.problem.c_str(),
                verdict.story.c_str());
    if (++failures == 10) break;
  }
  std::printf("%llu scenarios, %llu failed\n", static_cast<unsigned long long>(to - from + 1),
              static_cast<unsigned long long>(failures));
  return failures ? 1 : 0;
}
