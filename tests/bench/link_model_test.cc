// The link model decides what every protocol of the link bench is said to reach, so it is held against arithmetic.
#include "bench/link_model.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <vector>

#include "support/cmocka.h"

using namespace portolan::bench;
using namespace std::chrono_literals;

namespace {

constexpr std::size_t kBytes = 1250;  // 1 ms at 10 Mbit/s

LinkShape plain() {
  LinkShape shape;
  shape.bits_per_second = 10e6;
  shape.queue = 10ms;
  shape.delay = 20ms;
  return shape;
}

Packet packet(std::uint16_t port = 1, std::size_t bytes = kBytes) {
  return {std::vector<std::byte>(1), bytes, {17, port, 9}, false};
}

struct Seen {
  LinkTime due{};
  Packet packet;
};

std::vector<Seen> take_all(LinkDirection& link, LinkTime until) {
  std::vector<Seen> all;
  while (auto arrival = link.take(until)) all.push_back({arrival->due, std::move(arrival->packet)});
  return all;
}

void write_number(Packet& packet, int number) {
  packet.bytes.resize(sizeof number);
  std::memcpy(packet.bytes.data(), &number, sizeof number);
}

std::size_t number_of(const Seen& seen) {
  int number = 0;
  std::memcpy(&number, seen.packet.bytes.data(), sizeof number);
  return static_cast<std::size_t>(number);
}

// One packet a millisecond, as fast as the link is.
std::vector<Seen> send_paced(LinkDirection& link, int packets) {
  for (int i = 0; i < packets; ++i) {
    Packet next = packet();
    write_number(next, i);
    link.offer(i * 1ms, std::move(next));
  }
  return take_all(link, packets * 1ms + 10s);
}

bool near(double value, double wanted, double tolerance) { return std::abs(value - wanted) <= tolerance; }

void a_burst_leaves_at_the_rate_and_arrives_after_the_delay(void**) {
  LinkDirection link(plain(), 1);
  for (int i = 0; i < 5; ++i) link.offer(3ms, packet());
  assert_true(*link.deadline() == 24ms);
  assert_false(link.take(24ms - 1ns).has_value());
  const auto all = take_all(link, 1s);
  assert_int_equal(all.size(), 5);
  for (int i = 0; i < 5; ++i) assert_true(all[static_cast<std::size_t>(i)].due == 24ms + i * 1ms);
  assert_false(link.deadline().has_value());
  // The last waited for four others.
  assert_true(link.counts().queueing.max() == 4ms);
  assert_int_equal(link.counts().delivered_bytes, 5 * kBytes);
}

void a_late_look_changes_nothing(void**) {
  LinkDirection early(plain(), 1);
  LinkDirection late(plain(), 1);
  std::vector<LinkTime> looked;
  for (int i = 0; i < 8; ++i) {
    early.offer(i * 100us, packet());
    late.offer(i * 100us, packet());
    for (const Seen& seen : take_all(early, i * 100us)) looked.push_back(seen.due);
  }
  for (LinkTime at = 0ms; at < 100ms; at += 10us) {
    for (const Seen& seen : take_all(early, at)) looked.push_back(seen.due);
  }
  std::vector<LinkTime> once;
  for (const Seen& seen : take_all(late, 1s)) once.push_back(seen.due);
  assert_true(looked == once);
}

void the_queue_drops_what_does_not_fit_in_bytes(void**) {
  LinkDirection link(plain(), 1);
  assert_int_equal(plain().queue_limit(), 12'500);
  for (int i = 0; i < 15; ++i) link.offer(0ms, packet());
  assert_int_equal(link.counts().queue_drops, 5);
  link.offer(1ms, packet());  // one has left
  link.offer(1ms, packet());
  assert_int_equal(link.counts().queue_drops, 6);
  LinkShape tiny = plain();
  tiny.queue_bytes = 1;
  LinkDirection idle(tiny, 1);
  idle.offer(0ms, packet());
  idle.offer(0ms, packet());
  assert_int_equal(idle.counts().queue_drops, 1);
  assert_int_equal(take_all(idle, 1s).size(), 1);
}

void a_lost_packet_has_taken_its_time_on_the_link(void**) {
  LinkShape shape = plain();
  shape.loss = 0.5;
  LinkDirection link(shape, 1);
  for (int i = 0; i < 10; ++i) link.offer(0ms, packet());
  const auto all = take_all(link, 1s);
  assert_int_equal(all.size() + link.counts().losses, 10);
  assert_true(link.counts().losses > 0);
  for (const Seen& seen : all) assert_int_equal((seen.due - 20ms).count() % 1'000'000, 0);
  assert_int_equal(link.counts().queue_drops, 0);
}

void loss_is_what_was_asked_for_and_follows_the_seed(void**) {
  LinkShape shape = plain();
  shape.loss = 0.1;
  const auto numbers = [](const std::vector<Seen>& all) {
    std::vector<std::size_t> out;
    for (const Seen& seen : all) out.push_back(number_of(seen));
    std::ranges::sort(out);
    return out;
  };
  LinkDirection first(shape, 7);
  const auto got = numbers(send_paced(first, 20'000));
  assert_true(near(static_cast<double>(first.counts().losses), 2000, 150));
  LinkDirection again(shape, 7);
  assert_true(numbers(send_paced(again, 20'000)) == got);
  LinkDirection other(shape, 8);
  assert_true(numbers(send_paced(other, 20'000)) != got);
  // The same packets are lost whatever else happens to those that are not.
  shape.jitter = 5ms;
  shape.reorder = 0.1;
  shape.corrupt = 0.1;
  LinkDirection busy(shape, 7);
  assert_true(numbers(send_paced(busy, 20'000)) == got);
}

void bursts_have_their_mean_length_and_share(void**) {
  LinkShape shape = plain();
  shape.loss = 0.05;
  shape.loss_burst = 8;
  LinkDirection link(shape, 3);
  constexpr int kPackets = 200'000;
  std::vector<bool> came(kPackets);
  for (const Seen& seen : send_paced(link, kPackets)) came[number_of(seen)] = true;
  int bursts = 0;
  for (std::size_t i = 1; i < kPackets; ++i) bursts += !came[i] && came[i - 1];
  const auto lost = static_cast<double>(link.counts().losses);
  assert_true(near(lost / kPackets, 0.05, 0.01));
  assert_true(near(lost / bursts, 8, 1));
}

void a_rate_step_holds_from_its_time(void**) {
  LinkShape shape = plain();
  shape.steps = {{2ms, 1e6}};
  LinkDirection link(shape, 1);
  for (int i = 0; i < 4; ++i) link.offer(0ms, packet());
  const auto all = take_all(link, 1s);
  const std::array<LinkTime, 4> due{21ms, 22ms, 32ms, 42ms};
  for (std::size_t i = 0; i < due.size(); ++i) assert_true(all[i].due == due[i]);
}

void an_outage_loses_what_leaves_meanwhile(void**) {
  LinkShape shape = plain();
  shape.outages = {{3ms, 6ms}};
  LinkDirection link(shape, 1);
  // They leave at 1 ms, 2 ms, ...
  for (int i = 0; i < 8; ++i) link.offer(0ms, packet());
  assert_int_equal(take_all(link, 1s).size(), 5);
  assert_int_equal(link.counts().outage_losses, 3);
}

void jitter_keeps_the_order_and_reordering_does_not(void**) {
  LinkShape shape = plain();
  shape.jitter = 10ms;
  LinkDirection jittery(shape, 1);
  const auto late = send_paced(jittery, 1000);
  assert_int_equal(late.size(), 1000);
  for (std::size_t i = 0; i < late.size(); ++i) {
    assert_int_equal(number_of(late[i]), i);
    const LinkTime waited = late[i].due - 21ms - static_cast<int>(i) * 1ms;
    assert_true(waited >= 0ms && waited <= 10ms);
  }
  shape = plain();
  shape.reorder = 0.1;
  shape.reorder_by = 5500us;
  LinkDirection reordering(shape, 1);
  const auto all = send_paced(reordering, 1000);
  int moved = 0;
  for (std::size_t i = 0; i < all.size(); ++i) {
    const LinkTime extra = all[i].due - 21ms - static_cast<int>(number_of(all[i])) * 1ms;
    assert_true(extra == 0ms || extra == 5500us);
    moved += extra != 0ms;
    if (i > 0) assert_true(all[i - 1].due <= all[i].due);
  }
  assert_int_equal(moved, reordering.counts().reordered);
  assert_true(moved > 50 && moved < 200);
}

void duplicates_and_damage_are_counted(void**) {
  LinkShape shape = plain();
  shape.duplicate = 0.2;
  shape.corrupt = 0.3;
  LinkDirection link(shape, 1);
  const auto all = send_paced(link, 1000);
  assert_int_equal(all.size(), 1000 + link.counts().duplicates);
  assert_true(near(static_cast<double>(link.counts().duplicates), 200, 50));
  assert_true(near(static_cast<double>(link.counts().corrupted), 300, 60));
  const auto damaged = std::ranges::count_if(all, [](const Seen& seen) { return seen.packet.corrupt; });
  assert_true(damaged >= static_cast<std::ptrdiff_t>(link.counts().corrupted));
}

void a_policer_drops_above_its_rate_after_its_burst(void**) {
  LinkShape shape = plain();
  shape.policed_bits_per_second = 5e6;
  shape.policer_burst_bytes = 10 * kBytes;
  LinkDirection link(shape, 1);
  const auto all = send_paced(link, 1000);
  // The burst, and half of what was offered.
  assert_true(near(static_cast<double>(all.size()), 510, 2));
  assert_int_equal(all.size() + link.counts().policer_drops, 1000);
}

void flows_are_told_apart(void**) {
  LinkDirection link(plain(), 1);
  for (int i = 0; i < 6; ++i) link.offer(0ms, packet(i % 3 == 0 ? 1 : 2));
  take_all(link, 1s);
  assert_int_equal(link.flows().size(), 2);
  assert_int_equal(link.flows()[0].counts.delivered_packets, 2);
  assert_int_equal(link.flows()[1].counts.delivered_packets, 4);
  assert_true(link.flows()[1].counts.queueing.max() == 5ms);
  assert_int_equal(link.counts().delivered_by_tenth.at(0), 6 * kBytes);
  // However many there are.
  for (std::uint16_t port = 0; port < 1000; ++port) link.offer(1s, packet(port));
  assert_in_range(link.flows().size(), 60, 70);
}

void the_flow_of_a_packet_is_read_from_its_headers(void**) {
  std::array<std::byte, 60> four{};
  four[0] = std::byte{0x46};  // a header of 24 bytes
  four[9] = std::byte{17};
  four[24] = std::byte{0x12};
  four[25] = std::byte{0x34};
  four[27] = std::byte{0x50};
  assert_true((flow_of(four.data(), four.size()) == FlowKey{17, 0x1234, 0x50}));
  four[7] = std::byte{1};  // not the first fragment
  assert_true((flow_of(four.data(), four.size()) == FlowKey{17, 0, 0}));
  std::array<std::byte, 60> six{};
  six[0] = std::byte{0x60};
  six[6] = std::byte{6};
  six[41] = std::byte{22};
  six[42] = std::byte{1};
  assert_true((flow_of(six.data(), six.size()) == FlowKey{6, 22, 256}));
  six[6] = std::byte{58};
  assert_true((flow_of(six.data(), six.size()) == FlowKey{58, 0, 0}));
  assert_true((flow_of(six.data(), 0) == FlowKey{}));
}

}  // namespace

int main() {
  const CMUnitTest tests[] = {
      cmocka_unit_test(a_burst_leaves_at_the_rate_and_arrives_after_the_delay),
      cmocka_unit_test(a_late_look_changes_nothing),
      cmocka_unit_test(the_queue_drops_what_does_not_fit_in_bytes),
      cmocka_unit_test(a_lost_packet_has_taken_its_time_on_the_link),
      cmocka_unit_test(loss_is_what_was_asked_for_and_follows_the_seed),
      cmocka_unit_test(bursts_have_their_mean_length_and_share),
      cmocka_unit_test(a_rate_step_holds_from_its_time),
      cmocka_unit_test(an_outage_loses_what_leaves_meanwhile),
      cmocka_unit_test(jitter_keeps_the_order_and_reordering_does_not),
      cmocka_unit_test(duplicates_and_damage_are_counted),
      cmocka_unit_test(a_policer_drops_above_its_rate_after_its_burst),
      cmocka_unit_test(flows_are_told_apart),
      cmocka_unit_test(the_flow_of_a_packet_is_read_from_its_headers),
  };
  return cmocka_run_group_tests(tests, nullptr, nullptr);
}
