// A set of numbers as sorted, disjoint ranges [begin, end): offsets that were acknowledged or lost, packets that were received.
//
// Made for how they grow: at their end, and shrink: at their front, both O(1); elsewhere O(log n) to find and a move of what
// lies behind. The memory is kept for reuse.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace portolan::rudp {

struct Range {
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
  std::uint64_t size() const noexcept { return end - begin; }
  friend bool operator==(const Range&, const Range&) = default;
};

class RangeSet {
 public:
  bool empty() const noexcept { return first_ == ranges_.size(); }
  std::size_t count() const noexcept { return ranges_.size() - first_; }
  // In ascending order.
  std::span<const Range> ranges() const noexcept { return std::span(ranges_).subspan(first_); }
  const Range& front() const noexcept { return ranges_[first_]; }
  const Range& back() const noexcept { return ranges_.back(); }
  // How many numbers are in it.
  std::uint64_t total() const noexcept { return total_; }

  bool contains(std::uint64_t number) const noexcept {
    const std::size_t at = find(number);
    return at < ranges_.size() && ranges_[at].begin <= number;
  }

  // Calls `what` with each range of [begin, end) that is not in it, in ascending order. It must not change the set.
  template <typename What>
  void for_missing(std::uint64_t begin, std::uint64_t end, What&& what) const {
    for (std::size_t at = find(begin); begin < end; ++at) {
      const std::uint64_t stop = at < ranges_.size() ? std::min(ranges_[at].begin, end) : end;
      if (begin < stop) what(begin, stop);
      if (at == ranges_.size()) return;
      begin = std::max(begin, ranges_[at].end);
    }
  }

  // How many of them were not in it.
  std::uint64_t add(std::uint64_t begin, std::uint64_t end) {
    if (begin >= end) return 0;
    const std::uint64_t before = total_;
    if (empty() || begin > back().end) {
      compact();
      ranges_.push_back({begin, end});
      total_ += end - begin;
      return end - begin;
    }
    // The first that touches it; all that do become one.
    const std::size_t at = find_touching(begin);
    if (ranges_[at].begin > end) {
      ranges_.insert(position(at), {begin, end});
      total_ += end - begin;
      return end - begin;
    }
    std::size_t last = at;
    std::uint64_t merged_end = end;
    std::uint64_t had = 0;
    while (last < ranges_.size() && ranges_[last].begin <= end) {
      merged_end = std::max(merged_end, ranges_[last].end);
      had += ranges_[last].size();
      ++last;
    }
    ranges_[at] = {std::min(begin, ranges_[at].begin), merged_end};
    ranges_.erase(position(at + 1), position(last));
    total_ += ranges_[at].size() - had;
    return total_ - before;
  }

  void remove(std::uint64_t begin, std::uint64_t end) {
    if (begin >= end) return;
    std::size_t at = find(begin);
    while (at < ranges_.size() && ranges_[at].begin < end) {
      const Range found = ranges_[at];
      const Range left{found.begin, std::max(found.begin, begin)};
      const Range right{std::min(found.end, end), found.end};
      total_ -= found.size() - left.size() - right.size();
      if (left.size() && right.size()) {
        ranges_[at] = left;
        ranges_.insert(position(at + 1), right);
        return;
      }
      if (left.size()) {
        ranges_[at++] = left;
      } else if (right.size()) {
        ranges_[at++] = right;
      } else if (at == first_) {
        at = ++first_;
      } else {
        ranges_.erase(position(at));
      }
    }
    if (empty()) clear();
  }

  // Everything below `end`.
  void remove_below(std::uint64_t end) noexcept {
    while (!empty() && ranges_[first_].end <= end) total_ -= ranges_[first_++].size();
    if (!empty() && ranges_[first_].begin < end) {
      total_ -= end - ranges_[first_].begin;
      ranges_[first_].begin = end;
    }
    if (empty()) clear();
  }
  void remove_front() noexcept {
    total_ -= ranges_[first_++].size();
    if (empty()) clear();
  }
  void clear() noexcept {
    ranges_.clear();
    first_ = 0;
    total_ = 0;
  }

 private:
  std::vector<Range>::iterator position(std::size_t index) noexcept {
    return ranges_.begin() + static_cast<std::ptrdiff_t>(index);
  }
  // The first range that ends behind `number`.
  std::size_t find(std::uint64_t number) const noexcept {
    if (!empty() && front().end > number) return first_;
    const auto found = std::ranges::upper_bound(ranges(), number, {}, &Range::end);
    return first_ + static_cast<std::size_t>(found - ranges().begin());
  }
  std::size_t find_touching(std::uint64_t number) const noexcept { return number == 0 ? first_ : find(number - 1); }
  void compact() {
    if (first_ < 64 || first_ < ranges_.size() / 2) return;
    ranges_.erase(ranges_.begin(), position(first_));
    first_ = 0;
  }

  std::vector<Range> ranges_;
  std::size_t first_ = 0;  // those before it are gone
  std::uint64_t total_ = 0;
};

}  // namespace portolan::rudp
