// Messages of chats: all of them in the file, in their order, found at once, and no more of them than is wanted.
#include "base/clock.h"
#include "store/database.h"
#include "store/message_queue.h"
#include "store/message_recall.h"
#include "store/query_reader.h"
#include "store/writer.h"

#include <fmt/format.h>

#include <atomic>
#include <csignal>
#include <cstdlib>
#include <thread>

#include <sys/resource.h>

#include "store_fixture.h"  // last: cmocka has a macro named fail

using namespace portolan;
using namespace portolan::testing;

namespace {

void keep(StoreFixture& f, const std::string& room, const std::string& text, const std::string& service = "lobby") {
  f.store->keep_message(service, {.room = room, .sender = "ada", .kind = "message", .text = text});
}

using Messages = std::expected<std::vector<StoredMessage>, std::string>;
Messages recall(StoreFixture& f, const std::string& room, std::uint32_t count, const std::string& service = "lobby") {
  auto promise = std::make_shared<std::promise<Messages>>();
  auto future = promise->get_future();
  auto asked = f.store->recent_messages(service, room, count,
                                        [promise](Messages found) { promise->set_value(std::move(found)); });
  if (!asked) return std::unexpected(asked.error());
  if (future.wait_for(kPatience) != std::future_status::ready) return std::unexpected("no answer");
  return future.get();
}
std::string texts(const std::vector<StoredMessage>& messages) {
  std::string all;
  for (const auto& message : messages) all += (all.empty() ? "" : ",") + message.text;
  return all;
}
std::string recalled(StoreFixture& f, const std::string& room, std::uint32_t count) {
  const Messages found = recall(f, room, count);
  return found ? texts(*found) : "error: " + found.error();
}

void messages_reach_the_log(void** state) {
  StoreFixture& f = fixture_of(state);
  assert_string_equal(f.open().c_str(), "");
  const std::string odd("a\0'\xff\n", 5);
  f.store->keep_message(
      "lobby", {.time_ms = 1'700'000'000'123, .room = "#harbour", .sender = "ada", .kind = "action", .text = odd});
  f.store->keep_message("lobby", {});
  assert_string_equal(f.flush().c_str(), "");
  assert_string_equal(
      f.ask("SELECT time || ' ' || service || ' ' || room || ' ' || sender || ' ' || kind || ' ' || hex(text)"
            " FROM chat_log ORDER BY id")
          .c_str(),
      "2023-11-14T22:13:20.123Z lobby #harbour ada action 610027FF0A");
  assert_string_equal(f.ask("SELECT abs(unix_time - unixepoch()) < 200 FROM chat_log WHERE room = ''").c_str(), "1");
  const Messages found = recall(f, "#harbour", 10);
  assert_int_equal(found->size(), 1);
  assert_true(found->front() == (StoredMessage{.id = 1,
                                               .time_ms = 1'700'000'000'123,
                                               .service = "lobby",
                                               .room = "#harbour",
                                               .sender = "ada",
                                               .kind = "action",
                                               .text = odd}));
}

void recent_ones_are_found_wherever_they_are(void** state) {
  StoreFixture& f = fixture_of(state);
  assert_string_equal(f.open().c_str(), "");
  assert_string_equal(recalled(f, "a", 10).c_str(), "");
  for (int i = 1; i <= 3; ++i) keep(f, "a", std::to_string(i));
  keep(f, "b", "other");
  keep(f, "a", "other", "of another");
  assert_string_equal(recalled(f, "a", 10).c_str(), "1,2,3");
  assert_string_equal(f.flush().c_str(), "");
  for (int i = 4; i <= 6; ++i) keep(f, "a", std::to_string(i));
  assert_string_equal(recalled(f, "a", 10).c_str(), "1,2,3,4,5,6");
  assert_string_equal(recalled(f, "a", 4).c_str(), "3,4,5,6");
  assert_string_equal(recalled(f, "a", 2).c_str(), "5,6");
  assert_string_equal(recalled(f, "a", 0).c_str(), "");
  assert_string_equal(recalled(f, "b", 5).c_str(), "other");
  // While they cannot be written, too.
  auto other = Connection::open(f.path, SQLITE_OPEN_READWRITE, 0);
  assert_true(other->execute("BEGIN IMMEDIATE").has_value());
  assert_true(contains(f.flush(), "another program holds a lock"));
  assert_string_equal(recalled(f, "a", 4).c_str(), "3,4,5,6");
  assert_true(other->execute("ROLLBACK").has_value());
  // After a restart the numbers go on.
  f.store->stop();
  f.store.reset();
  assert_string_equal(f.open().c_str(), "");
  keep(f, "a", "7");
  assert_string_equal(recalled(f, "a", 3).c_str(), "5,6,7");

  const auto rooms = f.store->chat_rooms("lobby", 2);
  assert_true(rooms.has_value());
  assert_int_equal(rooms->size(), 2);
  assert_string_equal(texts(rooms->at("a")).c_str(), "6,7");
  assert_string_equal(texts(rooms->at("b")).c_str(), "other");
  assert_int_equal(f.store->chat_rooms("nobody's", 2)->size(), 0);
  f.store->stop();
  assert_false(recall(f, "a", 3).has_value());
}

void rooms_do_not_wait_behind_scripts(void** state) {
  StoreFixture& f = fixture_of(state);
  assert_string_equal(f.open().c_str(), "");
  keep(f, "a", "1");
  // One that runs, and as many as may wait: each would take its ten minutes.
  std::vector<StoreAccess::QuestionId> asked;
  for (std::size_t i = 0; i < 1000; ++i) {
    auto taken = f.store->ask({.sql = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*)"
                                      " FROM n",
                               .limits = {.time = std::chrono::minutes(10)}},
                              nullptr);
    if (!taken) break;
    asked.push_back(*taken);
  }
  std::atomic<int> answered{0};
  for (int i = 0; i < 1000; ++i)
    assert_true(f.store->recent_messages("lobby", "a", 1, [&](const Messages& found) { answered += found ? 1 : 0; })
                    .has_value());
  f.store->cancel(asked.front());
  assert_true(wait_until([&] { return answered == 1000; }));
  f.store->stop_answering();
}

void many_at_once_are_written_early(void** state) {
  StoreFixture& f = fixture_of(state);
  assert_string_equal(f.open().c_str(), "");  // its flushes are an hour apart
  const auto flushes = f.store->health().flushes;
  // A turn of the minute would write them, too; there is none in each of these rounds.
  for (std::size_t round = 1; round <= 3; ++round) {
    for (std::size_t i = 1; i <= MessageQueue::kGroup; ++i) keep(f, "a", std::to_string(i));
    const std::string all = std::to_string(round * MessageQueue::kGroup);
    assert_true(wait_until([&] { return f.ask("SELECT count(*) FROM chat_log") == all; }, Milliseconds(60'000)));
  }
  // A group is one transaction.
  assert_in_range(f.store->health().flushes, flushes + 3, flushes + 5);
  keep(f, "a", "alone");
  assert_string_equal(recalled(f, "a", 2).c_str(), "2000,alone");
  assert_string_equal(f.ask("SELECT count(*) FROM chat_log").c_str(), "6000");
}

void any_thread_may_keep(void** state) {
  StoreFixture& f = fixture_of(state);
  StoreOptions options = f.options();
  options.flush_every = std::chrono::milliseconds(10);
  assert_string_equal(f.open(options).c_str(), "");
  const int each = scaled(20'000, 2'000);
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t)
    threads.emplace_back([&, t] {
      const std::string room = "room " + std::to_string(t);
      for (int i = 0; i < each; ++i) {
        keep(f, room, std::to_string(i));
        if (i % 1000 == 0) {
          const Messages found = recall(f, room, 5);
          // What this thread has kept, it finds.
          if (!found || found->empty() || found->back().text != std::to_string(i)) std::abort();
        }
      }
    });
  for (auto& thread : threads) thread.join();
  f.store->stop();
  assert_string_equal(f.ask("SELECT count(*) || ' ' || count(DISTINCT id) || ' ' || count(DISTINCT room || text)"
                            " FROM chat_log")
                          .c_str(),
                      fmt::format("{0} {0} {0}", 3 * each).c_str());
  // In each room in the order in which they were kept.
  assert_string_equal(f.ask("SELECT count(*) FROM (SELECT CAST(text AS INTEGER) AS n, lag(CAST(text AS INTEGER), 1, -1)"
                            " OVER (PARTITION BY room ORDER BY id) AS before FROM chat_log) WHERE n <> before + 1")
                          .c_str(),
                      "0");
  assert_int_equal(f.store->health().records_lost, 0);
}

void a_disk_that_fails_loses_none_within_the_bound(void** state) {
  StoreFixture& f = fixture_of(state);
  std::signal(SIGXFSZ, SIG_IGN);
  StoreOptions options = f.options();
  options.messages_per_service = 1'000'000;
  assert_string_equal(f.open(options).c_str(), "");
  keep(f, "a", "0");
  assert_string_equal(f.flush().c_str(), "");
  limit_file_size(4096);
  const std::size_t many = MessageQueue::kMostWaiting;
  for (std::size_t i = 1; i <= many; ++i) keep(f, "a", std::to_string(i));
  assert_true(contains(f.flush(), "reading or writing failed"));
  for (int i = 0; i < 5; ++i) keep(f, "a", "lost");
  assert_int_equal(f.store->health().records_lost, 5);
  assert_false(f.store->health().ok);
  limit_file_size(RLIM_INFINITY);
  assert_string_equal(f.flush().c_str(), "");
  assert_true(f.store->health().ok);
  assert_string_equal(f.ask("SELECT count(*) || ' ' || max(CAST(text AS INTEGER)) FROM chat_log").c_str(),
                      (std::to_string(many + 1) + " " + std::to_string(many)).c_str());
  keep(f, "a", "last");
  assert_string_equal(recalled(f, "a", 2).c_str(), (std::to_string(many) + ",last").c_str());
  // One that is larger than any message ought to be.
  keep(f, "a", std::string(MessageQueue::kMostMessageBytes, 'x'));
  assert_int_equal(f.store->health().records_lost, 6);
}

void waiting_ones_are_bounded_by_bytes_too(void**) {
  MessageQueue queue;
  const std::string text(64 * 1024, 'x');
  for (int i = 0; i < 2000; ++i) queue.add("s", {.room = "r", .text = text});
  assert_in_range(queue.waiting(), 1000, 1024);
  assert_int_equal(queue.waiting() + queue.lost(), 2000);
  // Until they are written they are counted, and taken again.
  const auto group = queue.take();
  assert_ptr_equal(queue.take().get(), group.get());
  const std::size_t before = queue.waiting();
  queue.add("s", {.room = "r", .text = text});
  assert_int_equal(queue.waiting(), before);
  queue.written();
  assert_int_equal(queue.waiting(), before - group->size());
  queue.add("s", {.room = "r", .text = text});
  assert_int_equal(queue.waiting(), before - group->size() + 1);
}

void of_each_service_so_many_are_kept(void** state) {
  StoreFixture& f = fixture_of(state);
  StoreOptions options = f.options();
  options.messages_per_service = 5'000;
  assert_string_equal(f.open(options).c_str(), "");
  for (int i = 1; i <= 9'000; ++i) {
    keep(f, "a", std::to_string(i));
    if (i % 10 == 0) keep(f, "b", std::to_string(i), "quiet");
    if (i % 3'000 == 0) assert_string_equal(f.flush().c_str(), "");
  }
  const auto count = [&](const char* service) {
    return std::stoi(f.ask("SELECT count(*) FROM chat_log WHERE service = '" + std::string(service) + "'"));
  };
  assert_in_range(count("lobby"), 5'000, 6'000);
  assert_string_equal(f.ask("SELECT max(CAST(text AS INTEGER)) FROM chat_log").c_str(), "9000");
  // Those that are left are the newest: no gap.
  assert_string_equal(f.ask("SELECT max(CAST(text AS INTEGER)) - min(CAST(text AS INTEGER)) + 1 - count(*)"
                            " FROM chat_log WHERE service = 'lobby'")
                          .c_str(),
                      "0");
  assert_int_equal(count("quiet"), 900);
  // None are wanted: none are kept.
  options.messages_per_service = 0;
  f.store->reconfigure(options);
  keep(f, "c", "unwanted");
  assert_string_equal(f.flush().c_str(), "");
  assert_string_equal(f.ask("SELECT count(*) FROM chat_log WHERE room = 'c'").c_str(), "0");
}

constexpr std::int64_t kNoon = 1'700'049'600;  // 2023-11-15T12:00:00Z

void old_ones_go(void** state) {
  StoreFixture& f = fixture_of(state);
  auto database = Database::open(f.path, Creation::allowed);
  assert_true(database.has_value());
  auto writer = Writer::make(database->connection());
  assert_true(writer.has_value());
  MessageQueue queue;
  Retention retention{.messages = 3600, .messages_per_service = 1'000'000};
  const auto write = [&](std::int64_t now) {
    PendingRecords records;
    records.messages = queue.take();
    auto written = writer->write({}, records, now, now - now % 60, retention);
    assert_true(written.has_value());
    if (records.messages) queue.written();
  };
  for (int i = 0; i < 2'500; ++i) queue.add("s", {.time_ms = (kNoon - 2'500 + i) * 1000, .room = "r", .text = "old"});
  write(kNoon);
  // Writes that happen anyway, ten minutes apart and more; each takes a batch.
  for (std::int64_t now = kNoon + 700; now < kNoon + 3'600 + 5 * 700; now += 700) {
    queue.add("s", {.time_ms = now * 1000, .room = "r", .text = "new"});
    write(now);
    const std::int64_t oldest = *database->connection().integer("SELECT min(ts) FROM chat_messages") / 1000;
    assert_true(now - oldest <= 3'600);
  }
  assert_int_equal(*database->connection().integer("SELECT count(*) FROM chat_messages WHERE text = 'old'"), 0);
  assert_true(*database->connection().integer("SELECT count(*) FROM chat_messages WHERE text = 'new'") >= 5);
}

// A group that has been committed, and of which the queue does not know it yet: as when one asks in that very moment.
void one_that_is_being_written_is_there_once(void** state) {
  StoreFixture& f = fixture_of(state);
  auto database = Database::open(f.path, Creation::allowed);
  auto writer = Writer::make(database->connection());
  MessageQueue queue;
  for (const char* text : {"1", "2", "3"}) queue.add("lobby", {.room = "a", .text = text});
  assert_true(writer->write_messages(*queue.take(), {}).has_value());
  queue.add("lobby", {.room = "a", .text = "4"});
  QueryReader reader(f.path);
  auto promise = std::make_shared<std::promise<Messages>>();
  auto future = promise->get_future();
  assert_true(recall_messages(reader, queue, "lobby", "a", 3, [promise](Messages found) {
                promise->set_value(std::move(found));
              }).has_value());
  assert_string_equal(texts(*future.get()).c_str(), "2,3,4");
  const auto rooms = recall_rooms(f.path, queue, "lobby", 3, std::chrono::minutes(1));
  assert_string_equal(texts(rooms->at("a")).c_str(), "2,3,4");
}

// Prints how many messages a second are kept; PORTOLAN_MESSAGES makes it more of them.
void how_fast_they_are_kept(void** state) {
  StoreFixture& f = fixture_of(state);
  assert_string_equal(f.open().c_str(), "");
  const char* const wanted = std::getenv("PORTOLAN_MESSAGES");
  const int many = wanted ? std::atoi(wanted) : scaled(20'000, 2'000);
  const std::string text(80, 't');
  const auto start = Clock::now();
  for (int i = 0; i < many; ++i) {
    const std::string room = "#room" + std::to_string(i % 50);
    f.store->keep_message("lobby", {.room = room, .sender = "somebody", .kind = "message", .text = text});
    // As fast as they are written: a sender that only fills the memory measures nothing.
    if (i % 20'000 == 19'999) assert_string_equal(f.flush().c_str(), "");
  }
  assert_string_equal(f.flush().c_str(), "");
  const std::int64_t ms = std::max<std::int64_t>(milliseconds_since(start), 1);
  print_message("%d messages in %lld ms: %lld a second, in %llu transactions\n", many, static_cast<long long>(ms),
                static_cast<long long>(many * 1000LL / ms), static_cast<unsigned long long>(f.store->health().flushes));
  assert_int_equal(f.store->health().records_lost, 0);
}

}  // namespace

int main() {
  const CMUnitTest tests[] = {
      STORE_TEST(messages_reach_the_log),
      STORE_TEST(recent_ones_are_found_wherever_they_are),
      STORE_TEST(rooms_do_not_wait_behind_scripts),
      STORE_TEST(many_at_once_are_written_early),
      STORE_TEST(any_thread_may_keep),
      cmocka_unit_test_setup_teardown(a_disk_that_fails_loses_none_within_the_bound, make_fixture, lift_limit_and_end),
      cmocka_unit_test(waiting_ones_are_bounded_by_bytes_too),
      STORE_TEST(of_each_service_so_many_are_kept),
      STORE_TEST(old_ones_go),
      STORE_TEST(one_that_is_being_written_is_there_once),
      STORE_TEST(how_fast_they_are_kept),
  };
  return cmocka_run_group_tests_name("core.store.message", tests, nullptr, nullptr);
}
