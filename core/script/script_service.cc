#include "script/script_service.h"

#include "base/callback.h"
#include "base/log.h"
#include "config/configuration.h"
#include "net/dial_attempt.h"
#include "script/runtime.h"
#include "script/script_stream.h"
#include "stats/service_stats.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace portolan {
namespace {

constexpr std::size_t kMostTargets = 256;
constexpr std::size_t kMostPools = 64;
constexpr std::size_t kMostCounters = 100;
constexpr std::size_t kLongestCounter = 40;

}  // namespace

ScriptService::ScriptService(ScriptRuntime& runtime, const Host& host) : runtime_(runtime), host_(host) {
  runtime_.attach(host.io);
}

ScriptService::~ScriptService() { stop(); }

void ScriptService::stop() noexcept {
  stopped_ = true;
  end_tasks();
}

void ScriptService::end_tasks() noexcept {
  while (!tasks_.empty()) runtime_.drop(*tasks_.back());
}

void ScriptService::close_dialed() noexcept {
  while (!dialed_.empty()) (*dialed_.extract(dialed_.begin()).value()).close(false);
}

std::string_view ScriptService::name() const noexcept { return host_.configuration.name; }
std::size_t ScriptService::output_limit() const noexcept { return host_.configuration.limits.output_limit; }

// Beside what was asked for, its end or its length has to fit.
std::size_t ScriptService::read_limit() const noexcept {
  constexpr std::size_t kEnding = 1100;
  return host_.input_limit > 2 * kEnding ? host_.input_limit - kEnding : host_.input_limit / 2;
}

void ScriptService::report(std::string_view hook, std::string_view what) noexcept {
  host_.stats[CoreCounter::hook_failures].add();
  if (host_.report) return host_.report(hook, what);
  log::print(LogLevel::error, {.service = name()}, "{} failed: {}", hook, what);
}

void ScriptService::drain() noexcept {
  if (std::exchange(drains_, true)) return;
  cancel_where([](const Task& task) { return task.group == nullptr; },
               "the service ends, or a newer configuration has taken over");
}

void ScriptService::cancel(TaskGroup& group, const char* reason) noexcept {
  if (group.tasks == 0) return;
  cancel_where([&](const Task& task) { return task.group == &group; }, reason);
}

// Who is woken may end and begin others: each is looked for again.
template <typename Which>
void ScriptService::cancel_where(Which which, const char* reason) noexcept {
  contain("the end of a script's tasks", [&] {
    std::vector<Task*> tasks;
    for (Task* task : tasks_)
      if (!task->cancelled && which(*task)) tasks.push_back(task);
    for (Task* task : tasks)
      if (std::ranges::find(tasks_, task) != tasks_.end()) runtime_.cancel(*task, reason);
  });
}

std::expected<std::shared_ptr<const OutboundTarget>, std::string> ScriptService::target(const TargetOptions& options) {
  const std::string key = fmt::format(
      "{}\n{}\n{}\n{}\n{}\n{}\n{}\n{}\n{}\n{}\n{}\n{}\n{}\n{}\n{}\n{}", options.address, options.source,
      options.tls.name, options.tls.ca, options.tls.certificate, options.tls.key, options.tls.pins, options.tls.verify,
      options.rudp.key, options.rudp.key_file, options.rudp.congestion, options.rudp.redundancy, options.rudp.rate,
      options.rudp.max_rate, options.rudp.idle_timeout.count(), options.rudp.keep_alive.count());
  if (const auto known = targets_.find(key); known != targets_.end()) return known->second;
  auto made = OutboundTarget::make(options, host_.configuration.folder);
  if (!made) return std::unexpected(made.error());
  if (targets_.size() >= kMostTargets)
    std::erase_if(targets_, [](const auto& one) { return one.second.use_count() == 1; });
  return targets_[key] = std::shared_ptr<const OutboundTarget>(std::move(*made));
}

Pool* ScriptService::pool(std::shared_ptr<const OutboundTarget> target, const PoolOptions& options) {
  if (!pooled_.contains(target) && pooled_.size() >= kMostPools) return nullptr;
  const auto place = pooled_.insert(std::move(target)).first;
  return context().pool(**place, options);
}

Counter* ScriptService::counter(std::string_view name) {
  if (Counter* known = host_.stats.own.find(name)) return known;
  return counter_problem(name).empty() ? &host_.stats.own.make(name) : nullptr;
}

std::string ScriptService::counter_problem(std::string_view name) const {
  const auto letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_'; };
  if (name.empty() || name.size() > kLongestCounter || !std::ranges::all_of(name, letter) || name[0] <= '9')
    return fmt::format("the name of a counter is lower-case letters, digits and _, at most {}", kLongestCounter);
  for (const CounterDeclaration& counter : host_.configuration.plugin->counters)
    if (counter.name == name) return "the plugin has a counter of this name";
  if (host_.stats.own.size() >= kMostCounters)
    return fmt::format("the service has {} counters already, and no more", kMostCounters);
  return {};
}

void ScriptService::add(Task& task) {
  task.index = tasks_.size();
  tasks_.push_back(&task);
  if (task.group) ++task.group->tasks;
}

void ScriptService::remove(Task& task) noexcept {
  tasks_[task.index] = tasks_.back();
  tasks_[task.index]->index = task.index;
  tasks_.pop_back();
  if (task.group) --task.group->tasks;
}

}  // namespace portolan
