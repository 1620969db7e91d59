// Time and tasks: portolan.sleep, spawn, every, after.
#include "base/clock.h"
#include "script/bind.h"
#include "script/script_service.h"

#include <utility>

namespace portolan {
namespace {

constexpr const char* kTaskType = "portolan.task";

// A wait that ends by its time alone.
class Sleep final : public Wait {
 public:
  void abandon(Task&) noexcept override {}
  bool answers_timeout() const noexcept override { return false; }
};
Sleep sleeping;  // it holds nothing

int sleep(lua_State* state) {
  const Duration duration = check_duration(state, 1);
  return ScriptRuntime::of(state).wait(state, sleeping, std::max<Duration>(duration, Duration(1)));
}

// Leaves the object that stands for the task. Raises.
void push_task(lua_State* state, Task& task) { task.handle = &push_object<TaskHandle>(state, kTaskType, &task); }

int spawn(lua_State* state) {
  luaL_checktype(state, 1, LUA_TFUNCTION);
  push_task(state, ScriptRuntime::of(state).spawn(state, lua_gettop(state) - 1));
  return 1;
}

// ---- every, after: a task that sleeps and calls ------------------------------------------------------------------

// Its arguments: the function, the interval in ns, whether it goes on.
int call_later(lua_State* state) {
  ScriptRuntime& runtime = ScriptRuntime::of(state);
  const Duration interval(lua_tointeger(state, 2));
  do {
    runtime.wait(state, sleeping, interval);
    lua_settop(state, 3);
    lua_pushvalue(state, 1);
    // One failure does not end what is to be done again.
    if (const int status = lua_pcall(state, 0, 0, 0); status != LUA_OK) {
      const std::string why = runtime.sandbox().failure(state, status);
      Task& task = runtime.waiting(state);
      task.service->report(task.name, why);
    }
  } while (lua_toboolean(state, 3) != 0);
  return 0;
}

int begin_timer(lua_State* state, bool repeat) {
  const Duration interval = check_duration(state, 1);
  luaL_checktype(state, 2, LUA_TFUNCTION);
  if (repeat && interval < std::chrono::milliseconds(1)) luaL_argerror(state, 1, "at least 1 ms");
  lua_settop(state, 2);
  lua_pushcfunction(state, &call_later);
  lua_pushvalue(state, 2);
  lua_pushinteger(state, std::max<lua_Integer>(interval.count(), 1));
  lua_pushboolean(state, repeat ? 1 : 0);
  push_task(state, ScriptRuntime::of(state).spawn(state, 3));
  return 1;
}

int every(lua_State* state) { return begin_timer(state, true); }
int after(lua_State* state) { return begin_timer(state, false); }

// ---- The object ----------------------------------------------------------------------------------------------------

TaskHandle& self(lua_State* state) { return check_object<TaskHandle>(state, 1, kTaskType); }

int cancel(lua_State* state) {
  Task* task = self(state).task;
  ScriptRuntime& runtime = ScriptRuntime::of(state);
  if (task && task != runtime.current()) runtime.cancel(*task, "the task was cancelled");
  return 0;
}
int is_done(lua_State* state) {
  lua_pushboolean(state, self(state).task == nullptr ? 1 : 0);
  return 1;
}

int clock(lua_State* state) {
  lua_pushnumber(state, std::chrono::duration<double>(monotonic_now()).count());
  return 1;
}

int service(lua_State* state) {
  push_text(state, check_service(state).name());
  return 1;
}

constexpr LuaFunction kTaskFunctions[] = {
    {"cancel", &cancel, "()", "its wait, or its next one, raises an error"},
    {"is_done", &is_done, "() -> boolean", "it has ended"},
};
constexpr LuaFunction kFunctions[] = {
    {"sleep", &sleep, "(duration)", "waits: \"1.5s\", or a number of seconds"},
    {"spawn", &spawn, "(function, …) -> task", "runs it as a task beside this one; a session's ends with the session"},
    {"every", &every, "(duration, function) -> task", "calls it again and again, with so much time between"},
    {"after", &after, "(duration, function) -> task", "calls it once, after this time"},
    {"clock", &clock, "() -> number", "seconds of a clock that only goes forward, for intervals"},
    {"service", &service, "() -> string", "the name of the service whose function this is"},
};

}  // namespace

const LuaArea kTaskArea = {"portolan.", "Time, and work beside the work.", kFunctions};
const LuaArea kTaskObjectArea = {"task:", "What spawn, every and after answer.", kTaskFunctions};

void bind_tasks(lua_State* state) {
  add_class(state, kTaskType, "task", kTaskFunctions);
  add_functions(state, kFunctions);
}

}  // namespace portolan
