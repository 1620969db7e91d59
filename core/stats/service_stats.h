// What core counts for every service, and the plugin's own counters beside it.
//
// One ServiceStats for a service lives as long as the daemon, across reloads, found by the service's name; it holds
// one WorkerStats for each worker, which that worker alone writes. Reading sums them: any thread.
#pragma once

#include "counter.h"
#include "histogram.h"
#include "plugin/descriptor.h"
#include "plugin/service.h"

#include <array>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

namespace portolan {

// The order is that of kCoreCounterNames and of the columns of service_minutes.
enum class CoreCounter : std::uint8_t {
  sessions,  // opened: streams accepted, datagram peers seen
  messages,  // handled
  bytes_in,
  bytes_out,
  refused,  // sum over the reasons
  failed,   // sessions that ended by a network error
  hook_calls,
  hook_failures,
};
inline constexpr std::size_t kCoreCounterCount = 8;
extern const std::array<std::string_view, kCoreCounterCount> kCoreCounterNames;

// Counters that scripts make by their names. Their worker makes and adds; any thread reads by add_to.
class NamedCounters {
 public:
  Counter* find(std::string_view name) noexcept;
  Counter& make(std::string_view name);
  std::size_t size() const noexcept { return counters_.size(); }
  void add_to(std::map<std::string, std::uint64_t>& sums) const;

 private:
  mutable std::mutex mutex_;  // for a new one, and for who reads
  std::map<std::string, Counter, std::less<>> counters_;
};

struct WorkerStats {
  explicit WorkerStats(std::size_t plugin_counters) : plugin(plugin_counters) {}
  Counter& operator[](CoreCounter counter) noexcept { return core[static_cast<std::size_t>(counter)]; }
  void refuse(Refusal reason) noexcept {
    (*this)[CoreCounter::refused].add();
    refusals[static_cast<std::size_t>(reason)].add();
  }

  std::array<Counter, kCoreCounterCount> core{};
  std::array<Counter, kRefusalCount> refusals{};
  Counter open;            // sessions open now
  Histogram latency;       // nanoseconds from reading a message to having its answer written
  Histogram message_size;  // bytes
  std::vector<Counter> plugin;
  NamedCounters own;
};

// A sum at one moment.
struct StatsSnapshot {
  std::array<std::uint64_t, kCoreCounterCount> core{};
  std::array<std::uint64_t, kRefusalCount> refusals{};
  std::uint64_t open = 0;
  HistogramSnapshot latency;
  HistogramSnapshot message_size;
  std::map<std::string, std::uint64_t> plugin;  // by name: the plugin's own, and those of scripts

  void add(const StatsSnapshot& other);
};

class ServiceStats {
 public:
  ServiceStats(std::string service, const Descriptor& plugin, std::size_t workers);
  const std::string& service() const noexcept { return service_; }
  const std::string& plugin() const noexcept { return plugin_; }
  const std::vector<std::string>& plugin_counter_names() const noexcept { return plugin_counter_names_; }
  std::size_t workers() const noexcept { return workers_.size(); }
  WorkerStats& worker(std::size_t index) noexcept { return *workers_[index]; }
  StatsSnapshot snapshot() const;

 private:
  std::string service_;
  std::string plugin_;
  std::vector<std::string> plugin_counter_names_;
  std::vector<std::unique_ptr<WorkerStats>> workers_;
};

// All services by name. Any thread; the lock is taken at reload, flush and admin requests only.
class StatsRegistry {
 public:
  // The service's statistics, made when they are new or when the plugin behind the name has changed.
  std::shared_ptr<ServiceStats> find_or_make(const std::string& service, const Descriptor& plugin, std::size_t workers);
  // Every service that ever ran in this process, so that nothing counted is lost between two flushes.
  std::vector<std::shared_ptr<ServiceStats>> all() const;

 private:
  mutable std::mutex mutex_;
  std::vector<std::shared_ptr<ServiceStats>> services_;
};

}  // namespace portolan
