// The histogram: its error bound, its quantiles, and its stored form against any bytes.
#include "stats/histogram.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <random>

#include "support/cmocka.h"  // last: it has a macro named fail

using namespace portolan;

namespace {

HistogramSnapshot snapshot_of(const std::vector<std::uint64_t>& values) {
  const auto histogram = std::make_unique<Histogram>();
  for (const std::uint64_t value : values) histogram->record(value);
  HistogramSnapshot snapshot;
  snapshot.add(*histogram);
  return snapshot;
}

std::uint64_t random_value(std::mt19937_64& random) {
  // As many small as large ones: a random width first.
  return random() >> (64 - 1 - random() % kHistogramMaxBits);
}

void buckets_cover_every_value_in_order(void**) {
  std::size_t last = 0;
  for (std::uint64_t value = 0; value < 100'000; ++value) {
    const std::size_t bucket = histogram_bucket(value);
    assert_true(bucket == last || bucket == last + 1);
    last = bucket;
  }
  assert_int_equal(histogram_bucket((1ULL << kHistogramMaxBits) - 1), kHistogramBuckets - 1);
  assert_int_equal(histogram_bucket(1ULL << kHistogramMaxBits), kHistogramBuckets - 1);
  assert_int_equal(histogram_bucket(~0ULL), kHistogramBuckets - 1);
}

void one_value_is_at_most_a_32nd_off(void**) {
  std::mt19937_64 random(1);
  for (int i = 0; i < 20'000; ++i) {
    const std::uint64_t value = random_value(random);
    const std::uint64_t shown = snapshot_of({value}).quantile(0.5);
    const std::uint64_t off = shown > value ? shown - value : value - shown;
    assert_true(off * 32 <= value);
  }
}

void quantiles_are_within_the_bound_of_the_exact_ones(void**) {
  std::mt19937_64 random(2);
  for (int round = 0; round < 300; ++round) {
    std::vector<std::uint64_t> values(1 + random() % 500);
    for (auto& value : values) value = random_value(random);
    const HistogramSnapshot snapshot = snapshot_of(values);
    std::ranges::sort(values);
    assert_int_equal(snapshot.count(), values.size());
    for (const double share : {0.0, 0.01, 0.5, 0.9, 0.99, 1.0}) {
      const auto rank = static_cast<std::size_t>(std::max(1.0, std::ceil(share * static_cast<double>(values.size()))));
      const std::uint64_t exact = values[rank - 1];
      const std::uint64_t shown = snapshot.quantile(share);
      assert_true((shown > exact ? shown - exact : exact - shown) * 32 <= exact);
    }
  }
}

void empty_and_odd_shares(void**) {
  assert_true(HistogramSnapshot().empty());
  assert_int_equal(HistogramSnapshot().quantile(0.99), 0);
  const HistogramSnapshot one = snapshot_of({7});
  assert_int_equal(one.quantile(-1), 7);
  assert_int_equal(one.quantile(2), 7);
}

void add_and_subtract_undo_each_other(void**) {
  std::mt19937_64 random(3);
  std::vector<std::uint64_t> early(200);
  for (auto& value : early) value = random_value(random);
  std::vector<std::uint64_t> all = early;
  std::vector<std::uint64_t> late;
  for (int i = 0; i < 100; ++i) {
    late.push_back(random_value(random));
    all.push_back(late.back());
  }
  HistogramSnapshot since = snapshot_of(all);
  since.subtract(snapshot_of(early));
  assert_true(since.serialize() == snapshot_of(late).serialize());
  since.add(snapshot_of(early));
  assert_true(since.serialize() == snapshot_of(all).serialize());
}

void counting_up_to_a_bound_never_counts_what_is_above(void**) {
  const HistogramSnapshot snapshot = snapshot_of({1, 5, 15, 16, 1000, 1'000'000});
  assert_int_equal(snapshot.count_up_to(0), 0);
  assert_int_equal(snapshot.count_up_to(5), 2);
  assert_int_equal(snapshot.count_up_to(16), 4);
  assert_int_equal(snapshot.count_up_to(999), 4);
  assert_int_equal(snapshot.count_up_to(1'100'000), 6);
  assert_int_equal(snapshot.count_up_to(~0ULL), 6);
}

void the_stored_form_comes_back(void**) {
  std::mt19937_64 random(4);
  for (int round = 0; round < 500; ++round) {
    std::vector<std::uint64_t> values(random() % 300);
    for (auto& value : values) value = random_value(random);
    HistogramSnapshot snapshot = snapshot_of(values);
    for (std::uint64_t doublings = random() % 30; doublings > 0; --doublings) snapshot.add(HistogramSnapshot(snapshot));
    const std::string bytes = snapshot.serialize();
    const HistogramSnapshot back = HistogramSnapshot::parse(bytes);
    assert_true(back.serialize() == bytes);
    assert_int_equal(back.count(), snapshot.count());
  }
  assert_int_equal(HistogramSnapshot().serialize().size(), 1);
}

void damaged_bytes_count_as_empty_or_parse_to_themselves(void**) {
  std::mt19937_64 random(5);
  std::vector<std::uint64_t> values(100);
  for (auto& value : values) value = random_value(random);
  const std::string good = snapshot_of(values).serialize();
  for (std::size_t size = 0; size < good.size(); ++size) {  // cut short
    assert_true(HistogramSnapshot::parse(good.substr(0, size)).count() <= values.size());
  }
  for (int i = 0; i < 200'000; ++i) {
    std::string bytes = good;
    if (i % 2 == 0) {
      bytes.resize(1 + random() % 40);
      for (char& byte : bytes) byte = static_cast<char>(random());
      bytes[0] = 1;
    } else {
      for (std::uint64_t n = 1 + random() % 4; n > 0; --n) bytes[random() % bytes.size()] = static_cast<char>(random());
    }
    const HistogramSnapshot parsed = HistogramSnapshot::parse(bytes);
    parsed.quantile(0.99);
    const HistogramSnapshot again = HistogramSnapshot::parse(parsed.serialize());
    assert_int_equal(again.count(), parsed.count());
  }
  using namespace std::string_view_literals;
  assert_true(HistogramSnapshot::parse("").empty());
  assert_true(HistogramSnapshot::parse("\x02\x00\x01"sv).empty());              // another version
  assert_true(HistogramSnapshot::parse("\x01\x00"sv).empty());                  // no count
  assert_true(HistogramSnapshot::parse("\x01\x00\x00"sv).empty());              // a count of nothing
  assert_true(HistogramSnapshot::parse("\x01\xd0\x04\x01"sv).empty());          // bucket 592
  assert_int_equal(HistogramSnapshot::parse("\x01\xcf\x04\x01"sv).count(), 1);  // bucket 591
  assert_true(HistogramSnapshot::parse("\x01\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02"sv).empty());  // 65 bits
}

// SQLite hands out blobs as they lie in its pages: at any address.
void the_stored_form_may_lie_at_any_address(void**) {
  const std::string stored = snapshot_of({1, 20'000, std::uint64_t{1} << 39U}).serialize();
  for (std::size_t offset = 0; offset < 8; ++offset) {
    std::string buffer(offset, 'x');
    buffer.reserve(64);  // not in the string object itself
    buffer += stored;
    const HistogramSnapshot parsed = HistogramSnapshot::parse(std::string_view(buffer).substr(offset));
    assert_int_equal(parsed.count(), 3);
    assert_true(parsed.serialize() == stored);
  }
}

}  // namespace

int main() {
  const CMUnitTest tests[] = {
      cmocka_unit_test(buckets_cover_every_value_in_order),
      cmocka_unit_test(one_value_is_at_most_a_32nd_off),
      cmocka_unit_test(quantiles_are_within_the_bound_of_the_exact_ones),
      cmocka_unit_test(empty_and_odd_shares),
      cmocka_unit_test(add_and_subtract_undo_each_other),
      cmocka_unit_test(counting_up_to_a_bound_never_counts_what_is_above),
      cmocka_unit_test(the_stored_form_comes_back),
      cmocka_unit_test(damaged_bytes_count_as_empty_or_parse_to_themselves),
      cmocka_unit_test(the_stored_form_may_lie_at_any_address),
  };
  return cmocka_run_group_tests(tests, nullptr, nullptr);
}
