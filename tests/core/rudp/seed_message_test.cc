// Messages of the seed format over a link that loses, doubles, reorders and adds nonsense: between engines of ours, and
// between each and the plain peers that the format allows.
#include "rudp/seed_message.h"

#include "seed_link.h"

#include <string>

#include "support/cmocka.h"

using namespace portolan;
using namespace portolan::rudp;
using namespace portolan::rudp::testing;

namespace {

struct Collector final : SeedMessageSink {
  void message(std::span<const std::byte> payload) noexcept override {
    taken.emplace_back(payload.begin(), payload.end());
  }
  std::vector<Bytes> taken;
};

Bytes bytes_of(std::string_view text) {
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

// Each one differs, and some are empty but for their number.
std::vector<Bytes> messages(std::size_t count, std::mt19937_64& random) {
  std::vector<Bytes> all;
  for (std::size_t i = 0; i < count; ++i)
    all.push_back(bytes_of(std::to_string(i) + std::string(random() % 3 == 0 ? 0 : random() % 300, '.')));
  return all;
}

Bytes data(std::uint32_t sequence, std::string_view text) {
  Bytes datagram(kSeedHeader);
  write_seed_header(SeedFormat::messages, SeedKind::data, sequence, datagram.data());
  const Bytes payload = bytes_of(text);
  datagram.insert(datagram.end(), payload.begin(), payload.end());
  return datagram;
}

Bytes acknowledgement(std::uint32_t sequence) {
  Bytes datagram(kSeedHeader);
  write_seed_header(SeedFormat::messages, SeedKind::acknowledgement, sequence, datagram.data());
  return datagram;
}

// A sender with all its messages: as many are pushed as fit.
Party pushing(SeedMessageSender& sender, const std::vector<Bytes>& all, std::size_t& pushed) {
  Party party = party_of(sender);
  party.next_datagram = [&](Duration now) {
    while (pushed < all.size() && sender.push(all[pushed])) ++pushed;
    return sender.next_datagram(now);
  };
  return party;
}

LinkOptions bad_link(std::mt19937_64& random, bool reorders = true) {
  const auto upto = [&](double most) { return std::uniform_real_distribution<>(0, most)(random); };
  return {.loss = upto(0.3),
          .twice = upto(0.2),
          .junk = upto(0.2),
          .delay = Duration(1 + random() % 50'000'000),
          .jitter = reorders && random() % 2 == 0 ? Duration(random() % 30'000'000) : 0ns};
}

void assert_same(const std::vector<Bytes>& taken, const std::vector<Bytes>& sent, std::uint64_t seed) {
  if (taken == sent) return;
  const auto [one, other] = std::ranges::mismatch(taken, sent);
  fail_msg("seed %llu: %zu messages of %zu arrived, and the first that differs is the %zuth",
           static_cast<unsigned long long>(seed), taken.size(), sent.size(),
           static_cast<std::size_t>(one - taken.begin()));
}

void each_message_arrives_once_and_in_order(void**) {
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    std::mt19937_64 random(seed);
    World world(bad_link(random), bad_link(random), SeedFormat::messages, seed);
    const auto all = messages(200, random);
    // The numbers wrap in the midst of a third of the runs.
    const std::uint32_t first = seed % 3 == 0 ? -50U : static_cast<std::uint32_t>(random());
    SeedMessageSender sender({.send = {.max_window = 64, .first_sequence = first}, .max_queued = 8 * 1024});
    Collector sink;
    SeedMessageReceiver receiver({.window = 32, .max_kept = 4096}, sink);
    std::size_t pushed = 0;
    const bool ended = world.run(pushing(sender, all, pushed), party_of(receiver),
                                 [&] { return pushed == all.size() && sender.all_acknowledged(); });
    if (!ended) fail_msg("seed %llu: stuck at message %zu", static_cast<unsigned long long>(seed), sink.taken.size());
    assert_same(sink.taken, all, seed);
    assert_true(receiver.reorder().ahead() == 0 && receiver.reorder().kept_bytes() == 0);
    assert_int_equal(receiver.stats().restarts, 0);
    assert_true(sender.window().queued_bytes() == 0);
  }
}

void unordered_messages_arrive_once_each(void**) {
  bool overtook = false;
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    std::mt19937_64 random(seed);
    World world(bad_link(random), bad_link(random), SeedFormat::messages, seed);
    auto all = messages(200, random);
    SeedMessageSender sender({.send = {.first_sequence = -50U}});
    Collector sink;
    SeedMessageReceiver receiver({.ordered = false, .window = 32}, sink);
    std::size_t pushed = 0;
    assert_true(world.run(pushing(sender, all, pushed), party_of(receiver),
                          [&] { return pushed == all.size() && sender.all_acknowledged(); }));
    overtook |= sink.taken != all;
    std::ranges::sort(all);
    std::ranges::sort(sink.taken);
    assert_same(sink.taken, all, seed);
    assert_int_equal(receiver.reorder().kept_bytes(), 0);
  }
  assert_true(overtook);
}

void plain_receivers_lose_nothing(void**) {
  for (const Strict strict :
       {Strict::expected_only, Strict::acknowledges_all, Strict::unlike_the_last, Strict::beyond_the_last}) {
    for (std::uint64_t seed = 0; seed < 150; ++seed) {
      std::mt19937_64 random(seed);
      // Nonsense on the way there would be a message to them, and who only looks at the last number has to get all in
      // order.
      LinkOptions there = bad_link(random, strict != Strict::unlike_the_last);
      there.junk = 0;
      World world(there, bad_link(random), SeedFormat::messages, seed);
      const auto all = messages(60, random);
      const std::uint32_t first = seed % 2 == 0 ? 0 : -20U;
      SeedMessageSender sender({.send = {.first_sequence = first}});
      StrictReceiver receiver(SeedFormat::messages, strict, first);
      std::size_t pushed = 0;
      assert_true(world.run(pushing(sender, all, pushed), party_of(receiver),
                            [&] { return pushed == all.size() && sender.all_acknowledged(); }));
      assert_same(receiver.taken, all, seed);
      assert_int_equal(sender.window().window(), 1);
    }
  }
}

// What pipeline = N is for, and what it is not for.
void a_window_by_option_suits_receivers_that_ignore_what_they_drop(void**) {
  std::size_t losses = 0;
  for (std::uint64_t seed = 0; seed < 100; ++seed) {
    for (const Strict strict : {Strict::expected_only, Strict::acknowledges_all}) {
      std::mt19937_64 random(seed);
      World world({.loss = 0.1}, SeedFormat::messages, seed);
      const auto all = messages(100, random);
      SeedMessageSender sender({.send = {.ask = false, .window = 8}});
      StrictReceiver receiver(SeedFormat::messages, strict, 0);
      std::size_t pushed = 0;
      assert_true(world.run(pushing(sender, all, pushed), party_of(receiver),
                            [&] { return pushed == all.size() && sender.all_acknowledged(); }));
      if (strict == Strict::expected_only) assert_same(receiver.taken, all, seed);
      losses += all.size() - receiver.taken.size();
    }
  }
  assert_true(losses > 0);
}

void plain_senders_are_received_in_order(void**) {
  for (const std::size_t window : {1, 16}) {
    for (std::uint64_t seed = 0; seed < 200; ++seed) {
      std::mt19937_64 random(seed);
      LinkOptions back = bad_link(random);
      back.junk = 0;  // an acknowledgement of anything is one to them
      World world(bad_link(random), back, SeedFormat::messages, seed);
      const auto all = messages(100, random);
      const std::uint32_t first = seed % 2 == 0 ? 0 : -30U;
      StrictSender sender(SeedFormat::messages, first, all, window);
      Collector sink;
      SeedMessageReceiver::Options options{.window = 32};
      // Who does not wait for his first acknowledgement may lose his first message.
      if (window > 1) options.first_sequence = first;
      SeedMessageReceiver receiver(options, sink);
      assert_true(world.run(party_of(sender), party_of(receiver), [&] { return sender.done(); }));
      assert_same(sink.taken, all, seed);
    }
  }
}

// Our two engines find out about each other, by one question.
void the_window_opens_to_what_the_peer_offers(void**) {
  World world({.delay = 50ms}, SeedFormat::messages, 1);
  const auto all = messages(400, world.random);
  SeedMessageSender sender({});
  Collector sink;
  SeedMessageReceiver receiver({.window = 64}, sink);
  std::size_t pushed = 0;
  std::uint32_t widest = 0;
  assert_true(world.run(pushing(sender, all, pushed), party_of(receiver), [&] {
    widest = std::max(widest, sender.window().window());
    return pushed == all.size() && sender.all_acknowledged();
  }));
  assert_int_equal(sender.window().stats().questions, 1);
  assert_int_equal(sender.window().stats().retransmissions, 0);
  assert_int_equal(widest, 64);
  assert_true(world.now < 5s);  // one at a time it would be 40 s
  assert_same(sink.taken, all, 1);
}

void a_silent_peer_is_given_up_with_the_reason(void**) {
  SeedMessageSender sender({.send = {.first_sequence = 7}});
  assert_true(sender.push(bytes_of("hello")));
  Duration now = 1s;
  int sent = 0;
  while (!sender.failure()) {
    for (auto datagram = sender.next_datagram(now); !datagram.empty(); datagram = sender.next_datagram(now)) ++sent;
    if (sender.failure()) break;
    assert_true(sender.deadline().has_value() && *sender.deadline() > now);
    now = *sender.deadline();
  }
  assert_true(now == 31s);
  assert_int_equal(sent, 11);  // after 1 and 2 seconds, and then every 3
  assert_int_equal(sender.failure()->transmissions, sent);
  assert_string_equal(sender.failure()->text().c_str(),
                      "the peer acknowledged nothing for 30s; packet 7 was sent 11 times");
  assert_false(sender.push(bytes_of("more")));
  assert_true(sender.next_datagram(now).empty());
  assert_false(sender.deadline().has_value());
}

void an_outage_is_survived_and_the_peer_asked_again(void**) {
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    World world({.loss = 0.05, .delay = 20ms}, SeedFormat::messages, seed);
    const auto all = messages(3000, world.random);
    SeedMessageSender sender({});
    Collector sink;
    SeedMessageReceiver receiver({}, sink);
    std::size_t pushed = 0;
    const Party one = pushing(sender, all, pushed);
    const Party other = party_of(receiver);
    assert_true(world.run(one, other, [&] { return sink.taken.size() > 500; }));
    world.there_link.down = world.back_link.down = true;
    const auto questions = sender.window().stats().questions;
    world.run(one, other, [] { return false; }, 20s);
    assert_int_equal(sender.window().window(), 1);
    world.there_link.down = world.back_link.down = false;
    const Duration began = world.now;
    assert_true(world.run(one, other, [&] { return pushed == all.size() && sender.all_acknowledged(); }));
    assert_same(sink.taken, all, seed);
    assert_true(sender.window().stats().questions > questions && sender.window().window() > 10);
    // What was in flight goes one by one, at its round trip and not at the timeouts that the outage came to.
    if (world.now - began > 40s)
      fail_msg("seed %llu: %.1f s", static_cast<unsigned long long>(seed),
               std::chrono::duration<double>(world.now - began).count());
  }
}

std::vector<std::uint32_t> sent_at(SeedMessageSender& sender, Duration now) {
  std::vector<std::uint32_t> numbers;
  for (auto datagram = sender.next_datagram(now); !datagram.empty(); datagram = sender.next_datagram(now))
    numbers.push_back(parse_seed(SeedFormat::messages, datagram)->sequence);
  return numbers;
}

void the_question_is_alone_in_flight(void**) {
  using Numbers = std::vector<std::uint32_t>;
  SeedMessageSender sender({});
  for (int i = 0; i < 8; ++i) assert_true(sender.push(bytes_of("x")));
  assert_true(sent_at(sender, 1s) == Numbers{0});
  sender.receive(acknowledgement(0), 1010ms);
  assert_true(sent_at(sender, 1010ms) == Numbers{0});  // the question
  std::array<std::byte, kSeedLongestReply> offer{};
  write_seed_reply(SeedFormat::messages, 0, std::uint16_t{3}, offer.data());
  sender.receive(offer, 1020ms);
  assert_true(sent_at(sender, 1020ms) == Numbers({1, 2, 3}));
  Duration now = 1020ms;
  while (sender.window().window() > 1) {
    now = *sender.deadline();
    assert_true(sent_at(sender, now) == Numbers{1});
  }
  for (const std::uint32_t number : {1U, 2U}) {
    sender.receive(acknowledgement(number), now += 10ms);
    assert_true(sent_at(sender, now) == Numbers{number + 1});
  }
  sender.receive(acknowledgement(3), now += 10ms);
  assert_true(sent_at(sender, now) == Numbers{3});  // the question
  assert_int_equal(sender.window().stats().questions, 2);
}

void a_path_that_reorders_is_not_one_that_loses(void**) {
  World world({.delay = 20ms, .jitter = 8ms}, SeedFormat::messages, 1);
  const auto all = messages(3000, world.random);
  SeedMessageSender sender({});
  Collector sink;
  SeedMessageReceiver receiver({}, sink);
  std::size_t pushed = 0;
  assert_true(world.run(pushing(sender, all, pushed), party_of(receiver),
                        [&] { return pushed == all.size() && sender.all_acknowledged(); }));
  assert_same(sink.taken, all, 1);
  assert_true(sender.window().stats().retransmissions < 60);
}

// Karn: with the acknowledgement of the first copy behind the second one, the round trip is not what lies between them.
void a_long_round_trip_is_measured_behind_early_timeouts(void**) {
  World world({.delay = 1500ms}, SeedFormat::messages, 1);
  const auto all = messages(20, world.random);
  SeedMessageSender sender({.send = {.ask = false, .greatest_timeout = 10s}});
  StrictReceiver receiver(SeedFormat::messages, Strict::expected_only, 0);
  std::size_t pushed = 0;
  assert_true(world.run(pushing(sender, all, pushed), party_of(receiver),
                        [&] { return pushed == all.size() && sender.all_acknowledged(); }));
  assert_same(receiver.taken, all, 1);
  assert_true(sender.window().round_trip() == 3s);
  assert_int_equal(sender.window().stats().retransmissions, 2);  // of the first message alone, after 1 and 3 s
}

void acknowledgements_of_nothing_are_refused(void**) {
  SeedMessageSender sender({.send = {.first_sequence = 10}});
  sender.receive(acknowledgement(10), 1s);
  assert_true(sender.push(bytes_of("a")) && sender.push(bytes_of("b")));
  sender.receive(acknowledgement(10), 1s);  // queued, not sent
  assert_false(sender.next_datagram(1s).empty());
  assert_true(sender.next_datagram(1s).empty());
  for (const std::uint32_t sequence : {9U, 11U, 26U, 12345U}) sender.receive(acknowledgement(sequence), 1s);
  sender.receive(data(10, "x"), 1s);
  sender.receive(Bytes(3), 1s);
  assert_int_equal(sender.window().stats().rejected, 8);
  assert_int_equal(sender.window().queued(), 2);
  sender.receive(acknowledgement(10), 2s);
  assert_int_equal(sender.window().queued(), 1);
}

void what_is_queued_is_bounded(void**) {
  SeedMessageSender sender({.send = {.max_window = 8}, .max_queued = 1000});
  assert_false(sender.push(Bytes(kSeedLongestMessage + 1)));
  assert_true(sender.push(Bytes(kSeedLongestMessage)));  // one fits always
  assert_false(sender.push({}) && sender.push(Bytes(1)));
  assert_false(sender.next_datagram(1s).empty());
  sender.receive(acknowledgement(0), 1s);
  std::size_t pushed = 0;
  while (sender.push({})) ++pushed;
  assert_true(pushed <= 8);
}

struct Replies {
  explicit Replies(SeedMessageReceiver::Options options = {}) : receiver(options, sink) {}
  // The number that it acknowledges.
  std::optional<std::uint32_t> operator()(const Bytes& datagram) {
    receiver.receive(datagram, now);
    const auto reply = receiver.next_datagram(now);
    assert_true(receiver.next_datagram(now).empty());
    if (reply.empty()) return std::nullopt;
    const auto packet = parse_seed(SeedFormat::messages, reply);
    assert_true(packet && packet->kind == SeedKind::acknowledgement);
    offer = packet->offer();
    assert_true(offer || packet->payload.empty());
    return packet->sequence;
  }
  Duration now = 1s;
  Collector sink;
  std::optional<std::uint16_t> offer;
  SeedMessageReceiver receiver;
};

void duplicates_are_acknowledged_and_not_delivered(void**) {
  Replies reply;
  assert_true(reply(data(5, "a")) == 5U);
  assert_true(reply(data(5, "a")) == 5U);
  assert_true(reply(data(7, "c")) == 7U);
  assert_true(reply(data(7, "c")) == 7U);
  assert_int_equal(reply.sink.taken.size(), 1);
  assert_true(reply(data(6, "b")) == 6U);
  assert_true(reply(data(6, "b")) == 6U);
  assert_true(reply.sink.taken == std::vector<Bytes>({bytes_of("a"), bytes_of("b"), bytes_of("c")}));
  assert_int_equal(reply.receiver.stats().duplicates, 3);
}

void only_who_asks_gets_an_offer(void**) {
  Replies reply({.window = 50});
  // Before anything else it is the duplicate of what a former receiver had.
  assert_true(reply(data(4, kSeedQuestion)) == 4U && reply.offer == 64);
  assert_true(reply(data(5, "a")) == 5U && !reply.offer);
  assert_true(reply(data(5, kSeedQuestion)) == 5U && reply.offer == 64);
  assert_true(reply(data(5, "a")) == 5U && !reply.offer);
  assert_true(reply(data(6, kSeedQuestion)) == 6U);  // a message like any other
  assert_int_equal(reply.sink.taken.size(), 2);
}

void what_is_outside_the_window_or_too_long_is_not_acknowledged(void**) {
  Replies reply({.window = 8, .max_kept = 10, .max_message = 20});
  assert_true(reply(data(0, "a")) == 0U);
  assert_false(reply(data(9, "x")).has_value());
  assert_true(reply(data(8, "x")) == 8U);
  assert_false(reply(data(4, "1234567890")).has_value());  // no room to keep it
  assert_true(reply(data(1, "12345678901234567890")) == 1U);
  assert_false(reply(data(2, "123456789012345678901")).has_value());
  assert_false(reply(acknowledgement(2)).has_value());
  Bytes unknown = data(2, "x");
  unknown[4] = std::byte{2};
  assert_false(reply(unknown).has_value());
  assert_false(reply(Bytes(4)).has_value());
  assert_int_equal(reply.receiver.reorder().kept_bytes(), 1);
}

void a_sender_that_restarts_is_heard_at_its_second_attempt(void**) {
  Replies reply;
  for (std::uint32_t i = 0; i < 1000; ++i) assert_true(reply(data(i, "old " + std::to_string(i))) == i);
  assert_false(reply(data(0, "new 0")).has_value());  // out of the window
  assert_false(reply(data(0, "new 0")).has_value());  // a copy, not a repetition
  assert_true(reply(data(999, "old 999")) == 999U);
  reply.now += 200ms;
  assert_true(reply(data(0, "new 0")) == 0U);
  assert_true(reply(data(1, "new 1")) == 1U);
  assert_true(reply.sink.taken.back() == bytes_of("new 1"));
  // And again: within the window, and known by its other bytes.
  assert_false(reply(data(0, "newer 0")).has_value());
  reply.now += 200ms;
  assert_true(reply(data(0, "newer 0")) == 0U);
  assert_true(reply.sink.taken.back() == bytes_of("newer 0"));
  assert_int_equal(reply.receiver.stats().restarts, 2);
  // What is left of the former one does not get between its messages.
  assert_false(reply(data(2, "new 2")).has_value());
}

void one_straggler_restarts_nothing(void**) {
  Replies reply;
  for (std::uint32_t i = 0; i < 1000; ++i) {
    assert_true(reply(data(i, "old " + std::to_string(i))) == i);
    reply.now += 100ms;
    if (i % 2 == 1) assert_false(reply(data(i - 600, "straggler")).has_value());
  }
  assert_int_equal(reply.sink.taken.size(), 1000);
}

void a_gap_is_given_up_in_time_and_never_filled_afterwards(void**) {
  Replies reply({.gap_timeout = 5s});
  assert_true(reply(data(0, "a")) == 0U);
  assert_false(reply.receiver.deadline().has_value());
  assert_true(reply(data(2, "c")) == 2U);
  assert_true(reply.receiver.deadline() == 6s);
  reply.now = 6s;
  assert_true(reply.receiver.next_datagram(reply.now).empty());
  assert_true(reply.sink.taken.back() == bytes_of("c"));
  assert_int_equal(reply.receiver.stats().given_up, 1);
  for (int i = 0; i < 3; ++i, reply.now += 1s) assert_false(reply(data(1, "b")).has_value());
  assert_true(reply(data(3, "d")) == 3U);
  assert_int_equal(reply.sink.taken.size(), 3);
}

}  // namespace

int main() {
  const CMUnitTest tests[] = {
      cmocka_unit_test(each_message_arrives_once_and_in_order),
      cmocka_unit_test(unordered_messages_arrive_once_each),
      cmocka_unit_test(plain_receivers_lose_nothing),
      cmocka_unit_test(a_window_by_option_suits_receivers_that_ignore_what_they_drop),
      cmocka_unit_test(plain_senders_are_received_in_order),
      cmocka_unit_test(the_window_opens_to_what_the_peer_offers),
      cmocka_unit_test(a_silent_peer_is_given_up_with_the_reason),
      cmocka_unit_test(an_outage_is_survived_and_the_peer_asked_again),
      cmocka_unit_test(the_question_is_alone_in_flight),
      cmocka_unit_test(a_path_that_reorders_is_not_one_that_loses),
      cmocka_unit_test(a_long_round_trip_is_measured_behind_early_timeouts),
      cmocka_unit_test(acknowledgements_of_nothing_are_refused),
      cmocka_unit_test(what_is_queued_is_bounded),
      cmocka_unit_test(duplicates_are_acknowledged_and_not_delivered),
      cmocka_unit_test(only_who_asks_gets_an_offer),
      cmocka_unit_test(what_is_outside_the_window_or_too_long_is_not_acknowledged),
      cmocka_unit_test(a_sender_that_restarts_is_heard_at_its_second_attempt),
      cmocka_unit_test(one_straggler_restarts_nothing),
      cmocka_unit_test(a_gap_is_given_up_in_time_and_never_filled_afterwards),
  };
  return cmocka_run_group_tests(tests, nullptr, nullptr);
}
