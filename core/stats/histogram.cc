#include "histogram.h"

#include <algorithm>
#include <cmath>

namespace portolan {
namespace {

constexpr std::uint8_t kFormatVersion = 1;

// The lowest value of a bucket, and how many values it holds.
struct BucketRange {
  std::uint64_t low;
  std::uint64_t width;
};

constexpr BucketRange range_of(std::size_t bucket) noexcept {
  constexpr std::size_t kLinear = std::size_t{1} << kHistogramSubBits;
  if (bucket < kLinear) return {bucket, 1};
  const unsigned shift = static_cast<unsigned>(bucket >> kHistogramSubBits) - 1;
  return {static_cast<std::uint64_t>(kLinear + (bucket & (kLinear - 1))) << shift, std::uint64_t{1} << shift};
}

static_assert(histogram_bucket(range_of(kHistogramBuckets - 1).low) == kHistogramBuckets - 1);
static_assert(range_of(kHistogramBuckets - 1).low + range_of(kHistogramBuckets - 1).width == 1ULL << kHistogramMaxBits);

void append_varint(std::string& out, std::uint64_t value) {
  while (value >= 0x80) {
    out.push_back(static_cast<char>(value | 0x80));
    value >>= 7;
  }
  out.push_back(static_cast<char>(value));
}

bool take_varint(std::string_view& bytes, std::uint64_t& value) noexcept {
  value = 0;
  for (unsigned shift = 0; shift < 64 && !bytes.empty(); shift += 7) {
    const auto byte = static_cast<std::uint8_t>(bytes.front());
    bytes.remove_prefix(1);
    if (shift == 63 && byte > 1) return false;  // more than 64 bits
    value |= static_cast<std::uint64_t>(byte & 0x7f) << shift;
    if (!(byte & 0x80)) return true;
  }
  return false;
}

}  // namespace

void HistogramSnapshot::add(const Histogram& histogram) noexcept {
  for (std::size_t i = 0; i < kHistogramBuckets; ++i) buckets_[i] += histogram.bucket(i).value();
}

void HistogramSnapshot::add(const HistogramSnapshot& other) noexcept {
  for (std::size_t i = 0; i < kHistogramBuckets; ++i) buckets_[i] += other.buckets_[i];
}

void HistogramSnapshot::subtract(const HistogramSnapshot& earlier) noexcept {
  for (std::size_t i = 0; i < kHistogramBuckets; ++i) buckets_[i] -= std::min(buckets_[i], earlier.buckets_[i]);
}

std::uint64_t HistogramSnapshot::count() const noexcept {
  std::uint64_t sum = 0;
  for (const std::uint64_t bucket : buckets_) sum += bucket;
  return sum;
}

// Whole buckets only, so that a cumulative series never counts what may lie above its bound.
std::uint64_t HistogramSnapshot::count_up_to(std::uint64_t value) const noexcept {
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < kHistogramBuckets; ++i) {
    const auto [low, width] = range_of(i);
    if (low + (width - 1) > value) break;
    sum += buckets_[i];
  }
  return sum;
}

std::uint64_t HistogramSnapshot::quantile(double share) const noexcept {
  const std::uint64_t total = count();
  if (total == 0) return 0;
  // Not through a cast of the whole product: near 2^64 a double rounds up past what fits.
  const double wanted = std::ceil(std::clamp(share, 0.0, 1.0) * static_cast<double>(total));
  const std::uint64_t rank =
      wanted >= static_cast<double>(total) ? total : std::max<std::uint64_t>(1, static_cast<std::uint64_t>(wanted));
  std::uint64_t seen = 0;
  for (std::size_t i = 0; i < kHistogramBuckets; ++i) {
    if (buckets_[i] == 0) continue;
    seen += buckets_[i];
    if (seen >= rank) {
      const auto [low, width] = range_of(i);
      return low + width / 2;
    }
  }
  return 0;
}

std::string HistogramSnapshot::serialize() const {
  std::string out(1, static_cast<char>(kFormatVersion));
  std::size_t next = 0;
  for (std::size_t i = 0; i < kHistogramBuckets; ++i) {
    if (buckets_[i] == 0) continue;
    append_varint(out, i - next);
    append_varint(out, buckets_[i]);
    next = i + 1;
  }
  return out;
}

HistogramSnapshot HistogramSnapshot::parse(std::string_view bytes) noexcept {
  const HistogramSnapshot damaged;
  if (bytes.empty() || static_cast<std::uint8_t>(bytes.front()) != kFormatVersion) return damaged;
  bytes.remove_prefix(1);
  HistogramSnapshot result;
  std::uint64_t total = 0;
  std::size_t next = 0;
  while (!bytes.empty()) {
    std::uint64_t gap = 0;
    std::uint64_t count = 0;
    if (!take_varint(bytes, gap) || !take_varint(bytes, count)) return damaged;
    if (gap >= kHistogramBuckets - next || count == 0) return damaged;
    if (__builtin_add_overflow(total, count, &total)) return damaged;
    next += static_cast<std::size_t>(gap);
    result.buckets_[next++] = count;
  }
  return result;
}

}  // namespace portolan
