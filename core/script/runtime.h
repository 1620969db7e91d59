// What runs the scripts of one worker in one generation: the Lua state, and its tasks one at a time.
//
// Every task has a C stack (fiber.h), so that a function that waits is written as if it blocked. A task that waits costs
// nothing but its memory: it is resumed by whatever it waits for, from the loop. Nothing here is ever called from inside a
// running task but by the functions that scripts are given (bind.h), so that no two run at once: what is woken meanwhile
// comes after. Every resume has the budget of a call of a hook.
//
// Owned by the worker's Script; outlives the services that use it. One worker's thread.
#pragma once

#include "event/loop.h"
#include "script/bus.h"
#include "script/sandbox.h"
#include "script/task.h"

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <set>
#include <string_view>
#include <utility>
#include <vector>

namespace portolan {

class WorkerIo;

class ScriptRuntime {
 public:
  struct Limits {
    std::size_t memory = 0;
    std::uint64_t instructions = 0;  // of a call or a resume
    std::size_t tasks = 0;
    Duration hook_timeout{};  // of a hook that a session waits for
  };
  // Of the processor, for a call or a resume: instructions do not measure all (a comparison of two long texts is one).
  static constexpr Duration kCallTime = std::chrono::milliseconds(250);

  explicit ScriptRuntime(const Limits& limits);
  ~ScriptRuntime();

  static ScriptRuntime& of(lua_State* state);  // raises a Lua error where no tasks run: while a file is checked
  Sandbox& sandbox() noexcept { return sandbox_; }
  lua_State* state() const noexcept { return sandbox_.state(); }
  // Once there is a loop; without one no task may be started.
  void attach(WorkerIo& io);
  const std::shared_ptr<ScriptBus::Inbox>& inbox();  // where what is published arrives

  // ---- For those who start and wake ----
  // A new task whose function and arguments `push` leaves on the stack it is given, answering how many values these are. It
  // may raise. It begins at once when nothing runs, otherwise soon, and may be over when this returns. With a group, it leads.
  // Refused: too many, or no memory; logged.
  enum class Started : std::uint8_t { refused, over, alive };
  template <typename Push>
  Started start(ScriptService& service, TaskGroup* group, std::string_view name, Push&& push) noexcept {
    Task* task = prepare(service, group, name);
    if (!task) return Started::refused;
    bool gone = false;
    task->gone = &gone;
    task->leads = group != nullptr;
    if (!push_protected(*task, std::forward<Push>(push))) return Started::refused;
    --task->values;  // the function is none of its arguments
    make_ready(*task);
    if (gone) return Started::over;
    task->gone = nullptr;
    return Started::alive;
  }
  // From Lua: takes a function and its arguments, the topmost `count` + 1 values of `from`. Raises.
  Task& spawn(lua_State* from, int count);
  // What it waits for has come: `push` leaves the results on the stack it is given and answers how many, at most 32. It
  // runs at once when nothing does, otherwise soon.
  template <typename Push>
  void wake(Task& task, Push&& push) noexcept {
    task.wait = nullptr;
    task.deadline = Duration::zero();
    if (push_protected(task, std::forward<Push>(push))) make_ready(task);
  }
  // Its next wait raises the reason, a text that lives as long as the program; so does the one that it is in.
  void cancel(Task& task, const char* reason) noexcept;
  // Ends it without another word: nothing of its script runs any more, what its C++ holds is destroyed. Not the one that
  // runs.
  void drop(Task& task) noexcept;

  // ---- For the functions that scripts are given ----
  // Suspends the task until `wait` wakes it: what it is woken with is on top of the stack, and how many values these are
  // is the answer. Zero: no timeout. Raises as waiting() does, and when the task is cancelled or dropped meanwhile; so never
  // from inside of a `catch`.
  int wait(lua_State* state, Wait& wait, Duration timeout);
  // Goes on when what is under way is over, and the sockets have had their turn.
  void wait_turn(lua_State* state);
  // The task that is about to wait: raises when what runs is none, or was cancelled.
  Task& waiting(lua_State* state);
  Task* current() const noexcept { return current_; }
  ScriptService* service() const noexcept { return service_; }

  // ---- For hooks that a plugin waits for (script.cc) ----
  // Around a call: false when something runs. `task` is what it becomes should it wait; null: it must not.
  bool enter(ScriptService* service, Task* task) noexcept;
  std::unique_ptr<Task> make_task() noexcept;  // with a stack; null: no memory
  // Runs what is on the task's stack until it waits or ends: true, and task.status and task.values say how. False: it
  // waits.
  bool resume(Task& task) noexcept;
  // It waits: it is a task like any other from now on. False: there are too many.
  bool adopt(std::unique_ptr<Task>& task) noexcept;
  // It was not adopted: it waits for nothing any more, and is at its end.
  void discard(Task& task) noexcept;
  void leave(Duration spent) noexcept;
  Duration time_spent() const noexcept { return time_spent_; }
  std::uint64_t instructions() const noexcept { return limits_.instructions; }
  Duration hook_timeout() const noexcept { return limits_.hook_timeout; }
  // "; called from a.lua:3, a.lua:9": the lines above the one that failed. A dead coroutine keeps them.
  static std::string trace(lua_State* running, std::string_view message);

  std::size_t tasks() const noexcept { return tasks_; }

 private:
  using Later = std::set<std::pair<Duration, Task*>>;

  Task* prepare(ScriptService& service, TaskGroup* group, std::string_view name) noexcept;
  // What raises on the stack of a task that waits would be caught by what waits there: a stack of its own, then.
  template <typename Push>
  bool push_protected(Task& task, Push&& push) noexcept {
    lua_State* const stack = pushing_ ? state() : pushes_;
    const bool nested = std::exchange(pushing_, true);
    try {
      if (lua_room(stack)) {
        const int values = push(stack);
        pushing_ = nested;
        move_values(stack, task, values);
        return true;
      }
      pushing_ = nested;
      out_of_memory(task);
    } catch (const LuaPanic&) {
      drop_values(stack, nested);
      out_of_memory(task);
    } catch (const std::exception& problem) {
      drop_values(stack, nested);
      end_badly(task, problem.what());
    }
    return false;
  }
  bool full(ScriptService& service, std::string_view name) noexcept;  // says so
  void leave_lines(Task& task) noexcept;                              // those of the ready and of the deadlines
  static bool lua_room(lua_State* state) noexcept;
  void drop_values(lua_State* stack, bool nested) noexcept;
  static void move_values(lua_State* from, Task& to, int count) noexcept;
  void out_of_memory(Task& task) noexcept;
  void end_badly(Task& task, std::string_view why) noexcept;
  void make_ready(Task& task) noexcept;
  void run(Task& task) noexcept;
  void run_ready() noexcept;
  void finish(Task& task, bool failed) noexcept;
  void forget(Task& task) noexcept;  // frees it; its stacks are used again when it has ended well
  bool take_depth(Task& task) noexcept;
  void suspend(lua_State* state, Task& task);
  void unwind(Task& task) noexcept;
  void arm(Task& task);
  void strike() noexcept;
  void start_timer() noexcept;

  Limits limits_;
  std::shared_ptr<ScriptBus::Inbox> inbox_;  // outlives the subscriptions
  Sandbox sandbox_;
  WorkerIo* io_ = nullptr;
  Task* current_ = nullptr;
  ScriptService* service_ = nullptr;  // whose code runs
  bool running_ = false;
  Duration time_spent_{};
  std::size_t tasks_ = 0;
  lua_State* pushes_ = nullptr;  // where values are made that a task is woken with
  bool pushing_ = false;
  std::vector<std::pair<lua_State*, int>> spare_;  // threads of Lua that have ended well
  std::vector<std::unique_ptr<Fiber>> spare_fibers_;
  std::deque<Task*> ready_;
  Later later_;
  std::optional<LoopTimer> ready_timer_;
  std::optional<LoopTimer> later_timer_;
};

}  // namespace portolan
