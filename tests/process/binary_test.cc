// The binary service: frames as a client puts them on the wire.
#include "support/daemon.h"

#include <fmt/format.h>

#include <string>
#include <string_view>

#include "support/cmocka.h"  // last: it defines fail()

using namespace portolan::testing;

namespace {

std::string service(const std::string& options, const std::string& listen = "'tcp://127.0.0.1:0'") {
  return fmt::format("return {{ services = {{ {{ plugin = 'binary', name = 'bin', listen = {}, {} }} }} }}\n", listen,
                     options);
}

std::string length_of(std::size_t size) {
  std::string bytes;
  for (int shift = 24; shift >= 0; shift -= 8) bytes += static_cast<char>(size >> static_cast<unsigned>(shift));
  return bytes;
}

std::string frame(int type, std::string_view payload) {
  return length_of(payload.size()) + static_cast<char>(type) + std::string(payload);
}

std::string plain(std::string_view payload) { return length_of(payload.size()) + std::string(payload); }

// Bytes of any value, so not by assert_string_equal.
void expect_bytes(const std::string& got, const std::string& expected) {
  if (got == expected) return;
  std::string hex;
  for (const char byte : got.substr(0, 64)) hex += fmt::format("{:02x} ", static_cast<unsigned char>(byte));
  print_error("got %zu bytes, expected %zu; they begin %s\n", got.size(), expected.size(), hex.c_str());
  fail();
}

void frames_in_one_write_are_answered_in_order(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(service("mode = 'typed'"));
  Client client(daemon.address("bin"));
  std::string sent;
  std::string expected;
  for (int number = 0; number < 1000; ++number) {
    const std::string text = fmt::format("number {}", number);
    sent += frame(number % 2 ? 1 : 2, text);
    expected += frame(number % 2 ? 1 : 2, number % 2 ? text : std::string(text.rbegin(), text.rend()));
  }
  expect_bytes(client.exchange(sent, expected.size()), expected);
  assert_true(daemon.wait_for_counter("bin", "messages", 1000));
}

void a_frame_may_come_byte_by_byte(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(service("mode = 'typed'"));
  Client client(daemon.address("bin"));
  const std::string sent = frame(2, "split") + frame(1, "") + frame(1, "!");
  for (const char byte : sent) {
    assert_true(client.send(std::string_view(&byte, 1)));
    let_pass(Milliseconds(2));  // so that each is a segment of its own
  }
  const std::string expected = frame(2, "tilps") + frame(1, "") + frame(1, "!");
  expect_bytes(client.receive(expected.size()), expected);
}

void quit_answers_what_came_before_and_closes(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(service("mode = 'typed'"));
  Client client(daemon.address("bin"));
  assert_true(client.send(frame(1, "last") + frame(3, "") + frame(1, "never")));
  const std::string answer = client.receive_all();
  assert_true(answer.starts_with(frame(1, "last")));
  assert_true(answer.find("never") == std::string::npos);
  assert_string_equal(to_text(client.end()), to_text(End::closed));
}

void an_unknown_type_is_refused(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(service("mode = 'typed', unknown_type = 'refuse'"));
  Client client(daemon.address("bin"));
  assert_true(client.send(frame(1, "known") + frame(77, "what")));
  expect_bytes(client.receive(frame(1, "known").size()), frame(1, "known"));
  client.receive_all();
  assert_string_equal(to_text(client.end()), to_text(End::closed));
  assert_true(daemon.wait_for_counter("bin", "unknown_types", 1));
  assert_true(daemon.wait_for_counter("bin", "refused_bad_message", 1));
}

void an_unknown_type_is_passed_over_by_option(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(service("mode = 'typed', unknown_type = 'ignore'"));
  Client client(daemon.address("bin"));
  assert_true(client.send(frame(77, "what") + frame(1, "known")));
  expect_bytes(client.receive(frame(1, "known").size()), frame(1, "known"));
  assert_true(daemon.wait_for_counter("bin", "unknown_types", 1));
  assert_int_equal(daemon.counter("bin", "refused"), 0);
}

void an_unknown_type_goes_to_the_hook(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(
      service("mode = 'typed', on_frame = function(type, payload) return 'type ' .. type .. ': ' .. payload end"));
  Client client(daemon.address("bin"));
  const std::string payload("a\0b", 3);
  assert_true(client.send(frame(9, payload)));
  const std::string expected = frame(9, "type 9: " + payload);
  expect_bytes(client.receive(expected.size()), expected);
  assert_true(daemon.wait_for_counter("bin", "hook_calls", 1));
}

// Frames behind the one that waits keep their place; each has counted once.
void a_hook_that_waits_keeps_the_order(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(
      service("mode = 'typed', unknown_type = 'ignore', on_frame = function(type, payload) if type == 9 then "
              "portolan.sleep('20ms') end "
              "if type == 10 then portolan.sleep('1ms') error('oops') end return payload .. '!' end"));
  Client client(daemon.address("bin"));
  assert_true(client.send(frame(9, "a") + frame(1, "b") + frame(9, "c") + frame(10, "d") + frame(11, "e")));
  const std::string expected = frame(9, "a!") + frame(1, "b") + frame(9, "c!") + frame(11, "e!");
  expect_bytes(client.receive(expected.size()), expected);
  assert_int_equal(daemon.counter("bin", "messages"), 5);
  assert_int_equal(daemon.counter("bin", "hook_calls"), 4);
  assert_int_equal(daemon.counter("bin", "unknown_types"), 1);
}

void a_length_over_the_limit_is_refused_by_its_header_alone(void** state) {
  Daemon& daemon = daemon_of(state);
  for (const char* mode : {"typed", "plain"}) {
    daemon.start(service(fmt::format("mode = '{}', max_frame = '4KiB', first_message_timeout = '120s'", mode)));
    const long before = daemon.facts().resident_kib;
    Client client(daemon.address("bin"));
    assert_true(client.send(length_of(0xfffffff0U)));
    client.receive_all();
    assert_string_equal(to_text(client.end()), to_text(End::closed));  // long before the timeout
    assert_true(daemon.wait_for_counter("bin", "refused_message_too_long", 1));
    // Far below the 4 GiB that were announced; a sanitizer's own pages come in meanwhile.
    assert_true(daemon.facts().resident_kib - before < 64 * 1024);

    const std::string longest(4096, 'z');
    const std::string sent = mode[0] == 't' ? frame(1, longest) : plain(longest);
    Client good(daemon.address("bin"));
    expect_bytes(good.exchange(sent, sent.size()), sent);
    client.close();
    good.close();
    assert_int_equal(daemon.stop(), 0);
  }
}

void plain_frames_come_back(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(service("mode = 'plain'"));
  Client client(daemon.address("bin"));
  const std::string sent = plain("one") + plain("") + plain(std::string(10'000, '\x01')) + plain("four");
  expect_bytes(client.exchange(sent, sent.size()), sent);
}

void a_half_close_answers_whole_frames(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(service("mode = 'typed'"));
  Client client(daemon.address("bin"));
  assert_true(client.send(frame(1, "whole") + frame(1, "cut off").substr(0, 8)));
  assert_true(client.finish_sending());
  expect_bytes(client.receive_all(), frame(1, "whole"));
  assert_string_equal(to_text(client.end()), to_text(End::closed));
}

void a_datagram_is_a_frame(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(service("mode = 'typed'", "'udp://127.0.0.1:0'"));
  Client client(daemon.address("bin", "udp"));
  assert_true(client.send(frame(2, "abc")));
  expect_bytes(client.receive_datagram(), frame(2, "cba"));
  // What is no frame gets no answer, and does no harm.
  assert_true(client.send("xx"));
  assert_true(client.send(length_of(100) + "short"));
  assert_true(client.send(frame(1, "after")));
  expect_bytes(client.receive_datagram(), frame(1, "after"));
  assert_true(daemon.wait_for_counter("bin", "refused", 2));
}

void it_speaks_over_unix_too(void** state) {
  Daemon& daemon = daemon_of(state);
  daemon.start(service("mode = 'typed'", "'unix://bin.sock'"));
  Client client(daemon.address("bin", "unix"));
  assert_true(client.send(frame(2, "xinu")));
  expect_bytes(client.receive(frame(2, "unix").size()), frame(2, "unix"));
}

}  // namespace

int main() {
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_daemon, end_daemon)
  const CMUnitTest tests[] = {
      TEST(frames_in_one_write_are_answered_in_order),
      TEST(a_hook_that_waits_keeps_the_order),
      TEST(a_frame_may_come_byte_by_byte),
      TEST(quit_answers_what_came_before_and_closes),
      TEST(an_unknown_type_is_refused),
      TEST(an_unknown_type_is_passed_over_by_option),
      TEST(an_unknown_type_goes_to_the_hook),
      TEST(a_length_over_the_limit_is_refused_by_its_header_alone),
      TEST(plain_frames_come_back),
      TEST(a_half_close_answers_whole_frames),
      TEST(a_datagram_is_a_frame),
      TEST(it_speaks_over_unix_too),
  };
  return cmocka_run_group_tests_name("process.binary", tests, nullptr, nullptr);
}
