// What a service hands to the store and asks of it: under its own name, answered on its own thread, and never once it has
// gone.
#include "plugin/instance.h"
#include "support/contract_stubs.h"
#include "support/waiting.h"

#include <thread>

#include "support/cmocka.h"  // last: it defines fail()

using namespace portolan;
using namespace portolan::testing;

namespace {

// Answers when the test says so, from a thread of its own.
struct FakeStore final : StoreAccess {
  std::vector<StoredMessage> kept;
  std::vector<Recalled> waiting;
  std::vector<std::string> transfers;
  std::string asked;
  std::string refusal;

  std::expected<QuestionId, std::string> ask(StoreQuestion, Answered) noexcept override { return 1; }
  void cancel(QuestionId) noexcept override {}
  std::expected<void, std::string> put(std::string_view, std::string_view, StoreValue, std::int64_t) noexcept override {
    return {};
  }
  std::expected<StoreValue, std::string> get(std::string_view, std::string_view) noexcept override {
    return StoreValue();
  }
  std::expected<std::int64_t, std::string> increment(std::string_view, std::string_view, std::int64_t,
                                                     std::int64_t) noexcept override {
    return 0;
  }
  void keep_message(std::string_view service, const KeptMessage& message) noexcept override {
    kept.push_back({.id = static_cast<std::int64_t>(kept.size()),
                    .time_ms = message.time_ms,
                    .service = std::string(service),
                    .room = std::string(message.room),
                    .sender = std::string(message.sender),
                    .kind = std::string(message.kind),
                    .text = std::string(message.text)});
  }
  void keep_transfer(std::string_view service, const KeptTransfer& transfer) noexcept override {
    transfers.push_back(std::string(service) + " " + std::string(transfer.name));
  }
  std::expected<QuestionId, std::string> recent_messages(std::string service, std::string room, std::uint32_t count,
                                                         Recalled recalled) noexcept override {
    if (!refusal.empty()) return std::unexpected(refusal);
    asked = service + " " + room + " " + std::to_string(count);
    waiting.push_back(std::move(recalled));
    return waiting.size();
  }
  void answer(std::expected<std::vector<StoredMessage>, std::string> found) {
    std::thread([&] { waiting.back()(std::move(found)); }).join();
    waiting.pop_back();
  }
};

struct Heard final : RecentMessagesHandler {
  std::vector<std::string> calls;
  std::thread::id thread;
  void on_recent_messages(std::string_view room, std::span<const KeptMessage> messages,
                          std::string_view error) noexcept override {
    thread = std::this_thread::get_id();
    std::string call = std::string(room) + ":";
    for (const KeptMessage& message : messages)
      call += std::to_string(message.time_ms) + std::string(message.sender) + std::string(message.text);
    calls.push_back(call + std::string(error));
  }
};

struct QuietService final : Service {};
constexpr Descriptor kQuiet{
    .name = "quiet",
    .summary = "does nothing",
    .transports = kStreams,
    .make = [](Context&, const Options&, Problems&) noexcept -> Service* { return new QuietService; }};

struct Bench {
  FakeStore store;
  Heard heard;
  Loop loop;
  Mailbox mailbox{loop};
  WorkerIo io{loop, 0, &mailbox};
  ServiceConfiguration configuration;
  std::shared_ptr<ServiceShared> shared = std::make_shared<ServiceShared>();
  std::unique_ptr<Instance> instance;

  void begin(StoreAccess* access) {
    configuration.name = "lobby";
    configuration.plugin = &kQuiet;
    configuration.options = std::make_shared<portolan::testing::NoOptions>();
    shared->stats = std::make_shared<ServiceStats>("lobby", kQuiet, 1);
    if (access) io.set_store(*access);
    instance = std::move(*Instance::make(io, {.configuration = configuration, .shared = shared, .tls = nullptr}));
  }
  Context& context() { return *instance; }
  // What the loop has to do now, all of it.
  void turn() {
    bool done = false;
    mailbox.post([&] { done = true; });
    assert_true(wait_until([&] { return loop.turn(false), done; }));
    loop.turn(false);
  }
};

int make_bench(void** state) {
  *state = new Bench;
  return 0;
}
int end_bench(void** state) {
  delete static_cast<Bench*>(*state);
  return 0;
}
Bench& bench_of(void** state) { return *static_cast<Bench*>(*state); }

void messages_are_the_services_own(void** state) {
  Bench& b = bench_of(state);
  b.begin(&b.store);
  b.context().keep_message({.time_ms = 5, .room = "r", .sender = "s", .kind = "k", .text = "t"});
  assert_int_equal(b.store.kept.size(), 1);
  assert_true(b.store.kept[0] == (StoredMessage{0, 5, "lobby", "r", "s", "k", "t"}));
  b.context().keep_transfer({.name = "photo.jpg"});
  assert_int_equal(b.store.transfers.size(), 1);
  assert_string_equal(b.store.transfers[0].c_str(), "lobby photo.jpg");
  b.context().recent_messages("r", 7, b.heard);
  assert_string_equal(b.store.asked.c_str(), "lobby r 7");
}

void the_answer_comes_on_the_services_thread(void** state) {
  Bench& b = bench_of(state);
  b.begin(&b.store);
  b.context().recent_messages("r", 7, b.heard);
  b.store.answer(
      std::vector<StoredMessage>{{1, 5, "lobby", "r", "a", "k", "one"}, {2, 6, "lobby", "r", "b", "k", "two"}});
  assert_true(b.heard.calls.empty());
  b.turn();
  assert_int_equal(b.heard.calls.size(), 1);
  assert_string_equal(b.heard.calls[0].c_str(), "r:5aone6btwo");
  assert_true(b.heard.thread == std::this_thread::get_id());
  b.context().recent_messages("other", 7, b.heard);
  b.store.answer(std::unexpected("broken"));
  b.turn();
  assert_string_equal(b.heard.calls[1].c_str(), "other:broken");
}

void a_refusal_does_not_come_from_inside_the_call(void** state) {
  Bench& b = bench_of(state);
  b.begin(&b.store);
  b.store.refusal = "too many";
  b.context().recent_messages("r", 7, b.heard);
  assert_true(b.heard.calls.empty());
  assert_true(wait_until([&] { return b.loop.turn(false), !b.heard.calls.empty(); }));
  assert_string_equal(b.heard.calls[0].c_str(), "r:too many");
}

void nothing_comes_once_the_service_has_gone(void** state) {
  Bench& b = bench_of(state);
  b.begin(&b.store);
  for (int i = 0; i < 2; ++i) b.context().recent_messages("r", 7, b.heard);
  b.store.answer(std::vector<StoredMessage>{});  // on its way, and
  b.instance.reset();
  b.store.answer(std::vector<StoredMessage>{});  // still to be asked
  b.turn();
  b.begin(&b.store);
  b.store.refusal = "too many";
  b.context().recent_messages("r", 7, b.heard);
  b.instance.reset();
  b.io.run_retired();
  b.turn();
  assert_true(b.heard.calls.empty());
}

void without_a_store_it_says_so(void** state) {
  Bench& b = bench_of(state);
  b.begin(nullptr);
  b.context().keep_message({.room = "r"});
  b.context().recent_messages("r", 7, b.heard);
  assert_true(wait_until([&] { return b.loop.turn(false), !b.heard.calls.empty(); }));
  assert_string_equal(b.heard.calls[0].c_str(), "r:there is no store: the configuration has store = false");
}

}  // namespace

int main() {
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_bench, end_bench)
  const CMUnitTest tests[] = {
      TEST(messages_are_the_services_own),
      TEST(the_answer_comes_on_the_services_thread),
      TEST(a_refusal_does_not_come_from_inside_the_call),
      TEST(nothing_comes_once_the_service_has_gone),
      TEST(without_a_store_it_says_so),
  };
  return cmocka_run_group_tests_name("core.plugin.instance_store", tests, nullptr, nullptr);
}
