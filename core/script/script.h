// The Lua state of one worker in one generation: the configuration's functions, ready to be called.
//
// Made from the same bytes that were checked on the main thread. The state has a memory cap (its allocator) and every
// call an instruction budget. Nothing in it outlives it; a plugin reaches it only through Hook. One worker's thread.
//
// A hook that a plugin waits for may not wait for anything, unless the plugin can put its message off (Hook::ask); one that
// runs as a task (runtime.h) may.
#pragma once

#include "config/configuration.h"
#include "plugin/service.h"

#include <expected>
#include <memory>
#include <string>

namespace portolan {

class ScriptRuntime;
class ScriptService;
struct WorkerStats;

class Script {
 public:
  // Runs the file again. The error is a sentence with file:line.
  static std::expected<std::unique_ptr<Script>, std::string> load(const Configuration& configuration);
  ~Script();

  // The function `name` of the service with this index, or null when the configuration has none. Its calls and
  // failures count in `stats`. Owned by the Script.
  // `owner`: whose tasks it may start; without one it can only be called.
  Hook* hook(const ServiceConfiguration& service, std::string_view name, WorkerStats& stats,
             ScriptService* owner = nullptr);

  ScriptRuntime& runtime() noexcept;

  // Nanoseconds spent in hooks so far: what a worker uses to bound a turn. Monotonic.
  Duration time_spent() const noexcept;

 private:
  class Impl;
  explicit Script(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace portolan
