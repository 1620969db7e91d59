#include "support/fake_stream.h"

#include <memory>
#include <string>
#include <string_view>

// Last: it defines macros with short names.
#include "support/cmocka.h"

namespace portolan {
extern const Descriptor plugin_binary;

namespace {

using namespace std::string_view_literals;
using testing::FakeContext;
using testing::FakeHook;
using testing::FakeOptions;
using testing::FakePeer;
using testing::FakeStream;

// The state of one test, owned by the fixture: a failing assert jumps over destructors.
struct Binary {
  FakeContext context{plugin_binary};
  FakeOptions options{plugin_binary};
  std::unique_ptr<Service> service;
  std::unique_ptr<FakeStream> session;
  FakePeer peer;

  Service& make() {
    service = testing::make_service(plugin_binary, context, options);
    return *service;
  }
  FakeStream& open() {
    session = std::make_unique<FakeStream>(make());
    return *session;
  }
  ~Binary() {
    session.reset();
    service.reset();
  }
};

int set_up(void** state) {
  *state = new Binary;
  return 0;
}
int tear_down(void** state) {
  delete static_cast<Binary*>(*state);
  return 0;
}
Binary& binary_of(void** state) { return *static_cast<Binary*>(*state); }

void assert_bytes(std::string_view actual, std::string_view expected) {
  assert_int_equal(actual.size(), expected.size());
  if (!expected.empty()) assert_memory_equal(actual.data(), expected.data(), expected.size());
}

// ---- Streams ----

void echoes_are_views_of_the_input(void** state) {
  FakeStream& session = binary_of(state).open();
  session.receive("\0\0\0\3\1abc\0\0\0\0\1\0\0\0\2\1de\0\0"sv);
  assert_bytes(session.output, "\0\0\0\3\1abc\0\0\0\0\1\0\0\0\2\1de"sv);
  assert_int_equal(session.copied, 0);
  assert_int_equal(session.admitted.size(), 3);
  assert_int_equal(session.admitted[0], 8);
  assert_int_equal(session.kept.size(), 2);
}

void reverse_keeps_the_order_of_frames(void** state) {
  FakeStream& session = binary_of(state).open();
  session.receive("\0\0\0\3\2abc\0\0\0\1\1x\0\0\0\2\2de"sv);
  assert_bytes(session.output, "\0\0\0\3\2cba\0\0\0\1\1x\0\0\0\2\2ed"sv);
}

void a_frame_may_come_byte_by_byte(void** state) {
  FakeStream& session = binary_of(state).open();
  constexpr auto kFrames = "\0\0\0\3\2abc\0\0\0\1\1x"sv;
  for (const char byte : kFrames) session.receive({&byte, 1});
  assert_bytes(session.output, "\0\0\0\3\2cba\0\0\0\1\1x"sv);
}

void quit_delivers_what_came_before(void** state) {
  Binary& binary = binary_of(state);
  FakeStream& session = binary.open();
  session.receive("\0\0\0\1\1a\0\0\0\0\3\0\0\0\1\1b"sv);
  assert_bytes(session.output, "\0\0\0\1\1a"sv);
  assert_true(session.closed);
  assert_false(session.refusal.has_value());
  assert_int_equal(binary.context.counted("quits"), 1);
}

void a_length_over_the_limit_ends_the_session_at_once(void** state) {
  Binary& binary = binary_of(state);
  binary.options.set("max_frame", "4");
  FakeStream& session = binary.open();
  assert_int_equal(binary.service->input_limit(), 5 + 4);
  session.receive("\0\0\0\4\1abcd\0\0\0\5"sv);
  assert_bytes(session.output, "\0\0\0\4\1abcd"sv);
  assert_true(session.refusal == Refusal::message_too_long);
}

void the_longest_frame_fits_the_input_limit(void** state) {
  Binary& binary = binary_of(state);
  FakeStream& session = binary.open();
  std::string frame("\0\1\0\0\1"sv);
  frame.append(65536, 'x');
  session.receive(std::string_view(frame).substr(0, frame.size() - 1));
  assert_false(session.closed);
  session.receive("x");
  assert_int_equal(session.output.size(), frame.size());
}

void frames_wait_when_they_are_not_admitted(void** state) {
  FakeStream& session = binary_of(state).open();
  session.admit_next = 1;
  session.receive("\0\0\0\1\1a\0\0\0\1\1b\0\0\0\1\1c"sv);
  assert_bytes(session.output, "\0\0\0\1\1a"sv);
  assert_int_equal(session.kept.size(), 12);
  session.resume_admitting();
  assert_bytes(session.output, "\0\0\0\1\1a\0\0\0\1\1b\0\0\0\1\1c"sv);
}

void an_unknown_type_is_refused(void** state) {
  Binary& binary = binary_of(state);
  FakeStream& session = binary.open();
  session.receive("\0\0\0\1\1a\0\0\0\1\4b\0\0\0\1\1c"sv);
  assert_bytes(session.output, "\0\0\0\1\1a"sv);
  assert_true(session.refusal == Refusal::bad_message);
  assert_int_equal(binary.context.counted("unknown_types"), 1);
}

void an_unknown_type_may_be_ignored(void** state) {
  Binary& binary = binary_of(state);
  binary.options.set("unknown_type", "ignore");
  FakeStream& session = binary.open();
  session.receive(
      "\0\0\0\1\1a\0\0\0\1\0b\0\0\0\1\xff"
      "b\0\0\0\1\1c"sv);
  assert_bytes(session.output, "\0\0\0\1\1a\0\0\0\1\1c"sv);
  assert_false(session.closed);
  assert_int_equal(binary.context.counted("unknown_types"), 2);
}

void an_end_between_frames_is_in_order(void** state) {
  Binary& binary = binary_of(state);
  FakeStream& session = binary.open();
  session.receive("\0\0\0\1\1a"sv);
  session.end();
  assert_int_equal(binary.context.counted("truncated_frames"), 0);
  assert_false(session.goes_on_writing);
}

void an_end_within_a_frame_is_counted(void** state) {
  Binary& binary = binary_of(state);
  FakeStream& session = binary.open();
  session.receive("\0\0\0\1\1a\0"sv);
  session.end();
  assert_bytes(session.output, "\0\0\0\1\1a"sv);
  assert_int_equal(binary.context.counted("truncated_frames"), 1);
}

void frames_that_waited_are_answered_at_the_end(void** state) {
  Binary& binary = binary_of(state);
  FakeStream& session = binary.open();
  session.admit_next = 0;
  session.receive("\0\0\0\1\1a\0\0\0\1\1b"sv);
  session.admit_next = 1;
  session.end();
  assert_bytes(session.output, "\0\0\0\1\1a"sv);
  assert_int_equal(binary.context.counted("truncated_frames"), 0);  // the second was whole
}

void plain_frames_are_sent_back(void** state) {
  Binary& binary = binary_of(state);
  binary.options.set("mode", "plain").set("max_frame", "4");
  FakeStream& session = binary.open();
  assert_int_equal(binary.service->input_limit(), 4 + 4);
  session.receive("\0\0\0\2ab\0\0\0\0\0\0\0\1\3\0\0"sv);
  assert_bytes(session.output, "\0\0\0\2ab\0\0\0\0\0\0\0\1\3"sv);
  assert_int_equal(session.copied, 0);
  session.receive("\0\5"sv);
  assert_true(session.refusal == Refusal::message_too_long);
}

// ---- The hook ----

// Answers by type: 10 payload, 11 payload and another type, 12 nil, 13 nil and a reason, 14 fails, and 15 to 19 what
// no frame can carry.
Hook::Outcome answer_by_type(std::span<const HookValue> arguments, std::span<HookValue> results) {
  const bool right = arguments.size() == 3 && arguments[0].kind == HookValue::Kind::integer &&
                     arguments[1].kind == HookValue::Kind::text && arguments[2].kind == HookValue::Kind::session;
  results[0] = HookValue::of(right ? "yes"sv : "no"sv);
  switch (arguments[0].integer) {
    case 11: results[1] = HookValue::of(std::int64_t{255}); break;
    case 12: results[0] = {}; break;
    case 13:
      results[0] = {};
      results[1] = HookValue::of("not today"sv);
      break;
    case 14: return Hook::Outcome::failed;
    case 15: results[1] = HookValue::of(std::int64_t{256}); break;
    case 16: results[1] = HookValue::of(std::int64_t{-1}); break;
    case 17: results[1] = HookValue::of("1"sv); break;
    case 18: results[0] = HookValue::of(std::int64_t{1}); break;
    case 19: {
      static const std::string large(65537, 'x');
      results[0] = HookValue::of(large);
      break;
    }
    case 20: results[0] = HookValue::of(""sv); break;
    default: break;
  }
  return Hook::Outcome::returned;
}

void the_hook_answers_types_of_its_own(void** state) {
  Binary& binary = binary_of(state);
  FakeHook& hook = binary.context.set_hook("on_frame", answer_by_type);
  FakeStream& session = binary.open();
  session.receive(
      "\0\0\0\1\1a\0\0\0\1\x0a"
      "b\0\0\0\1\x0b"
      "b\0\0\0\1\x14"
      "b\0\0\0\1\2c"sv);
  assert_bytes(session.output, "\0\0\0\1\1a\0\0\0\3\x0ayes\0\0\0\3\xffyes\0\0\0\0\x14\0\0\0\1\2c"sv);
  assert_int_equal(hook.calls, 3);
}

void the_hook_may_say_nothing(void** state) {
  Binary& binary = binary_of(state);
  binary.context.set_hook("on_frame", answer_by_type);
  FakeStream& session = binary.open();
  session.receive(
      "\0\0\0\1\x0c"
      "b\0\0\0\1\x0d"
      "b\0\0\0\1\1a"sv);
  assert_bytes(session.output, "\0\0\0\1\1a"sv);
  assert_int_equal(binary.context.counted("rejected"), 2);
  assert_int_equal(binary.context.counted("unknown_types"), 0);
  assert_int_equal(binary.context.log_lines.size(), 1);
  assert_non_null(std::strstr(binary.context.log_lines.at(0).second.c_str(), "not today"));
}

void a_failing_hook_leaves_the_default(void** state) {
  Binary& binary = binary_of(state);
  binary.context.set_hook("on_frame", answer_by_type);
  FakeStream& session = binary.open();
  session.receive(
      "\0\0\0\1\x0e"
      "b\0\0\0\1\1a"sv);
  assert_bytes(session.output, ""sv);
  assert_true(session.refusal == Refusal::bad_message);
  assert_int_equal(binary.context.counted("unknown_types"), 1);
}

void what_no_frame_can_carry_is_no_answer(void** state) {
  Binary& binary = binary_of(state);
  binary.context.set_hook("on_frame", answer_by_type);
  binary.options.set("unknown_type", "ignore");
  FakeStream& session = binary.open();
  for (char type = 15; type <= 19; ++type) {
    const char frame[] = {0, 0, 0, 0, type};
    session.receive({frame, 5});
  }
  assert_bytes(session.output, ""sv);
  assert_int_equal(binary.context.counted("bad_answers"), 5);
  assert_int_equal(binary.context.counted("unknown_types"), 5);
  assert_int_equal(binary.context.log_lines.size(), 5);
}

// ---- Datagrams ----

void a_datagram_is_one_frame(void** state) {
  Binary& binary = binary_of(state);
  binary.context.set_hook("on_frame", answer_by_type);
  Service& service = binary.make();
  binary.peer.send(service, "\0\0\0\1\1a"sv);
  assert_true(binary.peer.replied_with_view);
  binary.peer.send(service, "\0\0\0\2\2ab"sv);
  binary.peer.send(service, "\0\0\0\0\x0b"sv);
  binary.peer.send(service, "\0\0\0\0\x0c"sv);  // nil: no answer
  binary.peer.send(service, "\0\0\0\0\3"sv);    // quit: nothing to end
  assert_int_equal(binary.peer.replies.size(), 3);
  assert_bytes(binary.peer.replies[0], "\0\0\0\1\1a"sv);
  assert_bytes(binary.peer.replies[1], "\0\0\0\2\2ba"sv);
  assert_bytes(binary.peer.replies[2], "\0\0\0\3\xffyes"sv);
  assert_false(binary.peer.refusal.has_value());
}

void any_other_datagram_is_refused(void** state) {
  Binary& binary = binary_of(state);
  Service& service = binary.make();
  for (const auto data : {""sv, "\0\0\0\1\1"sv, "\0\0\0\1\1ab"sv,
                          "\0\0\0\1\x09"
                          "a"sv}) {
    binary.peer.refusal.reset();
    binary.peer.send(service, data);
    assert_true(binary.peer.refusal == Refusal::bad_message);
  }
  assert_int_equal(binary.context.counted("unknown_types"), 1);
  binary.peer.send(service, "\0\1\0\1\1"sv);
  assert_true(binary.peer.refusal == Refusal::message_too_long);
  assert_int_equal(binary.peer.replies.size(), 0);
}

void an_answer_that_fits_no_datagram_is_not_sent(void** state) {
  Binary& binary = binary_of(state);
  binary.options.set("max_frame", "1MiB");
  binary.context.set_hook("on_frame", answer_by_type);
  Service& service = binary.make();
  binary.peer.send(service, "\0\0\0\0\x13"sv);
  assert_int_equal(binary.peer.replies.size(), 0);
  assert_int_equal(binary.context.counted("bad_answers"), 1);
  std::string large("\0\0\xff\xf2\2"sv);  // 65522 bytes of payload: IPv6 can bring it
  large.append(65522, 'x');
  binary.peer.send(service, large);
  assert_int_equal(binary.peer.replies.size(), 0);
  assert_true(binary.peer.refusal == Refusal::message_too_long);
}

void a_plain_datagram_is_sent_back(void** state) {
  Binary& binary = binary_of(state);
  binary.options.set("mode", "plain");
  binary.peer.send(binary.make(), "\0\0\0\2ab"sv);
  assert_bytes(binary.peer.replies.at(0), "\0\0\0\2ab"sv);
  assert_true(binary.peer.replied_with_view);
}

}  // namespace
}  // namespace portolan

int main() {
  using namespace portolan;
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
  const CMUnitTest tests[] = {
      TEST(echoes_are_views_of_the_input),
      TEST(reverse_keeps_the_order_of_frames),
      TEST(a_frame_may_come_byte_by_byte),
      TEST(quit_delivers_what_came_before),
      TEST(a_length_over_the_limit_ends_the_session_at_once),
      TEST(the_longest_frame_fits_the_input_limit),
      TEST(frames_wait_when_they_are_not_admitted),
      TEST(an_unknown_type_is_refused),
      TEST(an_unknown_type_may_be_ignored),
      TEST(an_end_between_frames_is_in_order),
      TEST(an_end_within_a_frame_is_counted),
      TEST(frames_that_waited_are_answered_at_the_end),
      TEST(plain_frames_are_sent_back),
      TEST(the_hook_answers_types_of_its_own),
      TEST(the_hook_may_say_nothing),
      TEST(a_failing_hook_leaves_the_default),
      TEST(what_no_frame_can_carry_is_no_answer),
      TEST(a_datagram_is_one_frame),
      TEST(any_other_datagram_is_refused),
      TEST(an_answer_that_fits_no_datagram_is_not_sent),
      TEST(a_plain_datagram_is_sent_back),
  };
  return cmocka_run_group_tests(tests, nullptr, nullptr);
}
