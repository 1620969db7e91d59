#include "script/runtime.h"

#include "base/callback.h"
#include "base/clock.h"
#include "net/worker_io.h"
#include "script/script_service.h"

#include <fmt/format.h>
#include <lua.hpp>

#include <algorithm>
#include <memory>
#include <new>
#include <tuple>

namespace portolan {
namespace {

constexpr std::size_t kSpareThreads = 256;
constexpr std::size_t kSpareFibers = 16;  // a stack that was deep keeps its pages
constexpr int kTraceDepth = 8;
// Of a C stack: what every task has.
constexpr std::size_t kShallow = std::size_t{8} << 10U;
// Room on a task's stack for what it is woken with.
constexpr int kRoom = 32;

// What a task's fiber runs.
void run_body(void* pointer) noexcept {
  Task& task = *static_cast<Task*>(pointer);
  int results = 0;
  task.status = LUA_ERRMEM;
  try {
    task.status =
        lua_resume(task.state, ScriptRuntime::of(task.state).state(), std::exchange(task.values, 0), &results);
  } catch (const LuaPanic&) {
    // Lua itself found no memory to begin.
  }
  task.values = results;
}

}  // namespace

ScriptRuntime::ScriptRuntime(const Limits& limits)
    : limits_(limits),
      sandbox_({.memory = limits.memory,
                .memory_hint = " (script.memory is the limit)",
                .instructions_hint = " (script.instructions is the limit)"}) {
  sandbox_.set_runtime(this);
  spare_fibers_.reserve(kSpareFibers);
  try {
    pushes_ = lua_newthread(state());
    luaL_ref(state(), LUA_REGISTRYINDEX);
  } catch (const LuaPanic&) {
    throw std::bad_alloc();
  }
}

ScriptRuntime::~ScriptRuntime() {
  if (inbox_) inbox_->close();
  sandbox_.set_runtime(nullptr);
}

const std::shared_ptr<ScriptBus::Inbox>& ScriptRuntime::inbox() {
  if (!inbox_) inbox_ = std::make_shared<ScriptBus::Inbox>(io_->bus(), *io_);
  return inbox_;
}

ScriptRuntime& ScriptRuntime::of(lua_State* state) {
  ScriptRuntime* runtime = Sandbox::of(state).runtime();
  if (!runtime) luaL_error(state, "this can be used by functions of a service, not while the configuration is read");
  return *runtime;
}

void ScriptRuntime::attach(WorkerIo& io) {
  if (io_) return;
  io_ = &io;
  ready_timer_.emplace(io.loop(), [this] {
    io_->tick();
    run_ready();
    io_->settle();
  });
  later_timer_.emplace(io.loop(), [this] { strike(); });
}

// ---- A task's life ---------------------------------------------------------------------------------------------

bool ScriptRuntime::lua_room(lua_State* state) noexcept { return lua_checkstack(state, kRoom) != 0; }

void ScriptRuntime::move_values(lua_State* from, Task& to, int count) noexcept {
  lua_xmove(from, to.state, count);
  to.values += count;
}

void ScriptRuntime::drop_values(lua_State* stack, bool nested) noexcept {
  pushing_ = nested;
  lua_settop(stack, 0);
}

bool ScriptRuntime::full(ScriptService& service, std::string_view name) noexcept {
  if (tasks_ < limits_.tasks) return false;
  service.report(name, fmt::format("{} tasks are alive already (script.tasks is the limit)", tasks_));
  return true;
}

void ScriptRuntime::leave_lines(Task& task) noexcept {
  if (task.armed != Duration::zero()) later_.erase({task.armed, &task});
  if (task.queued) std::erase(ready_, &task);
}

Task* ScriptRuntime::prepare(ScriptService& service, TaskGroup* group, std::string_view name) noexcept {
  if (service.stopped() || (!group && service.drains())) return nullptr;
  if (full(service, name)) return nullptr;
  std::unique_ptr<Task> task = make_task();
  if (!task) {
    service.report(name, fmt::format("no memory is left for the stack of a task beside {} others", tasks_));
    return nullptr;
  }
  try {
    task->name = name;
    task->service = &service;
    task->group = group;
    if (!spare_.empty()) {
      std::tie(task->state, task->reference) = spare_.back();
      spare_.pop_back();
    } else {
      spare_.reserve(kSpareThreads);
      task->state = lua_newthread(state());
      task->reference = luaL_ref(state(), LUA_REGISTRYINDEX);
      luaL_checkstack(task->state, kRoom, nullptr);
    }
    service.add(*task);
  } catch (const LuaPanic&) {
    lua_settop(state(), 0);
    service.report(name, "no memory is left for a task (script.memory is the limit)");
    return nullptr;
  } catch (const std::exception& problem) {
    service.report(name, problem.what());
    return nullptr;
  }
  ++tasks_;
  return task.release();
}

Task& ScriptRuntime::spawn(lua_State* from, int count) {
  if (!service_) luaL_error(from, "a task belongs to a service, and none runs");
  if (current_ && current_->cancelled) luaL_error(from, "%s", current_->reason);
  luaL_checkstack(from, 4, nullptr);
  // What a session's task begins is the session's.
  Task* task =
      prepare(*service_, current_ && current_->group && current_->group->inherits() ? current_->group : nullptr,
              current_ ? std::string_view(current_->name) : "a task");
  if (!task) luaL_error(from, "no task can be started: too many, or no memory");
  if (lua_checkstack(task->state, count + kRoom) == 0) {
    forget(*task);
    luaL_error(from, "no memory is left for a task");
  }
  lua_xmove(from, task->state, count + 1);
  task->values = count;
  make_ready(*task);
  return *task;
}

void ScriptRuntime::make_ready(Task& task) noexcept {
  if (task.queued) return;
  task.queued = true;
  ready_.push_back(&task);
  // From the loop: now. From inside a task, or while a plugin waits for a hook: soon.
  if (!running_) return run_ready();
  if (ready_.size() == 1) ready_timer_->start(Duration::zero());
}

// Only those that are in line at the start: what they make ready comes after the sockets have had their turn.
void ScriptRuntime::run_ready() noexcept {
  for (std::size_t turns = ready_.size(); turns > 0 && !ready_.empty(); --turns) {
    Task& task = *ready_.front();
    ready_.pop_front();
    task.queued = false;
    run(task);
  }
  if (!ready_.empty()) ready_timer_->start(Duration::zero());
}

void ScriptRuntime::run(Task& task) noexcept {
  running_ = true;
  current_ = &task;
  service_ = task.service;
  const Duration started = monotonic_now();
  sandbox_.set_log(LogLevel::info, task.service->name());
  sandbox_.begin(task.state, limits_.instructions, kCallTime);
  const bool over = resume(task);
  sandbox_.end();
  // A pcall around it does not make a stop undone.
  const bool failed = over && (task.status != LUA_OK || sandbox_.stopped());
  const bool no_memory = over && task.status == LUA_ERRMEM;
  if (failed) {
    try {
      std::string why = sandbox_.failure(task.state, task.status);
      // That it was cancelled is no failure of the script.
      if (!task.cancelled || !why.ends_with(task.reason) || task.expires != Duration::zero())
        task.service->report(task.name, why + trace(task.state, why));
    } catch (const LuaPanic&) {
      task.service->report(task.name, "no memory is left in the state");
    } catch (const std::exception& problem) {
      task.service->report(task.name, problem.what());
    }
    lua_settop(state(), 0);
  }
  time_spent_ += monotonic_now() - started;
  current_ = nullptr;
  service_ = nullptr;
  running_ = false;
  if (over) finish(task, failed);
  if (no_memory) sandbox_.collect_garbage();
}

bool ScriptRuntime::resume(Task& task) noexcept {
  return task.fiber->alive() ? task.fiber->resume() : task.fiber->start(&run_body, &task);
}

std::unique_ptr<Task> ScriptRuntime::make_task() noexcept {
  std::unique_ptr<Task> task(new (std::nothrow) Task);
  if (!task) return nullptr;
  if (spare_fibers_.empty()) {
    task->fiber = Fiber::make();
  } else {
    task->fiber = std::move(spare_fibers_.back());
    spare_fibers_.pop_back();
  }
  return task->fiber ? std::move(task) : nullptr;
}

// What waits in the middle of the task raises, and so does every instruction of the script from then on: the stack ends as
// that of a task that was stopped does. It may be in the middle of another's turn.
void ScriptRuntime::unwind(Task& task) noexcept {
  if (!task.fiber->alive()) return;
  task.unwinds = true;
  const auto account = sandbox_.set_aside();
  const auto before = std::tuple(running_, current_, service_);
  std::tie(running_, current_, service_) = std::tuple(true, &task, task.service);
  sandbox_.begin(task.state, limits_.instructions, kCallTime);
  while (!resume(task)) continue;
  sandbox_.end();
  std::tie(running_, current_, service_) = before;
  sandbox_.take_back(account);
}

void ScriptRuntime::finish(Task& task, bool failed) noexcept {
  unwind(task);
  if (task.leads) task.group->on_leader_end(task, failed);
  if (failed) {
    // Nothing more runs in it, not even __close.
    luaL_unref(state(), LUA_REGISTRYINDEX, task.reference);
    task.state = nullptr;
  }
  forget(task);
}

void ScriptRuntime::forget(Task& task) noexcept {
  leave_lines(task);
  if (task.handle) task.handle->task = nullptr;
  if (task.gone) *task.gone = true;
  TaskGroup* group = task.group;
  task.service->remove(task);
  if (task.state) {
    lua_settop(task.state, 0);
    if (spare_.size() < kSpareThreads && spare_.size() < spare_.capacity())
      spare_.emplace_back(task.state, task.reference);
    else
      luaL_unref(state(), LUA_REGISTRYINDEX, task.reference);
  }
  if (spare_fibers_.size() < kSpareFibers) spare_fibers_.push_back(std::move(task.fiber));
  --tasks_;
  delete &task;
  if (group && group->tasks == 0) group->on_no_task();
}

void ScriptRuntime::drop(Task& task) noexcept {
  if (Wait* wait = std::exchange(task.wait, nullptr)) wait->abandon(task);
  unwind(task);
  luaL_unref(state(), LUA_REGISTRYINDEX, task.reference);
  task.state = nullptr;
  forget(task);
}

void ScriptRuntime::out_of_memory(Task& task) noexcept {
  sandbox_.collect_garbage();
  end_badly(task, "no memory is left for what it is given (script.memory is the limit)");
}

void ScriptRuntime::end_badly(Task& task, std::string_view why) noexcept {
  task.service->report(task.name, why);
  if (&task == current_) return;
  finish(task, true);
}

// ---- Waiting ---------------------------------------------------------------------------------------------------

int ScriptRuntime::wait(lua_State* state, Wait& wait, Duration timeout) {
  Task& task = waiting(state);
  if (!take_depth(task)) {
    wait.abandon(task);
    luaL_error(state, "not enough memory");
  }
  task.wait = &wait;
  if (timeout > Duration::zero()) task.deadline = Loop::now() + timeout;
  if (task.expires != Duration::zero() && (task.deadline == Duration::zero() || task.expires < task.deadline))
    task.deadline = task.expires;
  if (task.deadline != Duration::zero() && !contain("a wait", [&] { arm(task); })) {
    task.wait = nullptr;
    wait.abandon(task);
    sandbox_.return_memory(std::exchange(task.deep, 0));
    luaL_error(state, "not enough memory");
  }
  suspend(state, task);
  return std::exchange(task.values, 0);
}

void ScriptRuntime::wait_turn(lua_State* state) {
  Task& task = waiting(state);
  if (!take_depth(task)) luaL_error(state, "not enough memory");
  make_ready(task);
  suspend(state, task);
}

// A C stack that is deep keeps its pages while its task waits: they are the script's memory.
bool ScriptRuntime::take_depth(Task& task) noexcept {
  const std::size_t depth = task.fiber->depth();
  if (depth <= kShallow) return true;
  if (!sandbox_.take_memory(depth)) return false;
  task.deep = depth;
  return true;
}

void ScriptRuntime::suspend(lua_State* state, Task& task) {
  task.fiber->wait();
  sandbox_.return_memory(std::exchange(task.deep, 0));
  if (task.unwinds) sandbox_.abandon(state);
  if (std::exchange(task.raises, false)) luaL_error(state, "%s", task.reason);
}

Task& ScriptRuntime::waiting(lua_State* state) {
  if (!current_)
    luaL_error(state, "this waits, and the plugin waits for what this function answers: do it in portolan.spawn");
  if (current_->cancelled) luaL_error(state, "%s", current_->reason);
  // Stopped, and no instruction of the script came between.
  if (sandbox_.stopped()) sandbox_.abandon(state);
  luaL_checkstack(state, kRoom, nullptr);
  return *current_;
}

// A deadline that is later than the one that it is in line with is looked at when that strikes: most waits end long before.
void ScriptRuntime::arm(Task& task) {
  if (task.armed != Duration::zero() && task.armed <= task.deadline) return;
  if (task.armed != Duration::zero()) later_.erase({task.armed, &task});
  task.armed = task.deadline;
  later_.emplace(task.armed, &task);
  if (later_.begin()->second == &task) start_timer();
}

void ScriptRuntime::start_timer() noexcept {
  if (later_.empty()) return later_timer_->stop();
  later_timer_->start(std::max(later_.begin()->first - Loop::now(), Duration::zero()));
}

void ScriptRuntime::strike() noexcept {
  const Duration now = io_->tick();
  while (!later_.empty() && later_.begin()->first <= now) {
    Task& task = *later_.begin()->second;
    later_.erase(later_.begin());
    task.armed = Duration::zero();
    if (!task.wait || task.deadline == Duration::zero()) continue;
    if (task.deadline > now) {
      arm(task);
      continue;
    }
    if (task.expires != Duration::zero() && now >= task.expires) {
      cancel(task, "it has taken longer than script.hook_timeout");
      continue;
    }
    const bool answers = task.wait->answers_timeout();
    task.wait->abandon(task);  // which may be its end
    wake(task, [&](lua_State* state) {
      if (!answers) return 0;
      lua_pushnil(state);
      lua_pushliteral(state, "timed out");
      return 2;
    });
  }
  start_timer();
  io_->settle();
}

void ScriptRuntime::cancel(Task& task, const char* reason) noexcept {
  task.cancelled = true;
  task.reason = reason;
  Wait* wait = std::exchange(task.wait, nullptr);
  if (!wait) return;
  task.raises = true;
  wait->abandon(task);
  wake(task, [](lua_State*) { return 0; });
}

// ---- Hooks that a plugin waits for -------------------------------------------------------------------------------

bool ScriptRuntime::enter(ScriptService* service, Task* task) noexcept {
  if (running_) return false;
  running_ = true;
  current_ = task;
  service_ = service;
  return true;
}

void ScriptRuntime::leave(Duration spent) noexcept {
  time_spent_ += spent;
  current_ = nullptr;
  running_ = false;
  service_ = nullptr;
}

void ScriptRuntime::discard(Task& task) noexcept {
  leave_lines(task);
  if (Wait* wait = std::exchange(task.wait, nullptr)) wait->abandon(task);
  unwind(task);
}

bool ScriptRuntime::adopt(std::unique_ptr<Task>& task) noexcept {
  if (full(*task->service, task->name)) return false;
  if (!contain("a hook that waits", [&] { task->service->add(*task); })) return false;
  ++tasks_;
  (void)task.release();
  return true;
}

std::string ScriptRuntime::trace(lua_State* running, std::string_view message) {
  std::string text;
  lua_Debug activation;
  int shown = 0;
  bool innermost = true;
  for (int level = 0; shown < kTraceDepth && lua_getstack(running, level, &activation) != 0; ++level) {
    lua_getinfo(running, "Sl", &activation);
    if (activation.currentline <= 0) continue;
    const std::string line = fmt::format("{}:{}", activation.short_src, activation.currentline);
    // The innermost line is in most messages already.
    if (std::exchange(innermost, false)) {
      if (message.find(fmt::format(":{}: ", activation.currentline)) == std::string_view::npos) text += "; at " + line;
      continue;
    }
    text += (shown++ == 0 ? "; called from " : ", ") + line;
  }
  return text;
}

}  // namespace portolan
