#include "link_model.h"

#include <algorithm>
#include <utility>

namespace portolan::bench {
namespace {

constexpr LinkTime kTenth = std::chrono::milliseconds(100);
constexpr LinkTime kHighestBucket = std::chrono::seconds(20);
// Those after them are counted as one.
constexpr std::size_t kMaxFlows = 64;

LinkTime serialisation(std::size_t bytes, double bits_per_second) {
  return LinkTime(static_cast<std::int64_t>(static_cast<double>(bytes) * 8e9 / bits_per_second));
}

}  // namespace

std::uint64_t LinkShape::queue_limit() const {
  if (queue_bytes != 0) return queue_bytes;
  return static_cast<std::uint64_t>(bits_per_second / 8 * std::chrono::duration<double>(queue).count());
}

void Histogram::add(LinkTime value) {
  max_ = std::max(max_, value);
  const auto bucket = static_cast<std::size_t>(std::clamp(value, LinkTime{}, kHighestBucket) / width_);
  if (bucket >= buckets_.size()) buckets_.resize(bucket + 1);
  ++buckets_[bucket];
  ++count_;
}

LinkTime Histogram::quantile(double share) const {
  const double wanted = share * static_cast<double>(count_);
  double seen = 0;
  for (std::size_t i = 0; i < buckets_.size(); ++i) {
    seen += buckets_[i];
    if (buckets_[i] != 0 && seen >= wanted) return std::min(max_, width_ * static_cast<std::int64_t>(i + 1));
  }
  return max_;
}

FlowKey flow_of(const std::byte* ip_packet, std::size_t size) {
  constexpr std::uint8_t kTcp = 6, kUdp = 17;
  const auto at = [&](std::size_t i) { return i < size ? std::to_integer<unsigned>(ip_packet[i]) : 0U; };
  const bool six = at(0) >> 4 == 6;
  const std::size_t ports = six ? 40 : std::size_t{at(0) & 15} * 4;
  FlowKey key{.protocol = static_cast<std::uint8_t>(at(six ? 6 : 9))};
  // Only the first fragment has ports; the others are a flow of their own.
  const bool first = six || ((at(6) << 8 | at(7)) & 0x1fff) == 0;
  if (first && (key.protocol == kTcp || key.protocol == kUdp)) {
    key.source_port = static_cast<std::uint16_t>(at(ports) << 8 | at(ports + 1));
    key.destination_port = static_cast<std::uint16_t>(at(ports + 2) << 8 | at(ports + 3));
  }
  return key;
}

void LinkCounts::delivered(LinkTime at, std::size_t bytes) {
  ++delivered_packets;
  delivered_bytes += bytes;
  const auto tenth = static_cast<std::size_t>(at / kTenth);
  if (tenth >= delivered_by_tenth.size()) delivered_by_tenth.resize(tenth + 1);
  delivered_by_tenth[tenth] += bytes;
}

LinkDirection::LinkDirection(const LinkShape& shape, std::uint64_t seed)
    : shape_(shape),
      queue_limit_(shape.queue_limit()),
      policer_tokens_(static_cast<double>(shape.policer_burst_bytes)),
      loss_chance_(seed * 8),
      jitter_chance_(seed * 8 + 1),
      reorder_chance_(seed * 8 + 2),
      duplicate_chance_(seed * 8 + 3),
      corrupt_chance_(seed * 8 + 4) {}

std::size_t LinkDirection::find_flow(const FlowKey& key) {
  const auto found = std::ranges::find(flows_, key, &FlowCounts::key);
  if (found != flows_.end()) return static_cast<std::size_t>(found - flows_.begin());
  if (flows_.size() < kMaxFlows) flows_.push_back({key, {}});
  if (flows_.size() == kMaxFlows) flows_.back().key = {};
  return flows_.size() - 1;
}

double LinkDirection::rate_at(LinkTime at) const {
  double rate = shape_.bits_per_second;
  for (const RateStep& step : shape_.steps) {
    if (step.at <= at) rate = step.bits_per_second;
  }
  return rate;
}

bool LinkDirection::policed(LinkTime now, std::size_t bytes) {
  if (shape_.policed_bits_per_second <= 0) return false;
  policer_tokens_ += std::chrono::duration<double>(now - policer_filled_).count() * shape_.policed_bits_per_second / 8;
  policer_tokens_ = std::min(policer_tokens_, static_cast<double>(shape_.policer_burst_bytes));
  policer_filled_ = now;
  if (policer_tokens_ < static_cast<double>(bytes)) return true;
  policer_tokens_ -= static_cast<double>(bytes);
  return false;
}

bool LinkDirection::is_lost() {
  if (shape_.loss <= 0) return false;
  if (shape_.loss_burst <= 1) return loss_chance_.happens(shape_.loss);
  // Runs of mean length L, and so far apart that the share is that wanted: L / (L + gap) = loss.
  const double leave = 1 / shape_.loss_burst;
  const double enter = leave * shape_.loss / (1 - shape_.loss);
  losing_ = losing_ ? !loss_chance_.happens(leave) : loss_chance_.happens(enter);
  return losing_;
}

void LinkDirection::start_head(LinkTime at) {
  queue_.front().started = at;
  head_done_ = at + serialisation(queue_.front().packet.wire_bytes, rate_at(at));
}

void LinkDirection::offer(LinkTime now, Packet packet) {
  advance(now);
  const std::size_t flow = find_flow(packet.flow);
  for (LinkCounts* counts : {&total_, &flows_[flow].counts}) {
    ++counts->offered_packets;
    counts->offered_bytes += packet.wire_bytes;
  }
  if (policed(now, packet.wire_bytes)) {
    ++total_.policer_drops;
    ++flows_[flow].counts.policer_drops;
    return;
  }
  // A packet always fits into an idle link, however small the queue.
  if (!queue_.empty() && queued_bytes_ + packet.wire_bytes > queue_limit_) {
    ++total_.queue_drops;
    ++flows_[flow].counts.queue_drops;
    return;
  }
  queued_bytes_ += packet.wire_bytes;
  queue_.push_back({now, {}, std::move(packet), flow});
  if (queue_.size() == 1) start_head(now);
}

void LinkDirection::advance(LinkTime now) {
  while (!queue_.empty() && head_done_ <= now) {
    Queued head = std::move(queue_.front());
    queue_.pop_front();
    queued_bytes_ -= head.packet.wire_bytes;
    leave_bottleneck(std::move(head));
    if (!queue_.empty()) start_head(head_done_);
  }
}

void LinkDirection::leave_bottleneck(Queued queued) {
  const LinkTime at = head_done_;
  LinkCounts& flow = flows_[queued.flow].counts;
  for (LinkCounts* counts : {&total_, &flow}) counts->queueing.add(queued.started - queued.arrived);
  const bool lost = is_lost();
  const bool out = std::ranges::any_of(shape_.outages,
                                       [at](const Outage& outage) { return outage.from <= at && at < outage.until; });
  if (lost || out) {
    for (LinkCounts* counts : {&total_, &flow}) ++(out ? counts->outage_losses : counts->losses);
    return;
  }
  LinkTime due = at + shape_.delay;
  if (shape_.jitter > LinkTime{}) {
    due += LinkTime(static_cast<std::int64_t>(jitter_chance_.draw() * static_cast<double>(shape_.jitter.count())));
  }
  if (reorder_chance_.happens(shape_.reorder)) {
    due += shape_.reorder_by;
    for (LinkCounts* counts : {&total_, &flow}) ++counts->reordered;
  } else {
    due = latest_due_ = std::max(due, latest_due_);
  }
  if (corrupt_chance_.happens(shape_.corrupt)) {
    queued.packet.corrupt = true;
    for (LinkCounts* counts : {&total_, &flow}) ++counts->corrupted;
  }
  if (duplicate_chance_.happens(shape_.duplicate)) {
    for (LinkCounts* counts : {&total_, &flow}) ++counts->duplicates;
    send_on_the_way(due, queued.packet, queued.flow);
  }
  send_on_the_way(due, std::move(queued.packet), queued.flow);
}

void LinkDirection::send_on_the_way(LinkTime due, Packet packet, std::size_t flow) {
  heap_.push_back({due, numbers_++, std::move(packet), flow});
  std::push_heap(heap_.begin(), heap_.end());
}

std::optional<LinkDirection::Arrival> LinkDirection::take(LinkTime now) {
  advance(now);
  if (heap_.empty() || heap_.front().due > now) return {};
  std::pop_heap(heap_.begin(), heap_.end());
  OnTheWay arrived = std::move(heap_.back());
  heap_.pop_back();
  for (LinkCounts* counts : {&total_, &flows_[arrived.flow].counts}) {
    counts->delivered(arrived.due, arrived.packet.wire_bytes);
  }
  return Arrival{arrived.due, std::move(arrived.packet)};
}

std::optional<LinkTime> LinkDirection::deadline() const {
  // A packet that leaves the bottleneck needs nobody awake before it arrives. It may do so before one that is on the
  // way already, and late.
  std::optional<LinkTime> next;
  if (!queue_.empty()) next = head_done_ + shape_.delay;
  if (!heap_.empty()) next = std::min(next.value_or(heap_.front().due), heap_.front().due);
  return next;
}

}  // namespace portolan::bench
