#include "support/fake_stream.h"

#include <memory>
#include <string>

// Last: it defines macros with short names.
#include "support/cmocka.h"

namespace portolan {
extern const Descriptor plugin_echo;

namespace {

using testing::FakeContext;
using testing::FakeHook;
using testing::FakeOptions;
using testing::FakePeer;
using testing::FakeStream;

// The state of one test, owned by the fixture: a failing assert jumps over destructors.
struct Echo {
  FakeContext context{plugin_echo};
  FakeOptions options{plugin_echo};
  std::unique_ptr<Service> service;
  std::unique_ptr<FakeStream> session;
  FakePeer peer;

  FakeStream& open() {
    service = testing::make_service(plugin_echo, context, options);
    session = std::make_unique<FakeStream>(*service);
    return *session;
  }
  Service& make() {
    service = testing::make_service(plugin_echo, context, options);
    return *service;
  }
  ~Echo() {
    session.reset();
    service.reset();
  }
};

int set_up(void** state) {
  *state = new Echo;
  return 0;
}
int tear_down(void** state) {
  delete static_cast<Echo*>(*state);
  return 0;
}
Echo& echo_of(void** state) { return *static_cast<Echo*>(*state); }
Echo& lines_of(void** state) {
  Echo& echo = echo_of(state);
  echo.options.set("mode", "lines");
  return echo;
}

void assert_output(const FakeStream& session, std::string_view expected) {
  assert_string_equal(session.output.c_str(), std::string(expected).c_str());
  assert_int_equal(session.output.size(), expected.size());
}

// ---- Raw bytes ----

void raw_sends_back_views(void** state) {
  FakeStream& session = echo_of(state).open();
  session.receive("hello\nquit\nwor");
  assert_output(session, "hello\nquit\nwor");
  assert_int_equal(session.copied, 0);
  assert_int_equal(session.admitted.size(), 1);
  assert_int_equal(session.admitted[0], 14);
  session.end();
  assert_false(session.goes_on_writing);
}

void raw_waits_when_it_is_not_admitted(void** state) {
  FakeStream& session = echo_of(state).open();
  session.admit_next = 0;
  session.receive("abc");
  assert_output(session, "");
  assert_int_equal(session.kept.size(), 3);
  session.receive("def");
  session.resume_admitting();
  assert_output(session, "abcdef");
}

void raw_answers_what_is_left_at_the_end(void** state) {
  FakeStream& session = echo_of(state).open();
  session.admit_next = 0;
  session.receive("abc");
  session.admit_next = 1;
  session.end();
  assert_output(session, "abc");
}

void raw_sends_a_datagram_back(void** state) {
  Echo& echo = echo_of(state);
  Service& service = echo.make();
  echo.peer.send(service, "ping\n");
  echo.peer.send(service, "");
  assert_int_equal(echo.peer.replies.size(), 2);
  assert_string_equal(echo.peer.replies[0].c_str(), "ping\n");
  assert_int_equal(echo.peer.replies[1].size(), 0);
}

// ---- Lines ----

void lines_are_answered_as_views_in_order(void** state) {
  FakeStream& session = lines_of(state).open();
  session.receive("one\ntwo\r\nthr");
  assert_output(session, "one\ntwo\r\n");
  assert_int_equal(session.copied, 0);
  assert_int_equal(session.admitted.size(), 2);
  assert_int_equal(session.admitted[1], 5);
  session.receive("ee\n");
  assert_output(session, "one\ntwo\r\nthree\n");
}

void upper_and_prefix_transform(void** state) {
  Echo& echo = lines_of(state);
  echo.options.set("transform", "upper");
  FakeStream& upper = echo.open();
  upper.receive("caf\xc3\xa9 {a}\r\n");
  assert_output(upper, "CAF\xc3\xa9 {A}\r\n");

  echo.session.reset();
  echo.options.set("transform", "prefix");
  FakeStream& prefix = echo.open();
  prefix.receive("hi\n\r\n");
  assert_output(prefix, "Echo: hi\nEcho: \r\n");

  echo.session.reset();
  echo.options.set("prefix", "");
  FakeStream& empty = echo.open();
  empty.receive("hi\n");
  assert_output(empty, "hi\n");
}

void quit_ends_the_session(void** state) {
  Echo& echo = lines_of(state);
  echo.options.set("transform", "upper");
  FakeStream& session = echo.open();
  session.receive("hello\nquit\nmore\n");
  assert_output(session, "HELLO\n");
  assert_true(session.closed);
  assert_false(session.refusal.has_value());
  assert_int_equal(echo.context.counted("quits"), 1);
}

void quit_is_the_whole_line(void** state) {
  FakeStream& session = lines_of(state).open();
  session.receive("quits\n quit\nQUIT\nqui\n");
  assert_output(session, "quits\n quit\nQUIT\nqui\n");
  session.receive("quit\r\n");
  assert_true(session.closed);
}

void quit_can_be_switched_off(void** state) {
  Echo& echo = lines_of(state);
  echo.options.set("quit", "false");
  FakeStream& session = echo.open();
  session.receive("quit\n");
  assert_output(session, "quit\n");
  assert_false(session.closed);
  assert_int_equal(echo.context.counted("quits"), 0);
}

void quit_without_an_ending_is_not_answered(void** state) {
  Echo& echo = lines_of(state);
  FakeStream& session = echo.open();
  session.receive("a\nquit");
  session.end();
  assert_output(session, "a\n");
  assert_int_equal(echo.context.counted("quits"), 1);
}

void a_line_over_the_limit_ends_the_session(void** state) {
  Echo& echo = lines_of(state);
  echo.options.set("max_line", "4");
  FakeStream& session = echo.open();
  session.receive("four\r\nfives and more\nnext\n");
  assert_output(session, "four\r\nerror: line longer than 4 bytes\n");
  assert_true(session.closed);
  assert_true(session.refusal == Refusal::message_too_long);
}

void a_line_of_the_limit_is_answered_whatever_the_cut(void** state) {
  Echo& echo = lines_of(state);
  echo.options.set("max_line", "4");
  FakeStream& session = echo.open();
  for (const char* part : {"f", "o", "u", "r", "\r", "\n", "f", "iver"}) session.receive(part);
  assert_output(session, "four\r\nerror: line longer than 4 bytes\n");
  assert_true(session.refusal == Refusal::message_too_long);
}

void the_rest_is_a_line_at_the_end(void** state) {
  Echo& echo = lines_of(state);
  echo.options.set("transform", "upper");
  FakeStream& session = echo.open();
  session.receive("one\ntwo");
  session.end();
  assert_output(session, "ONE\nTWO");
  assert_false(session.goes_on_writing);
}

void a_bare_return_does_not_fit_at_the_end(void** state) {
  Echo& echo = lines_of(state);
  echo.options.set("max_line", "4");
  FakeStream& session = echo.open();
  session.receive("four\r");
  assert_false(session.closed);
  session.end();
  assert_output(session, "error: line longer than 4 bytes\n");
  assert_true(session.refusal == Refusal::message_too_long);
}

void lines_wait_when_they_are_not_admitted(void** state) {
  FakeStream& session = lines_of(state).open();
  session.admit_next = 1;
  session.receive("one\ntwo\nthree\n");
  assert_output(session, "one\n");
  assert_string_equal(session.kept.c_str(), "two\nthree\n");
  session.resume_admitting(1);
  assert_output(session, "one\ntwo\n");
  session.resume_admitting();
  assert_output(session, "one\ntwo\nthree\n");
}

void lines_that_waited_are_answered_at_the_end_one_by_one(void** state) {
  Echo& echo = lines_of(state);
  echo.options.set("max_line", "4");
  FakeStream& session = echo.open();
  session.admit_next = 0;
  session.receive("one\nquit\nrest");
  session.admit_next = 1;
  session.end();
  assert_output(session, "one\n");
  assert_false(session.refusal.has_value());  // what is left is not taken for one long line
}

void long_lines_come_in_pieces(void** state) {
  // Over 64 KiB a session remembers where to search on; the answers must not show it.
  Echo& echo = lines_of(state);
  echo.options.set("max_line", "1MiB").set("transform", "prefix").set("prefix", "> ");
  FakeStream& session = echo.open();
  for (const char* part : {"a\nb", "\n", "three", "\n\n\r\nd\ne", "\r", "\n"}) session.receive(part);
  assert_output(session, "> a\n> b\n> three\n> \n> \r\n> d\n> e\r\n");
  session.output.clear();
  const std::string line(300'000, 'x');
  for (std::size_t at = 0; at < line.size(); at += 1000) session.receive(std::string_view(line).substr(at, 1000));
  session.receive("\nrest");
  session.end();
  assert_int_equal(session.output.size(), 2 + line.size() + 1 + 2 + 4);
  assert_string_equal(session.output.c_str() + 2 + line.size(), "\n> rest");
}

void long_lines_wait_when_they_are_not_admitted(void** state) {
  Echo& echo = lines_of(state);
  echo.options.set("max_line", "1MiB");
  FakeStream& session = echo.open();
  session.admit_next = 0;
  session.receive("abc");
  session.receive("def\nx\n");
  session.resume_admitting(1);
  assert_output(session, "abcdef\n");
  session.resume_admitting();
  assert_output(session, "abcdef\nx\n");
}

void the_longest_line_fits_the_input_limit(void** state) {
  Echo& echo = lines_of(state);
  assert_int_equal(echo.make().input_limit(), 8192 + 2);
  FakeStream& session = echo.open();
  session.receive(std::string(8192, 'x') + "\r");
  assert_false(session.closed);
  session.receive("\n");
  assert_int_equal(session.output.size(), 8194);
}

// ---- The hook ----

Hook::Outcome shout(std::span<const HookValue> arguments, std::span<HookValue> results) {
  static std::string answer;
  answer = std::string(arguments[0].text) + "!";
  results[0] = HookValue::of(answer);
  return Hook::Outcome::returned;
}

void the_hook_makes_the_answer(void** state) {
  Echo& echo = lines_of(state);
  FakeHook& hook = echo.context.set_hook("on_line", shout);
  FakeStream& session = echo.open();
  session.receive("a\nb\r\nquit\nc\n");
  assert_output(session, "a!\nb!\r\n");
  assert_int_equal(hook.calls, 2);
}

void the_hook_sees_the_session(void** state) {
  Echo& echo = lines_of(state);
  echo.context.set_hook("on_line", [](auto arguments, auto results) {
    const bool right = arguments.size() == 2 && arguments[1].kind == HookValue::Kind::session &&
                       (arguments[1].stream != nullptr) != (arguments[1].peer != nullptr);
    results[0] = HookValue::of(right ? std::string_view("yes") : std::string_view("no"));
    return Hook::Outcome::returned;
  });
  FakeStream& session = echo.open();
  session.receive("a\n");
  assert_output(session, "yes\n");
  echo.peer.send(*echo.service, "a");
  assert_string_equal(echo.peer.replies.at(0).c_str(), "yes");
}

void the_hook_may_say_nothing_or_why(void** state) {
  Echo& echo = lines_of(state);
  echo.context.set_hook("on_line", [](auto arguments, auto results) {
    if (arguments[0].text == "why") results[1] = HookValue::of(std::string_view("no reason"));
    return Hook::Outcome::returned;
  });
  FakeStream& session = echo.open();
  session.receive("x\nwhy\r\n");
  assert_output(session, "error: no reason\r\n");
  assert_false(session.closed);
  assert_int_equal(echo.context.counted("rejected"), 2);
}

void a_number_is_an_answer(void** state) {
  Echo& echo = lines_of(state);
  echo.context.set_hook("on_line", [](auto arguments, auto results) {
    if (arguments[0].text == "i") {
      results[0] = HookValue::of(std::int64_t{-42});
    } else {
      results[0].kind = HookValue::Kind::number;
      results[0].number = 0.5;
    }
    return Hook::Outcome::returned;
  });
  FakeStream& session = echo.open();
  session.receive("i\nn\n");
  assert_output(session, "-42\n0.5\n");
}

void a_failing_hook_leaves_the_default(void** state) {
  Echo& echo = lines_of(state);
  echo.context.set_hook("on_line", [](auto arguments, auto results) {
    if (arguments[0].text == "fail") return Hook::Outcome::failed;
    results[0].kind = HookValue::Kind::boolean;
    return Hook::Outcome::returned;
  });
  FakeStream& session = echo.open();
  session.receive("fail\nbool\n");
  assert_output(session, "fail\nbool\n");
  assert_int_equal(echo.context.log_lines.size(), 1);  // core logs the failure, the plugin the wrong type
}

void an_answer_with_line_ends_is_sent_as_it_is(void** state) {
  Echo& echo = lines_of(state);
  echo.context.set_hook("on_line", [](auto, auto results) {
    results[0] = HookValue::of(std::string_view("1\n2"));
    return Hook::Outcome::returned;
  });
  FakeStream& session = echo.open();
  session.receive("x\n");
  assert_output(session, "1\n2\n");
}

// ---- Datagrams of lines ----

void a_datagram_is_one_line(void** state) {
  Echo& echo = lines_of(state);
  echo.options.set("transform", "upper");
  Service& service = echo.make();
  for (const char* datagram : {"ab\n", "ab\r\n", "ab", "a\nb\n", "quit\n", ""}) echo.peer.send(service, datagram);
  assert_int_equal(echo.peer.replies.size(), 6);
  const char* const expected[] = {"AB\n", "AB\r\n", "AB", "A\nB\n", "QUIT\n", ""};
  for (std::size_t i = 0; i < 6; ++i) assert_string_equal(echo.peer.replies[i].c_str(), expected[i]);
  assert_false(echo.peer.refusal.has_value());
}

void a_datagram_is_prefixed_or_a_view(void** state) {
  Echo& echo = lines_of(state);
  echo.peer.send(echo.make(), "ab\n");
  assert_true(echo.peer.replied_with_view);
  echo.options.set("transform", "prefix");
  echo.peer.send(echo.make(), "ab\r\n");
  assert_string_equal(echo.peer.replies.at(1).c_str(), "Echo: ab\r\n");
}

void a_datagram_over_the_limit_is_refused(void** state) {
  Echo& echo = lines_of(state);
  echo.options.set("max_line", "4");
  Service& service = echo.make();
  echo.peer.send(service, "four\n");
  assert_false(echo.peer.refusal.has_value());
  echo.peer.send(service, "fives");
  assert_string_equal(echo.peer.replies.at(1).c_str(), "error: line longer than 4 bytes\n");
  assert_true(echo.peer.refusal == Refusal::message_too_long);
}

void an_answer_that_fits_no_datagram_is_refused(void** state) {
  Echo& echo = lines_of(state);
  echo.options.set("max_line", "1MiB").set("transform", "prefix");
  Service& service = echo.make();
  echo.peer.send(service, std::string(65507 - 6, 'x'));
  assert_int_equal(echo.peer.replies.at(0).size(), 65507);
  echo.peer.send(service, std::string(65507 - 5, 'x'));
  assert_string_equal(echo.peer.replies.at(1).c_str(), "error: the answer is longer than a datagram\n");
  assert_true(echo.peer.refusal == Refusal::message_too_long);
  // IPv6 brings a little more than an answer over IPv4 may have.
  echo.options.set("transform", "upper");
  echo.peer.send(echo.make(), std::string(65527, 'x'));
  assert_string_equal(echo.peer.replies.at(2).c_str(), "error: the answer is longer than a datagram\n");
}

void a_datagram_goes_to_the_hook(void** state) {
  Echo& echo = lines_of(state);
  echo.context.set_hook("on_line", [](auto arguments, auto results) {
    if (arguments[0].text == "fail") return Hook::Outcome::failed;
    if (arguments[0].text == "mute") return Hook::Outcome::returned;
    if (arguments[0].text == "why") {
      results[1] = HookValue::of(std::string_view("because"));
      return Hook::Outcome::returned;
    }
    return shout(arguments, results);
  });
  Service& service = echo.make();
  for (const char* datagram : {"a\n", "fail\n", "mute\n", "why\r\n"}) echo.peer.send(service, datagram);
  assert_int_equal(echo.peer.replies.size(), 3);
  assert_string_equal(echo.peer.replies[0].c_str(), "a!\n");
  assert_string_equal(echo.peer.replies[1].c_str(), "fail\n");
  assert_string_equal(echo.peer.replies[2].c_str(), "error: because\r\n");
  assert_int_equal(echo.context.counted("rejected"), 2);
}

}  // namespace
}  // namespace portolan

int main() {
  using namespace portolan;
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
  const CMUnitTest tests[] = {
      TEST(raw_sends_back_views),
      TEST(raw_waits_when_it_is_not_admitted),
      TEST(raw_answers_what_is_left_at_the_end),
      TEST(raw_sends_a_datagram_back),
      TEST(lines_are_answered_as_views_in_order),
      TEST(upper_and_prefix_transform),
      TEST(quit_ends_the_session),
      TEST(quit_is_the_whole_line),
      TEST(quit_can_be_switched_off),
      TEST(quit_without_an_ending_is_not_answered),
      TEST(a_line_over_the_limit_ends_the_session),
      TEST(a_line_of_the_limit_is_answered_whatever_the_cut),
      TEST(the_rest_is_a_line_at_the_end),
      TEST(a_bare_return_does_not_fit_at_the_end),
      TEST(lines_wait_when_they_are_not_admitted),
      TEST(lines_that_waited_are_answered_at_the_end_one_by_one),
      TEST(long_lines_come_in_pieces),
      TEST(long_lines_wait_when_they_are_not_admitted),
      TEST(the_longest_line_fits_the_input_limit),
      TEST(the_hook_makes_the_answer),
      TEST(the_hook_sees_the_session),
      TEST(the_hook_may_say_nothing_or_why),
      TEST(a_number_is_an_answer),
      TEST(a_failing_hook_leaves_the_default),
      TEST(an_answer_with_line_ends_is_sent_as_it_is),
      TEST(a_datagram_is_one_line),
      TEST(a_datagram_is_prefixed_or_a_view),
      TEST(a_datagram_over_the_limit_is_refused),
      TEST(an_answer_that_fits_no_datagram_is_refused),
      TEST(a_datagram_goes_to_the_hook),
  };
  return cmocka_run_group_tests(tests, nullptr, nullptr);
}
