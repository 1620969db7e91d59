// A pool of connections of an instance without a plugin, against a listener of the test's own.
#include "net/connection_pool.h"

#include "plugin/instance.h"
#include "support/contract_stubs.h"

#include "support/cmocka.h"
#include "support/waiting.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <functional>
#include <list>
#include <string>
#include <vector>

using namespace portolan;
using namespace std::chrono_literals;

namespace {

struct Nothing final : Service {};
constexpr Descriptor kNothing{
    .name = "nothing",
    .summary = "uses a pool",
    .transports = kStreams,
    .make = [](Context&, const Options&, Problems&) noexcept -> Service* { return new Nothing; }};

// Whoever wants a connection. By itself it keeps it, and consumes all.
struct User final : DialHandler, StreamHandler {
  Stream* stream = nullptr;
  DialHandle handle;
  bool was_used = false;
  int failed = 0, closed = 0;
  NetError why = NetError::none;
  std::string message, heard;
  std::function<StreamHandler*()> dialed = [this] { return this; };
  std::function<std::size_t(std::string_view)> data = [](std::string_view text) { return text.size(); };

  StreamHandler* on_dial(Stream& to) noexcept override {
    handle.forget();
    stream = &to;
    was_used = to.bytes_out() != 0;
    return dialed();
  }
  void on_dial_failed(NetError error, std::string_view text) noexcept override {
    handle.forget();
    ++failed;
    why = error;
    message = text;
  }
  std::size_t on_data(Stream&, std::span<const std::byte> bytes) noexcept override {
    const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    heard += text;
    return data(text);
  }
  void on_close(Stream&, NetError error) noexcept override {
    ++closed;
    why = error;
    stream = nullptr;
  }
};

struct Bench {
  std::list<User> users;  // outlive the instance
  Loop loop;
  WorkerIo io{loop, 0};
  ServiceConfiguration configuration;
  std::shared_ptr<ServiceShared> shared = std::make_shared<ServiceShared>();
  std::unique_ptr<Instance> instance;
  int listener = -1;
  std::vector<int> peers;  // accepted, in order
  std::string address;
  Pool* pool = nullptr;

  void begin(const PoolOptions& options) {
    configuration.name = "nothing";
    configuration.plugin = &kNothing;
    configuration.options = std::make_shared<portolan::testing::NoOptions>();
    shared->stats = std::make_shared<ServiceStats>("nothing", kNothing, 1);
    instance = std::move(*Instance::make(io, {.configuration = configuration, .shared = shared, .tls = nullptr}));
    listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    sockaddr_in name{.sin_family = AF_INET, .sin_port = 0, .sin_addr = {htonl(INADDR_LOOPBACK)}, .sin_zero = {}};
    socklen_t length = sizeof name;
    assert_int_equal(bind(listener, reinterpret_cast<sockaddr*>(&name), length), 0);
    assert_int_equal(listen(listener, 64), 0);
    assert_int_equal(getsockname(listener, reinterpret_cast<sockaddr*>(&name), &length), 0);
    address = "127.0.0.1:" + std::to_string(ntohs(name.sin_port));
    pool = make_pool("tcp://" + address, options);
  }
  Pool* make_pool(const std::string& where, const PoolOptions& options) {
    struct Ignored final : Problems {
      void add(std::string_view, std::string_view) noexcept override {}
    } ignored;
    const Target* target = instance->target({.address = where, .tls = {.verify = false}}, "target", ignored);
    assert_non_null(target);
    Pool* made = instance->pool(*target, options);
    assert_ptr_equal(instance->pool(*target, {}), made);
    return made;
  }
  void accept_all() {
    for (int one; (one = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0;) peers.push_back(one);
  }
  void until(const std::function<bool()>& condition) {
    const Duration deadline = Loop::now() + portolan::testing::kPatience;
    while (!condition()) {
      assert_true(Loop::now() < deadline);
      loop.turn(false);
      if (listener >= 0) accept_all();
    }
  }
  void turns(int count) {
    while (count-- > 0) loop.turn(false);
  }
  User& ask(Pool& from, Duration timeout = 120s) {
    users.emplace_back();
    io.tick();
    users.back().handle = from.acquire(timeout, users.back());
    return users.back();
  }
  User& ask() { return ask(*pool); }
  User& get() {
    User& user = ask();
    until([&] { return user.stream && peers.size() == now().created; });
    return user;
  }
  // A request that the peer has got, so that the connection counts as used.
  void exchange(User& user, std::size_t peer = 0) {
    user.stream->write("ping");
    io.settle();
    char got[4];
    until([&] { return recv(peers[peer], got, sizeof got, 0) == sizeof got; });
  }
  void give_back(User& user) {
    io.tick();
    pool->give_back(*std::exchange(user.stream, nullptr));
  }
  void close_peer(std::size_t which) { ::close(std::exchange(peers[which], -1)); }
  PoolStatistics now() const { return pool->statistics(); }
  ~Bench() {
    for (User& user : users) user.handle.cancel();
    instance.reset();
    for (const int one : peers)
      if (one >= 0) ::close(one);
    if (listener >= 0) ::close(listener);
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

void a_connection_that_was_given_back_is_used_again(void** state) {
  Bench& b = bench(state);
  b.begin({});
  User& first = b.get();
  assert_false(first.was_used);
  b.exchange(first);
  assert_int_equal(b.now().active, 1);
  // From inside of the answer's callback, and all is consumed.
  first.data = [&](std::string_view text) {
    b.pool->give_back(*first.stream);
    return text.size();
  };
  assert_int_equal(send(b.peers[0], "pong", 4, 0), 4);
  b.until([&] { return b.now().idle == 1; });
  assert_string_equal(first.heard.c_str(), "pong");
  User& second = b.get();
  assert_true(second.was_used);
  b.exchange(second);
  assert_int_equal(b.peers.size(), 1);
  // What comes now is the second's alone, the end as well.
  assert_int_equal(send(b.peers[0], "two", 3, 0), 3);
  b.until([&] { return second.heard == "two"; });
  b.close_peer(0);
  b.until([&] { return second.closed == 1; });
  assert_int_equal(first.closed, 0);
  const PoolStatistics end = b.now();
  assert_int_equal(end.created, 1);
  assert_int_equal(end.reused, 1);
  assert_int_equal(end.handed_out, 2);
  assert_int_equal(end.active + end.idle + end.dialing + end.waiters, 0);
  assert_true(end.wait_max > 0s && end.wait_total >= end.wait_max);
}

void who_waits_is_served_in_order(void** state) {
  Bench& b = bench(state);
  b.begin({.max_connections = 1, .max_waiters = 3});
  User& has = b.get();
  User& one = b.ask();
  User& two = b.ask();
  User& three = b.ask();
  assert_false(static_cast<bool>(b.ask().handle));  // the queue is full
  two.handle.cancel();
  b.turns(5);
  assert_int_equal(b.now().waiters, 2);
  assert_true(!one.stream && !three.stream);
  b.give_back(has);
  b.until([&] { return one.stream != nullptr; });
  b.turns(5);
  assert_null(three.stream);
  // One that ends makes room for another.
  one.stream->reset();
  assert_int_equal(one.closed, 1);
  b.until([&] { return three.stream != nullptr; });
  assert_null(two.stream);
  assert_int_equal(b.now().created, 2);
  // In vain.
  User& late = b.ask(*b.pool, 10ms);
  b.until([&] { return late.failed == 1; });
  assert_true(late.why == NetError::timed_out);
  assert_string_equal(late.message.c_str(), "no connection of the pool became free in time");
  assert_int_equal(b.now().waited_in_vain, 1);
}

void a_failed_attempt_is_told_to_whom_it_was_for(void** state) {
  Bench& b = bench(state);
  b.begin({.max_connections = 2});
  b.give_back(b.get());
  // Nobody listens: each is told that of his own attempt, once.
  ::close(std::exchange(b.listener, -1));
  b.close_peer(0);
  b.until([&] { return b.now().idle == 0; });
  User& four = b.ask();
  User& five = b.ask();
  User& six = b.ask();
  b.until([&] { return four.failed && five.failed && six.failed; });
  assert_true(four.why == NetError::refused && six.why == NetError::refused);
  b.turns(5);
  assert_int_equal(four.failed + five.failed + six.failed, 3);
  assert_int_equal(b.now().failed, 3);
}

void an_idle_connection_that_ends_or_speaks_is_dropped_at_once(void** state) {
  Bench& b = bench(state);
  b.begin({});
  b.give_back(b.get());
  b.close_peer(0);
  b.until([&] { return b.now().stale == 1; });
  assert_int_equal(b.now().idle, 0);
  b.give_back(b.get());
  assert_int_equal(send(b.peers[1], "?", 1, 0), 1);
  b.until([&] { return b.now().stale == 2; });
  // Seen when it is taken, before its event could come.
  b.give_back(b.get());
  b.turns(3);
  b.close_peer(2);
  User& next = b.get();
  assert_int_equal(b.peers.size(), 4);
  assert_int_equal(b.now().stale, 3);
  assert_int_equal(b.now().reused, 0);
  // A part of the answer was left: the next answer would begin with it.
  next.data = [&](std::string_view text) {
    b.pool->give_back(*next.stream);
    return text.size() - 1;
  };
  assert_int_equal(send(b.peers[3], "pong", 4, 0), 4);
  b.until([&] { return b.now().stale == 4; });
  assert_int_equal(next.closed, 0);
}

void what_is_too_many_or_too_old_is_closed(void** state) {
  Bench& b = bench(state);
  b.begin({.max_idle = 1, .idle_timeout = 0s});
  User& one = b.get();
  User& two = b.get();
  b.give_back(one);
  b.give_back(two);
  b.until([&] { return b.now().expired == 1; });
  assert_int_equal(b.now().idle, 1);
  char byte;
  b.until([&] { return recv(b.peers[0], &byte, 1, 0) == 0; });
  for (const PoolOptions& options : {PoolOptions{.idle_timeout = 20ms}, {.idle_timeout = 0s, .max_lifetime = 20ms}}) {
    b.pool = b.make_pool("tcp://" + b.address, options);
    const std::size_t peer = b.peers.size();
    User& user = b.ask();
    b.until([&] { return user.stream && b.peers.size() > peer; });
    b.give_back(user);
    b.until([&] { return b.now().expired == 1; });
    b.until([&] { return recv(b.peers[peer], &byte, 1, 0) == 0; });
  }
}

void a_new_user_may_refuse_what_he_gets(void** state) {
  Bench& b = bench(state);
  b.begin({});
  b.give_back(b.get());
  User& null = b.ask();
  null.dialed = [] { return nullptr; };
  b.until([&] { return null.stream && b.now().idle + b.now().active == 0; });
  b.give_back(b.get());
  User& resets = b.ask();
  resets.dialed = [&resets] {
    resets.stream->reset();
    return &resets;
  };
  b.until([&] { return resets.closed == 1; });
  User& back = b.ask();
  back.dialed = [&] {
    b.pool->give_back(*back.stream);
    return nullptr;
  };
  b.until([&] { return b.now().idle == 1; });
  assert_int_equal(b.now().active, 0);
}

void a_service_that_drains_keeps_no_idle_connection(void** state) {
  Bench& b = bench(state);
  b.begin({});
  User& busy = b.get();
  b.give_back(b.get());
  b.turns(3);
  assert_int_equal(b.now().idle, 1);
  bool idle = false;
  b.instance->retire();
  b.instance->when_idle([&] { idle = true; });
  b.until([&] { return b.now().idle == 0; });
  b.close_peer(1);
  User& late = b.get();  // who is still at something may go on
  b.give_back(busy);
  b.give_back(late);
  b.until([&] { return b.now().active + b.now().idle == 0; });
  b.close_peer(0);
  b.close_peer(2);
  b.until([&] { return idle; });
}

void an_instance_may_end_with_connections_in_every_state(void** state) {
  Bench& b = bench(state);
  b.begin({.max_connections = 3, .max_idle = 1});
  b.get();
  User& idle = b.get();
  User& leaving = b.get();
  b.give_back(leaving);
  b.give_back(idle);
  b.until([&] { return b.now().idle == 1; });
  b.get();  // takes the idle one
  b.give_back(b.get());
  b.ask();
  // A handshake that nobody answers.
  Pool* silent = b.make_pool("tls://" + b.address, {.max_connections = 2});
  for (int count = 0; count < 4; ++count) b.ask(*silent);
  b.until([&] { return b.peers.size() >= 5; });
  assert_int_equal(silent->statistics().dialing, 2);
  assert_int_equal(silent->statistics().waiters, 4);
  // An attempt outlives whom it was for, while others wait for one.
  std::next(b.users.rbegin(), 3)->handle.cancel();
  assert_int_equal(silent->statistics().dialing, 2);
  for (User& user : b.users)
    if (&user != &b.users.back()) user.handle.cancel();
  assert_int_equal(silent->statistics().waiters, 1);
  assert_int_equal(silent->statistics().dialing, 1);
}

}  // namespace

int main() {
  const CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(a_connection_that_was_given_back_is_used_again, set_up, tear_down),
      cmocka_unit_test_setup_teardown(who_waits_is_served_in_order, set_up, tear_down),
      cmocka_unit_test_setup_teardown(a_failed_attempt_is_told_to_whom_it_was_for, set_up, tear_down),
      cmocka_unit_test_setup_teardown(an_idle_connection_that_ends_or_speaks_is_dropped_at_once, set_up, tear_down),
      cmocka_unit_test_setup_teardown(what_is_too_many_or_too_old_is_closed, set_up, tear_down),
      cmocka_unit_test_setup_teardown(a_new_user_may_refuse_what_he_gets, set_up, tear_down),
      cmocka_unit_test_setup_teardown(a_service_that_drains_keeps_no_idle_connection, set_up, tear_down),
      cmocka_unit_test_setup_teardown(an_instance_may_end_with_connections_in_every_state, set_up, tear_down),
  };
  return cmocka_run_group_tests(tests, nullptr, nullptr);
}
