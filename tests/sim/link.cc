#include "sim/link.h"

#include <algorithm>

namespace portolan::sim {

std::vector<Link::Arrival> Link::offer(std::size_t bytes, Duration now) {
  std::vector<Arrival> arrivals;
  ++counts_.datagrams;
  counts_.bytes += bytes + settings_.overhead;
  if (bytes + settings_.overhead > settings_.mtu) {
    ++counts_.dropped_by_queue;
    return arrivals;
  }
  const Duration wait = std::max(free_at_ - now, Duration::zero());
  if (wait > settings_.queue) {
    ++counts_.dropped_by_queue;
    return arrivals;
  }
  waits_.push_back(static_cast<std::uint32_t>(std::chrono::duration_cast<std::chrono::microseconds>(wait).count()));
  Duration sent = now + wait;
  if (settings_.rate > 0) {
    const auto size = static_cast<double>(bytes + settings_.overhead + settings_.frame);
    sent += Duration(static_cast<Duration::rep>(size / settings_.rate * 1e9));
    free_at_ = sent;
  }
  bad_ = bad_ ? uniform() >= settings_.burst_end : uniform() < settings_.burst_begin;
  const bool lost = down_ || uniform() < settings_.loss || (bad_ && uniform() < settings_.burst_loss);
  if (lost) {
    ++counts_.lost;
    return arrivals;
  }
  Duration at = sent + settings_.delay;
  if (settings_.jitter > Duration::zero())
    at += Duration(static_cast<Duration::rep>(uniform() * static_cast<double>(settings_.jitter.count())));
  if (settings_.reorder > 0 && uniform() < settings_.reorder) {
    at += settings_.reorder_by;
  } else {
    last_arrival_ = at = std::max(at, last_arrival_);
  }
  arrivals.push_back({at, uniform() < settings_.corrupt});
  if (settings_.duplicate > 0 && uniform() < settings_.duplicate)
    arrivals.push_back({at + std::chrono::microseconds(300), false});
  return arrivals;
}

}  // namespace portolan::sim
