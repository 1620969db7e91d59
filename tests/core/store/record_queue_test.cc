// What waits for the store, above all when a write has failed in between.
#include "store/record_queue.h"

#include "support/cmocka.h"

using namespace portolan;

namespace {

BanRecord ban(const char* client, const char* reason, bool lifted = false) {
  return {.ban = {.client = *Address::parse(client), .until_ms = 1, .reason = reason}, .lifted = lifted};
}

void of_a_ban_the_last_change_counts(void**) {
  RecordQueue queue(0, 0);
  queue.add(ban("192.0.2.1", "first"));
  queue.add(ban("192.0.2.1", "second"));
  queue.add(ban("192.0.2.2", "third"));
  PendingRecords failed = queue.take_pending();
  assert_int_equal(failed.bans.size(), 2);
  assert_string_equal(failed.bans["192.0.2.1"].ban.reason.c_str(), "second");
  assert_true(queue.take_pending().empty());

  // Could not be written; meanwhile the one was lifted, and a third was banned.
  queue.add(ban("192.0.2.1", "second", true));
  queue.add(ban("2001:db8::", "fourth"));
  queue.put_back(std::move(failed));
  PendingRecords all = queue.take_pending();
  assert_int_equal(all.bans.size(), 3);
  assert_true(all.bans["192.0.2.1"].lifted);
  assert_false(all.bans["192.0.2.2"].lifted);
  assert_string_equal(all.bans["2001:db8::/64"].ban.reason.c_str(), "fourth");
  assert_int_equal(queue.lost(), 0);
}

}  // namespace

int main() {
  const CMUnitTest tests[] = {cmocka_unit_test(of_a_ban_the_last_change_counts)};
  return cmocka_run_group_tests_name("core.store.record_queue", tests, nullptr, nullptr);
}
