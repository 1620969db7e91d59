// What the store refuses to open, that the sentence has the way out, and that nothing in the file changes by it.
#include "store/migrations.h"
#include "store/schema.h"

#include <functional>

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "store_fixture.h"  // last: cmocka has a macro named fail

using namespace portolan;
using namespace portolan::testing;

namespace {

std::string error_of(const StoreOptions& options) {
  auto opened = Store::open(options);
  return opened ? "" : opened.error();
}

void make_database(const std::string& path, const std::string& sql) {
  auto connection = Connection::open(path, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, 1000);
  assert_true(connection.has_value());
  assert_true(connection->execute(sql).has_value());
}

// A store with some content, closed in order.
void fill(StoreFixture& f) {
  assert_string_equal(f.open().c_str(), "");
  for (int i = 0; i < 200; ++i) {
    WorkerStats& service = f.service("service " + std::to_string(i));
    service[CoreCounter::messages].add(1);
    for (std::uint64_t n = 0; n < 100; ++n) service.latency.record(n * n * n * 1000);
  }
  assert_string_equal(f.flush().c_str(), "");
  f.store->stop();
  f.store.reset();
}

// Runs in a process of its own as nobody; false when we are not root, or what it did not hold.
bool as_nobody(const std::function<bool()>& body) {
  if (::geteuid() != 0) return body();
  const pid_t child = ::fork();
  if (child == 0) ::_exit(::setegid(65534) == 0 && ::seteuid(65534) == 0 && body() ? 0 : 1);
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

void a_new_file_is_for_its_owner_and_group(void** state) {
  StoreFixture& f = fixture_of(state);
  assert_string_equal(f.open().c_str(), "");
  for (const char* suffix : {"", "-wal", "-shm", ".lock"}) {
    struct stat found{};
    assert_int_equal(::stat((f.path + suffix).c_str(), &found), 0);
    assert_int_equal(found.st_mode & 0777 & ~0640U, 0);
  }
  assert_string_equal(f.ask("PRAGMA journal_mode").c_str(), "wal");
  assert_string_equal(f.ask("PRAGMA auto_vacuum").c_str(), "2");
  assert_string_equal(f.ask("PRAGMA user_version").c_str(), std::to_string(kSchemaVersion).c_str());
  assert_string_equal(f.ask("PRAGMA application_id").c_str(), std::to_string(kApplicationId).c_str());
}

void a_missing_directory(void** state) {
  StoreFixture& f = fixture_of(state);
  f.path = f.folder.file("not/there/portolan.db");
  const std::string error = error_of(f.options());
  assert_true(contains(error, "does not exist: create it (mkdir -p " + f.folder.file("not/there") + ")"));
  assert_true(contains(error, "change store.path"));
}

void a_directory_in_its_place(void** state) {
  StoreFixture& f = fixture_of(state);
  f.path = f.folder.path();
  assert_true(contains(error_of(f.options()), "is a directory"));
  f.path = f.folder.write("file", "x") + "/portolan.db";
  assert_false(error_of(f.options()).empty());
  f.path = f.folder.file("pipe");
  assert_int_equal(::mkfifo(f.path.c_str(), 0600), 0);
  assert_true(contains(error_of(f.options()), "not a regular file"));
}

void no_permission(void** state) {
  StoreFixture& f = fixture_of(state);
  assert_int_equal(::chmod(f.folder.path().c_str(), 0555), 0);
  assert_true(as_nobody([&] { return contains(error_of(f.options()), "may not write"); }));
  assert_int_equal(::chmod(f.folder.path().c_str(), 0), 0);
  assert_true(as_nobody([&] { return contains(error_of(f.options()), "may not"); }));
  f.path = f.folder.file("below/portolan.db");
  assert_true(as_nobody([&] { return contains(error_of(f.options()), "may not enter the directory"); }));
  assert_int_equal(::chmod(f.folder.path().c_str(), 0755), 0);
}

void a_read_only_file(void** state) {
  StoreFixture& f = fixture_of(state);
  fill(f);
  assert_int_equal(::chmod(f.folder.path().c_str(), 0777), 0);
  assert_int_equal(::chmod(f.path.c_str(), 0444), 0);
  assert_int_equal(::chmod((f.path + ".lock").c_str(), 0666), 0);
  assert_true(
      as_nobody([&] { return contains(error_of(f.options()), "may not write the file: change its owner or mode"); }));
}

void refused_unchanged(StoreFixture& f, std::initializer_list<const char*> parts) {
  const std::string before = read_whole_file(f.path);
  const std::string error = error_of(f.options());
  for (const char* part : parts) assert_true(contains(error, part));
  assert_true(read_whole_file(f.path) == before);
}

void what_is_not_a_database(void** state) {
  StoreFixture& f = fixture_of(state);
  f.folder.write("portolan.db", std::string(5000, 'x'));
  refused_unchanged(f, {"not an SQLite database", "change store.path"});
  f.folder.write("portolan.db", "short");
  refused_unchanged(f, {"not an SQLite database", "mv "});
}

void the_database_of_another_program(void** state) {
  StoreFixture& f = fixture_of(state);
  make_database(f.path, "CREATE TABLE mine (a); INSERT INTO mine VALUES (1)");
  refused_unchanged(f, {"another program", "change store.path"});
}

void a_newer_schema(void** state) {
  StoreFixture& f = fixture_of(state);
  fill(f);
  make_database(f.path, "PRAGMA user_version = 1234");
  refused_unchanged(f, {"version 1234", "versions up to ", "newer portolan"});
}

void a_damaged_page(void** state) {
  StoreFixture& f = fixture_of(state);
  fill(f);
  const std::string good = read_whole_file(f.path);
  constexpr std::size_t kPage = 1024;
  assert_true(good.size() > 20 * kPage);
  // Whichever page it hits: refused, or opened when nothing that matters was in it; never changed, never a crash.
  int refused = 0;
  for (std::size_t page = 1; page < good.size() / kPage; ++page) {
    std::string bad = good;
    for (std::size_t i = 0; i < 64; ++i) bad[page * kPage + i] = static_cast<char>(0xa5);
    f.folder.write("portolan.db", bad);
    ::unlink((f.path + "-wal").c_str());
    ::unlink((f.path + "-shm").c_str());
    const std::string error = error_of(f.options());
    if (error.empty()) continue;
    ++refused;
    assert_true(contains(error, "damaged"));
    assert_true(contains(error, "mv " + f.path + " " + f.path + ".damaged"));
    assert_true(read_whole_file(f.path) == bad);
  }
  assert_true(refused > 15);
  f.folder.write("portolan.db", good);
  f.registry = std::make_shared<StatsRegistry>();  // as after a restart: what is counted there is in the file already
  assert_string_equal(f.open().c_str(), "");
  assert_string_equal(f.ask("SELECT sum(messages) FROM service_totals").c_str(), "200");
}

void two_daemons_on_one_file(void** state) {
  StoreFixture& f = fixture_of(state);
  assert_string_equal(f.open().c_str(), "");
  assert_true(contains(error_of(f.options()), "another portolan is writing it"));
  f.store->stop();
  assert_string_equal(error_of(f.options()).c_str(), "");
}

void a_lock_of_another_program(void** state) {
  StoreFixture& f = fixture_of(state);
  auto other = Connection::open(f.path, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, 0);
  assert_true(other->execute("BEGIN EXCLUSIVE").has_value());
  assert_true(contains(error_of(f.options()), "another program holds a lock"));
}

void older_versions_are_brought_forward(void** state) {
  StoreFixture& f = fixture_of(state);
  fill(f);
  make_database(f.path, "CREATE VIEW of_the_user AS SELECT service FROM service_totals");
  auto connection = Connection::open(f.path, SQLITE_OPEN_READWRITE, 1000);
  // Two steps that are still to come.
  const Migration steps[] = {{1, kSchemaTables1},
                             {2, kSchemaTables2},
                             {3, kSchemaTables3},
                             {4, kSchemaTables4},
                             {5, "ALTER TABLE event ADD COLUMN worker INTEGER"},
                             {6, "UPDATE event SET worker = 7; CREATE TABLE later (a)"}};
  assert_true(schema_version(*connection, steps)->state == SchemaState::older);
  assert_true(migrate(*connection, steps).has_value());
  assert_int_equal(*connection->integer("PRAGMA user_version"), 6);
  assert_int_equal(*connection->integer("SELECT count(*) FROM later"), 0);
  assert_int_equal(*connection->integer("SELECT sum(messages) FROM service_totals"), 200);
  assert_int_equal(*connection->integer("SELECT count(*) FROM of_the_user"), 200);
  assert_true(schema_version(*connection)->state == SchemaState::newer);
  // One that fails leaves all as it was.
  const Migration broken[] = {{1, kSchemaTables1}, {7, "DROP TABLE event; CREATE TABLE event (b)"}, {8, "nonsense"}};
  assert_false(migrate(*connection, broken).has_value());
  assert_int_equal(*connection->integer("PRAGMA user_version"), 6);
  assert_int_equal(*connection->integer("SELECT count(*) FROM events"), 0);
}

void version_1_becomes_the_newest(void** state) {
  StoreFixture& f = fixture_of(state);
  {
    auto connection = Connection::open(f.path, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, 1000);
    const Migration first[] = {{1, kSchemaTables1}};
    assert_true(migrate(*connection, first).has_value());
    assert_true(connection
                    ->execute("INSERT INTO event (first_ms, last_ms, kind, service, client, detail, count)"
                              " VALUES (1000, 2000, 'started', '', '', 'long ago', 1);"
                              "CREATE VIEW of_the_user AS SELECT detail FROM events")
                    .has_value());
    assert_int_equal(*connection->integer("PRAGMA user_version"), 1);
    assert_int_equal(*connection->integer("SELECT count(*) FROM sqlite_schema WHERE name = 'ban'"), 0);
  }
  assert_string_equal(f.open().c_str(), "");
  assert_string_equal(f.ask("PRAGMA user_version").c_str(), std::to_string(kSchemaVersion).c_str());
  assert_string_equal(f.ask("SELECT detail FROM of_the_user").c_str(), "long ago");
  assert_string_equal(f.ask("SELECT count(*) FROM bans").c_str(), "0");
  f.store->add(BanRecord{.ban = {.client = *Address::parse("192.0.2.1"), .until_ms = INT64_MAX, .reason = "why"}});
  assert_string_equal(f.flush().c_str(), "");
  assert_string_equal(f.ask("SELECT address || ' ' || reason FROM bans").c_str(), "192.0.2.1 why");
}

void version_2_becomes_the_newest(void** state) {
  StoreFixture& f = fixture_of(state);
  {
    auto connection = Connection::open(f.path, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, 1000);
    const Migration before[] = {{1, kSchemaTables1}, {2, kSchemaTables2}};
    // The views of today look at tables that version 2 did not have; SQLite minds only when they are read.
    assert_true(migrate(*connection, before).has_value());
    assert_true(connection
                    ->execute("INSERT INTO ban VALUES ('192.0.2.1', 1, 4000000000000, 'why', 'web', 3);"
                              "DROP VIEW chat_log; DROP VIEW script_data")
                    .has_value());
    assert_int_equal(*connection->integer("PRAGMA user_version"), 2);
    assert_int_equal(*connection->integer("SELECT count(*) FROM sqlite_schema WHERE name GLOB '*_messages*'"), 0);
  }
  assert_string_equal(f.open().c_str(), "");
  assert_string_equal(f.ask("PRAGMA user_version").c_str(), std::to_string(kSchemaVersion).c_str());
  assert_string_equal(f.ask("SELECT address || ' ' || violations FROM bans").c_str(), "192.0.2.1 3");
  assert_string_equal(f.ask("SELECT count(*) FROM chat_log").c_str(), "0");
  assert_true(f.store->put("web", "key", std::string("value")).has_value());
  f.store->keep_message("lobby", {.room = "a", .sender = "b", .kind = "c", .text = "d"});
  assert_string_equal(f.flush().c_str(), "");
  assert_string_equal(f.ask("SELECT service || key || value FROM script_data").c_str(), "webkeyvalue");
  assert_string_equal(f.ask("SELECT service || room || sender || kind || text FROM chat_log").c_str(), "lobbyabcd");
}

void an_empty_file_becomes_a_store(void** state) {
  StoreFixture& f = fixture_of(state);
  f.folder.write("portolan.db", "");
  assert_string_equal(f.open().c_str(), "");
  f.service()[CoreCounter::messages].add(1);
  assert_string_equal(f.flush().c_str(), "");
  assert_string_equal(f.ask("SELECT messages FROM service_totals").c_str(), "1");
}

}  // namespace

int main() {
  const CMUnitTest tests[] = {
      STORE_TEST(a_new_file_is_for_its_owner_and_group),
      STORE_TEST(a_missing_directory),
      STORE_TEST(a_directory_in_its_place),
      STORE_TEST(no_permission),
      STORE_TEST(a_read_only_file),
      STORE_TEST(what_is_not_a_database),
      STORE_TEST(the_database_of_another_program),
      STORE_TEST(a_newer_schema),
      STORE_TEST(a_damaged_page),
      STORE_TEST(two_daemons_on_one_file),
      STORE_TEST(a_lock_of_another_program),
      STORE_TEST(older_versions_are_brought_forward),
      STORE_TEST(version_1_becomes_the_newest),
      STORE_TEST(version_2_becomes_the_newest),
      STORE_TEST(an_empty_file_becomes_a_store),
  };
  return cmocka_run_group_tests(tests, nullptr, nullptr);
}
