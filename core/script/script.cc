#include "script/script.h"

#include "base/callback.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/net_error.h"
#include "script/runtime.h"
#include "script/sandbox.h"
#include "script/script_datagram.h"
#include "script/script_service.h"
#include "script/script_stream.h"
#include "stats/service_stats.h"

#include <fmt/format.h>
#include <lua.hpp>

#include <algorithm>
#include <deque>
#include <memory>
#include <new>
#include <unordered_set>
#include <utility>
#include <vector>

namespace portolan {
namespace {

constexpr std::uint64_t kLoadInstructions = 100'000'000;

}  // namespace

class Script::Impl {
 public:
  // A function of one service.
  class Bound final : public Hook {
   public:
    Bound(Impl& script, std::string service, std::string name, WorkerStats& stats, ScriptService* owner)
        : script_(script), service_(std::move(service)), name_(std::move(name)), stats_(stats), owner_(owner) {}

    Outcome call(std::span<const HookValue> arguments, std::span<HookValue> results) noexcept override {
      return script_.call(*this, nullptr, arguments, results);
    }
    Outcome ask(Stream& stream, std::span<const HookValue> arguments, std::span<HookValue> results) noexcept override {
      return script_.ask(*this, stream, arguments, results);
    }
    StreamHandler* serve(Stream& stream) noexcept override { return script_.serve(*this, stream); }
    void receive(DatagramPeer& peer, std::span<const std::byte> data) noexcept override {
      script_.receive(*this, peer, data);
    }
    bool start(std::span<const HookValue> arguments) noexcept override { return script_.start(*this, arguments); }

   private:
    friend class Impl;
    Impl& script_;
    std::string service_;
    std::string name_;
    WorkerStats& stats_;
    ScriptService* owner_;  // null in tests without one
    int reference_ = LUA_NOREF;
    std::size_t most_arguments_ = 0;  // arguments beyond what the function takes are not even made
  };

  explicit Impl(const ScriptRuntime::Limits& limits) : runtime_(limits) {}
  ~Impl();

  std::expected<void, std::string> load(const Configuration& configuration);
  Hook* hook(const ServiceConfiguration& service, std::string_view name, WorkerStats& stats, ScriptService* owner);
  Hook::Outcome call(Bound& hook, Stream* asker, std::span<const HookValue> arguments,
                     std::span<HookValue> results) noexcept;
  Hook::Outcome ask(Bound& hook, Stream& stream, std::span<const HookValue> arguments,
                    std::span<HookValue> results) noexcept;
  StreamHandler* serve(Bound& hook, Stream& stream) noexcept;
  void receive(Bound& hook, DatagramPeer& peer, std::span<const std::byte> data) noexcept;
  bool start(Bound& hook, std::span<const HookValue> arguments) noexcept;
  ScriptRuntime& runtime() noexcept { return runtime_; }

  // What a hook answers later, to a stream that is paused for it. Letting go of it ends the hook.
  class Asked final : public TaskGroup, public Question {
   public:
    Asked(Impl& script, Bound& hook, Stream& stream) : script_(script), hook_(hook), stream_(stream) {
      script_.asked_.insert(this);
    }
    ~Asked() {
      script_.asked_.erase(this);
      if (Task* task = std::exchange(task_, nullptr)) script_.runtime_.drop(*task);
    }
    void waits(Task& task) noexcept {
      task_ = &task;
      stream_.question(this);
      stream_.pause();
    }
    bool answered() const noexcept override { return task_ == nullptr; }
    void drop() noexcept override { delete this; }
    // The script goes before the stream: whoever serves that now is asked instead.
    void withdraw() noexcept {
      stream_.question(nullptr);
      stream_.resume();
      delete this;
    }
    bool is_of(const Bound& hook) const noexcept { return &hook_ == &hook; }
    // Hands over what it was answered; the texts are the script's until its next answer.
    Hook::Outcome take(std::span<HookValue> results) noexcept;

   private:
    void on_leader_end(Task& task, bool failed) noexcept override;
    // It was dropped, with its service: the plugin goes on by its default.
    void on_no_task() noexcept override {
      if (std::exchange(task_, nullptr)) stream_.resume();
    }
    bool inherits() const noexcept override { return false; }
    Impl& script_;
    Bound& hook_;
    Stream& stream_;
    Task* task_ = nullptr;
    Hook::Outcome outcome_ = Hook::Outcome::failed;
    std::vector<HookValue> values_;
    std::vector<std::string> texts_;
  };

 private:
  void new_coroutine();
  Hook::Outcome wait_for(Bound& hook, Stream& asker);
  Hook::Outcome read_results(Bound& hook, lua_State* from, int count, std::span<HookValue> results) noexcept;
  void push(lua_State* to, const HookValue& value, std::string_view service);
  void push_session(lua_State* to, const SessionInfo& info, std::string_view service);
  static std::string_view take(lua_State* from, int index, HookValue& out) noexcept;
  void fail(Bound& hook, int status) noexcept;
  void report(Bound& hook, std::string_view what) noexcept;

  ScriptRuntime runtime_;
  Sandbox& sandbox_ = runtime_.sandbox();
  lua_State* coroutine_ = nullptr;
  int coroutine_reference_ = LUA_NOREF;
  int services_reference_ = LUA_NOREF;
  int sessions_reference_ = LUA_NOREF;  // id -> table; its values are weak
  std::deque<Bound> hooks_;             // their addresses are given out
  std::unique_ptr<Task> call_task_;     // what a call becomes when it waits
  std::vector<std::string> answer_;     // texts of the latest answer that came later
  std::unordered_set<Asked*> asked_;
};

Script::Impl::~Impl() {
  while (!asked_.empty()) (*asked_.begin())->withdraw();
}

std::expected<void, std::string> Script::Impl::load(const Configuration& configuration) {
  // Checking the file said all that it has to say; what it prints when a worker reads it again is noise.
  sandbox_.set_log(LogLevel::debug, {});
  if (auto result = sandbox_.run(configuration.file, configuration.source, kLoadInstructions); !result) return result;
  lua_State* state = sandbox_.state();
  if (lua_type(state, -1) != LUA_TTABLE) return std::unexpected(configuration.file + ": returned no table");
  try {
    lua_pushliteral(state, "services");
    lua_rawget(state, -2);
    if (lua_type(state, -1) != LUA_TTABLE) return std::unexpected(configuration.file + ": has no services");
    services_reference_ = luaL_ref(state, LUA_REGISTRYINDEX);
    // What else the table holds may go, unless a function refers to it.
    lua_settop(state, 0);
    lua_newtable(state);
    lua_createtable(state, 0, 1);
    lua_pushliteral(state, "v");
    lua_setfield(state, -2, "__mode");
    lua_setmetatable(state, -2);
    sessions_reference_ = luaL_ref(state, LUA_REGISTRYINDEX);
    new_coroutine();
    lua_gc(state, LUA_GCCOLLECT);
  } catch (const LuaPanic&) {
    return std::unexpected(configuration.file + ": no memory is left to prepare its functions");
  }
  return {};
}

void Script::Impl::new_coroutine() {
  lua_State* state = sandbox_.state();
  lua_State* coroutine = lua_newthread(state);
  const int reference = luaL_ref(state, LUA_REGISTRYINDEX);
  luaL_unref(state, LUA_REGISTRYINDEX, coroutine_reference_);
  coroutine_ = coroutine;
  coroutine_reference_ = reference;
}

Hook* Script::Impl::hook(const ServiceConfiguration& service, std::string_view name, WorkerStats& stats,
                         ScriptService* owner) {
  for (Bound& known : hooks_) {
    if (known.name_ == name && known.service_ == service.name && known.owner_ == owner && &known.stats_ == &stats)
      return &known;
  }
  lua_State* state = sandbox_.state();
  lua_settop(state, 0);
  try {
    lua_rawgeti(state, LUA_REGISTRYINDEX, services_reference_);
    // A single service may stand there without the braces of a list around it.
    if (lua_rawlen(state, 1) > 0) lua_rawgeti(state, 1, static_cast<lua_Integer>(service.index) + 1);
    if (lua_type(state, -1) != LUA_TTABLE) return nullptr;
    lua_pushlstring(state, name.data(), name.size());
    if (lua_rawget(state, -2) != LUA_TFUNCTION) return nullptr;
    lua_pushvalue(state, -1);
    lua_Debug function;
    lua_getinfo(state, ">u", &function);
    Bound& made = hooks_.emplace_back(*this, service.name, std::string(name), stats, owner);
    made.most_arguments_ = function.isvararg != 0 ? SIZE_MAX : function.nparams;
    made.reference_ = luaL_ref(state, LUA_REGISTRYINDEX);
    lua_settop(state, 0);
    return &made;
  } catch (const LuaPanic&) {
    lua_settop(state, 0);
    return nullptr;
  }
}

void Script::Impl::push_session(lua_State* to, const SessionInfo& info, std::string_view service) {
  lua_rawgeti(to, LUA_REGISTRYINDEX, sessions_reference_);
  const auto id = static_cast<lua_Integer>(info.id);
  if (lua_rawgeti(to, -1, id) == LUA_TTABLE) {
    lua_remove(to, -2);
    return;
  }
  lua_pop(to, 1);
  const std::string_view transport = to_string(info.transport);
  lua_createtable(to, 0, 4);
  lua_pushinteger(to, id);
  lua_setfield(to, -2, "id");
  lua_pushlstring(to, info.peer.data(), info.peer.size());
  lua_setfield(to, -2, "peer");
  lua_pushlstring(to, transport.data(), transport.size());
  lua_setfield(to, -2, "transport");
  lua_pushlstring(to, service.data(), service.size());
  lua_setfield(to, -2, "service");
  lua_pushvalue(to, -1);
  lua_rawseti(to, -3, id);
  lua_remove(to, -2);
}

void Script::Impl::push(lua_State* to, const HookValue& value, std::string_view service) {
  switch (value.kind) {
    case HookValue::Kind::nil: lua_pushnil(to); return;
    case HookValue::Kind::boolean: lua_pushboolean(to, value.boolean ? 1 : 0); return;
    case HookValue::Kind::integer: lua_pushinteger(to, static_cast<lua_Integer>(value.integer)); return;
    case HookValue::Kind::number: lua_pushnumber(to, value.number); return;
    case HookValue::Kind::text: lua_pushlstring(to, value.text.data(), value.text.size()); return;
    case HookValue::Kind::session:
      if (value.stream != nullptr) return push_session(to, value.stream->info(), service);
      if (value.peer != nullptr) return push_session(to, value.peer->info(), service);
      lua_pushnil(to);
      return;
    case HookValue::Kind::record:
      lua_createtable(to, 0, static_cast<int>(value.field_count));
      for (const HookField& field : std::span(value.fields, value.field_count)) {
        lua_pushlstring(to, field.name.data(), field.name.size());
        push(to, field.value, service);
        lua_rawset(to, -3);
      }
      return;
  }
}

// Answers the name of the type when it is none that a plugin can take.
std::string_view Script::Impl::take(lua_State* from, int index, HookValue& out) noexcept {
  switch (lua_type(from, index)) {
    case LUA_TNIL: return {};
    case LUA_TBOOLEAN:
      out.kind = HookValue::Kind::boolean;
      out.boolean = lua_toboolean(from, index) != 0;
      return {};
    case LUA_TNUMBER:
      out.number = lua_tonumber(from, index);
      out.kind = HookValue::Kind::number;
      if (lua_isinteger(from, index) != 0) {
        out.kind = HookValue::Kind::integer;
        out.integer = lua_tointeger(from, index);
      }
      return {};
    case LUA_TSTRING: {
      std::size_t length = 0;
      const char* text = lua_tolstring(from, index, &length);
      out.kind = HookValue::Kind::text;
      out.text = {text, length};
      return {};
    }
    default: return luaL_typename(from, index);
  }
}

Hook::Outcome Script::Impl::read_results(Bound& hook, lua_State* from, int count,
                                         std::span<HookValue> results) noexcept {
  const int first = lua_gettop(from) - count + 1;
  for (std::size_t index = 0; index < results.size() && static_cast<int>(index) < count; ++index) {
    const std::string_view refused = take(from, first + static_cast<int>(index), results[index]);
    if (refused.empty()) continue;
    contain("a message", [&] {
      report(hook, fmt::format("it returned a {} as value {}: a hook returns text, numbers, true, false or nil",
                               refused, index + 1));
    });
    for (HookValue& result : results) result = {};
    return Hook::Outcome::failed;
  }
  return Hook::Outcome::returned;
}

Hook::Outcome Script::Impl::call(Bound& hook, Stream* asker, std::span<const HookValue> arguments,
                                 std::span<HookValue> results) noexcept {
  for (HookValue& result : results) result = {};
  hook.stats_[CoreCounter::hook_calls].add();
  if (asker && !call_task_) call_task_ = runtime_.make_task();
  Task* const task = asker ? call_task_.get() : nullptr;
  if (task) task->service = hook.owner_;
  // A plugin that calls a hook from within one would pull the coroutine away under the first.
  if (!runtime_.enter(hook.owner_, task)) {
    report(hook, "a hook cannot be called from within another");
    return Hook::Outcome::failed;
  }
  const Duration started = monotonic_now();
  if (task) task->expires = started + runtime_.hook_timeout();
  Hook::Outcome outcome = Hook::Outcome::failed;
  try {
    sandbox_.set_log(LogLevel::info, hook.service_);
    if (!coroutine_) new_coroutine();
    if (task) task->state = coroutine_;
    lua_settop(coroutine_, 0);  // results of the call before: valid until now
    sandbox_.begin(coroutine_, runtime_.instructions(), ScriptRuntime::kCallTime);
    const std::size_t count = std::min(arguments.size(), hook.most_arguments_);
    int status = LUA_ERRMEM;
    int results_count = 0;
    bool over = true;
    if (lua_checkstack(coroutine_, static_cast<int>(count) + 8) != 0) {
      lua_rawgeti(coroutine_, LUA_REGISTRYINDEX, hook.reference_);
      for (std::size_t index = 0; index < count; ++index) push(coroutine_, arguments[index], hook.service_);
      if (task) {
        task->values = static_cast<int>(count);
        over = runtime_.resume(*task);
        std::tie(status, results_count) = std::tuple(task->status, task->values);
      } else {
        status = lua_resume(coroutine_, sandbox_.state(), static_cast<int>(count), &results_count);
      }
    }
    sandbox_.end();
    if (!over) {
      outcome = wait_for(hook, *asker);
    } else if (status == LUA_OK) {
      outcome = read_results(hook, coroutine_, results_count, results);
    } else {
      fail(hook, status);
    }
  } catch (const LuaPanic&) {
    // An argument did not fit into the memory.
    sandbox_.end();
    fail(hook, LUA_ERRMEM);
  } catch (const std::exception& error) {
    sandbox_.end();
    report(hook, error.what());
  }
  runtime_.leave(monotonic_now() - started);
  return outcome;
}

// The coroutine is the task's from now on; the next call makes another.
Hook::Outcome Script::Impl::wait_for(Bound& hook, Stream& asker) {
  Task& task = *call_task_;
  std::unique_ptr<Asked> asked;
  contain("a hook that waits", [&] { asked = std::make_unique<Asked>(*this, hook, asker); });
  task.reference = coroutine_reference_;
  task.name = hook.name_;
  task.group = asked.get();
  task.leads = true;
  coroutine_ = nullptr;
  coroutine_reference_ = LUA_NOREF;
  const bool adopted = asked && runtime_.adopt(call_task_);
  if (adopted) {
    asked.release()->waits(task);
  } else {
    runtime_.discard(task);
    luaL_unref(sandbox_.state(), LUA_REGISTRYINDEX, task.reference);
    call_task_.reset();
  }
  return adopted ? Hook::Outcome::waits : Hook::Outcome::failed;
}

void Script::Impl::Asked::on_leader_end(Task& task, bool failed) noexcept {
  task_ = nullptr;
  if (!failed) {
    contain("what a hook answers", [&] {
      values_.resize(static_cast<std::size_t>(std::min(task.values, 8)));
      const Hook::Outcome outcome = script_.read_results(hook_, task.state, task.values, values_);
      // The task's stack goes.
      texts_.reserve(values_.size());
      for (HookValue& value : values_)
        if (value.kind == HookValue::Kind::text) value.text = texts_.emplace_back(value.text);
      outcome_ = outcome;
    });
  }
  stream_.resume();
}

Hook::Outcome Script::Impl::Asked::take(std::span<HookValue> results) noexcept {
  for (std::size_t index = 0; index < results.size(); ++index)
    results[index] = index < values_.size() ? values_[index] : HookValue();
  script_.answer_ = std::move(texts_);
  return outcome_;
}

Hook::Outcome Script::Impl::ask(Bound& hook, Stream& stream, std::span<const HookValue> arguments,
                                std::span<HookValue> results) noexcept {
  auto* asked = static_cast<Asked*>(stream.question());
  if (asked && !asked->is_of(hook)) {
    // A newer configuration serves: its hook is asked.
    stream.question(nullptr);
    delete std::exchange(asked, nullptr);
  }
  if (!asked) return call(hook, hook.owner_ ? &stream : nullptr, arguments, results);
  if (!asked->answered()) {
    stream.pause();
    return Hook::Outcome::waits;
  }
  const Hook::Outcome outcome = asked->take(results);
  stream.question(nullptr);
  delete asked;
  return outcome;
}

StreamHandler* Script::Impl::serve(Bound& hook, Stream& stream) noexcept {
  hook.stats_[CoreCounter::hook_calls].add();
  auto* session = new (std::nothrow) ScriptStream(*hook.owner_, stream, ScriptStream::Side::session);
  if (!session) return nullptr;
  session->begin_turn();
  const auto started = runtime_.start(*hook.owner_, session, hook.name_, [&](lua_State* state) {
    lua_rawgeti(state, LUA_REGISTRYINDEX, hook.reference_);
    session->push(state);
    return 2;
  });
  session->end_turn();
  if (started != ScriptRuntime::Started::refused) return session;
  // Core tells a stream that was not taken nothing more.
  session->on_close(stream, NetError::closed);
  return nullptr;
}

void Script::Impl::receive(Bound& hook, DatagramPeer& peer, std::span<const std::byte> data) noexcept {
  hook.stats_[CoreCounter::hook_calls].add();
  ScriptDatagram datagram(peer);
  const auto started = runtime_.start(*hook.owner_, nullptr, hook.name_, [&](lua_State* state) {
    lua_rawgeti(state, LUA_REGISTRYINDEX, hook.reference_);
    datagram.push(state, data);
    return 2;
  });
  if (started == ScriptRuntime::Started::alive) datagram.keep();
}

bool Script::Impl::start(Bound& hook, std::span<const HookValue> arguments) noexcept {
  hook.stats_[CoreCounter::hook_calls].add();
  const auto started = runtime_.start(*hook.owner_, nullptr, hook.name_, [&](lua_State* state) {
    lua_rawgeti(state, LUA_REGISTRYINDEX, hook.reference_);
    for (const HookValue& value : arguments) push(state, value, hook.service_);
    return static_cast<int>(arguments.size()) + 1;
  });
  return started != ScriptRuntime::Started::refused;
}

void Script::Impl::fail(Bound& hook, int status) noexcept {
  try {
    const std::string why = sandbox_.failure(coroutine_, status);
    report(hook, coroutine_ ? why + ScriptRuntime::trace(coroutine_, why) : why);
    // An error within Lua's own count of instructions leaves a coroutine in which nothing is counted any more, and a
    // dead one cannot be used again: the next call gets a fresh one. Nothing runs in the old one, not even __close.
    lua_settop(sandbox_.state(), 0);
    new_coroutine();
    if (status == LUA_ERRMEM) sandbox_.collect_garbage();
  } catch (const LuaPanic&) {
    report(hook, "no memory is left in the state");
  } catch (const std::exception& error) {
    report(hook, error.what());
  }
}

void Script::Impl::report(Bound& hook, std::string_view what) noexcept {
  hook.stats_[CoreCounter::hook_failures].add();
  log::print(LogLevel::error, {.service = hook.service_}, "{} failed: {}", hook.name_, what);
}

Script::Script(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Script::~Script() = default;

std::expected<std::unique_ptr<Script>, std::string> Script::load(const Configuration& configuration) {
  try {
    auto impl = std::make_unique<Impl>(ScriptRuntime::Limits{.memory = configuration.script_memory,
                                                             .instructions = configuration.script_instructions,
                                                             .tasks = configuration.script_tasks,
                                                             .hook_timeout = configuration.script_hook_timeout});
    if (auto result = impl->load(configuration); !result) return std::unexpected(result.error());
    return std::unique_ptr<Script>(new Script(std::move(impl)));
  } catch (const std::bad_alloc&) {
    return std::unexpected(configuration.file + ": script.memory is too small for a Lua state");
  }
}

Hook* Script::hook(const ServiceConfiguration& service, std::string_view name, WorkerStats& stats,
                   ScriptService* owner) {
  return impl_->hook(service, name, stats, owner);
}

ScriptRuntime& Script::runtime() noexcept { return impl_->runtime(); }
Duration Script::time_spent() const noexcept { return impl_->runtime().time_spent(); }

}  // namespace portolan
