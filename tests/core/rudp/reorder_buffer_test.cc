#include "rudp/reorder_buffer.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <random>
#include <vector>

#include "support/allocation_count.h"
#include "support/cmocka.h"

using namespace portolan;
using namespace portolan::rudp;
using namespace std::chrono_literals;

namespace {

using Verdict = ReorderBuffer::Verdict;

// What is delivered holds its own number.
struct Delivered final : ReorderBuffer::Receiver {
  std::vector<std::uint32_t> sequences;

  void in_order(std::uint32_t sequence, std::span<const std::byte> data) noexcept override {
    std::uint32_t inside = 0;
    assert_int_equal(data.size(), sizeof inside);
    std::memcpy(&inside, data.data(), sizeof inside);
    assert_int_equal(inside, sequence);
    sequences.push_back(sequence);
  }
};

struct Line {
  Delivered delivered;
  ReorderBuffer buffer;

  explicit Line(const ReorderBuffer::Options& options) : buffer(delivered, options) {}
  Verdict push(std::uint32_t sequence, Duration now = 0ms) {
    return buffer.push(sequence, std::as_bytes(std::span(&sequence, 1)), now);
  }
  // What was delivered since it was last asked.
  void check(const std::vector<std::uint32_t>& expected) {
    assert_true(delivered.sequences == expected);
    delivered.sequences.clear();
  }
};

void what_comes_in_order_is_delivered_at_once(void**) {
  Line line({});
  for (std::uint32_t sequence = 40; sequence < 400; ++sequence) {
    assert_true(line.push(sequence) == Verdict::delivered);
    line.check({sequence});
    assert_true(line.buffer.deadline() == Duration::max());
  }
  assert_int_equal(line.buffer.statistics().delivered, 360);
  assert_int_equal(line.buffer.statistics().reordered, 0);
}

void what_was_overtaken_is_waited_for(void**) {
  for (const std::uint32_t first : {0U, 0xffffffffU, 0xfffffffeU, 0x7fffffffU}) {
    Line line({.hold = 20ms, .first = first});
    assert_true(line.push(first + 2, 5ms) == Verdict::held);
    assert_true(line.push(first + 1, 8ms) == Verdict::held);
    assert_true(line.buffer.deadline() == 25ms);
    line.check({});
    assert_true(line.push(first, 9ms) == Verdict::delivered);
    line.check({first, first + 1, first + 2});
    assert_true(line.buffer.deadline() == Duration::max());
    assert_int_equal(line.buffer.statistics().reordered, 2);
    assert_int_equal(line.buffer.next().value(), first + 3);
  }
}

void a_gap_is_given_up_after_the_hold_time(void**) {
  Line line({.hold = 20ms, .first = 0});
  line.push(3, 0ms);
  line.push(1, 4ms);
  line.push(5, 10ms);
  line.buffer.advance(20ms - 1ns);
  line.check({});
  // No datagram waits longer than that: what is before the oldest goes with it.
  line.buffer.advance(20ms);
  line.check({1, 3});
  assert_true(line.buffer.deadline() == 30ms);
  assert_int_equal(line.buffer.statistics().skipped, 2);
  assert_true(line.push(2, 21ms) == Verdict::late);
  assert_true(line.push(4, 22ms) == Verdict::delivered);
  line.check({4, 5});
  line.push(7, 23ms);
  line.buffer.flush();
  line.check({7});
  assert_int_equal(line.buffer.held(), 0);
}

void duplicates_and_late_ones_are_dropped(void**) {
  Line line({.window = 64, .hold = 20ms, .first = 0});
  line.push(0);
  line.push(2);
  assert_true(line.push(0) == Verdict::duplicate);
  assert_true(line.push(2) == Verdict::duplicate);
  line.buffer.flush();
  assert_true(line.push(1) == Verdict::late);
  assert_true(line.push(2) == Verdict::duplicate);
  // A datagram that is held where another was delivered, a window ago.
  assert_true(line.push(65) == Verdict::held);
  assert_true(line.push(1) == Verdict::late);
  assert_true(line.push(66) == Verdict::held);
  assert_true(line.push(2) == Verdict::duplicate);
  line.check({0, 2});
  assert_int_equal(line.buffer.statistics().duplicates, 4);
  assert_int_equal(line.buffer.statistics().late, 2);
}

void the_window_follows_the_newest(void**) {
  Line line({.window = 64, .first = 0});
  line.push(1);
  line.push(3);
  assert_true(line.push(63) == Verdict::held);
  line.check({});
  assert_true(line.push(64) == Verdict::held);  // 0 is given up
  line.check({1});
  assert_int_equal(line.buffer.next().value(), 2);
  assert_true(line.push(2) == Verdict::delivered);
  line.check({2, 3});
  assert_true(line.push(4 + ReorderBuffer::kMostAhead) == Verdict::held);  // an outage
  line.check({63, 64});
  assert_int_equal(line.buffer.held(), 1);
  line.buffer.flush();
  line.check({4 + ReorderBuffer::kMostAhead});
  // The expected one is the newest, a window later.
  assert_true(line.push(line.buffer.next().value()) == Verdict::delivered);
}

void a_sender_that_begins_anew_is_followed(void**) {
  Line line({.first = 1'000'000});
  line.push(1'000'000);
  line.push(1'000'002);
  assert_true(line.push(5) == Verdict::far);
  assert_true(line.push(2'000'000) == Verdict::far);  // junk
  assert_true(line.push(5) == Verdict::far);
  line.check({1'000'000});
  assert_true(line.push(6) == Verdict::delivered);
  line.check({1'000'002, 6});
  assert_true(line.push(7) == Verdict::delivered);
  line.check({7});
  assert_true(line.push(5) == Verdict::late);
  assert_int_equal(line.buffer.statistics().restarts, 1);
  assert_int_equal(line.buffer.statistics().far, 3);
}

void datagrams_that_are_too_long_are_refused(void**) {
  Delivered delivered;
  ReorderBuffer buffer(delivered, {.max_datagram = 10});
  const std::vector<std::byte> data(11);
  assert_true(buffer.push(0, data, 0ms) == Verdict::too_long);
  assert_false(buffer.next().has_value());
  assert_int_equal(buffer.statistics().too_long, 1);
}

// A link that loses, doubles and delays: in order, nothing twice, nothing missing that came within the hold time.
void order_is_restored_on_a_bad_link(void**) {
  constexpr Duration kHold = 30ms;
  for (const Duration most_delay : {Duration(25ms), Duration(80ms)}) {
    std::mt19937 random(8);
    Line line({.window = 128, .hold = kHold, .first = 0xffffff00U});
    struct Arrival {
      Duration at;
      std::uint32_t sequence;
    };
    std::vector<Arrival> arrivals;
    for (std::uint32_t i = 0; i < 5000; ++i) {
      const auto arrive = [&] {
        arrivals.push_back({Duration(1ms) * i + most_delay * (random() % 1000) / 1000, 0xffffff00U + i});
      };
      if (random() % 20) arrive();
      if (random() % 20 == 0) arrive();
    }
    std::ranges::stable_sort(arrivals, {}, &Arrival::at);
    std::vector<std::uint32_t> pushed;
    pushed.reserve(arrivals.size());
    line.delivered.sequences.reserve(arrivals.size());
    std::size_t before = 0;
    for (const Arrival& arrival : arrivals) {
      while (line.buffer.deadline() <= arrival.at) line.buffer.advance(line.buffer.deadline());
      line.push(arrival.sequence, arrival.at);
      pushed.push_back(arrival.sequence - 0xffffff00U);
      assert_true(line.buffer.held() < 128);
      if (pushed.size() == 2000) before = allocation_count;
    }
    assert_int_equal(allocation_count, before);
    line.buffer.flush();
    std::vector<std::uint32_t> got;
    for (const std::uint32_t sequence : line.delivered.sequences) got.push_back(sequence - 0xffffff00U);
    assert_true(std::ranges::is_sorted(got, std::less_equal{}));
    std::ranges::sort(pushed);
    const auto [end, last] = std::ranges::unique(pushed);
    pushed.erase(end, last);
    if (most_delay <= kHold)
      assert_true(got == pushed);
    else
      assert_in_range(got.size(), pushed.size() / 2, pushed.size() - 1);
    const auto& statistics = line.buffer.statistics();
    assert_int_equal(statistics.delivered, got.size());
    assert_int_equal(statistics.delivered + statistics.skipped, got.back() + 1);
    assert_int_equal(statistics.delivered + statistics.duplicates + statistics.late, arrivals.size());
  }
}

}  // namespace

int main() {
  const CMUnitTest tests[] = {
      cmocka_unit_test(what_comes_in_order_is_delivered_at_once),
      cmocka_unit_test(what_was_overtaken_is_waited_for),
      cmocka_unit_test(a_gap_is_given_up_after_the_hold_time),
      cmocka_unit_test(duplicates_and_late_ones_are_dropped),
      cmocka_unit_test(the_window_follows_the_newest),
      cmocka_unit_test(a_sender_that_begins_anew_is_followed),
      cmocka_unit_test(datagrams_that_are_too_long_are_refused),
      cmocka_unit_test(order_is_restored_on_a_bad_link),
  };
  return cmocka_run_group_tests_name("core.rudp.reorder_buffer", tests, nullptr, nullptr);
}
