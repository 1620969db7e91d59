// A stream over a socketpair, with a plugin made for each test.
#include "net/stream_connection.h"

#include "net/address.h"
#include "plugin/instance.h"
#include "support/contract_stubs.h"

#include "support/cmocka.h"
#include "support/waiting.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <functional>
#include <string>

using namespace portolan;
using namespace std::chrono_literals;

namespace {

struct Probe;

struct ProbeHandler final : StreamHandler {
  Probe& probe;
  explicit ProbeHandler(Probe& owner) : probe(owner) {}
  std::size_t on_data(Stream& stream, std::span<const std::byte> data) noexcept override;
  bool on_end(Stream& stream, std::span<const std::byte> rest) noexcept override;
  void on_sent(Stream& stream) noexcept override;
  void on_close(Stream& stream, NetError why) noexcept override;
};

// What the plugin does is set by the test.
struct Probe {
  std::function<std::size_t(Stream&, std::string_view)> data = [](Stream& stream, std::string_view text) {
    if (!stream.admit(text.size())) return std::size_t{0};
    stream.write(text);
    return text.size();
  };
  std::function<void(Stream&)> sent = [](Stream&) {};
  std::size_t input_limit = 1024;
  int opened = 0, ended = 0, closed = 0;
  std::string rest;
  NetError why = NetError::none;
  Stream* latest = nullptr;
};
Probe* g_probe = nullptr;

std::size_t ProbeHandler::on_data(Stream& stream, std::span<const std::byte> data) noexcept {
  return probe.data(stream, {reinterpret_cast<const char*>(data.data()), data.size()});
}
bool ProbeHandler::on_end(Stream& stream, std::span<const std::byte> rest) noexcept {
  ++probe.ended;
  probe.rest.assign(reinterpret_cast<const char*>(rest.data()), rest.size());
  stream.write(std::string_view("bye"));
  return false;
}
void ProbeHandler::on_sent(Stream& stream) noexcept { probe.sent(stream); }
void ProbeHandler::on_close(Stream&, NetError why) noexcept {
  ++probe.closed;
  probe.why = why;
  delete this;
}

struct ProbeService final : Service {
  StreamHandler* open(Stream& stream) noexcept override {
    ++g_probe->opened;
    g_probe->latest = &stream;
    return new ProbeHandler(*g_probe);
  }
  std::size_t input_limit() const noexcept override { return g_probe->input_limit; }
};

constexpr Descriptor kProbe{
    .name = "probe",
    .summary = "does as the test says",
    .transports = kStreams,
    .make = [](Context&, const Options&, Problems&) noexcept -> Service* { return new ProbeService; }};

// Everything a stream needs, and the other end of its connection.
struct Bench {
  Probe probe;
  Loop loop;
  WorkerIo io{loop, 0};
  ServiceConfiguration configuration;
  std::shared_ptr<ServiceShared> shared = std::make_shared<ServiceShared>();
  std::unique_ptr<Instance> instance;
  int peer = -1;

  void begin() {
    g_probe = &probe;
    configuration.name = "probe";
    configuration.plugin = &kProbe;
    configuration.options = std::make_shared<portolan::testing::NoOptions>();
    shared->stats = std::make_shared<ServiceStats>("probe", kProbe, 1);
    instance = std::move(*Instance::make(io, {.configuration = configuration, .shared = shared, .tls = nullptr}));
    connect();
  }
  void connect() {
    int ends[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
    peer = ends[1];
    const auto admission = instance->admit_session(Address());
    assert_true(admission.admitted);
    StreamConnection::accept(*instance, ends[0], Address(), Transport::unix_stream, admission.client);
    io.settle();
  }
  void say(std::string_view text) {
    assert_int_equal(send(peer, text.data(), text.size(), MSG_NOSIGNAL), static_cast<ssize_t>(text.size()));
  }
  // What the peer receives until `done`; stops with "<end>" at the end of the stream.
  std::string hear(const std::function<bool(const std::string&)>& done) {
    std::string heard;
    const Duration deadline = Loop::now() + portolan::testing::kPatience;
    while (!done(heard)) {
      assert_true(Loop::now() < deadline);
      loop.turn(false);
      char buffer[65536];
      const ssize_t count = recv(peer, buffer, sizeof buffer, 0);
      if (count > 0) heard.append(buffer, static_cast<std::size_t>(count));
      if (count == 0) return heard + "<end>";
      if (count < 0 && errno == ECONNRESET) return heard + "<reset>";
    }
    return heard;
  }
  std::string hear_all() {
    return hear([](const std::string&) { return false; });
  }
  std::string hear_bytes(std::size_t count) {
    return hear([count](const std::string& heard) { return heard.size() >= count; });
  }
  void turns(int count) {
    for (int i = 0; i < count; ++i) loop.turn(false);
  }
  std::uint64_t refused(Refusal reason) { return shared->stats->snapshot().refusals[static_cast<std::size_t>(reason)]; }
  ~Bench() {
    instance.reset();
    if (peer >= 0) close(peer);
  }
};

Bench& bench(void** state) { return *static_cast<Bench*>(*state); }
int set_up(void** state) {
  *state = new Bench;
  return 0;
}
int tear_down(void** state) {
  delete static_cast<Bench*>(*state);
  return 0;
}

void an_answer_goes_out_at_once(void** state) {
  Bench& b = bench(state);
  b.begin();
  b.say("hello");
  assert_string_equal(b.hear_bytes(5).c_str(), "hello");
  const StatsSnapshot stats = b.shared->stats->snapshot();
  assert_int_equal(stats.core[static_cast<std::size_t>(CoreCounter::messages)], 1);
  assert_int_equal(stats.core[static_cast<std::size_t>(CoreCounter::bytes_out)], 5);
  assert_int_equal(stats.latency.count(), 1);
}

void what_is_not_consumed_comes_back_in_front(void** state) {
  Bench& b = bench(state);
  b.probe.data = [](Stream& stream, std::string_view text) -> std::size_t {
    const auto end = text.find(';');
    if (end == text.npos || !stream.admit(end)) return 0;
    stream.write(text.substr(0, end + 1));
    return end + 1;
  };
  b.begin();
  b.say("on");
  b.turns(3);
  b.say("e;tw");
  assert_string_equal(b.hear_bytes(4).c_str(), "one;");
  b.say("o;");
  assert_string_equal(b.hear_bytes(4).c_str(), "two;");
}

void a_message_that_never_ends_is_refused(void** state) {
  Bench& b = bench(state);
  b.probe.data = [](Stream&, std::string_view) { return std::size_t{0}; };
  b.begin();
  b.say(std::string(2000, 'x'));
  assert_string_equal(b.hear_all().c_str(), "<end>");
  assert_int_equal(b.refused(Refusal::message_too_long), 1);
}

void the_last_answer_is_not_lost_to_a_reset(void** state) {
  Bench& b = bench(state);
  b.probe.data = [](Stream& stream, std::string_view text) {
    stream.write(std::string_view("too long"));
    stream.refuse(Refusal::message_too_long);
    stream.write(std::string_view("never sent"));
    return text.size();
  };
  b.begin();
  b.say("a");
  b.turns(3);
  b.say("goes on sending");  // unread input at close would make the kernel reset the connection
  assert_string_equal(b.hear_all().c_str(), "too long<end>");
  assert_int_equal(b.probe.closed, 0);  // lingers until the peer has closed too
  shutdown(b.peer, SHUT_WR);
  b.turns(3);
  assert_int_equal(b.probe.closed, 1);
  assert_int_equal(b.instance->sessions(), 0);
  assert_int_equal(b.shared->open.load(), 0);
}

void the_rest_is_handed_over_at_the_end(void** state) {
  Bench& b = bench(state);
  b.probe.data = [](Stream&, std::string_view) { return std::size_t{0}; };
  b.begin();
  b.say("tail");
  shutdown(b.peer, SHUT_WR);
  assert_string_equal(b.hear_all().c_str(), "bye<end>");
  assert_string_equal(b.probe.rest.c_str(), "tail");
  b.turns(2);
  assert_int_equal(b.probe.closed, 1);
  assert_int_equal(static_cast<int>(b.probe.why), static_cast<int>(NetError::none));
}

void a_peer_that_does_not_read_is_not_read(void** state) {
  Bench& b = bench(state);
  b.configuration.limits.output_limit = 64 * 1024;
  b.begin();
  // Echoed until both directions are full; what the stream holds stays near the limit.
  const std::string chunk(16 * 1024, 'x');
  std::size_t sent = 0;
  for (int idle = 0; idle < 50;) {
    const ssize_t count = send(b.peer, chunk.data(), chunk.size(), MSG_NOSIGNAL);
    if (count > 0) {
      sent += static_cast<std::size_t>(count);
      idle = 0;
    } else {
      ++idle;
    }
    b.loop.turn(false);
    assert_true(b.probe.latest->unsent() < 64 * 1024 + WorkerIo::kReadSize);
  }
  assert_true(sent > 100'000);
  shutdown(b.peer, SHUT_WR);
  const std::string heard = b.hear_all();
  assert_int_equal(heard.size(), sent + std::strlen("bye<end>"));  // and nothing of it was lost
}

void held_input_is_answered_before_the_end(void** state) {
  Bench& b = bench(state);
  b.configuration.limits.output_limit = 1000;
  // Answers a hundred bytes for each byte, so that the output limit stops it many times.
  b.probe.data = [](Stream& stream, std::string_view text) {
    std::size_t done = 0;
    for (; done < text.size() && stream.admit(1); ++done) {
      std::byte* room = stream.reserve(100);
      std::memset(room, text[done], 100);
      stream.commit(100);
    }
    return done;
  };
  b.begin();
  b.say(std::string(20'000, 'z'));
  shutdown(b.peer, SHUT_WR);
  assert_int_equal(b.hear_all().size(), 2'000'000 + std::strlen("bye<end>"));
}

void a_rate_slows_a_stream_and_loses_nothing(void** state) {
  Bench& b = bench(state);
  b.configuration.limits.message_rate = 50;
  b.probe.data = [](Stream& stream, std::string_view text) {
    std::size_t done = 0;
    for (; done < text.size() && stream.admit(1); ++done) stream.write(text.substr(done, 1));
    return done;
  };
  b.begin();
  const Duration start = Loop::now();
  b.say(std::string(60, 'r'));
  b.hear_bytes(60);
  assert_true(Loop::now() - start > 150ms);  // 50 at once, 10 more at 50/s
}

void another_stream_may_be_written_to(void** state) {
  Bench& b = bench(state);
  b.begin();
  Stream* first = b.probe.latest;
  int first_peer = b.peer;
  b.connect();
  b.probe.data = [first](Stream& stream, std::string_view text) {
    first->write(std::string_view("for the other"));
    stream.write(text);
    return text.size();
  };
  b.say("mine");
  assert_string_equal(b.hear_bytes(4).c_str(), "mine");
  std::swap(b.peer, first_peer);
  assert_string_equal(b.hear_bytes(13).c_str(), "for the other");
  close(first_peer);
}

void the_first_message_has_its_time(void** state) {
  Bench& b = bench(state);
  b.configuration.limits.first_message_timeout = 40ms;
  b.configuration.limits.idle_timeout = 0s;
  b.probe.data = [](Stream&, std::string_view) { return std::size_t{0}; };
  b.begin();
  b.say("x");
  assert_string_equal(b.hear_all().c_str(), "<end>");
  assert_int_equal(b.refused(Refusal::first_message_timeout), 1);
}

void an_idle_session_ends(void** state) {
  Bench& b = bench(state);
  b.configuration.limits.first_message_timeout = 0s;
  b.configuration.limits.idle_timeout = 60ms;
  b.begin();
  const Duration start = Loop::now();
  b.say("x");
  assert_string_equal(b.hear_all().c_str(), "x<end>");
  assert_true(Loop::now() - start >= 55ms);
  assert_int_equal(b.refused(Refusal::idle_timeout), 1);
}

void a_drain_waits_for_what_is_unfinished(void** state) {
  Bench& b = bench(state);
  b.probe.data = [](Stream& stream, std::string_view text) -> std::size_t {
    if (text.back() != ';') return 0;
    stream.admit(text.size());
    stream.write(text);
    return text.size();
  };
  b.begin();
  b.say("half");
  b.turns(3);
  b.instance->drain(5ms);
  const Duration until = Loop::now() + 60ms;
  while (Loop::now() < until) b.loop.turn(false);
  assert_int_equal(b.instance->sessions(), 1);
  b.say(" whole;");
  assert_string_equal(b.hear_all().c_str(), "half whole;<end>");
  assert_false(b.instance->admit_session(Address()).admitted);
}

void everything_is_given_back_when_the_instance_goes(void** state) {
  Bench& b = bench(state);
  b.begin();
  b.say("x");
  b.turns(2);
  b.instance.reset();
  assert_int_equal(b.probe.closed, 1);
  assert_int_equal(b.shared->open.load(), 0);
  assert_int_equal(b.shared->clients.size(), 0);
}

void nobody_is_told_of_an_instance_that_is_gone(void** state) {
  Bench& b = bench(state);
  b.begin();
  bool told = false;
  b.instance->when_idle([&told] { told = true; });
  b.instance.reset();
  b.turns(3);
  assert_int_equal(b.probe.closed, 1);
  assert_false(told);
}

void a_refused_session_counts_nowhere(void** state) {
  Bench& b = bench(state);
  b.configuration.limits.max_sessions = 2;
  b.configuration.limits.max_sessions_per_client = 1;
  b.configuration.limits.accept_rate = 2;
  b.begin();
  const Address same;
  const Address other = *Address::parse("192.0.2.1:1");
  for (int i = 0; i < 5; ++i) assert_false(b.instance->admit_session(same).admitted);
  assert_int_equal(b.refused(Refusal::max_sessions_per_client), 5);
  assert_int_equal(b.shared->open.load(), 1);
  // What the first client asked for in vain took nothing from the second.
  const auto second = b.instance->admit_session(other);
  assert_true(second.admitted);
  assert_false(b.instance->admit_session(*Address::parse("192.0.2.2:1")).admitted);
  assert_int_equal(b.refused(Refusal::max_sessions), 1);
  b.instance->session_ended(second.client);
  assert_false(b.instance->admit_session(other).admitted);
  assert_int_equal(b.refused(Refusal::accept_rate), 1);
  assert_int_equal(b.shared->open.load(), 1);
}

void what_others_write_is_bounded(void** state) {
  Bench& b = bench(state);
  b.configuration.limits.output_limit = 64 * 1024;
  b.begin();
  const std::string chunk(16 * 1024, 'x');
  for (int i = 0; i < 500; ++i) {
    b.probe.latest->write(chunk);
    b.io.settle();
    if (b.probe.latest->unsent() > 128 * 1024) break;
  }
  assert_true(b.probe.latest->unsent() <= 128 * 1024);
  assert_int_equal(b.refused(Refusal::output_limit), 1);
}

void asking_outside_of_a_delivery_holds_nothing(void** state) {
  Bench& b = bench(state);
  b.configuration.limits.message_rate = 2;
  b.probe.sent = [](Stream& stream) {
    while (stream.admit(1)) {
    }
  };
  b.begin();
  b.probe.latest->write(std::string_view("unasked"));  // makes on_sent follow
  b.io.settle();
  b.probe.data = [](Stream& stream, std::string_view text) {
    stream.write(text);
    return text.size();
  };
  assert_string_equal(b.hear_bytes(7).c_str(), "unasked");
  b.say("x");
  assert_string_equal(b.hear_bytes(1).c_str(), "x");
}

void a_closing_stream_has_time_while_its_peer_takes_its_answer(void** state) {
  Bench& b = bench(state);
  b.configuration.limits.first_message_timeout = 0s;
  b.begin();
  const std::string answer(4 << 20, 'a');
  b.probe.data = [&](Stream& stream, std::string_view text) {
    stream.write(answer);
    stream.close();
    return text.size();
  };
  // The peer takes more than twice the timeout for all of it, and next to nothing of it between two reads. When the
  // machine stood still between two, nothing can be said of it: again, with more time for everything.
  for (Duration timeout = 100ms;; timeout *= 4) {
    assert_true(timeout < 30s);
    b.instance->active.set_timeout(timeout);
    b.instance->lingering.set_timeout(timeout / 2);
    close(b.peer);
    b.connect();
    b.say("q");
    std::size_t heard = 0;
    Duration last = Loop::now();
    Duration longest{};
    for (;;) {
      char buffer[65536];
      const ssize_t count = recv(b.peer, buffer, sizeof buffer, 0);
      if (count == 0 || (count < 0 && errno != EAGAIN)) break;
      if (count > 0) heard += static_cast<std::size_t>(count);
      const Duration until = Loop::now() + timeout / 25;
      while (Loop::now() < until) b.loop.turn(false);
      longest = std::max(longest, Loop::now() - last);
      last = Loop::now();
    }
    if (heard == answer.size()) return;
    print_message("%zu of %zu bytes came; the machine stood still\n", heard, answer.size());
    assert_true(longest > timeout / 5);
  }
}

}  // namespace

#define STREAM_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main() {
  const CMUnitTest tests[] = {
      STREAM_TEST(an_answer_goes_out_at_once),
      STREAM_TEST(what_is_not_consumed_comes_back_in_front),
      STREAM_TEST(a_message_that_never_ends_is_refused),
      STREAM_TEST(the_last_answer_is_not_lost_to_a_reset),
      STREAM_TEST(the_rest_is_handed_over_at_the_end),
      STREAM_TEST(a_peer_that_does_not_read_is_not_read),
      STREAM_TEST(held_input_is_answered_before_the_end),
      STREAM_TEST(a_rate_slows_a_stream_and_loses_nothing),
      STREAM_TEST(another_stream_may_be_written_to),
      STREAM_TEST(the_first_message_has_its_time),
      STREAM_TEST(an_idle_session_ends),
      STREAM_TEST(a_drain_waits_for_what_is_unfinished),
      STREAM_TEST(what_others_write_is_bounded),
      STREAM_TEST(asking_outside_of_a_delivery_holds_nothing),
      STREAM_TEST(a_closing_stream_has_time_while_its_peer_takes_its_answer),
      STREAM_TEST(everything_is_given_back_when_the_instance_goes),
      STREAM_TEST(nobody_is_told_of_an_instance_that_is_gone),
      STREAM_TEST(a_refused_session_counts_nowhere),
  };
  return cmocka_run_group_tests(tests, nullptr, nullptr);
}
