// A log-linear histogram: 16 buckets to each power of two, so that a quantile is off by at most 1/32 (3.1 %) when
// the middle of its bucket is taken. The idea is HdrHistogram's. Values 0..2^40-1 (of nanoseconds: 18 minutes; of
// bytes: a tebibyte); what is larger counts in the last bucket.
#pragma once

#include "counter.h"

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace portolan {

inline constexpr unsigned kHistogramSubBits = 4;
inline constexpr unsigned kHistogramMaxBits = 40;
inline constexpr std::size_t kHistogramBuckets = (kHistogramMaxBits - kHistogramSubBits + 1) << kHistogramSubBits;

constexpr std::size_t histogram_bucket(std::uint64_t value) noexcept {
  constexpr std::uint64_t kLinear = 1ULL << kHistogramSubBits;
  if (value < kLinear) return static_cast<std::size_t>(value);
  if (value >> kHistogramMaxBits) return kHistogramBuckets - 1;
  const unsigned shift = static_cast<unsigned>(std::bit_width(value)) - 1 - kHistogramSubBits;
  return ((shift + 1) << kHistogramSubBits) + static_cast<std::size_t>((value >> shift) & (kLinear - 1));
}

// What a worker records into: written by one thread, read by any.
class Histogram {
 public:
  void record(std::uint64_t value, std::uint64_t times = 1) noexcept { buckets_[histogram_bucket(value)].add(times); }
  const Counter& bucket(std::size_t index) const noexcept { return buckets_[index]; }

 private:
  std::array<Counter, kHistogramBuckets> buckets_{};
};

// A sum of histograms at one moment: a plain value.
class HistogramSnapshot {
 public:
  HistogramSnapshot() : buckets_(kHistogramBuckets) {}
  void add(const Histogram& histogram) noexcept;
  void add(const HistogramSnapshot& other) noexcept;
  void subtract(const HistogramSnapshot& earlier) noexcept;  // what came since
  std::uint64_t count() const noexcept;
  std::uint64_t count_up_to(std::uint64_t value) const noexcept;  // for cumulative buckets (Prometheus)
  // The value below which this share (0..1) lies; the middle of its bucket; 0 when empty.
  std::uint64_t quantile(double share) const noexcept;
  bool empty() const noexcept { return count() == 0; }

  // A compact form for the store: runs of (gap, count) as LEB128 varints, version byte first.
  std::string serialize() const;
  static HistogramSnapshot parse(std::string_view bytes) noexcept;  // what is damaged counts as empty

 private:
  std::vector<std::uint64_t> buckets_;
};

}  // namespace portolan
