// Reloads that change the backends while streams run: none breaks, removed backends drain.
#include "support/backend_process.h"
#include "support/crowd.h"
#include "support/relay.h"

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <sys/epoll.h>
#include <sys/socket.h>

#include "support/cmocka.h"  // last: it defines fail()

using namespace portolan::testing;

namespace {

// Streams through an echo, each with bytes of its own under way all the time; every byte that comes back is compared.
class Flow {
 public:
  Flow(const std::string& address, int streams) : streams_(static_cast<std::size_t>(streams)) {
    for (std::size_t index = 0; index < streams_.size(); ++index) {
      streams_[index].client = Client(address);
      if (!streams_[index].client.connected()) error_ = streams_[index].client.error();
    }
    thread_ = std::thread([this] { run(); });
  }
  ~Flow() { stop(); }
  void stop() {
    stopping_ = true;
    if (thread_.joinable()) thread_.join();
  }
  long rounds() const { return rounds_; }  // of all streams together
  bool broken() const { return broken_; }
  const std::string& error() const { return error_; }  // after stop

 private:
  static constexpr std::size_t kWindow = 2000;
  struct Stream {
    Client client;
    std::uint64_t offset = 0;
    std::string expected;
  };

  void ask(std::size_t index) {
    Stream& stream = streams_[index];
    stream.expected = noise(1 + (index + stream.offset) % kWindow, index << 32U | stream.offset);
    ++stream.offset;
    if (stream.client.send_what_fits(stream.expected) != stream.expected.size()) fail_with(index, "cannot send");
  }
  void fail_with(std::size_t index, const std::string& what) {
    error_ = fmt::format("stream {} after {} rounds: {} ({})", index, streams_[index].offset, what,
                         streams_[index].client.error());
    broken_ = true;
  }

  void run() {
    const int poll = ::epoll_create1(0);
    for (std::size_t index = 0; index < streams_.size(); ++index) {
      epoll_event event{.events = EPOLLIN, .data = {.u64 = index}};
      ::epoll_ctl(poll, EPOLL_CTL_ADD, streams_[index].client.descriptor(), &event);
      ask(index);
    }
    while (!stopping_ && !broken_) {
      epoll_event events[64];
      const int count = ::epoll_wait(poll, events, 64, 50);
      for (int at = 0; at < count && !broken_; ++at) {
        const std::size_t index = events[at].data.u64;
        Stream& stream = streams_[index];
        char block[kWindow];
        const ssize_t got =
            ::recv(stream.client.descriptor(), block, std::min(sizeof block, stream.expected.size()), 0);
        if (got < 0 && errno == EAGAIN) continue;
        if (got <= 0) {
          fail_with(index, got == 0 ? "ended" : std::strerror(errno));
        } else if (stream.expected.compare(0, static_cast<std::size_t>(got), block, static_cast<std::size_t>(got)) !=
                   0) {
          fail_with(index, "other bytes than were sent");
        } else if (stream.expected.erase(0, static_cast<std::size_t>(got)).empty()) {
          ++rounds_;
          ask(index);
        }
      }
      // A processor of its own is not needed to see a stream break.
      ::poll(nullptr, 0, 1);
    }
    ::close(poll);
  }

  std::vector<Stream> streams_;
  std::atomic<bool> stopping_ = false, broken_ = false;
  std::atomic<long> rounds_ = 0;
  std::string error_;
  std::thread thread_;
};

struct Fixture {
  Daemon daemon;
  std::vector<std::unique_ptr<BackendProcess>> backends;
  std::unique_ptr<Flow> flow;
};

int set_up(void** state) {
  *state = new Fixture;
  raise_descriptor_limit();
  return 0;
}

int tear_down(void** state) {
  auto* fixture = static_cast<Fixture*>(*state);
  fixture->flow.reset();
  const std::string wrong = fixture->daemon.end();
  if (!wrong.empty()) print_error("%s\n", wrong.c_str());
  delete fixture;
  return wrong.empty() ? 0 : -1;
}

void no_stream_breaks_in_1000_reloads(void** state) {
  Fixture& fixture = *static_cast<Fixture*>(*state);
  Daemon& daemon = fixture.daemon;
  for (int index = 0; index < 4; ++index)
    fixture.backends.push_back(std::make_unique<BackendProcess>(BackendOptions{.conduct = Conduct::echo}));
  // Two of the four, in turn, and other weights each time.
  const auto configuration = [&](int number) {
    const auto one = [&](int index) {
      return fmt::format("{{ address = '{}', weight = {} }}",
                         fixture.backends[static_cast<std::size_t>(index % 4)]->address(), 1 + number % 7);
    };
    return relay_configuration(
        {.backends = {one(number), one(number + 1)}, .core = "workers = 2, drain_timeout = '1h',"});
  };
  daemon.start(configuration(0));
  const int streams = scaled(500, 50);
  fixture.flow = std::make_unique<Flow>(daemon.address("relay"), streams);
  Flow& flow = *fixture.flow;
  assert_true(wait_until([&] { return flow.rounds() > streams || flow.broken(); }));
  // Quiet for longer than a session of an earlier generation that has nothing under way would be kept.
  Client quiet(daemon.address("relay"));
  assert_true(quiet.exchange("before", 6) == "before");

  // The last two backends are not the first two.
  const int reloads = scaled(1000, 100) / 4 * 4 + 2;
  const Clock::time_point start = Clock::now();
  for (int number = 1; number <= reloads && !flow.broken(); ++number) {
    daemon.configure(configuration(number));
    const HttpAnswer answer = http_post("unix://" + daemon.socket_path(), "/reload");
    if (answer.status != 200) print_error("reload: %d %s\n", answer.status, answer.body.c_str());
    assert_int_equal(answer.status, 200);
    // New sessions go to the new backends.
    if (number % 50 == 0) {
      Client fresh(daemon.address("relay"));
      const std::string tag = fmt::format("fresh {}", number);
      assert_true(fresh.exchange(tag, tag.size()) == tag);
    }
  }
  const long rounds = flow.rounds();
  assert_true(wait_until([&] { return flow.rounds() > rounds + streams || flow.broken(); }));
  flow.stop();
  print_message("%d reloads in %ld ms, %ld questions meanwhile\n", reloads,
                static_cast<long>(milliseconds_since(start)), flow.rounds());
  if (flow.broken()) print_error("%s\n", flow.error().c_str());
  assert_false(flow.broken());
  assert_true(quiet.exchange("after", 5) == "after");

  // Backends that are no longer configured have only what they had.
  int removed = 0;
  for (const Json& backend : daemon.query({"backends", "relay"})) removed += backend.at("state") == "removed";
  assert_int_equal(removed, 2);
  fixture.flow.reset();
  quiet.close();
  assert_true(wait_until([&] { return daemon.counter("relay", "sessions_open") == 0; }));
  for (const auto& backend : fixture.backends) assert_true(wait_until([&] { return backend->open() == 0; }));
  assert_true(wait_until([&] { return daemon.query({"backends", "relay"}).size() == 2; }));
}

}  // namespace

int main() {
  const CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(no_stream_breaks_in_1000_reloads, set_up, tear_down),
  };
  return cmocka_run_group_tests_name("process.relay_reload", tests, nullptr, nullptr);
}
