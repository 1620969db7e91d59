#include "base/units.h"

#include <string>

#include "support/cmocka.h"

using namespace portolan;
using namespace std::chrono_literals;

namespace {

void durations_are_read(void**) {
  struct {
    const char* text;
    Duration value;
  } const cases[] = {
      {"0", 0ns},       {"0s", 0ns},         {"30s", 30s},   {"250ms", 250ms}, {"1h30m", 90min},
      {"1.5s", 1500ms}, {"2d", 48h},         {"1w", 168h},   {"7us", 7us},     {"9ns", 9ns},
      {"0.001s", 1ms},  {"1m0.5s", 60500ms}, {"90d", 2160h}, {"1s1s", 2s},     {"15250w", 15250 * 168h},
  };
  for (const auto& test : cases) {
    const auto result = parse_duration(test.text);
    if (!result) fail_msg("%s: %s", test.text, result.error().c_str());
    if (*result != test.value) fail_msg("%s became %lld ns", test.text, static_cast<long long>(result->count()));
  }
}

void what_is_not_a_duration_is_refused(void**) {
  for (const char* text : {"", "1", "s", "-1s", "+1s", "1 s", "1x", "1.s", ".5s", "1s ", "1S", "1e3s",
                           "99999999999999999s", "15251w", "999999999999999w", "1s2"}) {
    const auto result = parse_duration(text);
    if (result) fail_msg("\"%s\" was taken as a duration", text);
    assert_non_null(std::string(result.error()).find(text) != std::string::npos ? text : nullptr);
  }
}

void sizes_are_read(void**) {
  struct {
    const char* text;
    std::int64_t value;
  } const cases[] = {
      {"0", 0},
      {"512", 512},
      {"512B", 512},
      {"64KiB", 65536},
      {"1.5KiB", 1536},
      {"1MiB", 1 << 20},
      {"2GiB", 2LL << 30},
      {"1TiB", 1LL << 40},
      {"1kB", 1000},
      {"1MB", 1000000},
      {"3GB", 3000000000LL},
      {"1TB", 1000000000000LL},
      {"8192TiB", 1LL << 53},
  };
  for (const auto& test : cases) {
    const auto result = parse_size(test.text);
    if (!result) fail_msg("%s: %s", test.text, result.error().c_str());
    if (*result != test.value) fail_msg("%s became %lld", test.text, static_cast<long long>(*result));
  }
  for (const char* text :
       {"", "B", "-1", "1.5", "1.5B", "64 KiB", "64kib", "64K", "8193TiB", "1KiBx", "99999999999999999"}) {
    if (parse_size(text)) fail_msg("\"%s\" was taken as a size", text);
  }
}

void rates_are_read(void**) {
  struct {
    const char* text;
    double value;
  } const cases[] = {
      {"0", 0},      {"100/s", 100},      {"5", 5},         {"6/m", 0.1},
      {"3600/h", 1}, {"1MiB/s", 1048576}, {"60kB/m", 1000}, {"0.5/s", 0.5},
  };
  for (const auto& test : cases) {
    const auto result = parse_rate(test.text);
    if (!result) fail_msg("%s: %s", test.text, result.error().c_str());
    if (*result < test.value * 0.999999 || *result > test.value * 1.000001)
      fail_msg("%s became %f", test.text, *result);
  }
  for (const char* text : {"", "/s", "100/", "100/d", "100/second", "-1/s", "1MiB", "1XiB/s", "100 /s", "9000TiB/s"}) {
    if (parse_rate(text)) fail_msg("\"%s\" was taken as a rate", text);
  }
}

void what_is_written_is_exact_and_short(void**) {
  assert_string_equal(format_duration(90s).c_str(), "1m30s");
  assert_string_equal(format_duration(0ns).c_str(), "0s");
  assert_string_equal(format_duration(1500ms).c_str(), "1.5s");
  assert_string_equal(format_duration(250ms).c_str(), "250ms");
  assert_string_equal(format_duration(1500us).c_str(), "1.5ms");
  assert_string_equal(format_duration(7ns).c_str(), "7ns");
  assert_string_equal(format_duration(1050us).c_str(), "1.05ms");
  assert_string_equal(format_duration(2160h).c_str(), "90d");
  assert_string_equal(format_duration(-90s).c_str(), "-1m30s");
  assert_string_equal(format_size(65536).c_str(), "64KiB");
  assert_string_equal(format_size(0).c_str(), "0B");
  assert_string_equal(format_size(1500).c_str(), "1500B");
  assert_string_equal(format_size(1500000).c_str(), "1.4MiB");
  assert_string_equal(format_size(1 << 20).c_str(), "1MiB");
  assert_string_equal(format_size(1LL << 53).c_str(), "8192TiB");
  assert_string_equal(format_count(0).c_str(), "0");
  assert_string_equal(format_count(999).c_str(), "999");
  assert_string_equal(format_count(12345).c_str(), "12,345");
  assert_string_equal(format_count(1234567).c_str(), "1,234,567");
}

void durations_go_round(void**) {
  std::uint64_t seed = 42;
  for (int round = 0; round < 20000; ++round) {
    seed = seed * 6364136223846793005U + 1442695040888963407U;
    const Duration value(static_cast<std::int64_t>((seed >> 1U) >> (seed % 60U)));
    const auto again = parse_duration(format_duration(value));
    if (!again || *again != value) fail_msg("%s does not go round", format_duration(value).c_str());
  }
}

}  // namespace

int main() {
  const CMUnitTest tests[] = {
      cmocka_unit_test(durations_are_read),
      cmocka_unit_test(what_is_not_a_duration_is_refused),
      cmocka_unit_test(sizes_are_read),
      cmocka_unit_test(rates_are_read),
      cmocka_unit_test(what_is_written_is_exact_and_short),
      cmocka_unit_test(durations_go_round),
  };
  return cmocka_run_group_tests(tests, nullptr, nullptr);
}
