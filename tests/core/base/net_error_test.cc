#include "base/net_error.h"

#include <cerrno>
#include <set>
#include <string_view>

#include "support/cmocka.h"

using namespace portolan;

namespace {

void errno_has_its_word(void**) {
  assert_true(net_error_of(0) == NetError::none);
  assert_true(net_error_of(ECONNREFUSED) == NetError::refused);
  assert_true(net_error_of(EHOSTUNREACH) == NetError::unreachable);
  assert_true(net_error_of(ENETUNREACH) == NetError::unreachable);
  assert_true(net_error_of(ETIMEDOUT) == NetError::timed_out);
  assert_true(net_error_of(ECONNRESET) == NetError::reset);
  assert_true(net_error_of(EPIPE) == NetError::closed);
  assert_true(net_error_of(EMFILE) == NetError::system);
  assert_true(net_error_of(99999) == NetError::system);
}

// They are keys in the store, in JSON and in labels: none twice, none forgotten.
void every_value_has_a_word_of_its_own(void**) {
  std::set<std::string_view> errors;
  for (int i = 0; i <= static_cast<int>(NetError::system); ++i) {
    errors.insert(to_string(static_cast<NetError>(i)));
    assert_true(to_sentence(static_cast<NetError>(i)) != "unknown error");
  }
  assert_int_equal(errors.size(), static_cast<int>(NetError::system) + 1);
  assert_false(errors.contains("unknown"));

  std::set<std::string_view> reasons;
  for (std::size_t i = 0; i < kRefusalCount; ++i) reasons.insert(to_string(static_cast<Refusal>(i)));
  assert_int_equal(reasons.size(), kRefusalCount);
  assert_false(reasons.contains("unknown"));
  assert_true(to_string(static_cast<Refusal>(kRefusalCount)) == "unknown");

  assert_true(to_string(Transport::unix_stream) == "unix");
  assert_true(to_string(Transport::rudp) == "rudp");
  assert_true(to_string(Transport::tls) == "tls");
}

}  // namespace

int main() {
  const CMUnitTest tests[] = {
      cmocka_unit_test(errno_has_its_word),
      cmocka_unit_test(every_value_has_a_word_of_its_own),
  };
  return cmocka_run_group_tests_name("core.base.net_error", tests, nullptr, nullptr);
}
