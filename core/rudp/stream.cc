#include "rudp/stream.h"

#include <algorithm>

namespace portolan::rudp {

void SendHalf::reset(std::uint64_t code) noexcept {
  reset_code_ = code;
  ring_.drop_below(written_);
  ring_.free();
  acknowledged_.clear();
  lost_.clear();
}

SendHalf::Piece SendHalf::next(std::size_t room, std::uint64_t window) const noexcept {
  if (!lost_.empty()) {
    const Range& oldest = lost_.front();
    const std::size_t length = std::min<std::uint64_t>(room, oldest.size());
    const std::uint64_t stop = oldest.begin + length;
    return {.offset = oldest.begin, .length = length, .end = (end_sent_ || finishing_) && stop == written_};
  }
  if (end_lost_) return {.offset = written_, .end = true};
  const std::uint64_t limit = std::min(written_, window);
  const std::size_t length = sent_ < limit ? std::min<std::uint64_t>(room, limit - sent_) : 0;
  return {.offset = sent_,
          .length = length,
          .end = finishing_ && sent_ + length == written_ && (length > 0 || !end_sent_),
          .fresh = true};
}

void SendHalf::taken(const Piece& piece) noexcept {
  if (piece.end) {
    end_sent_ = true;
    end_lost_ = false;
  }
  if (piece.fresh) {
    sent_ += piece.length;
  } else {
    lost_.remove(piece.offset, piece.offset + piece.length);
  }
}

std::uint64_t SendHalf::acknowledge(std::uint64_t offset, std::uint64_t length, bool end) {
  if (end) {
    end_acknowledged_ = true;
    end_lost_ = false;
  }
  if (reset_code_) return 0;
  const std::uint64_t begin = std::max(offset, ring_.begin());
  const std::uint64_t stop = offset + length;
  if (begin >= stop) return 0;
  if (!lost_.empty()) lost_.remove(begin, stop);
  if (begin > ring_.begin()) return acknowledged_.add(begin, stop);
  std::uint64_t front = stop;
  std::uint64_t had = 0;
  while (!acknowledged_.empty() && acknowledged_.front().begin <= front) {
    const Range merged = acknowledged_.front();
    had += std::min(merged.end, std::max(merged.begin, stop)) - merged.begin;
    front = std::max(front, merged.end);
    acknowledged_.remove_front();
  }
  ring_.drop_below(front);
  if (front == written_ && finishing_) ring_.free();
  return stop - begin - had;
}

void SendHalf::lose(std::uint64_t offset, std::uint64_t length, bool end) {
  if (reset_code_) return;
  if (end && !end_acknowledged_) end_lost_ = true;
  std::uint64_t begin = std::max(offset, ring_.begin());
  const std::uint64_t stop = offset + length;
  // Without what has been acknowledged by another way.
  for (const Range& have : acknowledged_.ranges()) {
    if (begin >= stop || have.begin >= stop) break;
    if (have.end <= begin) continue;
    if (have.begin > begin) lost_.add(begin, have.begin);
    begin = have.end;
  }
  lost_.add(begin, stop);
}

SendHalf::Piece SendHalf::oldest_unacknowledged(std::uint64_t from, std::size_t room) const noexcept {
  if (reset_code_) return {};
  std::uint64_t begin = std::max(from, ring_.begin());
  std::uint64_t stop = sent_;
  for (const Range& have : acknowledged_.ranges()) {
    if (have.end <= begin) continue;
    if (have.begin > begin) {
      stop = std::min(stop, have.begin);
      break;
    }
    begin = have.end;
  }
  if (begin >= stop) return {.offset = written_, .end = from <= written_ && end_sent_ && !end_acknowledged_};
  const std::size_t length = std::min<std::uint64_t>(room, stop - begin);
  return {.offset = begin, .length = length, .end = end_sent_ && begin + length == written_};
}

ReceiveHalf::Outcome ReceiveHalf::receive(std::uint64_t offset, std::span<const std::byte> data, bool end,
                                          std::uint64_t window, std::uint64_t& fresh) {
  const std::uint64_t stop = offset + data.size();
  fresh = 0;
  if (stop > window) return Outcome::window;
  if (final_size_ && (stop > *final_size_ || (end && stop != *final_size_))) return Outcome::final_size;
  if (end) {
    if (stop < highest_) return Outcome::final_size;
    final_size_ = stop;
  }
  if (stop > highest_) {
    fresh = stop - highest_;
    highest_ = stop;
  }
  if (reset_) return Outcome::fine;
  if (stopped_) {
    ring_.drop_below(highest_);
    contiguous_ = highest_;
    return Outcome::fine;
  }
  const std::uint64_t begin = std::max(offset, contiguous_);
  if (begin >= stop) return Outcome::fine;
  ring_.put(begin, data.subspan(static_cast<std::size_t>(begin - offset)));
  if (begin > contiguous_) {
    beyond_.add(begin, stop);
    return beyond_.count() > kMostGaps ? Outcome::gaps : Outcome::fine;
  }
  contiguous_ = stop;
  while (!beyond_.empty() && beyond_.front().begin <= contiguous_) {
    contiguous_ = std::max(contiguous_, beyond_.front().end);
    beyond_.remove_front();
  }
  return Outcome::fine;
}

ReceiveHalf::Outcome ReceiveHalf::reset(std::uint64_t final_size, std::uint64_t window, std::uint64_t& fresh) noexcept {
  fresh = 0;
  if (final_size > window) return Outcome::window;
  if (final_size < highest_ || (final_size_ && *final_size_ != final_size)) return Outcome::final_size;
  fresh = final_size - highest_;
  highest_ = final_size;
  final_size_ = final_size;
  reset_ = true;
  ring_.drop_below(final_size);
  ring_.free();
  contiguous_ = final_size;
  beyond_.clear();
  return Outcome::fine;
}

void ReceiveHalf::stop() noexcept {
  stopped_ = true;
  ring_.drop_below(highest_);
  ring_.free();
  contiguous_ = highest_;
  beyond_.clear();
}

}  // namespace portolan::rudp
