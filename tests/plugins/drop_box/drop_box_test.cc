// The drop box as a service: what its sessions do with a sender, a hook, an allow-list, and the history.
#include "core/transfer/pair.h"
#include "support/fake_stream.h"
#include "support/temporary_folder.h"
#include "support/waiting.h"

#include <atomic>
#include <cstring>
#include <deque>

#include "support/cmocka.h"

namespace portolan {
extern const Descriptor plugin_drop_box;

namespace {

using namespace testing;

// Timers that the test calls, and what was kept.
class BoxContext final : public StubContext {
 public:
  struct OneTimer final : Timer {
    explicit OneTimer(TimerHandler& owner) : handler(&owner) {}
    void start(Duration, bool) noexcept override { running = true; }
    void stop() noexcept override { running = false; }
    void strike() noexcept override { struck = true; }
    void release() noexcept override { handler = nullptr; }
    TimerHandler* handler;
    bool running = false;
    std::atomic<bool> struck = false;
  };
  TimerHandle timer(TimerHandler& handler) noexcept override { return TimerHandle(&timers.emplace_back(handler)); }
  Duration now() const noexcept override { return time; }
  void count(std::size_t counter, std::uint64_t by) noexcept override { counts[counter] += by; }
  void log(LogLevel, std::string_view message) noexcept override { said += message; }
  void event(std::string_view kind, std::string_view detail) noexcept override {
    said += std::string(kind) + ": " + std::string(detail);
  }
  Hook* hook(std::string_view) noexcept override { return on_file; }
  void keep_transfer(const KeptTransfer& transfer) noexcept override {
    kept.push_back(std::string(transfer.name) + " " + std::string(transfer.outcome) + " " +
                   std::to_string(transfer.new_bytes) + " " + std::string(transfer.detail));
  }
  void run_timers() {
    for (std::size_t i = 0; i < timers.size(); ++i) {
      OneTimer& one = timers[i];
      if (!one.handler || (!one.running && !one.struck)) continue;
      one.struck = false;
      one.handler->on_timer();
    }
  }
  std::uint64_t counted(std::string_view name) const {
    for (std::size_t i = 0; i < plugin_drop_box.counters.size(); ++i)
      if (plugin_drop_box.counters[i].name == name) return counts.at(i);
    fail_msg("no counter %s", std::string(name).c_str());
    return 0;
  }

  Duration time = std::chrono::seconds(1);
  std::deque<OneTimer> timers;
  std::map<std::size_t, std::uint64_t> counts = {{0, 0}, {1, 0}, {2, 0}, {3, 0}, {4, 0}, {5, 0}};
  std::string said;
  std::vector<std::string> kept;
  Hook* on_file = nullptr;
};

struct Fixture {
  TemporaryFolder from, to;
  BoxContext context;
  FakeOptions options{plugin_drop_box};
  std::unique_ptr<Service> service;
  Heard heard;
  SourceTree tree;

  Fixture() { options.set("folder", to.path()); }
  void serve() {
    service = make_service(plugin_drop_box, context, options);
    assert_non_null(service.get());
  }
  // Sends the files to the box until the sender has ended. The answer is why it failed.
  std::string send(const std::vector<std::string>& names) {
    std::vector<std::string> paths;
    for (const std::string& name : names) paths.push_back(from.file(name));
    tree = *walk(paths, {});
    FakeStream stream(*service);
    Sender sender(tree, {}, heard);
    std::vector<std::byte> out;
    std::size_t taken = 0;
    const Deadline deadline;
    while (!sender.finished() && sender.failure().empty()) {
      if (deadline.passed()) return "no end";
      context.time += std::chrono::milliseconds(1);
      out.clear();
      const bool worked = sender.produce(out, context.time);
      stream.receive({reinterpret_cast<const char*>(out.data()), out.size()});
      context.run_timers();
      const auto said = std::as_bytes(std::span(stream.output)).subspan(taken);
      taken += sender.receive(said, context.time);
      if (!worked) ::poll(nullptr, 0, 1);  // the finisher has its own thread
    }
    assert_true(stream.closed);
    return sender.failure();
  }
};

Fixture& fixture(void** state) { return *static_cast<Fixture*>(*state); }
int set_up(void** state) {
  *state = new Fixture;
  return 0;
}
int tear_down(void** state) {
  delete static_cast<Fixture*>(*state);
  return 0;
}

void files_arrive_and_are_remembered(void** state) {
  Fixture& f = fixture(state);
  f.serve();
  f.from.write("a", "one");
  f.from.write("b", std::string(300'000, 'b'));
  assert_string_equal(f.send({"a", "b"}).c_str(), "");
  assert_string_equal(read_whole_file(f.to.file("a")).c_str(), "one");
  assert_int_equal(f.context.counted("files"), 2);
  assert_int_equal(f.context.counted("file_bytes"), 300'003);
  assert_int_equal(f.context.counted("transfers"), 1);
  assert_int_equal(f.context.kept.size(), 2);
  assert_string_equal(f.context.kept[0].c_str(), "a received 3 ");
  assert_string_equal(f.send({"a"}).c_str(), "");
  assert_int_equal(f.context.counted("identical"), 1);
  f.from.write("a", "two");
  assert_string_equal(f.send({"a"}).c_str(), "");
  assert_int_equal(f.context.counted("files_refused"), 1);
  assert_string_equal(f.context.kept.back().c_str(), "a refused 0 there is another file of this name");
}

// What is longer than one turn of hashing goes on by the timer, and the stream waits.
void a_long_check_goes_in_pieces(void** state) {
  Fixture& f = fixture(state);
  f.serve();
  const std::string content(20'000'000, 'c');
  f.from.write("c", content);
  f.to.write("c", content);
  assert_string_equal(f.send({"c"}).c_str(), "");
  assert_int_equal(f.context.counted("identical"), 1);
  assert_int_equal(f.context.counted("file_bytes"), 0);
}

void the_hook_judges(void** state) {
  Fixture& f = fixture(state);
  int waits = 3;
  FakeHook hook([&](std::span<const HookValue> arguments, std::span<HookValue> results) {
    assert_int_equal(arguments[0].field_count, 5);
    const std::string_view name = arguments[0].fields[0].value.text;
    if (name == "slow" && waits-- > 0) return Hook::Outcome::waits;
    for (HookValue& result : results) result = {};
    if (name == "no") results[0] = {.kind = HookValue::Kind::boolean, .boolean = false};
    if (name == "reason") results[1] = HookValue::of(std::string_view("too late"));
    if (name == "other") results[0] = HookValue::of(std::string_view("sub/named"));
    if (name == "broken") return Hook::Outcome::failed;
    return Hook::Outcome::returned;
  });
  f.context.on_file = &hook;
  f.serve();
  for (const char* name : {"yes", "no", "reason", "other", "broken", "slow"}) f.from.write(name, name);
  // A fake hook that waits has no core behind it to resume the stream: more input does.
  assert_string_equal(f.send({"yes", "no", "reason", "other", "broken", "slow"}).c_str(), "");
  assert_int_equal(f.context.counted("files"), 4);
  assert_int_equal(f.context.counted("files_refused"), 2);
  assert_string_equal(f.heard.texts["no"].c_str(), "it is not wanted");
  assert_string_equal(f.heard.texts["reason"].c_str(), "too late");
  assert_string_equal(read_whole_file(f.to.file("sub/named")).c_str(), "other");
  assert_int_equal(waits, -1);
}

void limits_refuse_the_whole(void** state) {
  Fixture& f = fixture(state);
  f.options.set("max_transfer", "2B");
  f.serve();
  f.from.write("a", "one");
  assert_string_equal(f.send({"a"}).c_str(), "it has 3B, and one transfer may have 2B");
  assert_int_equal(f.context.counted("transfers_refused"), 1);
  assert_non_null(strstr(f.context.said.c_str(), "transfer_refused: 192.0.2.7:4711: it has 3B"));
}

void only_those_that_are_allowed_may_send(void** state) {
  Fixture& f = fixture(state);
  f.options.set("allow", "10.0.0.0/8");
  f.serve();
  class Peer final : public StubStream {
  } peer;
  assert_null(f.service->open(peer));
  assert_non_null(strstr(f.context.said.c_str(), "allow"));
  f.options.set("allow", "192.0.2.0/24");
  f.serve();
  StreamHandler* handler = f.service->open(peer);
  assert_non_null(handler);
  handler->on_close(peer, NetError::none);
}

void what_is_wrong_with_the_options_is_said(void**) {
  FakeOptions options(plugin_drop_box);
  options.set("folder", "/tmp").set("allow", "10.1.2.3/8");
  FakeProblems problems;
  plugin_drop_box.validate(options, problems);
  assert_true(problems.has("allow"));
  BoxContext context;
  FakeOptions absent(plugin_drop_box);
  absent.set("folder", "/nowhere/at/all");
  FakeProblems at_start;
  assert_null(plugin_drop_box.make(context, absent, at_start));
  assert_true(at_start.has("folder"));
}

}  // namespace
}  // namespace portolan

int main() {
  using namespace portolan;
  const CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(files_arrive_and_are_remembered, set_up, tear_down),
      cmocka_unit_test_setup_teardown(a_long_check_goes_in_pieces, set_up, tear_down),
      cmocka_unit_test_setup_teardown(the_hook_judges, set_up, tear_down),
      cmocka_unit_test_setup_teardown(limits_refuse_the_whole, set_up, tear_down),
      cmocka_unit_test_setup_teardown(only_those_that_are_allowed_may_send, set_up, tear_down),
      cmocka_unit_test(what_is_wrong_with_the_options_is_said),
  };
  return cmocka_run_group_tests(tests, nullptr, nullptr);
}
