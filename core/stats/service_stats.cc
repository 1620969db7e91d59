#include "service_stats.h"

#include <algorithm>

namespace portolan {

const std::array<std::string_view, kCoreCounterCount> kCoreCounterNames = {
    "sessions", "messages", "bytes_in", "bytes_out", "refused", "failed", "hook_calls", "hook_failures",
};

ServiceStats::ServiceStats(std::string service, const Descriptor& plugin, std::size_t workers)
    : service_(std::move(service)), plugin_(plugin.name) {
  plugin_counter_names_.reserve(plugin.counters.size());
  for (const CounterDeclaration& counter : plugin.counters) plugin_counter_names_.emplace_back(counter.name);
  workers_.reserve(workers);
  for (std::size_t i = 0; i < workers; ++i) {
    workers_.push_back(std::make_unique<WorkerStats>(plugin_counter_names_.size()));
  }
}

Counter* NamedCounters::find(std::string_view name) noexcept {
  const auto found = counters_.find(name);
  return found == counters_.end() ? nullptr : &found->second;
}

Counter& NamedCounters::make(std::string_view name) {
  const std::lock_guard lock(mutex_);
  return counters_[std::string(name)];
}

void NamedCounters::add_to(std::map<std::string, std::uint64_t>& sums) const {
  const std::lock_guard lock(mutex_);
  for (const auto& [name, counter] : counters_) sums[name] += counter.value();
}

void StatsSnapshot::add(const StatsSnapshot& other) {
  for (std::size_t i = 0; i < core.size(); ++i) core[i] += other.core[i];
  for (std::size_t i = 0; i < refusals.size(); ++i) refusals[i] += other.refusals[i];
  for (const auto& [name, value] : other.plugin) plugin[name] += value;
  open += other.open;
  latency.add(other.latency);
  message_size.add(other.message_size);
}

StatsSnapshot ServiceStats::snapshot() const {
  StatsSnapshot sum;
  for (const auto& worker : workers_) {
    for (std::size_t i = 0; i < kCoreCounterCount; ++i) sum.core[i] += worker->core[i].value();
    for (std::size_t i = 0; i < kRefusalCount; ++i) sum.refusals[i] += worker->refusals[i].value();
    for (std::size_t i = 0; i < plugin_counter_names_.size(); ++i)
      sum.plugin[plugin_counter_names_[i]] += worker->plugin[i].value();
    worker->own.add_to(sum.plugin);
    sum.open += worker->open.value();
    sum.latency.add(worker->latency);
    sum.message_size.add(worker->message_size);
  }
  return sum;
}

std::shared_ptr<ServiceStats> StatsRegistry::find_or_make(const std::string& service, const Descriptor& plugin,
                                                          std::size_t workers) {
  // Counters are told apart by their index, so the same plugin with other counters (a newer shared object) is another.
  const auto fits = [&](const std::shared_ptr<ServiceStats>& known) {
    return known->service() == service && known->plugin() == plugin.name && known->workers() >= workers &&
           std::ranges::equal(known->plugin_counter_names(), plugin.counters, {}, {}, &CounterDeclaration::name);
  };
  const std::lock_guard lock(mutex_);
  if (const auto found = std::ranges::find_if(services_, fits); found != services_.end()) return *found;
  return services_.emplace_back(std::make_shared<ServiceStats>(service, plugin, workers));
}

std::vector<std::shared_ptr<ServiceStats>> StatsRegistry::all() const {
  const std::lock_guard lock(mutex_);
  return services_;
}

}  // namespace portolan
