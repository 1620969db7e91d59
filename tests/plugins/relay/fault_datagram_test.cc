#include "plugins/relay/fault_datagram.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "support/cmocka.h"

using namespace portolan;
using namespace portolan::relay;
using namespace std::chrono_literals;

namespace {

constexpr Duration kStart = 1000s;
constexpr int kCount = 20'000;

FaultSet::Shared set_of(std::initializer_list<std::string_view> lines) {
  std::vector<Fault> faults;
  for (const std::string_view line : lines) faults.push_back(parse_fault(line).value());
  return FaultSet::make(std::move(faults)).value();
}

constexpr std::size_t kSize = 100;

// Datagrams in virtual time: each holds its number and zeros.
struct Run {
  struct Arrival {
    int number;
    Duration at;
    int changed;  // bytes that are not what was sent
  };
  explicit Run(FaultSet::Shared set, std::uint64_t session = 1,
               DatagramFaults::Limits limits = {.datagrams = 1024, .bytes = 1024 * 1024})
      : faults(std::move(set), FaultDirection::to_client, session, kStart, limits) {}

  void push() {
    std::byte data[kSize]{};
    std::memcpy(data, &pushed, sizeof pushed);
    sent.push_back(now);
    ++pushed;
    faults.push(data, now);
  }
  void run(Duration until) {
    while (faults.next_due() <= until) {
      now = std::max(now, faults.next_due());
      const auto datagram = faults.pop(now);
      assert_true(datagram.has_value() && datagram->size() == kSize);
      Arrival arrival{.number = 0, .at = now, .changed = 0};
      std::memcpy(&arrival.number, datagram->data(), sizeof arrival.number);
      for (const std::byte byte : datagram->subspan(sizeof arrival.number)) {
        if (byte != std::byte{0}) ++arrival.changed;
      }
      arrivals.push_back(arrival);
    }
    assert_false(faults.pop(until).has_value());
    now = until;
  }
  void send(int count, Duration every) {
    for (int at = 0; at < count; ++at) {
      push();
      run(now + every);
    }
    run(now + 10s);
  }

  DatagramFaults faults;
  Duration now = kStart;
  int pushed = 0;
  std::vector<Duration> sent;
  std::vector<Arrival> arrivals;
};

// Five standard deviations of a share of `count`.
bool is_share(std::size_t found, double share, int count) {
  return std::abs(static_cast<double>(found) - share * count) < 5 * std::sqrt(share * (1 - share) * count);
}

void without_a_fault_datagrams_pass_at_once(void**) {
  for (const auto& set : {FaultSet::Shared(), set_of({"loss direction=to_backend", "loss name=never probability=0"}),
                          set_of({"slicer size=1", "reset", "slow_close delay=1s", "close_after"})}) {
    Run run(set);
    run.push();
    run.run(kStart);
    assert_int_equal(run.arrivals.size(), 1);
    assert_true(run.faults.next_due() == Duration::max());
  }
}

void loss_is_a_share(void**) {
  Run run(set_of({"loss probability=0.1 seed=6"}));
  run.send(kCount, 1ms);
  assert_true(is_share(kCount - run.arrivals.size(), 0.1, kCount));
  assert_true(std::ranges::is_sorted(run.arrivals, {}, &Run::Arrival::number));
  Run all(set_of({"loss"}));
  all.send(100, 1ms);
  assert_int_equal(all.arrivals.size(), 0);
}

void duplicates_come_as_often_as_they_say(void**) {
  Run run(set_of({"duplicate probability=0.2 copies=2 seed=6"}));
  run.send(kCount, 1ms);
  std::vector<int> times(kCount);
  for (const auto& arrival : run.arrivals) ++times[static_cast<std::size_t>(arrival.number)];
  const auto thrice = std::ranges::count(times, 3);
  assert_int_equal(std::ranges::count(times, 1) + thrice, kCount);
  assert_true(is_share(static_cast<std::size_t>(thrice), 0.2, kCount));
}

void reordered_ones_come_after_the_gap(void**) {
  Run run(set_of({"reorder probability=0.05 gap=3 seed=6"}));
  run.send(kCount, 1ms);
  assert_int_equal(run.arrivals.size(), kCount);
  std::size_t late = 0;
  int highest = -1;
  for (const auto& arrival : run.arrivals) {
    if (arrival.number < highest) {
      ++late;
      const auto later_ones =
          std::count_if(&std::as_const(run.arrivals).front(), &arrival,
                        [&arrival](const Run::Arrival& before) { return before.number > arrival.number; });
      // The very last have none that could go past them.
      if (arrival.number < kCount - 20) assert_int_equal(later_ones, 3);
    }
    highest = std::max(highest, arrival.number);
  }
  assert_true(is_share(late, 0.05, kCount));
}

void what_is_held_back_is_held_no_longer_than_the_delay(void**) {
  Run run(set_of({"reorder gap=5 delay=40ms"}));
  run.push();
  run.run(kStart + 1s);
  assert_true(run.arrivals.at(0).at == kStart + 40ms);
  Run gap_alone(set_of({"reorder gap=5"}));
  gap_alone.push();
  gap_alone.run(kStart + 5s);
  assert_true(gap_alone.arrivals.at(0).at == kStart + 1s);
  Run delay_alone(set_of({"reorder delay=10ms probability=0.1 seed=6"}));
  delay_alone.send(kCount, 1ms);
  std::size_t late = 0;
  for (const auto& [number, at, changed] : delay_alone.arrivals) {
    const Duration took = at - delay_alone.sent[static_cast<std::size_t>(number)];
    assert_true(took == 0ms || took == 10ms);
    if (took > 0ms) ++late;
  }
  assert_true(is_share(late, 0.1, kCount));
}

void corruption_changes_one_byte(void**) {
  Run run(set_of({"corrupt probability=0.3 seed=6"}));
  std::size_t changed = 0;
  for (int at = 0; at < kCount; ++at) {
    const std::byte data[kSize]{};
    run.faults.push(data, kStart);
    const auto datagram = *run.faults.pop(kStart);
    const auto bytes = std::ranges::count_if(datagram, [](std::byte byte) { return byte != std::byte{0}; });
    assert_in_range(bytes, 0, 1);
    if (bytes == 1) ++changed;
  }
  assert_true(is_share(changed, 0.3, kCount));
  run.faults.push({}, kStart);  // nothing there to change
  assert_int_equal(run.faults.pop(kStart)->size(), 0);
}

void latency_and_rate_keep_the_order(void**) {
  Run run(set_of({"latency latency=100ms jitter=50ms seed=6"}));
  run.send(kCount, 200ms);
  double sum = 0;
  for (const auto& [number, at, changed] : run.arrivals) {
    const Duration took = at - run.sent[static_cast<std::size_t>(number)];
    assert_true(took >= 50ms && took <= 150ms);
    sum += std::chrono::duration<double>(took).count();
  }
  assert_true(std::abs(sum / kCount - 0.100) < 5 * 0.1 / std::sqrt(12.0 * kCount));

  Run close(set_of({"latency latency=100ms jitter=50ms seed=6"}));
  close.send(kCount, 1ms);
  assert_int_equal(close.arrivals.size(), kCount);
  assert_true(std::ranges::is_sorted(close.arrivals, {}, &Run::Arrival::number));

  // 200 datagrams come in a second, and 100 leave.
  Run link(set_of({"bandwidth rate=10000"}), 1, {.datagrams = 5, .bytes = 1'000'000});
  for (int at = 0; at < 2000; ++at) {
    link.push();
    link.run(link.now + 5ms);
  }
  assert_in_range(link.arrivals.size(), 990, 1000);
  assert_int_equal(link.arrivals.size() + link.faults.held() + link.faults.dropped(), 2000);
  assert_true(link.faults.held() <= 5);
}

void the_queue_is_bounded(void**) {
  const auto set = set_of({"latency latency=50ms jitter=50ms", "duplicate probability=0.5 copies=3",
                           "reorder probability=0.5 gap=3 delay=30ms"});
  const FaultSet::Shared sets[] = {set, set, set_of({"loss"}), nullptr};
  std::uint64_t dropped = 0;
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    Random random(seed);
    Run run(set, seed, {.datagrams = 20, .bytes = 20 * kSize - 1});
    for (int at = 0; at < 300; ++at) {
      run.push();
      if (random.chance(0.3)) run.run(run.now + random.below(30) * 1ms);
      if (random.chance(0.1)) run.faults.change(sets[random.below(4)], run.now);
      assert_in_range(run.faults.held(), 0, 19);
      assert_int_equal(run.faults.held_bytes(), run.faults.held() * kSize);
    }
    dropped += run.faults.dropped();
    run.run(run.now + 1h);
    assert_int_equal(run.faults.held_bytes(), 0);
  }
  assert_true(dropped > 0);
}

void a_black_hole_swallows_from_then_on(void**) {
  Run bytes(set_of({"black_hole after_bytes=350"}));
  bytes.send(10, 1ms);
  assert_int_equal(bytes.arrivals.size(), 3);  // the fourth would go past it
  Run exactly(set_of({"black_hole after_bytes=300"}));
  exactly.send(10, 1ms);
  assert_int_equal(exactly.arrivals.size(), 3);
  Run time(set_of({"black_hole after_time=5ms"}));
  time.send(10, 1ms);
  assert_int_equal(time.arrivals.size(), 5);
  time.faults.change(nullptr, time.now);
  time.send(10, 1ms);
  assert_int_equal(time.arrivals.size(), 15);
}

void a_change_frees_what_waits(void**) {
  Run run(set_of({"latency latency=1h", "reorder probability=0.5 delay=1h seed=2"}));
  for (int at = 0; at < 20; ++at) run.push();
  run.run(kStart + 1s);
  assert_int_equal(run.arrivals.size(), 0);
  run.faults.change(set_of({"latency latency=20ms"}), run.now);
  run.run(kStart + 1020ms);
  assert_int_equal(run.arrivals.size(), 20);
}

std::string story(std::string_view loss, std::uint64_t session) {
  Run run(set_of({loss, "duplicate probability=0.2 seed=1", "reorder probability=0.2 gap=2 seed=1",
                  "corrupt probability=0.2 seed=1", "latency latency=5ms jitter=5ms seed=1"}),
          session);
  run.send(200, 1ms);
  std::string text;
  for (const auto& [number, at, changed] : run.arrivals) {
    text += std::to_string(number) + ":" + std::to_string(at.count()) + ":" + std::to_string(changed) + " ";
  }
  return text;
}

void the_same_seed_decides_alike(void**) {
  assert_true(story("loss probability=0.2 seed=1", 1) == story("loss probability=0.2 seed=1", 1));
  assert_true(story("loss probability=0.2 seed=1", 1) != story("loss probability=0.2 seed=1", 2));
  assert_true(story("loss probability=0.2 seed=1", 1) != story("loss probability=0.2 seed=2", 1));
}

}  // namespace

int main() {
  const CMUnitTest tests[] = {
      cmocka_unit_test(without_a_fault_datagrams_pass_at_once),
      cmocka_unit_test(loss_is_a_share),
      cmocka_unit_test(duplicates_come_as_often_as_they_say),
      cmocka_unit_test(reordered_ones_come_after_the_gap),
      cmocka_unit_test(what_is_held_back_is_held_no_longer_than_the_delay),
      cmocka_unit_test(corruption_changes_one_byte),
      cmocka_unit_test(latency_and_rate_keep_the_order),
      cmocka_unit_test(the_queue_is_bounded),
      cmocka_unit_test(a_black_hole_swallows_from_then_on),
      cmocka_unit_test(a_change_frees_what_waits),
      cmocka_unit_test(the_same_seed_decides_alike),
  };
  return cmocka_run_group_tests(tests, nullptr, nullptr);
}
