// People in a chat, without sockets: what each one hears of what the others say and do.
#include "house.h"

#include <nlohmann/json.hpp>

#include <string>

#include "support/cmocka.h"

using namespace portolan;
using namespace portolan::testing;
using namespace std::chrono_literals;

namespace {

House& house_of(void** state) { return *static_cast<House*>(*state); }

#define assert_heard(house, who, text) assert_string_equal((house).heard(who).c_str(), text)

void a_name_is_asked_for_until_it_can_be_had(void** state) {
  House& house = house_of(state);
  house.make(0);
  house.connect("a").receive("alice\r\n");
  assert_heard(house, "a", "Enter username: * Welcome. /help lists the commands.\n* You are in lobby with 0 others.\n");
  FakeStream& second = house.connect("b");
  second.receive("Alice\n");
  assert_heard(house, "b", "Enter username: * This name is taken.\nEnter username: ");
  second.receive(" bob\n");
  assert_heard(house, "b", "* This name begins or ends with a space.\nEnter username: ");
  second.receive("bob\n");
  house.turn();
  assert_heard(house, "b", "* Welcome. /help lists the commands.\n* You are in lobby with 1 other.\n");
  assert_heard(house, "a", "* bob joined\n");
  assert_int_equal(house.counted(chat::kRefusedNames), 2);
  FakeStream& guesser = house.connect("c");
  for (int round = 0; round < 10; ++round) guesser.receive("alice\n");
  assert_true(guesser.closed && guesser.refusal == Refusal::bad_message);
}

void a_message_reaches_all_but_its_sender(void** state) {
  House& house = house_of(state);
  house.make(0);
  house.make(1);
  house.enter("alice");
  house.enter("bob", 1);
  house.enter("carol");
  house.say("alice", "hello");
  assert_heard(house, "alice", "");
  assert_heard(house, "bob", "[alice] hello\n");
  assert_heard(house, "carol", "[alice] hello\n");
  // All of one turn is written in its order, to each without his own.
  house["alice"].receive("one\n");
  house["bob"].receive("two\n");
  house["alice"].receive("three\n");
  house.turn();
  assert_heard(house, "carol", "[alice] one\n[bob] two\n[alice] three\n");
  assert_heard(house, "alice", "[bob] two\n");
  assert_heard(house, "bob", "[alice] one\n[alice] three\n");
  house.leave("alice");
  assert_heard(house, "bob", "* alice left\n");
  assert_int_equal(house.state.people().size(), 2);
}

// Thousands who come at once would each cost a write to all who are there.
void who_comes_costs_no_write_and_hears_what_is_said_after_him(void** state) {
  House& house = house_of(state);
  house.make(0);
  house.enter("alice");
  house.enter("dave");
  house["alice"].receive("one\n");
  house.connect("bob").receive("bob\n");
  house["alice"].receive("two\n");
  house.connect("carol").receive("carol\n");
  house["bob"].receive("three\n");
  assert_heard(house, "dave", "");
  house.heard("bob");
  house.heard("carol");
  house.turn();
  assert_heard(house, "dave", "[alice] one\n* bob joined\n[alice] two\n* carol joined\n[bob] three\n");
  assert_heard(house, "alice", "* bob joined\n* carol joined\n[bob] three\n");
  assert_heard(house, "bob", "[alice] two\n* carol joined\n");
  assert_heard(house, "carol", "[bob] three\n");
  // Out, and in again, and what was said meanwhile is not his.
  house["alice"].receive("four\n");
  house["bob"].receive("/join elsewhere\n");
  house["alice"].receive("five\n");
  house["bob"].receive("/part\n");
  house["alice"].receive("six\n");
  house.heard("bob");
  house.turn();
  assert_heard(house, "bob", "[alice] six\n");
  assert_heard(house, "dave", "[alice] four\n* bob left\n[alice] five\n* bob joined\n[alice] six\n");
}

// One turn's worth waits, and the rest is written before somebody else comes: nobody hears what was said before him.
void who_comes_after_more_than_a_turn_delivers_hears_none_of_it(void** state) {
  House& house = house_of(state);
  house.options.set("user_rate", "1000000/s");
  house.make(0);
  house.enter("alice");
  house.enter("bob");
  for (int line = 0; line < 1500; ++line) house["alice"].receive("x\n");
  house.connect("carol").receive("carol\n");
  house.heard("carol");
  house.turn();
  assert_heard(house, "carol", "");
  std::string all;
  for (int line = 0; line < 1500; ++line) all += "[alice] x\n";
  assert_heard(house, "bob", (all + "* carol joined\n").c_str());
}

void json_and_text_meet_in_one_room(void** state) {
  House& house = house_of(state);
  house.make(0);
  house.enter("alice");
  house.enter("bot");
  house.say("bot", R"({"from":"eve","content":"hi \"all\"","time":"never"})");
  assert_heard(house, "alice", "[bot] hi \"all\"\n");
  const auto welcome = nlohmann::json::parse(house.heard("bot"));
  assert_true(welcome["from"] == "System" && welcome["content"] == "Welcome. /help lists the commands.");
  house.say("alice", "not {json}");
  const auto said = nlohmann::json::parse(house.heard("bot"));
  assert_true(said["from"] == "alice" && said["content"] == "not {json}" && said.size() == 3);
  assert_int_equal(said["time"].get<std::string>().size(), 8);
  for (const char* bad : {"{", "plain", R"({"content":7})"}) {
    house.say("bot", bad);
    assert_true(nlohmann::json::parse(house.heard("bot"))["from"] == "System");
  }
  house.say("bot", R"({"content":"/me waves"})");
  assert_heard(house, "alice", "* bot waves\n");
  house.say("bot", "{\"content\":\"two\\nlines\\u001b[2J\"}");
  assert_heard(house, "alice", "[bot] two lines [2J\n");
}

void a_line_that_is_too_long_or_wrong_ends_nothing(void** state) {
  House& house = house_of(state);
  house.options.set("max_line", "64B");
  house.make(0);
  FakeStream& alice = house.enter("alice");
  house.enter("bob");
  alice.receive(std::string(100, 'x'));
  assert_heard(house, "alice", "* A line may have 64 bytes: yours is dropped.\n");
  alice.receive(std::string(1000, 'x'));
  house.say("alice", "\nhello");
  house.say("alice", "bad \xFF");
  house.say("alice", "\x1B[31mred");
  assert_heard(house, "alice", "* This is not UTF-8: it is dropped.\n");
  assert_heard(house, "bob", "[alice] hello\n[alice]  [31mred\n");
  assert_int_equal(house.counted(chat::kRefusedTexts), 2);
}

void rooms_have_their_own_talk(void** state) {
  House& house = house_of(state);
  house.make(0);
  house.make(1);
  house.enter("alice");
  house.enter("bob", 1);
  house.enter("carol", 1);
  house.say("alice", "/join den");
  assert_heard(house, "alice", "* You are in den with 0 others.\n* You are its operator.\n");
  assert_heard(house, "bob", "* alice left\n");
  house.say("bob", "/join DEN");
  assert_heard(house, "bob", "* You are in den with 1 other.\n");
  assert_heard(house, "alice", "* bob joined\n");
  house.heard("carol");
  house.say("alice", "psst");
  assert_heard(house, "bob", "[alice] psst\n");
  assert_heard(house, "carol", "");
  house.say("bob", "/topic secrets");
  assert_heard(house, "bob", "* The operator of the room sets its topic, and you are not.\n");
  house.say("alice", "/topic secrets");
  assert_heard(house, "bob", "* alice set the topic: secrets\n");
  house.say("carol", "/rooms");
  assert_heard(house, "carol", "* den (2): secrets\n* lobby (1)\n");
  house.say("carol", "/who");
  assert_heard(house, "carol", "* 1 in lobby: carol\n");
  house.say("carol", "/list");
  assert_heard(house, "carol", "* 3 users: alice, bob, carol\n");
  house.forget();
  house.say("alice", "/part");
  assert_heard(house, "bob", "* alice left\n* You are the operator of den now.\n");
  assert_heard(house, "alice", "* You are in lobby with 1 other.\n");
  house.say("alice", "/part");
  assert_heard(house, "alice", "* You are in lobby already.\n");
}

void names_change_and_whispers_arrive(void** state) {
  House& house = house_of(state);
  house.make(0);
  house.make(1);
  house.enter("alice");
  house.enter("bob", 1);
  house.say("alice", "/nick bob");
  assert_heard(house, "alice", "* This name is taken.\n");
  house.say("alice", "/nick Ann Lee");
  assert_heard(house, "alice", "* You are Ann Lee now.\n");
  assert_heard(house, "bob", "* alice is now Ann Lee\n");
  house.say("bob", "/msg \"ann lee\" hello you");
  assert_heard(house, "alice", "[bob to you] hello you\n");
  assert_heard(house, "bob", "* To Ann Lee: hello you\n");
  house.say("bob", "/msg alice hello");
  assert_heard(house, "bob", "* There is nobody named alice.\n");
  // A room and a whisper: in the order in which they were written.
  house["alice"].receive("one\n/msg bob two\nthree\n");
  house.turn();
  assert_heard(house, "bob", "[Ann Lee] one\n[Ann Lee to you] two\n[Ann Lee] three\n");
  house.say("bob", "/nosuch");
  assert_heard(house, "bob", "* There is no command /nosuch; /help lists them.\n");
  house.say("bob", "//path");
  house.say("bob", "/me waves");
  house.forget();
  house.say("bob", "/history 2");
  assert_heard(house, "bob", "[bob] /path\n* bob waves\n");
  house.say("bob", "/quit");
  assert_true(house["bob"].closed);
}

void operators_keep_order(void** state) {
  House& house = house_of(state);
  house.options.set("operator_password", "correct horse");
  house.make(0);
  house.make(1);
  house.enter("alice");
  house.enter("bob", 1);
  house.enter("eve", 1);
  // The first one of the first room is nobody's operator.
  house.say("alice", "/kick bob");
  assert_heard(house, "alice", "* You are not an operator of this room.\n");
  house.say("alice", "/oper wrong");
  house.say("alice", "/oper correct horse");
  assert_heard(house, "alice", "* This is not the password.\n* You are an operator of all rooms.\n");
  house.say("alice", "/mute bob 1m");
  assert_heard(house, "eve", "* bob is muted for 1m by alice\n");
  house.say("bob", "can you hear me");
  house.forget();
  house.say("bob", "/me gestures");
  assert_heard(house, "bob", "* You are muted for 1m.\n");
  assert_heard(house, "eve", "");
  house.say("alice", "/mute bob 0");
  house.forget();
  house.say("bob", "thanks");
  assert_heard(house, "eve", "[bob] thanks\n");
  house.forget();
  house.say("alice", "/ban bob");
  assert_heard(house, "alice", "* Not banned: there is no list of bans.\n");
  house.say("alice", "/kick bob rude");
  assert_true(house["bob"].closed);
  assert_heard(house, "bob", "* You were kicked from lobby by alice: rude\n");
  assert_heard(house, "eve", "* bob was kicked by alice: rude\n");
  house.leave("bob");
  house.forget();
  // An operator of one room sends people out of that one.
  house.enter("dan");
  house.say("dan", "/join den");
  house.say("eve", "/join den");
  house.forget();
  house.say("dan", "/kick eve");
  assert_heard(house, "eve", "* You were kicked from den by dan\n* You are in lobby with 1 other.\n");
  assert_false(house["eve"].closed);
  assert_true(house.state.find("eve")->room->name == "lobby");
  house.say("alice", "/join den");
  house.forget();
  house.say("dan", "/kick alice");
  assert_heard(house, "dan", "* Not alice.\n");
  for (int round = 0; round < 3; ++round) house.say("eve", "/oper guess");
  assert_true(house["eve"].refusal == Refusal::bad_message);
}

void a_slow_reader_is_told_what_he_missed(void** state) {
  House& house = house_of(state);
  house.options.set("queue", "10").set("user_rate", "0");
  house.make(0);
  house.enter("alice");
  FakeStream& slow = house.enter("slow");
  house.enter("fast");
  slow.waiting = 100;
  for (int number = 0; number < 25; ++number) house.say("alice", std::to_string(number));
  assert_heard(house, "slow", "");
  slow.read_all();
  house.turn();
  std::string expected = "* 15 messages missed\n";
  for (int number = 15; number < 25; ++number) expected += "[alice] " + std::to_string(number) + "\n";
  assert_heard(house, "slow", expected.c_str());
  assert_int_equal(house.counted(chat::kMissed), 15);
  house.say("alice", "again");
  assert_heard(house, "slow", "[alice] again\n");
}

void a_slow_reader_may_have_to_go(void** state) {
  House& house = house_of(state);
  house.options.set("queue", "10").set("slow_reader", "disconnect").set("user_rate", "0");
  house.make(0);
  house.enter("alice");
  FakeStream& slow = house.enter("slow");
  slow.waiting = 100;
  for (int number = 0; number < 11; ++number) house.say("alice", std::to_string(number));
  assert_true(slow.refusal == Refusal::output_limit);
}

// More than is written at once waits, and the peer takes it faster than it comes.
void what_waits_goes_out_in_portions(void** state) {
  House& house = house_of(state);
  house.options.set("queue_bytes", "1MiB").set("user_rate", "0");
  house.make(0);
  house.enter("alice");
  FakeStream& slow = house.enter("slow");
  slow.waiting = 1;
  const std::string text(4000, 'x');
  for (int number = 0; number < 100; ++number) house.say("alice", text);
  slow.read_all();
  assert_true(slow.output.size() < 80'000);
  house.turn();
  assert_int_equal(house.heard("slow").size(), 100 * (text.size() + std::string("[alice] \n").size()));
}

// One turn delivers so much; what comes meanwhile does not wait for somebody to say more.
void what_comes_in_the_midst_of_a_delivery_is_delivered(void** state) {
  House& house = house_of(state);
  house.options.set("user_rate", "0");
  house.make(0);
  house.enter("alice");
  house.enter("bob");
  const std::string text(3000, 'x');
  for (int number = 0; number < 40; ++number) house["alice"].receive(text + "\n");
  house.timers[0]->fire();
  assert_true(house.timers[0]->wanted);
  house["alice"].receive("last\n");
  house.turn();
  assert_true(house.heard("bob").ends_with("[alice] last\n"));
}

void too_fast_is_told_once(void** state) {
  House& house = house_of(state);
  house.options.set("user_rate", "2/s");
  house.make(0);
  house.enter("alice");
  house.enter("bob");
  for (int number = 0; number < 10; ++number) house.say("alice", "x");
  assert_heard(house, "alice", "* Too fast: what is over the limit is dropped.\n");
  assert_heard(house, "bob", "[alice] x\n[alice] x\n");
  house.contexts[0]->time += 10s;
  house.say("alice", "y");
  assert_heard(house, "bob", "[alice] y\n");
}

void hooks_decide(void** state) {
  House& house = house_of(state);
  const auto text = [](std::string_view value) { return HookValue::of(value); };
  house.hooks["on_join"] = [&](auto arguments, auto results) {
    if (arguments[0].text == "eve" || arguments[1].text == "vault") {
      results[0] = {.kind = HookValue::Kind::boolean};
      results[1] = text("not you");
    }
    return Hook::Outcome::returned;
  };
  house.hooks["on_message"] = [&](auto arguments, auto results) {
    if (arguments[1].text == "fail") return Hook::Outcome::failed;
    if (arguments[1].text == "bad") results[1] = text("too bad");
    if (arguments[1].text == "no") results[0] = {.kind = HookValue::Kind::boolean};
    if (arguments[1].text == "change") results[0] = text("changed\x07");
    return Hook::Outcome::returned;
  };
  house.hooks["on_command"] = [&](auto arguments, auto results) {
    if (arguments[1].text == "roll") results[0] = text("six\n\xFF");
    if (arguments[1].text == "add") results[0] = HookValue::of(std::int64_t{7});
    if (arguments[1].text == "two") results[0] = text("one\ntwo");
    return Hook::Outcome::returned;
  };
  house.make(0);
  house.connect("x").receive("eve\n");
  assert_heard(house, "x", "Enter username: * not you\nEnter username: ");
  house.enter("alice");
  house.enter("bob");
  for (const char* line : {"fail", "bad", "no", "change", "fine"}) house.say("alice", line);
  assert_heard(house, "bob", "[alice] fail\n[alice] changed \n[alice] fine\n");
  assert_heard(house, "alice", "* Not sent: too bad\n* Not sent: refused\n");
  house.say("alice", "/join vault");
  assert_heard(house, "alice", "* Not joined: not you\n");
  house.say("alice", "/nick Eve");
  house.say("alice", "/nick eve");
  house.forget();
  for (const char* line : {"/add 3 4", "/two", "/roll", "/other"}) house.say("bob", line);
  assert_heard(house, "bob",
               "* 7\n* one\n* two\n* There is no command /roll; /help lists them.\n"
               "* There is no command /other; /help lists them.\n");
}

void a_reload_changes_the_hooks_of_who_is_there(void** state) {
  House& house = house_of(state);
  const auto says = [](const char* word) {
    return [word](std::span<const HookValue>, std::span<HookValue> results) {
      results[0] = HookValue::of(std::string_view(word));
      return Hook::Outcome::returned;
    };
  };
  house.hooks["on_message"] = says("old");
  house.make(0);
  house.enter("alice");
  house.enter("bob");
  house.hooks["on_message"] = says("new");
  const std::size_t fresh = house.make(0);
  house.say("alice", "x");
  assert_heard(house, "bob", "[alice] old\n");  // prepared, and may yet be refused
  house.services[0]->drain();
  house.say("alice", "x");
  assert_heard(house, "bob", "[alice] new\n");
  house.enter("carol", fresh);
  house.say("carol", "x");
  assert_heard(house, "bob", "[carol] new\n");
  house.say("bob", "x");
  assert_heard(house, "carol", "[bob] new\n");
  // One that was refused goes without having served.
  house.hooks["on_message"] = says("refused");
  const std::size_t refused = house.make(0);
  house.services[refused]->drain();
  house.services[refused].reset();
  house.say("bob", "x");
  assert_heard(house, "carol", "[bob] new\n");
  // The old one goes with its last session, and those of the new one do not notice.
  house.leave("alice");
  house.leave("bob");
  house.services[0].reset();
  house.enter("dan", fresh);
  house.say("dan", "x");
  assert_heard(house, "carol", "[dan] new\n");
}

int make_house(void** state) {
  *state = new House;
  return 0;
}
int end_house(void** state) {
  delete static_cast<House*>(*state);
  return 0;
}

}  // namespace

int main() {
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_house, end_house)
  const CMUnitTest tests[] = {
      TEST(a_name_is_asked_for_until_it_can_be_had),
      TEST(a_message_reaches_all_but_its_sender),
      TEST(who_comes_costs_no_write_and_hears_what_is_said_after_him),
      TEST(who_comes_after_more_than_a_turn_delivers_hears_none_of_it),
      TEST(json_and_text_meet_in_one_room),
      TEST(a_line_that_is_too_long_or_wrong_ends_nothing),
      TEST(rooms_have_their_own_talk),
      TEST(names_change_and_whispers_arrive),
      TEST(operators_keep_order),
      TEST(a_slow_reader_is_told_what_he_missed),
      TEST(a_slow_reader_may_have_to_go),
      TEST(what_waits_goes_out_in_portions),
      TEST(what_comes_in_the_midst_of_a_delivery_is_delivered),
      TEST(too_fast_is_told_once),
      TEST(hooks_decide),
      TEST(a_reload_changes_the_hooks_of_who_is_there),
  };
  return cmocka_run_group_tests_name("plugins.chat.chat_service", tests, nullptr, nullptr);
}
