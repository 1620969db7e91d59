#include "net/timeout_queue.h"

#include "support/cmocka.h"

using namespace portolan;
using namespace std::chrono_literals;

namespace {

void the_oldest_expires_first(void**) {
  TimeoutQueue queue;
  queue.set_timeout(8s);
  TimeoutNode a, b;
  assert_true(queue.deadline() == Duration::max());
  queue.add(a, 100s);
  queue.add(b, 101s);
  assert_true(queue.deadline() == 109s);
  assert_null(queue.expired(109s - 1ns));
  assert_ptr_equal(queue.expired(109s), &a);
  queue.remove(a);
  assert_ptr_equal(queue.expired(110s), &b);
  queue.remove(b);
  assert_int_equal(queue.size(), 0);
}

void activity_puts_it_off_and_never_makes_it_early(void**) {
  TimeoutQueue queue;
  queue.set_timeout(8s);
  TimeoutNode a, b;
  queue.add(a, 100s);
  queue.add(b, 100s);
  queue.touch(a, 100s + 900ms);  // within an eighth: not worth a move
  assert_ptr_equal(queue.first(), &a);
  assert_null(queue.expired(100s + 900ms + 8s));
  queue.touch(a, 102s);
  assert_ptr_equal(queue.first(), &b);
  queue.remove(b);
  assert_null(queue.expired(110s));
  assert_ptr_equal(queue.expired(111s), &a);
  queue.remove(a);
}

void zero_never_expires(void**) {
  TimeoutQueue queue;
  TimeoutNode a;
  queue.add(a, 1s);
  queue.touch(a, 2s);
  assert_null(queue.expired(Duration::max() / 2));
  assert_ptr_equal(queue.first(), &a);
  assert_null(queue.after(a));
  queue.remove(a);
}

}  // namespace

int main() {
  const CMUnitTest tests[] = {
      cmocka_unit_test(the_oldest_expires_first),
      cmocka_unit_test(activity_puts_it_off_and_never_makes_it_early),
      cmocka_unit_test(zero_never_expires),
  };
  return cmocka_run_group_tests(tests, nullptr, nullptr);
}
