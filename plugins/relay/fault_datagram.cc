#include "plugins/relay/fault_datagram.h"

#include <algorithm>
#include <cstring>

namespace portolan::relay {
namespace {

// A datagram after which none comes is not held back for ever.
constexpr Duration kLongestHold = std::chrono::seconds(1);

bool strikes(ActiveFault& active) noexcept { return active.random.chance(active.fault->probability); }

}  // namespace

void DatagramFaults::change(FaultSet::Shared set, Duration now) {
  faults_.change(std::move(set), now);
  const Duration latest = later(now, faults_.longest_latency());
  if (!faults_.has(FaultKind::bandwidth)) {
    for (Datagram& datagram : queue_) datagram.due = std::min(datagram.due, latest);
    last_due_ = std::min(last_due_, latest);
  }
  if (!faults_.has(FaultKind::reorder)) {
    for (Datagram& datagram : held_back_) datagram.due = std::min(datagram.due, latest);
  }
}

void DatagramFaults::push(std::span<const std::byte> datagram, Duration now) {
  faults_.strike(now);
  const auto size = static_cast<std::int64_t>(datagram.size());
  for (ActiveFault& hole : faults_.of(FaultKind::black_hole)) {
    // The datagram that would go past after_bytes is the first that vanishes.
    hole.struck = hole.struck || size > hole.until_cut();
    hole.done += size;
  }
  if (faults_.struck(FaultKind::black_hole)) return;
  for (ActiveFault& loss : faults_.of(FaultKind::loss)) {
    if (strikes(loss)) return;
  }
  std::int64_t copies = 1;
  for (ActiveFault& duplicate : faults_.of(FaultKind::duplicate)) {
    if (strikes(duplicate)) copies += duplicate.fault->copies;
  }
  for (std::int64_t copy = 0; copy < copies; ++copy) enqueue(datagram, now);
}

void DatagramFaults::enqueue(std::span<const std::byte> data, Duration now) {
  if (held() >= limits_.datagrams || bytes_ + data.size() > limits_.bytes) {
    ++dropped_;
    return;
  }
  Datagram datagram{
      .bytes = std::make_unique_for_overwrite<std::byte[]>(data.size()), .size = data.size(), .number = next_number_++};
  if (!data.empty()) std::memcpy(datagram.bytes.get(), data.data(), data.size());
  bytes_ += data.size();

  const auto size = static_cast<std::int64_t>(data.size());
  for (ActiveFault& active : faults_.of(FaultKind::corrupt)) {
    if (size == 0 || !strikes(active)) continue;
    datagram.bytes[static_cast<std::size_t>(active.random.below(static_cast<std::uint64_t>(size)))] ^=
        static_cast<std::byte>(1 + active.random.below(255));
  }
  datagram.due = std::max(last_due_, later(now, faults_.draw_latency()));
  const Duration arrived = datagram.due;
  for (ActiveFault& link : faults_.of(FaultKind::bandwidth)) {
    link.free_at = later(link.link_start(arrived), link.link_time(size));
    datagram.due = std::max(datagram.due, link.free_at);
  }

  std::optional<Duration> hold;
  for (ActiveFault& reorder : faults_.of(FaultKind::reorder)) {
    if (!strikes(reorder)) continue;
    const Fault& fault = *reorder.fault;
    datagram.gap = std::max(datagram.gap, fault.gap);
    hold = std::max(hold.value_or(Duration::zero()), fault.delay > Duration::zero() ? fault.delay : kLongestHold);
  }
  if (hold) {
    datagram.due = later(datagram.due, *hold);
    held_back_.push_back(std::move(datagram));
  } else {
    last_due_ = datagram.due;
    queue_.push_back(std::move(datagram));
  }
}

std::optional<std::span<const std::byte>> DatagramFaults::pop(Duration now) {
  handed_out_.reset();
  const auto held = std::ranges::min_element(held_back_, {}, &Datagram::due);
  const Duration queue_due = queue_.empty() ? Duration::max() : queue_.front().due;
  if (held != held_back_.end() && held->due < queue_due) {
    if (held->due > now) return std::nullopt;
    Datagram datagram = std::move(*held);
    held_back_.erase(held);
    return hand_out(std::move(datagram));
  }
  if (queue_due > now || queue_.empty()) return std::nullopt;
  Datagram datagram = std::move(queue_.front());
  queue_.pop_front();
  for (Datagram& waiting : held_back_) {
    // The last of those that it waits for: it is next, whatever else is due.
    if (waiting.number < datagram.number && waiting.gap > 0 && --waiting.gap == 0) waiting.due = Duration::zero();
  }
  return hand_out(std::move(datagram));
}

std::span<const std::byte> DatagramFaults::hand_out(Datagram datagram) noexcept {
  bytes_ -= datagram.size;
  handed_out_ = std::move(datagram.bytes);
  return {handed_out_.get(), datagram.size};
}

Duration DatagramFaults::next_due() const noexcept {
  Duration due = queue_.empty() ? Duration::max() : queue_.front().due;
  for (const Datagram& datagram : held_back_) due = std::min(due, datagram.due);
  return due;
}

}  // namespace portolan::relay
