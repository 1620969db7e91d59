// What runs the scripts of one worker in one generation: the Lua state, and its tasks one at a time.
//
// A task that waits costs nothing but its memory: it is resumed by whatever it waits for, from the loop. Nothing here is
// ever called from inside a running task but by the functions that scripts are given (bind.h), so that no two run at once:
// what is woken meanwhile comes after. Every resume has the budget of a call of a hook.
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
  // A new task whose function and arguments `push` leaves on the stack it is given, answering how many arguments. It may
  // raise. It begins at once when nothing runs, otherwise soon, and may be over when this returns. With a group, it leads.
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
    make_ready(*task);
    if (gone) return Started::over;
    task->gone = nullptr;
    return Started::alive;
  }
  // From Lua: takes a function and its arguments, the topmost `count` + 1 values of `from`. Raises.
  Task& spawn(lua_State* from, int count);
  // What it waits for has come: `push` leaves the results on the stack and answers how many. It runs at once when nothing
  // does, otherwise soon.
  template <typename Push>
  void wake(Task& task, Push&& push) noexcept {
    task.wait = nullptr;
    task.deadline = Duration::zero();
    if (push_protected(task, std::forward<Push>(push))) make_ready(task);
  }
  // Its next wait raises the reason, a text that lives as long as the program; so does the one that it is in.
  void cancel(Task& task, const char* reason) noexcept;
  // Ends it without another word. Not the one that runs.
  void drop(Task& task) noexcept;

  // ---- For the functions that scripts are given ----
  // To be returned from a C function: suspends the task until `wait` wakes it; what it is woken with is what the function
  // returns. Zero: no timeout. Raises as waiting() does.
  int wait(lua_State* state, Wait& wait, Duration timeout);
  int wait(lua_State* state, Wait& wait, Duration timeout, int (*continuation)(lua_State*, int, std::ptrdiff_t));
  // The task that is about to wait: raises when what runs is none, or was cancelled.
  Task& waiting(lua_State* state);
  // For the continuation of one's own: raises when the task was cancelled meanwhile.
  void check_cancelled(lua_State* state);
  // To be returned likewise: goes on when what is under way is over, and the sockets have had their turn.
  int wait_turn(lua_State* state, int (*continuation)(lua_State*, int, std::ptrdiff_t));
  Task* current() const noexcept { return current_; }
  ScriptService* service() const noexcept { return service_; }

  // ---- For hooks that a plugin waits for (script.cc) ----
  // Around a call: false when something runs. `task` is what it becomes should it wait; null: it must not.
  bool enter(ScriptService* service, Task* task) noexcept;
  // It waits: it is a task like any other from now on. False: there are too many.
  bool adopt(std::unique_ptr<Task>& task) noexcept;
  // It was not adopted: it waits for nothing any more.
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
  template <typename Push>
  bool push_protected(Task& task, Push&& push) noexcept {
    try {
      if (lua_room(task.state)) {
        task.values += push(task.state);
        return true;
      }
      out_of_memory(task);
    } catch (const LuaPanic&) {
      out_of_memory(task);
    } catch (const std::exception& problem) {
      end_badly(task, problem.what());
    }
    return false;
  }
  bool full(ScriptService& service, std::string_view name) noexcept;  // says so
  void leave_lines(Task& task) noexcept;                              // those of the ready and of the deadlines
  static bool lua_room(lua_State* state) noexcept;
  void out_of_memory(Task& task) noexcept;
  void end_badly(Task& task, std::string_view why) noexcept;
  void make_ready(Task& task) noexcept;
  void run(Task& task) noexcept;
  void run_ready() noexcept;
  void finish(Task& task, bool failed) noexcept;
  void forget(Task& task) noexcept;  // frees it, its coroutine to be used again when it has ended well
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
  std::vector<std::pair<lua_State*, int>> spare_;  // coroutines that have ended well
  std::deque<Task*> ready_;
  Later later_;
  std::optional<LoopTimer> ready_timer_;
  std::optional<LoopTimer> later_timer_;
};

}  // namespace portolan
