#include "figures.h"

#include <algorithm>
#include <utility>

namespace portolan {
namespace {

// What has grown: by how much.
bool subtract(std::map<std::string, std::uint64_t>& values, const std::map<std::string, std::uint64_t>& earlier) {
  for (const auto& [name, value] : earlier) values[name] -= value;
  std::erase_if(values, [](const auto& one) { return one.second == 0; });
  return !values.empty();
}

template <typename Values>
bool subtract(Values& values, const Values& earlier) {
  bool changed = false;
  for (std::size_t i = 0; i < values.size() && i < earlier.size(); ++i) values[i] -= earlier[i];
  for (const std::uint64_t value : values) changed |= value != 0;
  return changed;
}

}  // namespace

void ServiceFigures::add(const ServiceFigures& later) {
  for (std::size_t i = 0; i < core.size(); ++i) core[i] += later.core[i];
  for (std::size_t i = 0; i < refusals.size(); ++i) refusals[i] += later.refusals[i];
  for (const auto& [name, value] : later.plugin) plugin[name] += value;
  latency.add(later.latency);
  message_size.add(later.message_size);
  open_peak = std::max(open_peak, later.open_peak);
  open_last = later.open_last;
}

void PendingFigures::take(const StatsRegistry& registry, Minute minute) {
  // One service may have several ServiceStats (a reload changed the workers): they are one row.
  Services changed;
  std::map<ServiceKey, std::uint64_t> open;
  for (const auto& stats : registry.all()) {
    ServiceKey key{stats->service(), stats->plugin()};
    StatsSnapshot now = stats->snapshot();
    StatsSnapshot since = now;
    bool moved = false;
    if (const auto earlier = taken_.find(stats.get()); earlier != taken_.end()) {
      moved |= subtract(since.core, earlier->second.core);
      moved |= subtract(since.refusals, earlier->second.refusals);
      moved |= subtract(since.plugin, earlier->second.plugin);
      since.latency.subtract(earlier->second.latency);
      since.message_size.subtract(earlier->second.message_size);
    } else {
      moved |= subtract(since.core, {});
      moved |= subtract(since.refusals, {});
      moved |= subtract(since.plugin, {});
    }
    moved |= !since.latency.empty() || !since.message_size.empty();
    open[key] += now.open;
    if (!moved) continue;
    ServiceFigures figures;
    figures.core = since.core;
    figures.refusals = since.refusals;
    figures.plugin = std::move(since.plugin);
    figures.latency = std::move(since.latency);
    figures.message_size = std::move(since.message_size);
    changed[key].add(figures);
    taken_.insert_or_assign(stats.get(), std::move(now));
  }
  for (const auto& [key, count] : open) {
    std::uint64_t& last = open_[key];
    // Sessions that merely stay open are no news; a row is made when their number has changed.
    const auto figures = changed.find(key);
    if (figures == changed.end() && last == count) continue;
    ServiceFigures& row = figures == changed.end() ? changed[key] : figures->second;
    // Between two looks there were at least as many as at either.
    row.open_peak = std::max(last, count);
    row.open_last = count;
    last = count;
  }
  if (changed.empty()) return;
  if (minutes_.size() >= kMaxMinutes && !minutes_.contains(minute)) minute = last_minute_;
  last_minute_ = minute;
  Services& services = minutes_[minute];
  for (auto& [key, figures] : changed) services[key].add(figures);
}

}  // namespace portolan
