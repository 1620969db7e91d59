// What the store's tests share: a folder of the test's own, a service to count with, and eyes on the file.
#pragma once

#include "support/temporary_folder.h"
#include "support/waiting.h"

#include "store/sqlite.h"
#include "store/store.h"

#include <future>
#include <memory>
#include <string>

#include <sys/resource.h>
#include <sys/stat.h>

#include "support/cmocka.h"  // last: it has a macro named fail

namespace portolan::testing {

inline constexpr CounterDeclaration kTestCounters[] = {{"odd", "odd ones"}, {"even", "even ones"}};

inline Descriptor test_plugin(std::string_view name = "echo") {
  Descriptor made;
  made.name = name;
  made.counters = kTestCounters;
  return made;
}

struct StoreFixture {
  TemporaryFolder folder;
  std::string path = folder.file("portolan.db");
  std::shared_ptr<StatsRegistry> registry = std::make_shared<StatsRegistry>();
  std::unique_ptr<Store> store;

  WorkerStats& service(const std::string& name = "web", std::string_view plugin = "echo") {
    return registry->find_or_make(name, test_plugin(plugin), 1)->worker(0);
  }
  StoreOptions options() const {
    StoreOptions made;
    made.path = path;
    made.flush_every = std::chrono::hours(1);  // only when a test asks for it
    return made;
  }
  // Empty, or what went wrong. The thread's first turn writes what it finds, whenever the machine lets it run: it is
  // over when this returns, so that what a test adds afterwards goes into no flush but those that it knows of.
  std::string open(const StoreOptions& with) {
    auto opened = Store::open(with);
    if (!opened) return opened.error();
    store = std::move(*opened);
    store->start(registry);
    return flush();
  }
  std::string open() { return open(options()); }

  std::string flush() {
    auto promise = std::make_shared<std::promise<std::string>>();
    auto future = promise->get_future();
    store->flush([promise](std::string error) { promise->set_value(std::move(error)); });
    if (future.wait_for(kPatience) != std::future_status::ready) return "no answer";
    return future.get();
  }

  // The first column of the first row as text, through a connection that may only read; "error: ..." if it fails.
  std::string ask(const std::string& query) const {
    auto connection = Connection::open(path, SQLITE_OPEN_READONLY, 20'000);
    if (!connection) return "error: " + connection.error().message;
    auto statement = Statement::prepare(*connection, query);
    if (!statement) return "error: " + statement.error().message;
    const auto row = statement->step();
    if (!row) return "error: " + row.error().message;
    return *row ? statement->text(0) : "";
  }
};

inline int make_fixture(void** state) {
  *state = new StoreFixture();
  return 0;
}
inline int end_fixture(void** state) {
  delete static_cast<StoreFixture*>(*state);
  return 0;
}
inline StoreFixture& fixture_of(void** state) { return *static_cast<StoreFixture*>(*state); }

// Every write past the limit fails, as on a broken disk, until lift_limit_and_end, the tear-down of a test that sets one.
inline void limit_file_size(rlim_t bytes) {
  rlimit limit{};
  ::getrlimit(RLIMIT_FSIZE, &limit);
  limit.rlim_cur = bytes;
  ::setrlimit(RLIMIT_FSIZE, &limit);
}
inline int lift_limit_and_end(void** state) {
  limit_file_size(RLIM_INFINITY);
  return end_fixture(state);
}

inline bool contains(const std::string& text, std::string_view part) {
  if (text.find(part) != std::string::npos) return true;
  print_error("\"%s\" is not in: %s\n", std::string(part).c_str(), text.c_str());
  return false;
}

}  // namespace portolan::testing

#define STORE_TEST(function) \
  cmocka_unit_test_setup_teardown(function, portolan::testing::make_fixture, portolan::testing::end_fixture)
