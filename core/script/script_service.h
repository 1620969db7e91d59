// What the scripts of one service on one worker have: their tasks, and what core grants the service.
//
// Made with the instance, and gone after its streams; a task that is left when it stops ends without another word. One
// worker's thread.
#pragma once

#include "plugin/service.h"
#include "script/task.h"

#include <cstddef>
#include <expected>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace portolan {

class Counter;
class OutboundTarget;
class ScriptRuntime;
class ScriptStream;
class WorkerIo;
struct ServiceConfiguration;
struct WorkerStats;

class ScriptService : public std::enable_shared_from_this<ScriptService> {
 public:
  // Who is told what has failed, in place of the log.
  using Report = std::function<void(std::string_view hook, std::string_view what)>;
  struct Host {
    Context& context;
    WorkerIo& io;
    const ServiceConfiguration& configuration;
    WorkerStats& stats;
    const std::size_t& input_limit;  // known once the service is made
    Report report = nullptr;
  };
  ScriptService(ScriptRuntime& runtime, const Host& host);
  ~ScriptService();
  ScriptService(const ScriptService&) = delete;
  ScriptService& operator=(const ScriptService&) = delete;

  ScriptRuntime& runtime() const noexcept { return runtime_; }
  Context& context() const noexcept { return host_.context; }
  WorkerIo& io() const noexcept { return host_.io; }
  std::string_view name() const noexcept;
  std::size_t output_limit() const noexcept;
  std::size_t input_limit() const noexcept { return host_.input_limit; }
  // The most that a read may ask for at once.
  std::size_t read_limit() const noexcept;

  // Logs and counts: "on_session failed: c.lua:3: ...".
  void report(std::string_view hook, std::string_view what) noexcept;
  // The service drains: tasks that belong to no session are cancelled, and no new ones of that kind begin.
  void drain() noexcept;
  bool drains() const noexcept { return drains_; }
  // Cancels the tasks of a session.
  void cancel(TaskGroup& group, const char* reason) noexcept;
  // What its scripts have dialed for no session: ends when the last session has.
  void add_dialed(ScriptStream& stream) { dialed_.insert(&stream); }
  void remove_dialed(ScriptStream& stream) noexcept { dialed_.erase(&stream); }
  void close_dialed() noexcept;
  // Ends all tasks without another word.
  void end_tasks() noexcept;
  // The same, and no other begins.
  void stop() noexcept;
  bool stopped() const noexcept { return stopped_; }

  // A counter of the scripts' own, by its name; null: counter_problem says why there is none.
  Counter* counter(std::string_view name);
  std::string counter_problem(std::string_view name) const;

  // Connections to it that are used one after the other. Null: there are too many such places, or no memory.
  Pool* pool(std::shared_ptr<const OutboundTarget> target, const PoolOptions& options);

  // A place to connect to, kept as long as somebody holds it or there is room. The error is a sentence.
  std::expected<std::shared_ptr<const OutboundTarget>, std::string> target(const TargetOptions& options);

  // ---- For the runtime ----
  void add(Task& task);
  void remove(Task& task) noexcept;

 private:
  template <typename Which>
  void cancel_where(Which which, const char* reason) noexcept;

  ScriptRuntime& runtime_;
  Host host_;
  std::vector<Task*> tasks_;
  std::map<std::string, std::shared_ptr<const OutboundTarget>> targets_;
  std::set<ScriptStream*> dialed_;
  std::set<std::shared_ptr<const OutboundTarget>> pooled_;  // theirs last as long as the service
  bool drains_ = false;
  bool stopped_ = false;
};

}  // namespace portolan
