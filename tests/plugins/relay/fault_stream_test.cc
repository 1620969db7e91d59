#include "plugins/relay/fault_stream.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

#include "support/cmocka.h"

using namespace portolan;
using namespace portolan::relay;
using namespace std::chrono_literals;

namespace {

constexpr Duration kStart = 1000s;
constexpr std::size_t kPlenty = std::size_t{64} << 20U;

FaultSet::Shared set_of(std::initializer_list<std::string_view> lines) {
  std::vector<Fault> faults;
  for (const std::string_view line : lines) faults.push_back(parse_fault(line).value());
  return FaultSet::make(std::move(faults)).value();
}

// A stream in virtual time: what came out, and when.
struct Run {
  struct Arrival {
    Duration at;
    std::size_t size;
  };
  explicit Run(FaultSet::Shared set, std::uint64_t session = 1, std::size_t limit = kPlenty)
      : faults(std::move(set), FaultDirection::to_client, session, kStart, limit) {}

  void push(std::size_t size) {
    std::vector<std::byte> data(size);
    for (std::byte& byte : data) byte = pattern(pushed++);
    faults.push(data, now);
  }
  // What is due, until `until`; the clock is there afterwards.
  void run(Duration until) {
    while (faults.next_due() <= until) {
      now = std::max(now, faults.next_due());
      const auto output = faults.pop(now);
      if (output.kind == StreamFaults::Output::Kind::nothing) continue;  // a black hole has taken what there was
      last = output.kind;
      last_at = now;
      if (output.bytes.empty()) continue;
      pieces.push_back({now, output.bytes.size()});
      for (const std::byte byte : output.bytes) {
        if (byte != pattern(came)) changed.push_back(came);
        ++came;
      }
    }
    now = until;
  }
  static std::byte pattern(std::uint64_t at) { return static_cast<std::byte>(at * 2654435761U >> 24U); }

  StreamFaults faults;
  Duration now = kStart;
  std::uint64_t pushed = 0;
  std::uint64_t came = 0;
  std::vector<Arrival> pieces;
  std::vector<std::uint64_t> changed;  // where a byte is not what was sent
  StreamFaults::Output::Kind last = StreamFaults::Output::Kind::nothing;
  Duration last_at{};
};
using Kind = StreamFaults::Output::Kind;

double seconds(Duration duration) { return std::chrono::duration<double>(duration).count(); }

void without_a_fault_bytes_pass_at_once(void**) {
  for (const auto& set : {FaultSet::Shared(), set_of({}), set_of({"latency latency=1s direction=to_backend"}),
                          set_of({"latency latency=1s probability=0"}), set_of({"loss"})}) {
    Run run(set);
    assert_false(run.faults.needed());
    run.push(1000);
    assert_true(run.faults.needed());
    run.run(kStart);
    assert_int_equal(run.came, 1000);
    run.faults.end(kStart);
    run.run(kStart);
    assert_true(run.last == Kind::end && run.faults.finished());
    assert_true(run.faults.next_due() == Duration::max());
  }
}

// One chunk in a while, so that none waits for the one before it.
std::vector<double> latencies(std::string_view fault, int count) {
  Run run(set_of({fault}));
  std::vector<double> found;
  for (int at = 0; at < count; ++at) {
    run.push(10);
    const Duration sent = run.now;
    run.run(run.now + 1s);
    found.push_back(seconds(run.pieces.back().at - sent));
  }
  return found;
}

void latency_is_spread_as_it_says(void**) {
  constexpr int kCount = 20'000;
  for (const bool normal : {false, true}) {
    const auto found = latencies(normal ? "latency latency=100ms jitter=20ms distribution=normal seed=3"
                                        : "latency latency=100ms jitter=20ms seed=3",
                                 kCount);
    double sum = 0;
    double squares = 0;
    for (const double latency : found) {
      sum += latency;
      squares += latency * latency;
    }
    const double mean = sum / kCount;
    const double deviation = std::sqrt(squares / kCount - mean * mean);
    const double expected = normal ? 0.020 : 0.040 / std::sqrt(12);
    const double widest = normal ? 0.080 : 0.020;
    assert_true(std::abs(mean - 0.100) < 5 * expected / std::sqrt(kCount));
    assert_true(std::abs(deviation - expected) < 0.02 * expected);
    const auto [low, high] = std::ranges::minmax_element(found);
    assert_true(*low >= 0.100 - widest - 1e-9 && *high <= 0.100 + widest + 1e-9);
    // The share within half of it tells the two apart: 50 % of a uniform one, 38 % of a normal one.
    const auto near = std::ranges::count_if(found, [](double latency) { return std::abs(latency - 0.100) < 0.010; });
    assert_true(std::abs(static_cast<double>(near) / kCount - (normal ? 0.383 : 0.5)) < 0.02);
  }
  for (const double latency : latencies("latency latency=30ms", 10)) assert_true(std::abs(latency - 0.030) < 1e-9);
}

void jitter_keeps_the_order(void**) {
  Run run(set_of({"latency latency=50ms jitter=50ms seed=5", "latency name=more latency=1ms"}));
  for (int at = 0; at < 1000; ++at) {
    run.push(7);
    run.run(run.now + 1ms);
  }
  run.run(run.now + 1s);
  assert_int_equal(run.came, 7000);
  assert_int_equal(run.changed.size(), 0);
}

void a_rate_is_kept_to_the_byte(void**) {
  for (const std::int64_t rate : {100, 64'000, 1'000'003, 100'000'000}) {
    Run run(set_of({"bandwidth rate=" + std::to_string(rate), "bandwidth name=wide rate=2GB/s"}));
    // Before anything is measured the link has been idle, which saves up nothing.
    run.run(kStart + 5s);
    const Duration begin = run.now;
    const double long_enough = rate > 10'000'000 ? 0.05 : 10;
    const Duration end = begin + std::chrono::duration_cast<Duration>(std::chrono::duration<double>(long_enough));
    while (run.now < end) {
      while (run.faults.held() < static_cast<std::size_t>(rate) / 20) run.push(rate < 1000 ? 50 : 65'536);
      run.run(std::min(end, run.now + 37ms));
      const double most = static_cast<double>(rate) * seconds(run.now - begin);
      assert_true(static_cast<double>(run.came) <= most + 1);
    }
    const double expected = static_cast<double>(rate) * long_enough;
    assert_true(std::abs(static_cast<double>(run.came) - expected) < 0.01 * expected + 1);
    assert_true(run.pieces.size() < 20'000);  // a timer that goes off for each byte is no use
  }
}

void a_burst_passes_at_once_after_a_pause(void**) {
  Run run(set_of({"bandwidth rate=1000 burst=500"}));
  run.push(1000);
  run.run(kStart);
  assert_int_equal(run.came, 500);
  run.run(kStart + 500ms);
  assert_int_equal(run.came, 1000);
  run.run(kStart + 2s);
  run.push(1000);
  run.run(run.now);
  assert_int_equal(run.came, 1500);

  // More than there was time for since the machine has started.
  Run huge(set_of({"bandwidth rate=1 burst=1GiB"}));
  huge.push(5'000'000);
  huge.run(kStart);
  assert_int_equal(huge.came, 5'000'000);
}

void a_late_timer_costs_no_rate(void**) {
  Run run(set_of({"bandwidth rate=100000"}));
  run.push(200'000);
  for (int at = 0; at < 10; ++at) {
    run.now += 100ms;  // pop was due long ago
    run.run(run.now);
  }
  assert_in_range(run.came, 99'000, 100'000);
}

void slices_have_their_size_and_pause(void**) {
  Run run(set_of({"slicer size=100 variation=20 delay=10ms seed=2"}));
  run.push(10'000);
  run.run(kStart + 10s);
  assert_int_equal(run.came, 10'000);
  assert_int_equal(run.changed.size(), 0);
  std::size_t low = 1000;
  std::size_t high = 0;
  for (std::size_t at = 0; at + 1 < run.pieces.size(); ++at) {
    low = std::min(low, run.pieces[at].size);
    high = std::max(high, run.pieces[at].size);
    assert_true(run.pieces[at + 1].at - run.pieces[at].at == 10ms);
  }
  assert_in_range(low, 80, 85);
  assert_in_range(high, 115, 120);

  Run plain(set_of({"slicer size=64"}));
  plain.push(200);
  plain.run(kStart);
  const std::size_t sizes[] = {64, 64, 64, 8};
  assert_true(std::ranges::equal(plain.pieces, sizes, {}, &Run::Arrival::size));
}

void slices_go_through_the_link_one_by_one(void**) {
  // Ten slices, 50 ms apart, that take the link 100 ms each.
  Run run(set_of({"slicer size=100 delay=50ms", "bandwidth rate=1000"}));
  run.push(1000);
  run.run(kStart + 10s);
  assert_int_equal(run.came, 1000);
  assert_true(run.last_at >= kStart + 1s && run.last_at <= kStart + 1s + 10 * 50ms);
}

void corruption_changes_one_byte_in_a_block(void**) {
  Run all(set_of({"corrupt block=100 seed=4"}));
  for (int at = 0; at < 500; ++at) all.push(static_cast<std::size_t>(1 + at * 7 % 350));
  all.run(kStart);
  assert_int_equal(all.came, all.pushed);
  const std::uint64_t blocks = all.came / 100;
  assert_in_range(all.changed.size(), blocks, blocks + 1);
  for (std::uint64_t block = 0; block < blocks; ++block) assert_int_equal(all.changed[block] / 100, block);

  Run some(set_of({"corrupt block=10 probability=0.25 seed=4"}));
  some.push(400'000);
  some.run(kStart);
  // 40,000 draws: five standard deviations are 433.
  assert_in_range(some.changed.size(), 10'000 - 433, 10'000 + 433);
}

void the_end_comes_late_and_after_all_bytes(void**) {
  Run run(set_of({"slow_close delay=2s", "bandwidth rate=1000", "latency latency=100ms"}));
  run.push(1000);
  run.faults.end(kStart);
  run.run(kStart + 1100ms);
  assert_int_equal(run.came, 1000);
  assert_true(run.last == Kind::bytes);
  assert_true(run.last_at == kStart + 1100ms);
  run.run(kStart + 10s);
  assert_true(run.last == Kind::end);
  assert_true(run.last_at == kStart + 3100ms);
}

void cuts_are_exact(void**) {
  for (const bool reset : {true, false}) {
    const std::string name = reset ? "reset" : "close_after";
    const Kind kind = reset ? Kind::reset : Kind::end;
    Run bytes(set_of({name + " after_bytes=12345"}));
    for (int at = 0; at < 30; ++at) bytes.push(1000);
    bytes.run(kStart);
    assert_int_equal(bytes.came, 12'345);
    assert_true(bytes.last == kind && bytes.last_at == kStart);
    bytes.push(10);
    assert_int_equal(bytes.faults.held(), 0);
    assert_true(bytes.faults.next_due() == Duration::max());

    Run time(set_of({name + " after_time=3s after_bytes=1GiB", "latency latency=2s"}));
    time.push(10);
    time.run(kStart + 2s);
    time.push(10);  // under way when it strikes
    time.run(kStart + 10s);
    assert_int_equal(time.came, 10);
    assert_true(time.last == kind && time.last_at == kStart + 3s);

    Run at_once(set_of({name}));
    at_once.push(10);
    at_once.run(kStart);
    assert_int_equal(at_once.came, 0);
    assert_true(at_once.last == kind);
  }
}

void a_black_hole_swallows_and_stays_open(void**) {
  Run bytes(set_of({"black_hole after_bytes=1500"}));
  for (int at = 0; at < 100; ++at) bytes.push(1000);
  bytes.faults.end(kStart);
  bytes.run(kStart + 1h);
  assert_int_equal(bytes.came, 1500);
  assert_true(bytes.last == Kind::bytes);
  assert_int_equal(bytes.faults.held(), 0);
  assert_false(bytes.faults.full());

  // A reset may come out of it; and what goes in after it was closed comes out.
  Run time(set_of({"black_hole after_time=1s", "reset after_time=5s", "latency latency=900ms"}), 1, 4096);
  time.run(kStart + 500ms);
  time.push(3500);
  assert_true(time.faults.full());
  time.run(kStart + 1s);
  assert_false(time.faults.full());
  time.run(kStart + 9s);
  assert_int_equal(time.came, 0);
  assert_true(time.last == Kind::reset && time.last_at == kStart + 5s);

  Run closed(set_of({"black_hole"}));
  closed.push(10);
  closed.run(kStart + 1s);
  closed.pushed = 0;
  closed.faults.end(closed.now);
  closed.faults.change(nullptr, closed.now);
  closed.run(kStart + 1s);
  assert_int_equal(closed.came, 0);
  assert_true(closed.last == Kind::end);
}

void a_probability_is_drawn_for_a_session(void**) {
  const auto set = set_of({"latency latency=1s probability=0.3 seed=11"});
  int late = 0;
  for (std::uint64_t session = 0; session < 10'000; ++session) {
    Run run(set, session);
    for (int at = 0; at < 3; ++at) run.push(1);
    run.run(kStart);
    assert_true(run.came == 0 || run.came == 3);
    if (run.came == 0) ++late;
  }
  assert_in_range(late, 3000 - 230, 3000 + 230);  // five standard deviations
}

// Everything that comes out of a stream with these faults, as text.
std::string story(const FaultSet::Shared& set, std::uint64_t session) {
  Run run(set, session);
  for (int at = 0; at < 50; ++at) {
    run.push(300);
    run.run(run.now + 3ms);
  }
  run.run(run.now + 10s);
  std::string text;
  for (const auto& [at, size] : run.pieces) text += std::to_string(at.count()) + ":" + std::to_string(size) + " ";
  for (const std::uint64_t at : run.changed) text += std::to_string(at) + " ";
  return text;
}

void the_same_seed_decides_alike(void**) {
  constexpr std::string_view kSlicer = "slicer size=50 variation=20 delay=1ms seed=8";
  constexpr std::string_view kCorrupt = "corrupt block=90 probability=0.5 seed=8";
  const auto one = set_of({"latency latency=9ms jitter=9ms seed=8", kSlicer, kCorrupt});
  const auto same = set_of({"latency latency=9ms jitter=9ms seed=8", kSlicer, kCorrupt});
  const auto other = set_of({"latency latency=9ms jitter=9ms seed=9", kSlicer, kCorrupt});
  assert_true(story(one, 1) == story(same, 1));
  assert_true(story(one, 1) != story(one, 2));
  assert_true(story(one, 1) != story(other, 1));
  // Known numbers of the reference implementation of SplitMix64.
  Random random(1234567);
  assert_true(random.next() == 6457827717110365317U && random.next() == 3203168211198807973U);
}

// ---- Properties, with faults and pushes drawn at random ----------------------------------------------------------

FaultSet::Shared random_set(Random& random) {
  static const auto kinds = set_of({
      "latency name=1 latency=40ms jitter=40ms probability=0.7",
      "latency name=2 latency=300ms jitter=200ms distribution=normal probability=0.7",
      "bandwidth name=3 rate=20000",
      "bandwidth name=4 rate=1MB/s burst=10kB probability=0.7",
      "slicer name=5 size=9 variation=8 probability=0.7",
      "slicer name=6 size=1000 variation=300 delay=3ms probability=0.7",
      "slow_close name=7 delay=200ms",
  });
  std::vector<Fault> faults;
  for (const Fault& fault : kinds->faults()) {
    if (random.chance(0.3)) faults.push_back(fault);
  }
  return FaultSet::make(std::move(faults)).value();
}

void a_change_midway_keeps_every_byte(void**) {
  for (std::uint64_t seed = 1; seed <= 1500; ++seed) {
    Random random(seed);
    Run run(random_set(random), seed);
    for (int step = 0; step < 60; ++step) {
      switch (random.below(4)) {
        case 0: run.faults.change(random.chance(0.1) ? nullptr : random_set(random), run.now); break;
        case 1: run.run(run.now + random.below(100) * 1ms); break;
        default: run.push(static_cast<std::size_t>(random.below(random.chance(0.1) ? 5000 : 100)));
      }
      assert_true(run.came + run.faults.held() == run.pushed);
    }
    run.faults.end(run.now);
    run.run(run.now + 1h);
    if (run.came != run.pushed || !run.changed.empty() || run.last != Kind::end) {
      std::fprintf(stderr, "seed %d\n", static_cast<int>(seed));
      fail();
    }
  }
}

void a_fault_that_stays_goes_on_where_it_was(void**) {
  const auto first = set_of({"reset after_bytes=1000 seed=1"});
  Run run(first);
  run.push(600);
  run.run(kStart + 1s);
  run.faults.change(first->with(*parse_fault("latency latency=1s")).value(), run.now);
  run.push(600);
  run.run(kStart + 10s);
  assert_int_equal(run.came, 1000);
  assert_true(run.last == Kind::reset && run.last_at == kStart + 2s);
}

void a_change_frees_what_waits(void**) {
  Run run(set_of({"latency latency=1h"}));
  run.push(10);
  run.faults.change(set_of({"latency latency=20ms jitter=10ms"}), run.now);
  run.run(kStart + 30ms);
  assert_int_equal(run.came, 10);
}

void the_limit_is_kept(void**) {
  bool full = false;
  for (std::uint64_t seed = 1; seed <= 150; ++seed) {
    Random random(seed);
    constexpr std::size_t kLimit = 2000;
    Run run(random_set(random), seed, kLimit);
    for (int step = 0; step < 300; ++step) {
      if (random.chance(0.1)) run.faults.change(random_set(random), run.now);
      if (random.chance(0.3)) run.run(run.now + random.below(10) * 1ms);
      const std::size_t room = run.faults.room();
      const auto size = static_cast<std::int64_t>(random.chance(0.5) ? std::min<std::size_t>(room, 3) : room);
      run.push(static_cast<std::size_t>(random.below(size + 1)));
      assert_in_range(run.faults.cost(), 0, kLimit);
      if (run.faults.full()) assert_true(run.faults.next_due() < Duration::max());  // it will have room again
    }
    full = full || run.faults.full();
  }
  assert_true(full);
}

}  // namespace

int main() {
  const CMUnitTest tests[] = {
      cmocka_unit_test(without_a_fault_bytes_pass_at_once),
      cmocka_unit_test(latency_is_spread_as_it_says),
      cmocka_unit_test(jitter_keeps_the_order),
      cmocka_unit_test(a_rate_is_kept_to_the_byte),
      cmocka_unit_test(a_burst_passes_at_once_after_a_pause),
      cmocka_unit_test(a_late_timer_costs_no_rate),
      cmocka_unit_test(slices_have_their_size_and_pause),
      cmocka_unit_test(slices_go_through_the_link_one_by_one),
      cmocka_unit_test(corruption_changes_one_byte_in_a_block),
      cmocka_unit_test(the_end_comes_late_and_after_all_bytes),
      cmocka_unit_test(cuts_are_exact),
      cmocka_unit_test(a_black_hole_swallows_and_stays_open),
      cmocka_unit_test(a_probability_is_drawn_for_a_session),
      cmocka_unit_test(the_same_seed_decides_alike),
      cmocka_unit_test(a_change_midway_keeps_every_byte),
      cmocka_unit_test(a_fault_that_stays_goes_on_where_it_was),
      cmocka_unit_test(a_change_frees_what_waits),
      cmocka_unit_test(the_limit_is_kept),
  };
  return cmocka_run_group_tests(tests, nullptr, nullptr);
}
