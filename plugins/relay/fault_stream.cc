#include "plugins/relay/fault_stream.h"

#include <algorithm>
#include <cstring>

namespace portolan::relay {
namespace {

// A piece that a rate lets pass is worth this much of its time, so that a timer does not go off for each byte.
constexpr std::int64_t kPiecesPerSecond = 100;
std::int64_t worth_waiting_for(const ActiveFault& link, std::int64_t size) noexcept {
  return std::min(size, std::max<std::int64_t>(1, link.fault->rate / kPiecesPerSecond));
}

// One byte in every block, at a place drawn when the block begins; or none, by the fault's probability.
void corrupt(ActiveFault& active, std::span<std::byte> bytes) noexcept {
  const std::int64_t block = active.fault->block;
  while (!bytes.empty()) {
    if (active.done == 0) {
      active.left = active.random.chance(active.fault->probability)
                        ? static_cast<std::int64_t>(active.random.below(static_cast<std::uint64_t>(block)))
                        : block;
    }
    const std::int64_t size = std::min(block - active.done, static_cast<std::int64_t>(bytes.size()));
    if (active.left >= active.done && active.left < active.done + size) {
      bytes[static_cast<std::size_t>(active.left - active.done)] ^=
          static_cast<std::byte>(1 + active.random.below(255));
    }
    active.done = (active.done + size) % block;
    bytes = bytes.subspan(static_cast<std::size_t>(size));
  }
}

}  // namespace

void StreamFaults::change(FaultSet::Shared set, Duration now) {
  faults_.change(std::move(set), now);
  const Duration latest = later(now, faults_.longest_latency());
  for (Chunk& chunk : queue_) chunk.due = std::min(chunk.due, latest);
  last_due_ = std::min(last_due_, latest);
}

void StreamFaults::push(std::span<const std::byte> data, Duration now) {
  faults_.strike(now);
  if (data.empty() || ended_ || finished_ || faults_.struck(FaultKind::black_hole)) return;
  Chunk chunk{.bytes = std::make_unique_for_overwrite<std::byte[]>(data.size()), .size = data.size()};
  std::memcpy(chunk.bytes.get(), data.data(), data.size());
  chunk.due = std::max(last_due_, later(now, faults_.draw_latency()));
  queue_.push_back(std::move(chunk));
  last_due_ = queue_.back().due;
  held_ += data.size();
}

void StreamFaults::end(Duration now) {
  if (ended_ || finished_) return;
  ended_ = true;
  last_due_ = std::max(last_due_, later(now, faults_.draw_latency()));
}

StreamFaults::Output StreamFaults::pop(Duration now) {
  handed_out_.reset();
  if (finished_) return {};
  faults_.strike(now);
  if (faults_.struck(FaultKind::reset)) return finish(Output::Kind::reset);
  if (faults_.struck(FaultKind::close_after)) return finish(Output::Kind::end);
  if (faults_.struck(FaultKind::black_hole)) {
    swallow();
    return {};
  }
  if (queue_.empty()) return ended_ && end_due() <= now ? finish(Output::Kind::end) : Output{};
  const Piece piece = next_piece();
  return piece.due <= now ? take(piece, now) : Output{};
}

StreamFaults::Piece StreamFaults::next_piece() const noexcept {
  const Chunk& chunk = queue_.front();
  Piece piece{.sliced_at = chunk.due, .due = chunk.due, .size = static_cast<std::int64_t>(chunk.rest())};
  for (const FaultKind cut : {FaultKind::reset, FaultKind::close_after, FaultKind::black_hole}) {
    for (const ActiveFault& active : faults_.of(cut)) piece.size = std::min(piece.size, active.until_cut());
  }
  for (const ActiveFault& slicer : faults_.of(FaultKind::slicer)) {
    piece.size = std::min(piece.size, slicer.left);
    piece.sliced_at = std::max(piece.sliced_at, slicer.free_at);
  }
  piece.due = piece.sliced_at;
  for (const ActiveFault& link : faults_.of(FaultKind::bandwidth)) {
    const Duration time = link.link_time(worth_waiting_for(link, piece.size));
    piece.due = std::max(piece.due, later(link.link_start(piece.sliced_at), time));
  }
  return piece;
}

StreamFaults::Output StreamFaults::take(Piece piece, Duration now) {
  std::int64_t size = piece.size;
  for (const ActiveFault& link : faults_.of(FaultKind::bandwidth)) {
    const std::int64_t sent = link.link_sends(now - link.link_start(piece.sliced_at));
    size = std::min(size, std::max(sent, worth_waiting_for(link, piece.size)));
  }
  Chunk& chunk = queue_.front();
  const std::span bytes(chunk.bytes.get() + chunk.taken, static_cast<std::size_t>(size));
  chunk.taken += bytes.size();
  held_ -= bytes.size();
  for (ActiveFault& active : faults_.all()) {
    switch (active.fault->kind) {
      case FaultKind::bandwidth: active.free_at = active.link_start(piece.sliced_at) + active.link_time(size); break;
      case FaultKind::corrupt: corrupt(active, bytes); break;
      case FaultKind::slicer:
        active.left -= size;
        if (active.left > 0 && chunk.rest() > 0) break;
        active.draw_slice();
        active.free_at = later(now, active.fault->delay);
        break;
      default: active.passed(size);
    }
  }
  if (chunk.rest() == 0) {
    handed_out_ = std::move(chunk.bytes);
    queue_.pop_front();
  }
  last_out_ = now;
  return {Output::Kind::bytes, bytes};
}

StreamFaults::Output StreamFaults::finish(Output::Kind kind) noexcept {
  finished_ = true;
  swallow();
  return {kind, {}};
}

Duration StreamFaults::end_due() const noexcept {
  Duration due = std::max(last_due_, last_out_);
  for (const ActiveFault& active : faults_.of(FaultKind::slow_close)) due = later(due, active.fault->delay);
  return due;
}

void StreamFaults::swallow() noexcept {
  queue_.clear();
  held_ = 0;
}

Duration StreamFaults::next_due() const noexcept {
  constexpr Duration kNow = Duration::zero();
  if (finished_) return Duration::max();
  if (faults_.struck(FaultKind::reset) || faults_.struck(FaultKind::close_after)) return kNow;
  const Duration strike = faults_.strikes_at();
  if (faults_.struck(FaultKind::black_hole)) return queue_.empty() ? strike : kNow;
  if (!queue_.empty()) return std::min(strike, next_piece().due);
  return ended_ ? std::min(strike, end_due()) : strike;
}

std::size_t StreamFaults::room() const noexcept {
  const std::size_t used = cost() + kChunkCost;
  const std::size_t free = used < limit_ ? limit_ - used : 0;
  return free >= limit_ / 4 ? free : 0;
}

}  // namespace portolan::relay
