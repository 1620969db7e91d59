// Streams of rudp used as sockets: how they are accepted, refused, ended and cut, and what becomes of their connections.
#include "net/rudp_dialer.h"
#include "net/rudp_host.h"

#include <memory>
#include <string>
#include <vector>

#include "support/cmocka.h"

using namespace portolan;
using namespace std::chrono_literals;

namespace {

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

// One end of a stream, which reads all that comes.
struct End {
  explicit End(std::unique_ptr<RudpStream> its_stream) : stream(std::move(its_stream)) {
    stream->bind(
        [](int, short events, void* self) noexcept {
          auto& end = *static_cast<End*>(self);
          end.seen = static_cast<short>(end.seen | events);
          std::byte buffer[5000];
          while (const std::size_t count = end.stream->receive(buffer))
            end.got.append(reinterpret_cast<const char*>(buffer), count);
          // What is not to be called again says so.
          end.stream->want(end.stream->ended() || end.stream->failure() != NetError::none ? 0 : IoEvent::kRead);
        },
        this);
    stream->want(IoEvent::kRead | IoEvent::kWrite);
  }
  std::unique_ptr<RudpStream> stream;
  std::string got;
  short seen = 0;
};

// The listening side.
class Listener final : public RudpHost {
 public:
  explicit Listener(Loop& loop, const char* host = "127.0.0.1:0") : RudpHost(loop) {
    socket_ = RudpSocket::open(loop, Address::parse(host).value(), {.accepts = true}, *this).value();
  }
  rudp::ConnectionHandler* on_connection(rudp::Connection& connection) noexcept override {
    ++connections;
    RudpLink* link = add_link({}, {});
    link->attach(connection);
    return link;
  }
  void accept(RudpLink& link, rudp::StreamId id) noexcept override {
    if (refuses) return link.refuse(id, RudpStream::kRefused);
    ends.push_back(std::make_unique<End>(link.accept(id)));
  }
  std::size_t links() const { return links_.size(); }
  std::vector<std::unique_ptr<End>> ends;
  int connections = 0;
  bool refuses = false;
};

struct Fixture {
  Loop loop;
  Listener listener{loop};
  RudpDialer dialer{loop};

  std::unique_ptr<End> dial(const rudp::ConnectionOptions& options = {}) {
    return std::make_unique<End>(dialer.dial(listener.local(), {}, options).value());
  }
  template <typename Condition>
  bool wait(Condition condition, Duration patience = 30s) {
    const Duration end = Loop::now() + patience;
    LoopTimer tick(loop, [] {});
    tick.start(5ms, true);
    while (!condition() && Loop::now() < end) loop.turn(true);
    return condition();
  }
};

int set_up(void** state) {
  *state = new Fixture;
  return 0;
}
int tear_down(void** state) {
  delete static_cast<Fixture*>(*state);
  return 0;
}
Fixture& fixture_of(void** state) { return *static_cast<Fixture*>(*state); }

void streams_of_one_target_share_a_connection(void** state) {
  Fixture& f = fixture_of(state);
  std::vector<std::unique_ptr<End>> ends;
  for (int i = 0; i < 5; ++i) ends.push_back(f.dial());
  assert_true(f.wait([&] { return f.listener.ends.size() == 5; }));
  for (const auto& end : ends) assert_true(f.wait([&] { return end->stream->state() == RudpStream::State::open; }));
  assert_int_equal(f.listener.connections, 1);
  // Others have one of their own.
  rudp::ConnectionOptions options;
  options.max_rate = 1e6;
  const auto other = f.dial(options);
  assert_true(f.wait([&] { return other->stream->state() == RudpStream::State::open; }));
  assert_int_equal(f.listener.connections, 2);
}

void bytes_and_ends_pass_both_ways(void** state) {
  Fixture& f = fixture_of(state);
  const auto near = f.dial();
  assert_true(f.wait([&] { return near->stream->state() == RudpStream::State::open; }));
  End& far = *f.listener.ends.at(0);
  assert_int_equal(near->stream->send(bytes_of("question")), 8);
  near->stream->finish();
  assert_true(f.wait([&] { return far.stream->ended(); }));
  assert_string_equal(far.got.c_str(), "question");
  assert_false(near->stream->ended());
  // What was written is delivered although the object has gone.
  const std::string answer(300'000, 'a');
  std::size_t sent = 0;
  while (sent < answer.size()) {
    const auto taken = far.stream->send(bytes_of(answer).subspan(sent));
    assert_true(taken >= 0);
    sent += static_cast<std::size_t>(taken);
    f.loop.turn(false);
  }
  f.listener.ends.clear();
  assert_true(f.wait([&] { return near->stream->ended(); }));
  assert_true(near->got == answer);
  assert_true(near->stream->failure() == NetError::none);
  assert_true(f.wait([&] { return f.listener.quiet(); }));
}

void a_cut_is_seen_as_a_reset(void** state) {
  Fixture& f = fixture_of(state);
  for (const bool near_cuts : {true, false}) {
    auto near = f.dial();
    assert_true(f.wait([&] { return near->stream->state() == RudpStream::State::open; }));
    std::unique_ptr<End> far = std::move(f.listener.ends.back());
    f.listener.ends.clear();
    auto& cutting = near_cuts ? near : far;
    auto& other = near_cuts ? far : near;
    cutting->stream->send(bytes_of("last words"));
    cutting->stream->cut();
    cutting.reset();
    assert_true(f.wait([&] { return other->stream->failure() != NetError::none; }));
    assert_true(other->stream->failure() == NetError::reset);
    assert_int_equal(other->stream->send(bytes_of("x")), -1);
  }
}

void who_is_not_accepted_is_told_why(void** state) {
  Fixture& f = fixture_of(state);
  f.listener.refuses = true;
  const auto refused = f.dial();
  assert_true(f.wait([&] { return refused->stream->failure() != NetError::none; }));
  assert_true(refused->stream->failure() == NetError::refused);
  assert_string_equal(std::string(refused->stream->message()).c_str(), "the peer takes no more sessions now");
  // With a key, where the other side has none.
  rudp::ConnectionOptions options;
  options.key = rudp::Key::random();
  const auto strange = f.dial(options);
  assert_true(f.wait([&] { return strange->stream->failure() != NetError::none; }));
  assert_true(strange->stream->failure() == NetError::protocol);
  assert_true(strange->stream->message().find("key") != std::string_view::npos);
}

// Who opens a stream and says something else than hello.
class Stranger final : public rudp::EndpointHandler, public rudp::ConnectionHandler {
 public:
  void on_reset(rudp::Connection&, rudp::StreamId, std::uint64_t its_code) noexcept override { code = its_code; }
  std::uint64_t code = 0;
};

void what_does_not_begin_with_hello_is_refused(void** state) {
  Fixture& f = fixture_of(state);
  Stranger stranger;
  const auto socket = RudpSocket::open(f.loop, Address::parse("0.0.0.0:0").value(), {}, stranger).value();
  rudp::Connection* connection = socket->connect(f.listener.local(), {}, stranger);
  const auto id = connection->open_stream().value();
  connection->write(id, bytes_of("GET / HTTP/1.1"));
  assert_true(f.wait([&] { return stranger.code != 0; }));
  assert_int_equal(stranger.code, RudpStream::kProtocol);
  assert_true(f.listener.ends.empty());
}

void after_a_peer_that_vanished_a_dial_begins_anew(void** state) {
  Fixture& f = fixture_of(state);
  rudp::ConnectionOptions options;
  options.idle_timeout = 1h;
  auto listener = std::make_unique<Listener>(f.loop);
  const Address address = listener->local();
  const auto dial = [&] { return std::make_unique<End>(f.dialer.dial(address, {}, options).value()); };
  auto first = dial();
  assert_true(f.wait([&] { return first->stream->state() == RudpStream::State::open; }));
  listener.reset();  // without a word
  first.reset();
  auto lost = dial();
  assert_false(f.wait([&] { return lost->stream->state() != RudpStream::State::waiting; }, 300ms));
  lost.reset();  // its time is over
  listener = std::make_unique<Listener>(f.loop, address.to_string().c_str());
  const auto next = dial();
  assert_true(f.wait([&] { return next->stream->state() == RudpStream::State::open; }));
  listener->ends.clear();
}

void an_end_in_order_closes_all_connections(void** state) {
  Fixture& f = fixture_of(state);
  auto near = f.dial();
  assert_true(f.wait([&] { return near->stream->state() == RudpStream::State::open; }));
  End& far = *f.listener.ends.at(0);
  far.stream->send(bytes_of("the last of it"));
  bool quiet = false;
  bool done = false;
  f.listener.when_quiet([&] { quiet = true; });
  f.loop.turn(false);
  assert_false(quiet);
  f.listener.ends.clear();
  assert_true(f.wait([&] { return quiet; }));
  assert_string_equal(near->got.c_str(), "the last of it");
  f.listener.shut_down([&] { done = true; });
  assert_true(f.wait([&] { return done; }));
  assert_int_equal(f.listener.links(), 0);
  // A dial to where nobody takes connections any more, or streams on this one, does not hang on the old one.
  const auto next = f.dial();
  assert_true(f.wait([&] { return next->stream->state() != RudpStream::State::waiting; }));
}

}  // namespace

int main() {
#define STREAM_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
  const CMUnitTest tests[] = {
      STREAM_TEST(streams_of_one_target_share_a_connection),
      STREAM_TEST(bytes_and_ends_pass_both_ways),
      STREAM_TEST(a_cut_is_seen_as_a_reset),
      STREAM_TEST(who_is_not_accepted_is_told_why),
      STREAM_TEST(what_does_not_begin_with_hello_is_refused),
      STREAM_TEST(after_a_peer_that_vanished_a_dial_begins_anew),
      STREAM_TEST(an_end_in_order_closes_all_connections),
  };
#undef STREAM_TEST
  return cmocka_run_group_tests_name("core.net.rudp_stream", tests, nullptr, nullptr);
}
