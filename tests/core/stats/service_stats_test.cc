// Sums over workers, and who is whose ServiceStats across reloads.
#include "base/net_error.h"
#include "stats/service_stats.h"

#include "support/cmocka.h"  // last: it has a macro named fail

using namespace portolan;

namespace {

constexpr CounterDeclaration kCounters[] = {{"odd", "odd ones"}, {"even", "even ones"}};
constexpr CounterDeclaration kOtherCounters[] = {{"odd", "odd ones"}};

Descriptor descriptor(std::string_view name, std::span<const CounterDeclaration> counters) {
  Descriptor made;
  made.name = name;
  made.counters = counters;
  return made;
}

void a_snapshot_sums_the_workers(void**) {
  ServiceStats stats("s", descriptor("p", kCounters), 3);
  assert_int_equal(stats.workers(), 3);
  for (std::size_t i = 0; i < 3; ++i) {
    WorkerStats& worker = stats.worker(i);
    worker[CoreCounter::messages].add(i + 1);
    worker.refuse(Refusal::idle_timeout);
    worker.open.add(2);
    worker.plugin[1].add(10);
    worker.latency.record(1000);
  }
  stats.worker(0).open.subtract();
  assert_null(stats.worker(0).own.find("orders"));
  stats.worker(0).own.make("orders").add(5);
  stats.worker(2).own.make("orders").add(6);
  stats.worker(2).own.find("orders")->add(1);
  const StatsSnapshot sum = stats.snapshot();
  assert_int_equal(sum.core[static_cast<std::size_t>(CoreCounter::messages)], 6);
  assert_int_equal(sum.core[static_cast<std::size_t>(CoreCounter::refused)], 3);
  assert_int_equal(sum.refusals[static_cast<std::size_t>(Refusal::idle_timeout)], 3);
  assert_int_equal(sum.open, 5);
  // The plugin's own, and those of scripts, which not every worker has.
  assert_int_equal(sum.plugin.size(), 3);
  assert_int_equal(sum.plugin.at("odd"), 0);
  assert_int_equal(sum.plugin.at("even"), 30);
  assert_int_equal(sum.plugin.at("orders"), 12);
  assert_int_equal(sum.latency.count(), 3);
  assert_true(sum.message_size.empty());
}

void every_core_counter_has_its_name(void**) {
  for (const std::string_view name : kCoreCounterNames) assert_false(name.empty());
  assert_true(kCoreCounterNames[static_cast<std::size_t>(CoreCounter::sessions)] == "sessions");
  assert_true(kCoreCounterNames[static_cast<std::size_t>(CoreCounter::failed)] == "failed");
  assert_true(kCoreCounterNames[static_cast<std::size_t>(CoreCounter::hook_failures)] == "hook_failures");
}

void a_service_keeps_its_statistics_across_reloads(void**) {
  StatsRegistry registry;
  const auto first = registry.find_or_make("s", descriptor("p", kCounters), 1);
  assert_ptr_equal(registry.find_or_make("s", descriptor("p", kCounters), 1).get(), first.get());
  assert_ptr_not_equal(registry.find_or_make("t", descriptor("p", kCounters), 1).get(), first.get());
  assert_int_equal(registry.all().size(), 2);
  // Another plugin, or other counters of the same, under that name: the old one stays known, and comes back.
  const auto other = registry.find_or_make("s", descriptor("q", kCounters), 1);
  assert_ptr_not_equal(other.get(), first.get());
  assert_ptr_not_equal(registry.find_or_make("s", descriptor("p", kOtherCounters), 1).get(), first.get());
  assert_ptr_equal(registry.find_or_make("s", descriptor("p", kCounters), 1).get(), first.get());
  assert_int_equal(registry.all().size(), 4);
  // More workers than it has room for.
  assert_int_equal(registry.find_or_make("s", descriptor("p", kCounters), 4)->workers(), 4);
}

}  // namespace

int main() {
  const CMUnitTest tests[] = {
      cmocka_unit_test(a_snapshot_sums_the_workers),
      cmocka_unit_test(every_core_counter_has_its_name),
      cmocka_unit_test(a_service_keeps_its_statistics_across_reloads),
  };
  return cmocka_run_group_tests(tests, nullptr, nullptr);
}
