#include "plugins/chat/chat_state.h"

#include "plugins/chat/codec.h"
#include "plugins/chat/hub.h"
#include "plugins/chat/outbox.h"

#include <atomic>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "support/cmocka.h"

using namespace portolan;
using namespace portolan::chat;
using namespace std::chrono_literals;

namespace {

std::uint64_t joined(ChatState& state, std::string_view name, unsigned worker = 0) {
  const auto entry = state.join({.name = name, .worker = worker}, "lobby");
  assert_true(entry.has_value());
  return entry->id;
}

MessageRef message(std::uint64_t sender, std::string_view text) {
  return make_message(sender, {.from = "x", .content = text, .time = "00:00:00"});
}

std::string text_of(const MessageRef& one) {
  const std::string_view line = one->line(Format::text);
  return std::string(line.substr(4, line.size() - 5));
}

void a_name_is_had_by_one_on_all_workers(void**) {
  ChatState state;
  const auto alice = joined(state, "Alice");
  assert_string_equal(state.join({.name = "aLICE", .worker = 3}, "lobby").error().c_str(), "This name is taken.");
  const auto bob = joined(state, "bob", 3);
  assert_false(state.rename(bob, "alice").has_value());
  assert_string_equal(state.rename(bob, "BOB")->c_str(), "bob");  // his own in other letters
  assert_string_equal(state.rename(alice, "carol")->c_str(), "Alice");
  assert_true(state.rename(bob, "alice").has_value());
  state.leave(bob);
  assert_true(joined(state, "ALICE") != bob);
  assert_false(state.find("bob").has_value());
  assert_int_equal(state.people().size(), 2);
}

void a_room_is_there_while_somebody_is_in_it(void**) {
  ChatState state;
  const auto alice = joined(state, "alice");
  const auto bob = joined(state, "bob", 1);
  const auto moved = state.move(alice, "Den", 10);
  assert_true(moved.has_value());
  assert_true(moved->entry.is_operator && moved->entry.members == 1);
  assert_string_equal(moved->from->name.c_str(), "lobby");
  assert_string_equal(state.move(bob, "den", 10)->entry.room->name.c_str(), "Den");
  assert_false(state.move(bob, "DEN", 10).has_value());
  assert_int_equal(state.rooms().size(), 2);  // the first is there though nobody is in it
  assert_string_equal(state.move(bob, "third", 2).error().c_str(), "There are 2 rooms, and there may be no more.");
  // The last operator goes: who has been there for longest takes his place.
  const auto back = state.move(alice, "", 10);
  assert_true(back->heir && back->heir->id == bob && back->heir->worker == 1);
  assert_false(back->entry.is_operator);
  assert_false(state.leave(bob).has_value());
  assert_int_equal(state.rooms().size(), 1);
  assert_null(state.find_room("den").get());
}

void the_first_room_may_be_another_after_a_reload(void**) {
  ChatState state;
  const auto alice = joined(state, "alice");
  assert_true(state.join({.name = "bob"}, "hall").has_value());
  assert_int_equal(state.rooms().size(), 2);
  state.leave(alice);
  assert_int_equal(state.rooms().size(), 1);
  assert_string_equal(state.rooms()[0].name.c_str(), "hall");
}

void a_mute_is_of_a_room_and_ends(void**) {
  ChatState state;
  const auto alice = joined(state, "alice");
  const auto room = state.move(alice, "den", 10)->entry.room;
  const auto bob = joined(state, "bob");
  state.move(bob, "den", 10);
  state.mute(*room, bob, 50s, 10s);
  assert_true(state.move(bob, "", 10)->entry.muted_until == Duration::zero());
  assert_true(state.move(bob, "den", 10)->entry.muted_until == 50s);
  state.mute(*room, bob, 10s, 10s);
  state.move(bob, "", 10);
  assert_true(state.move(bob, "den", 10)->entry.muted_until == Duration::zero());
  state.mute(*room, bob, 50s, 10s);
  state.leave(bob);
  assert_int_equal(room->mutes.size(), 0);
}

void workers_with_members_are_known(void**) {
  ChatState state;
  const auto workers = [](const Room& room) {
    std::string all;
    room.each_worker([&](unsigned worker) { all += std::to_string(worker) + " "; });
    return all;
  };
  const auto first = joined(state, "a", 200);
  const auto second = joined(state, "b", 200);
  joined(state, "c", 3);
  const auto room = state.find_room("lobby");
  assert_string_equal(workers(*room).c_str(), "3 200 ");
  state.leave(first);
  assert_string_equal(workers(*room).c_str(), "3 200 ");
  state.leave(second);
  assert_string_equal(workers(*room).c_str(), "3 ");
}

void a_watched_room_stays_and_is_heard(void**) {
  ChatState state;
  const auto room = state.watch("den", 5);
  const auto alice = joined(state, "alice");
  assert_true(state.move(alice, "den", 10)->entry.room == room);
  state.leave(alice);
  assert_true(state.find_room("DEN") == room);
  unsigned heard = 0;
  room->each_worker([&](unsigned worker) { heard += worker; });
  assert_int_equal(heard, 5);
  state.watch("den", 5);
  state.unwatch(room, 5);
  assert_true(state.find_room("den") == room);
  state.unwatch(room, 5);
  assert_null(state.find_room("den").get());
}

// Four threads push, one takes: nothing is lost, and each one's are in his order.
void an_inbox_keeps_each_senders_order(void**) {
  constexpr unsigned kSenders = 4;
  constexpr unsigned kEach = 20'000;
  auto inbox = std::make_unique<Inbox>();
  std::atomic<unsigned> woken{0};
  std::vector<std::thread> senders;
  for (unsigned sender = 0; sender < kSenders; ++sender) {
    senders.emplace_back([&, sender] {
      for (unsigned number = 0; number < kEach; ++number) {
        auto post = std::make_unique<Post>();
        post->to = std::uint64_t{sender} << 32U | number;
        if (inbox->push(std::move(post))) woken.fetch_add(1);
      }
    });
  }
  std::map<std::uint64_t, std::uint64_t> next;
  bool in_order = true;
  unsigned taken = 0;
  unsigned batches = 0;
  while (taken < kSenders * kEach) {
    Post* first = inbox->take_all();
    if (first) ++batches;
    for (Post* post = first; post; post = post->next, ++taken)
      in_order &= next[post->to >> 32U]++ == (post->to & 0xFFFFFFFFU);
    Inbox::free(first);
  }
  for (std::thread& sender : senders) sender.join();
  assert_true(in_order);
  assert_int_equal(woken.load(), batches);  // each batch is told of once
}

void a_history_is_bounded_in_number_and_bytes(void**) {
  auto history = std::make_unique<History>();
  const HistoryLimits few{.messages = 10, .bytes = 1 << 20U};
  for (int number = 0; number < 1000; ++number) history->add(message(1, std::to_string(number)), few);
  const auto last = history->last(100, few);
  assert_int_equal(last.size(), 10);
  assert_string_equal(text_of(last.front()).c_str(), "990");
  assert_string_equal(text_of(last.back()).c_str(), "999");
  assert_string_equal(text_of(history->last(3, few).front()).c_str(), "997");
  const HistoryLimits small{.messages = 10, .bytes = 3 * last.front()->size()};
  assert_int_equal(history->last(100, small).size(), 3);
  history->add(message(1, "not kept"), {.messages = 0});
  assert_string_equal(text_of(history->last(1, few).front()).c_str(), "999");
}

void a_history_takes_from_all_threads(void**) {
  auto history = std::make_unique<History>();
  const HistoryLimits all{.messages = 100'000, .bytes = 1U << 30U};
  std::vector<std::thread> senders;
  for (int sender = 0; sender < 4; ++sender)
    senders.emplace_back([&] {
      for (int number = 0; number < 5000; ++number) history->add(message(1, std::to_string(number)), all);
    });
  for (int round = 0; round < 100; ++round) std::ignore = history->last(5, all);
  for (std::thread& sender : senders) sender.join();
  assert_int_equal(history->last(100'000, all).size(), 20'000);
}

void an_outbox_drops_the_oldest_or_refuses(void**) {
  Outbox outbox;
  assert_true(outbox.empty());
  OutboxLimits limits{.messages = 3, .bytes = 1000, .drop_oldest = true};
  for (int number = 0; number < 5; ++number)
    assert_true(outbox.push(message(1, std::to_string(number)), Format::text, limits));
  assert_int_equal(outbox.size(), 3);
  assert_int_equal(outbox.take_missed(), 2);
  assert_int_equal(outbox.take_missed(), 0);
  assert_string_equal(text_of(outbox.take(Format::text)).c_str(), "2");
  limits.drop_oldest = false;
  assert_true(outbox.push(message(1, "5"), Format::text, limits));
  assert_false(outbox.push(message(1, "6"), Format::text, limits));
  // One alone has room whatever its size.
  limits = {.messages = 3, .bytes = 100, .drop_oldest = true};
  assert_true(outbox.push(message(1, std::string(500, 'x')), Format::text, limits));
  assert_int_equal(outbox.size(), 1);
  assert_int_equal(outbox.take_missed(), 3);
  std::ignore = outbox.take(Format::text);
  assert_true(outbox.empty());
}

}  // namespace

int main() {
  const CMUnitTest tests[] = {
      cmocka_unit_test(a_name_is_had_by_one_on_all_workers),
      cmocka_unit_test(a_room_is_there_while_somebody_is_in_it),
      cmocka_unit_test(the_first_room_may_be_another_after_a_reload),
      cmocka_unit_test(a_mute_is_of_a_room_and_ends),
      cmocka_unit_test(workers_with_members_are_known),
      cmocka_unit_test(a_watched_room_stays_and_is_heard),
      cmocka_unit_test(an_inbox_keeps_each_senders_order),
      cmocka_unit_test(a_history_is_bounded_in_number_and_bytes),
      cmocka_unit_test(a_history_takes_from_all_threads),
      cmocka_unit_test(an_outbox_drops_the_oldest_or_refuses),
  };
  return cmocka_run_group_tests_name("plugins.chat.chat_state", tests, nullptr, nullptr);
}
