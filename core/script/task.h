// A task: one thread of Lua, on a C stack of its own, that can wait. It belongs to a service, is run by the ScriptRuntime of
// its worker, and at any moment either runs, is in line to run, or waits for one thing. One worker's thread.
#pragma once

#include "plugin/service.h"
#include "script/fiber.h"

#include <cstddef>
#include <memory>
#include <string>

struct lua_State;

namespace portolan {

class ScriptService;
struct Task;

// The object that stands for a task in Lua.
struct TaskHandle {
  ~TaskHandle();
  Task* task;  // null once it is over
};

// What a task waits for. When it comes, whoever implements this pushes the results and calls ScriptRuntime::wake.
class Wait {
 public:
  // The task stops waiting: it was cancelled, or its time is over. Nothing may wake it for this from now on.
  virtual void abandon(Task& task) noexcept = 0;
  // What the waiting call answers when its time is over: nil, "timed out"; or nothing at all.
  virtual bool answers_timeout() const noexcept { return true; }

 protected:
  ~Wait() = default;
};

// What tasks belong to that is smaller than a service: a session, with the task that serves it, which leads, and those that
// the task has spawned.
class TaskGroup {
 public:
  // The task that leads has ended. Otherwise than by failing, it has left task.values results on its stack.
  virtual void on_leader_end(Task& task, bool failed) noexcept = 0;
  // The last task is gone.
  virtual void on_no_task() noexcept = 0;
  // What its tasks spawn belongs to it, too; otherwise to the service.
  virtual bool inherits() const noexcept { return true; }

  std::size_t tasks = 0;  // kept by the ScriptService

 protected:
  ~TaskGroup() = default;
};

struct Task {
  lua_State* state = nullptr;
  std::unique_ptr<Fiber> fiber;
  ScriptService* service = nullptr;
  TaskGroup* group = nullptr;
  Wait* wait = nullptr;
  TaskHandle* handle = nullptr;  // while Lua refers to it
  std::string name;              // of the hook that it began with, for messages
  int reference = 0;             // of its thread of Lua
  int status = 0;                // of Lua, once it is over
  int values = 0;                // on its stack: what it begins with, is woken with, or has ended with
  Duration deadline{};           // of what it waits for; zero: none
  Duration expires{};            // when all its waiting has to be over; zero: no matter
  Duration armed{};              // its place among the runtime's deadlines, never later than `deadline`; zero: none
  std::size_t index = 0;         // among the tasks of its service
  std::size_t deep = 0;          // bytes of its C stack that count as the script's memory while it waits
  bool* gone = nullptr;          // set when it is
  bool leads = false;            // its group
  bool queued = false;           // in line to run
  bool cancelled = false;        // the next wait raises
  bool raises = false;           // so does this one
  bool unwinds = false;          // it is dropped: its wait ends, and nothing of its script runs any more
  const char* reason = "";       // why
};

inline TaskHandle::~TaskHandle() {
  if (task) task->handle = nullptr;
}

}  // namespace portolan
