#include "rudp/fec_policy.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <random>

#include "support/cmocka.h"

using namespace portolan;
using namespace portolan::rudp;
using namespace std::chrono_literals;

namespace {

constexpr double kNoBudget = 100;

FecPolicy at_loss(double loss, double burst = 1) {
  FecPolicy policy({.budget = kNoBudget});
  policy.on_loss(loss, burst);
  return policy;
}

// The sum of the binomial distribution, of its own: the chance that more than `repairs` of all are lost.
double failure(std::size_t sources, std::size_t repairs, double loss) {
  const std::size_t all = sources + repairs;
  double recovered = 0;
  for (std::size_t losses = 0; losses <= repairs; ++losses) {
    double ways = 1;
    for (std::size_t i = 0; i < losses; ++i) ways *= static_cast<double>(all - i) / static_cast<double>(i + 1);
    recovered +=
        ways * std::pow(loss, static_cast<double>(losses)) * std::pow(1 - loss, static_cast<double>(all - losses));
  }
  return 1 - recovered;
}

void independent_losses_need_what_the_binomial_distribution_says(void**) {
  struct {
    double loss;
    std::size_t of_32;
    std::size_t of_64;
  } const figures[] = {{0.01, 3, 4}, {0.05, 7, 11}, {0.10, 11, 17}, {0.20, 20, 32}};
  for (const auto& figure : figures) {
    FecPolicy policy = at_loss(figure.loss);
    assert_int_equal(policy.repairs(32), figure.of_32);
    assert_int_equal(policy.repairs(64), figure.of_64);
    assert_int_equal(policy.interleave(), 1);
    for (std::size_t sources = 1; sources <= 32; ++sources) {
      const std::size_t repairs = policy.repairs(sources);
      assert_true(failure(sources, repairs, figure.loss) < 1e-3);
      assert_true(failure(sources, repairs - 1, figure.loss) >= 1e-3);
    }
  }
}

void no_repairs_where_nothing_is_lost_or_there_is_time_to_send_again(void**) {
  FecPolicy policy;
  assert_int_equal(policy.repairs(32), 0);
  policy.on_loss(1e-5);
  assert_int_equal(policy.repairs(32), 0);
  policy.on_loss(0.05);
  assert_int_equal(policy.repairs(32), 7);
  assert_int_equal(policy.repairs(0), 0);
  policy.on_path(50ms, 200ms);
  assert_int_equal(policy.repairs(32), 0);
  policy.on_path(100ms, 200ms);
  assert_int_equal(policy.repairs(32), 7);
  policy.on_path(50ms, 0ms);  // no deadline
  assert_int_equal(policy.repairs(32), 7);
}

void the_budget_bounds_them(void**) {
  FecPolicy policy;
  policy.on_loss(0.3);
  assert_int_equal(policy.repairs(32), 16);
  assert_int_equal(policy.repairs(5), 3);
  assert_int_equal(policy.repairs(1), 1);
  policy.set_budget(FecPolicy::kBulkBudget);
  assert_int_equal(policy.repairs(64), 7);
  assert_int_equal(policy.repairs(30), 3);
  policy.set_budget(0);
  assert_int_equal(policy.repairs(32), 0);
  policy.set_budget(kNoBudget);
  policy.on_loss(1);
  assert_int_equal(policy.repairs(64), reed_solomon::kMostRepairs);
}

void a_block_lingers_for_a_quarter_of_the_round_trip(void**) {
  FecPolicy policy;
  assert_true(policy.linger() == 10ms);
  policy.on_path(20ms, 0ms);
  assert_true(policy.linger() == 5ms);
  policy.on_path(1s, 0ms);
  assert_true(policy.linger() == 10ms);
}

// Blocks sent over a Gilbert channel fail as rarely as they should, and one repair less would not have done.
void bursts_are_reckoned_with(void**) {
  constexpr double kLoss = 0.05;
  constexpr std::size_t kSources = 32;
  constexpr int kRounds = 60000;
  for (const double burst : {2.0, 3.0, 5.0}) {
    FecPolicy policy = at_loss(kLoss, burst);
    const std::size_t interleave = policy.interleave();
    const std::size_t repairs = policy.repairs(kSources);
    assert_true(interleave > 1 && repairs > at_loss(kLoss).repairs(kSources));
    std::mt19937 random(4);
    std::uniform_real_distribution<double> chance(0, 1);
    const double starts = kLoss / (burst * (1 - kLoss));
    const auto blocks_that_fail = [&](std::size_t with) {
      int failed = 0;
      bool lost = false;
      for (int round = 0; round < kRounds; ++round) {
        std::size_t losses = 0;
        for (std::size_t packet = 0; packet < kSources + with; ++packet) {
          for (std::size_t others = 0; others < interleave; ++others)
            lost = chance(random) < (lost ? 1 - 1 / burst : starts);
          losses += lost;
        }
        failed += losses > with;
      }
      return failed;
    };
    assert_in_range(blocks_that_fail(repairs), 1, kRounds / 1000 * 5 / 4);
    assert_true(blocks_that_fail(repairs - 2) > kRounds / 1000);
  }
}

// The loss is twice what was measured: failures that are told bring the target back to where it should be.
void failures_that_are_told_correct_it(void**) {
  FecPolicy policy = at_loss(0.05);
  const std::size_t at_first = policy.repairs(32);
  std::mt19937 random(5);
  std::bernoulli_distribution lost(0.1);
  int failed_at_last = 0;
  constexpr int kRounds = 20000;
  for (int round = 0; round < 2 * kRounds; ++round) {
    const std::size_t repairs = policy.repairs(32);
    std::size_t losses = 0;
    for (std::size_t packet = 0; packet < 32 + repairs; ++packet) losses += lost(random);
    const bool failed = losses > repairs;
    policy.on_blocks(!failed, failed);
    if (round >= kRounds) failed_at_last += failed;
  }
  assert_true(policy.repairs(32) > at_first);
  assert_in_range(failed_at_last, kRounds / 2000, kRounds / 500);
  policy.on_blocks(20000, 0);
  assert_int_equal(policy.repairs(32), at_first);  // and never fewer than the measured loss needs
  // What the budget denied teaches nothing.
  policy.set_budget(0.1);
  assert_int_equal(policy.repairs(32), 4);
  policy.on_blocks(0, 100);
  policy.set_budget(kNoBudget);
  assert_int_equal(policy.repairs(32), at_first);
}

}  // namespace

int main() {
  const CMUnitTest tests[] = {
      cmocka_unit_test(independent_losses_need_what_the_binomial_distribution_says),
      cmocka_unit_test(no_repairs_where_nothing_is_lost_or_there_is_time_to_send_again),
      cmocka_unit_test(the_budget_bounds_them),
      cmocka_unit_test(a_block_lingers_for_a_quarter_of_the_round_trip),
      cmocka_unit_test(bursts_are_reckoned_with),
      cmocka_unit_test(failures_that_are_told_correct_it),
  };
  return cmocka_run_group_tests_name("core.rudp.fec_policy", tests, nullptr, nullptr);
}
