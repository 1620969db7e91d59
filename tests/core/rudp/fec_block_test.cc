#include "rudp/fec_block.h"

#include <algorithm>
#include <chrono>
#include <map>
#include <random>
#include <set>
#include <vector>

#include "support/allocation_count.h"
#include "support/cmocka.h"

using namespace portolan;
using namespace portolan::rudp;
using namespace std::chrono_literals;

namespace {

using Bytes = std::vector<std::byte>;

// A repair on its way.
struct Sent {
  FecRepair repair;
  Bytes symbol;

  FecRepair received() const {
    FecRepair copy = repair;
    copy.symbol = symbol;
    return copy;
  }
};

FecPolicy policy_at(double loss, double burst = 1) {
  FecPolicy policy({.budget = 100});
  policy.on_loss(loss, burst);
  return policy;
}

Bytes some_frames(std::mt19937& random, std::size_t most) {
  Bytes frames(random() % (most + 1));
  for (std::byte& value : frames) value = static_cast<std::byte>(random());
  return frames;
}

std::vector<Sent> take_all(FecEncoder& encoder) {
  std::vector<Sent> all;
  for (; const auto repair = encoder.front(); encoder.pop())
    all.push_back({*repair, Bytes(repair->symbol.begin(), repair->symbol.end())});
  return all;
}

struct Protected {
  std::uint64_t number;
  FecSource place;
  Bytes frames;
};

// A block of packets with numbers from 1000 on, and its repairs.
struct Made {
  std::vector<Protected> packets;
  std::vector<Sent> repairs;
};
Made make_block(std::size_t sources, std::size_t size, double loss = 0.05) {
  FecPolicy policy = policy_at(loss);
  FecEncoder encoder(policy, {.sources = sources});
  std::mt19937 random(static_cast<unsigned>(sources));
  Made made;
  for (std::size_t i = 0; i < sources; ++i) {
    const auto place = encoder.next();
    assert_true(place.has_value());
    made.packets.push_back({1000 + i, *place, some_frames(random, size)});
    encoder.add(1000 + i, made.packets.back().frames, 0ms);
  }
  made.repairs = take_all(encoder);
  return made;
}

FecDecoder::Recovered give(FecDecoder& decoder, const Protected& packet) {
  return decoder.on_source(packet.place, packet.number, packet.frames);
}

void check_same(const FecDecoder::Packet& packet, const Protected& original) {
  assert_int_equal(packet.number, original.number);
  assert_true(std::ranges::equal(packet.frames, original.frames));
}

// Packets and repairs lost at random, in disorder, twice: what comes out was lost, is right, and comes once.
void lost_packets_are_recovered_once_each(void**) {
  std::mt19937 random(6);
  FecPolicy policy = policy_at(0.1);
  FecEncoder encoder(policy, {.sources = 16, .max_frames = 700});
  FecDecoder decoder({.max_frames = 700});
  std::map<std::uint64_t, Bytes> packets;
  std::set<std::uint64_t> received;
  const auto check = [&](const FecDecoder::Recovered& recovered) {
    assert_true(recovered.has_value());
    for (const auto& packet : *recovered) {
      assert_true(received.insert(packet.number).second);
      assert_true(std::ranges::equal(packet.frames, packets.at(packet.number)));
    }
  };
  std::uint64_t number = 0;
  for (int round = 0; round < 2000; ++round) {
    std::vector<Protected> sources;
    const std::size_t count = 1 + random() % 16;
    for (std::size_t i = 0; i < count; ++i) {
      const auto place = encoder.next();
      assert_int_equal(place->block, round);
      assert_int_equal(place->index, i);
      number += 1 + random() % 3;
      sources.push_back({number, *place, some_frames(random, 700)});
      packets[number] = sources.back().frames;
      encoder.add(number, sources.back().frames, 0ms);
    }
    encoder.close_all();
    std::vector<Sent> repairs = take_all(encoder);
    assert_int_equal(repairs.size(), policy.repairs(count));
    std::vector<std::size_t> order(sources.size() + repairs.size());
    for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
    std::erase_if(order, [&](std::size_t) { return random() % 10 == 0; });
    if (round % 2) std::ranges::shuffle(order, random);
    if (round % 5 == 0) order.insert(order.end(), order.begin(), order.end());
    for (const std::size_t which : order) {
      if (which >= sources.size()) {
        check(decoder.on_repair(repairs[which - sources.size()].received()));
      } else {
        const auto recovered = give(decoder, sources[which]);
        received.insert(sources[which].number);  // a connection knows what it has received; late ones are twice here
        check(recovered);
      }
    }
  }
  const auto& statistics = decoder.statistics();
  assert_in_range(packets.size() - received.size(), 0, 40);  // of some 17000
  assert_true(statistics.packets_recovered > 1000 && statistics.blocks_recovered > 500 &&
              statistics.blocks_whole > 200);
  assert_int_equal(statistics.refused, 0);
  assert_int_equal(encoder.statistics().packets, packets.size());
}

void any_packet_of_a_block_is_recovered_by_any_repair(void**) {
  const Made made = make_block(8, 300);
  assert_true(made.repairs.size() >= 2);
  for (const Protected& lost : made.packets) {
    for (const Sent& repair : made.repairs) {
      // When the repair comes, or when the last packet does.
      FecDecoder first({}), second({});
      for (const Protected& packet : made.packets)
        if (packet.number != lost.number) assert_true(give(first, packet)->empty());
      const auto by_repair = first.on_repair(repair.received());
      assert_int_equal(by_repair->size(), 1);
      check_same(by_repair->front(), lost);
      assert_true(second.on_repair(repair.received())->empty());
      std::size_t left = made.packets.size() - 1;
      for (const Protected& packet : made.packets) {
        if (packet.number == lost.number) continue;
        const auto by_packet = give(second, packet);
        assert_int_equal(by_packet->size(), --left == 0);
        if (left == 0) check_same(by_packet->front(), lost);
      }
      // The block is done with, whatever comes now.
      assert_true(give(first, lost)->empty());
      for (const Sent& other : made.repairs) assert_true(first.on_repair(other.received())->empty());
      assert_int_equal(first.statistics().packets_recovered, 1);
    }
  }
}

void a_block_is_closed_when_it_is_full_or_its_time_is_over(void**) {
  FecPolicy policy = policy_at(0.05);
  policy.on_path(20ms, 0ms);
  FecEncoder encoder(policy, {.sources = 4});
  const Bytes frames(100);
  assert_true(encoder.deadline() == Duration::max());
  assert_true(encoder.next() == (FecSource{0, 0}));
  assert_true(encoder.next() == (FecSource{0, 0}));
  assert_true(encoder.deadline() == Duration::max());
  encoder.add(7, frames, 100ms);
  assert_true(encoder.next() == (FecSource{0, 1}));
  encoder.add(8, frames, 103ms);
  assert_true(encoder.deadline() == 105ms);  // a quarter of the round trip after the first
  encoder.close(105ms - 1ns);
  assert_false(encoder.front().has_value());
  encoder.close(105ms);
  assert_true(encoder.deadline() == Duration::max());
  const auto short_block = take_all(encoder);
  assert_int_equal(short_block.size(), policy.repairs(2));
  assert_int_equal(short_block[0].repair.sources, 2);
  assert_int_equal(short_block[0].repair.repairs, short_block.size());
  assert_int_equal(short_block[0].symbol.size(), kFecPrefix + 100);
  for (std::uint64_t i = 0; i < 4; ++i) {
    assert_true(encoder.next() == (FecSource{1, i}));
    encoder.add(9 + i, frames, 200ms);
  }
  assert_int_equal(take_all(encoder).size(), policy.repairs(4));
  assert_true(encoder.next() == (FecSource{2, 0}));
}

void nothing_is_protected_when_the_policy_has_no_repairs(void**) {
  FecPolicy policy;
  FecEncoder encoder(policy, {});
  assert_false(encoder.next().has_value());
  policy.on_loss(0.05);
  assert_true(encoder.next() == (FecSource{0, 0}));
  policy.on_path(10ms, 1s);
  assert_false(encoder.next().has_value());
}

void a_symbol_is_the_number_the_length_and_the_frames(void**) {
  FecPolicy policy = policy_at(0.05);
  FecEncoder encoder(policy, {.sources = 1});
  const Bytes frames{std::byte{0xaa}, std::byte{0xbb}};
  encoder.next();
  encoder.add(0x0102030405060708, frames, 0ms);
  const Bytes expected{std::byte{1}, std::byte{2}, std::byte{3}, std::byte{4},    std::byte{5},    std::byte{6},
                       std::byte{7}, std::byte{8}, std::byte{0}, std::byte{0x02}, std::byte{0xaa}, std::byte{0xbb}};
  assert_true(take_all(encoder).at(0).symbol == expected);  // the first repair is the sum
  assert_true(max_protected_frames(1400) + kFecPrefix + kMostFecRepair == 1400);
  assert_int_equal(max_protected_frames(10), 0);
}

void interleaved_blocks_take_packets_and_give_repairs_in_turns(void**) {
  FecPolicy policy = policy_at(0.05, 3);
  assert_int_equal(policy.interleave(), 3);
  FecEncoder encoder(policy, {.sources = 8});
  FecDecoder decoder({});
  const Bytes frames(50);
  std::vector<Protected> packets;
  for (std::uint64_t i = 0; i < 24; ++i) {
    const auto place = encoder.next();
    assert_true(place == (FecSource{i % 3, i / 3}));
    packets.push_back({i, *place, frames});
    encoder.add(i, frames, 0ms);
  }
  const auto repairs = take_all(encoder);
  for (std::size_t i = 0; i < repairs.size(); ++i) {
    assert_int_equal(repairs[i].repair.block, i % 3);
    assert_int_equal(repairs[i].repair.index, i / 3);
  }
  // A burst of six packets, and one of three repairs, is two packets and one repair of each block.
  assert_true(repairs.size() >= 9);
  std::size_t recovered = 0;
  for (const Protected& packet : packets)
    if (packet.number < 5 || packet.number >= 11) recovered += give(decoder, packet)->size();
  for (std::size_t i = 3; i < repairs.size(); ++i) recovered += decoder.on_repair(repairs[i].received())->size();
  assert_int_equal(recovered, 6);
}

void repairs_that_are_not_taken_are_given_up(void**) {
  FecPolicy policy = policy_at(0.05);
  FecEncoder encoder(policy, {.sources = 2});
  const Bytes frames(50);
  for (std::uint64_t i = 0; i < 2 * (FecEncoder::kMostClosed + 3); ++i) {
    encoder.next();
    encoder.add(i, frames, 0ms);
  }
  assert_int_equal(encoder.front()->block, 3);
  const auto repairs = take_all(encoder);
  assert_int_equal(repairs.size(), FecEncoder::kMostClosed * policy.repairs(2));
  assert_int_equal(encoder.statistics().repairs, repairs.size());
  assert_int_equal(encoder.statistics().repairs_dropped, 3 * policy.repairs(2));
}

void fields_out_of_range_are_refused(void**) {
  FecDecoder decoder({.max_frames = 100});
  const Bytes symbol(60), short_symbol(kFecPrefix - 1), long_symbol(kFecPrefix + 101), long_frames(101);
  const FecRepair wrong[] = {
      {.block = 1, .sources = 0, .repairs = 1, .index = 0, .symbol = symbol},
      {.block = 1, .sources = 65, .repairs = 1, .index = 0, .symbol = symbol},
      {.block = 1, .sources = 1, .repairs = 0, .index = 0, .symbol = symbol},
      {.block = 1, .sources = 1, .repairs = 33, .index = 0, .symbol = symbol},
      {.block = 1, .sources = 1, .repairs = 3, .index = 3, .symbol = symbol},
      {.block = 1, .sources = 2, .repairs = 1, .index = 0, .symbol = short_symbol},
      {.block = 1, .sources = 2, .repairs = 1, .index = 0, .symbol = long_symbol},
      {.block = 1, .sources = 2, .repairs = 1, .index = 0, .symbol = {}},
  };
  for (const FecRepair& repair : wrong) assert_true(decoder.on_repair(repair).error() == FecError::field);
  assert_true(decoder.on_source({1, 64}, 5, symbol).error() == FecError::field);
  assert_true(decoder.on_source({1, 0}, 5, long_frames).error() == FecError::field);
  assert_int_equal(decoder.statistics().refused, std::size(wrong) + 2);
  assert_int_equal(decoder.bytes(), 0);
}

void a_block_that_contradicts_itself_is_given_up(void**) {
  const Made made = make_block(8, 300);
  const FecRepair good = made.repairs[0].received();
  const auto longest = std::ranges::max_element(made.packets, {}, [](const auto& one) { return one.frames.size(); });
  const auto refused = [&](const auto& contradict) {
    FecDecoder decoder({});
    for (std::size_t i = 1; i < made.packets.size(); ++i) assert_true(give(decoder, made.packets[i])->empty());
    assert_true(contradict(decoder).error() == FecError::contradiction);
    assert_true(decoder.on_repair(good)->empty());  // which would have recovered the first
    assert_int_equal(decoder.statistics().packets_recovered, 0);
    assert_int_equal(decoder.statistics().refused, 1);
  };
  const auto with = [&](auto change) {
    FecRepair repair = good;
    change(repair);
    return repair;
  };
  // To the packets.
  refused([&](FecDecoder& decoder) { return decoder.on_repair(with([](FecRepair& it) { it.sources = 7; })); });
  refused([&](FecDecoder& decoder) {
    return decoder.on_repair(
        with([&](FecRepair& it) { it.symbol = it.symbol.first(kFecPrefix + longest->frames.size() - 1); }));
  });
  refused([&](FecDecoder& decoder) { return decoder.on_source({0, 3}, 999, made.packets[3].frames); });
  // Content that no sender can have meant: a length that does not fit, something behind the frames.
  assert_true(made.packets[0].frames.size() < longest->frames.size());
  for (const std::size_t at : {std::size_t{8}, good.symbol.size() - 1}) {
    Bytes changed = made.repairs[0].symbol;
    changed[at] ^= std::byte{0xff};
    refused([&](FecDecoder& decoder) { return decoder.on_repair(with([&](FecRepair& it) { it.symbol = changed; })); });
  }
  // To the other repairs.
  const auto refused_second = [&](const FecRepair& second) {
    FecDecoder decoder({});
    assert_true(decoder.on_repair(good)->empty());
    assert_true(decoder.on_repair(second).error() == FecError::contradiction);
    for (const Protected& packet : made.packets) assert_true(give(decoder, packet)->empty());
    assert_int_equal(decoder.statistics().blocks_failed, 1);
  };
  refused_second(with([](FecRepair& it) { it.sources = 9; }));
  refused_second(with([](FecRepair& it) { ++it.repairs; }));
  refused_second(with([](FecRepair& it) { it.symbol = it.symbol.first(it.symbol.size() - 1); }));
  // A packet to a repair.
  FecDecoder decoder({});
  const Bytes long_frames(good.symbol.size() - kFecPrefix + 1);
  assert_true(decoder.on_repair(good)->empty());
  assert_true(decoder.on_source({0, 8}, 1, {}).error() == FecError::contradiction);
  FecDecoder other({});
  assert_true(other.on_repair(good)->empty());
  assert_true(other.on_source({0, 0}, 1, long_frames).error() == FecError::contradiction);
}

void old_blocks_make_room(void**) {
  constexpr std::size_t kMost = 100'000;
  FecDecoder decoder({.max_bytes = kMost});
  const Bytes frames(1000);
  for (std::uint64_t block = 0; block < 500; ++block) {
    for (std::size_t i = 0; i < 5; ++i) {
      assert_true(decoder.on_source({block, i}, block * 5 + i, frames).has_value());
      assert_in_range(decoder.bytes(), 1, kMost);
    }
  }
  // The newest is still there, the first is not, nor can it come back.
  Bytes sum(kFecPrefix + frames.size());
  FecRepair repair{.block = 499, .sources = 6, .repairs = 1, .index = 0, .symbol = sum};
  for (std::uint64_t number = 499 * 5; number < 500 * 5; ++number) {
    sum[6] ^= static_cast<std::byte>(number >> 8);
    sum[7] ^= static_cast<std::byte>(number);
    sum[8] ^= static_cast<std::byte>(frames.size() >> 8);
    sum[9] ^= static_cast<std::byte>(frames.size());
  }
  const auto recovered = decoder.on_repair(repair);
  assert_int_equal(recovered->size(), 1);
  assert_int_equal(recovered->front().number, 0);
  assert_int_equal(recovered->front().frames.size(), 0);
  repair.block = 3;
  assert_true(decoder.on_repair(repair)->empty());
  // One block alone is bounded as well.
  FecDecoder small({.max_bytes = 5000});
  for (std::size_t i = 0; i < 20; ++i) assert_true(small.on_source({0, i}, i, frames).has_value());
  assert_in_range(small.bytes(), 0, 5000);
}

void the_steady_state_allocates_nothing(void**) {
  FecPolicy policy = policy_at(0.1, 2);
  FecEncoder encoder(policy, {.sources = 16});
  FecDecoder decoder({});
  std::mt19937 random(7);
  const Bytes frames(1400);
  std::size_t before = 0;
  for (std::uint64_t number = 0; number < 20000; ++number) {
    if (number == 5000) before = allocation_count;
    const auto place = encoder.next();
    encoder.add(number, frames, 0ms);
    if (random() % 20) assert_true(decoder.on_source(*place, number, frames).has_value());
    for (; const auto repair = encoder.front(); encoder.pop())
      if (random() % 20) assert_true(decoder.on_repair(*repair).has_value());
  }
  assert_true(decoder.statistics().packets_recovered > 800);
  assert_int_equal(allocation_count, before);
}

}  // namespace

int main() {
  const CMUnitTest tests[] = {
      cmocka_unit_test(lost_packets_are_recovered_once_each),
      cmocka_unit_test(any_packet_of_a_block_is_recovered_by_any_repair),
      cmocka_unit_test(a_block_is_closed_when_it_is_full_or_its_time_is_over),
      cmocka_unit_test(nothing_is_protected_when_the_policy_has_no_repairs),
      cmocka_unit_test(a_symbol_is_the_number_the_length_and_the_frames),
      cmocka_unit_test(interleaved_blocks_take_packets_and_give_repairs_in_turns),
      cmocka_unit_test(repairs_that_are_not_taken_are_given_up),
      cmocka_unit_test(fields_out_of_range_are_refused),
      cmocka_unit_test(a_block_that_contradicts_itself_is_given_up),
      cmocka_unit_test(old_blocks_make_room),
      cmocka_unit_test(the_steady_state_allocates_nothing),
  };
  return cmocka_run_group_tests_name("core.rudp.fec_block", tests, nullptr, nullptr);
}
