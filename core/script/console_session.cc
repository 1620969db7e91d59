#include "script/console_session.h"

#include "base/callback.h"
#include "base/units.h"
#include "net/worker_io.h"
#include "script/bind.h"
#include "script/json.h"
#include "script/pretty.h"
#include "script/script_service.h"

#include <fmt/format.h>
#include <lua.hpp>

#include <algorithm>
#include <utility>

namespace portolan {
namespace {

constexpr const char* kTaskName = "console";
constexpr const char* kChunk = "=console";
constexpr const char* kTookTooLong = "stopped: it has taken longer than it was given (--timeout)";
constexpr std::size_t kMostWords = 500;
// What is told costs more than its bytes, which are kept until the console has read them.
constexpr std::size_t kMostEvents = 20'000;
constexpr int kMostHops = 16;  // from one __index to the next
// As Lua's own prompt finds out that a chunk goes on: by the end of the parser's message.
constexpr std::string_view kAtEnd = "<eof>";

// Replaces the value on top by the field, as far as that runs no code of the script's; nil otherwise.
void step_into(lua_State* state, std::string_view name) {
  for (int hop = 0; hop < kMostHops; ++hop) {
    if (lua_type(state, -1) == LUA_TTABLE) {
      lua_pushlstring(state, name.data(), name.size());
      if (lua_rawget(state, -2) != LUA_TNIL) return lua_remove(state, -2);
      lua_pop(state, 1);
    }
    if (luaL_getmetafield(state, -1, "__index") == LUA_TNIL) break;
    lua_remove(state, -2);
  }
  lua_pop(state, 1);
  lua_pushnil(state);
}

// The names in the value on top and behind it that begin like this. Leaves the stack as it was.
void gather(lua_State* state, std::string_view beginning, bool functions_only, std::vector<std::string>& words) {
  const int top = lua_gettop(state);
  lua_pushvalue(state, -1);
  for (int hop = 0; hop < kMostHops && words.size() < kMostWords; ++hop) {
    if (lua_type(state, -1) == LUA_TTABLE) {
      for (lua_pushnil(state); lua_next(state, -2) != 0; lua_pop(state, 1)) {
        if (lua_type(state, -2) != LUA_TSTRING) continue;
        const std::string_view key = check_text(state, -2);
        const bool is_function = lua_type(state, -1) == LUA_TFUNCTION;
        if (!key.starts_with(beginning) || (functions_only && !is_function) || words.size() >= kMostWords) continue;
        const bool is_name = !key.empty() && std::ranges::all_of(key, [](char c) {
          return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
        });
        if (is_name) words.push_back(std::string(key) + (is_function ? "(" : ""));
      }
    }
    if (luaL_getmetafield(state, -1, "__index") == LUA_TNIL) break;
  }
  lua_settop(state, top);
}

}  // namespace

std::string_view to_string(ConsoleEvent event) noexcept {
  switch (event) {
    case ConsoleEvent::session: return "session";
    case ConsoleEvent::notice: return "notice";
    case ConsoleEvent::print: return "print";
    case ConsoleEvent::value: return "value";
    case ConsoleEvent::rows: return "rows";
    case ConsoleEvent::error: return "error";
    case ConsoleEvent::incomplete: return "incomplete";
    case ConsoleEvent::done: return "done";
  }
  return "?";
}

ConsoleSession::ConsoleSession(ScriptService& service, ConsoleStyle style, Tell tell)
    : service_(service),
      style_(style),
      tell_(std::move(tell)),
      deadline_(service.io().loop(),
                [this] {
                  service_.io().tick();
                  cancel(kTookTooLong);
                  service_.io().settle();
                }),
      box_reference_(LUA_NOREF),
      environment_(LUA_NOREF) {}

ConsoleSession::~ConsoleSession() {
  cancel("the console has gone");
  // One that goes on nevertheless is dropped: its client is told that as well.
  if (busy_ && !failed_) tell(ConsoleEvent::error, reason_);
  service_.end_tasks();
  tell_ = nullptr;
  if (box_) box_->session = nullptr;
  lua_State* state = service_.runtime().state();
  luaL_unref(state, LUA_REGISTRYINDEX, environment_);
  luaL_unref(state, LUA_REGISTRYINDEX, box_reference_);
}

// ---- A line ------------------------------------------------------------------------------------------------------

void ConsoleSession::evaluate(std::string text, Duration time_limit) noexcept {
  text_ = std::move(text);
  room_ = kMostAnswer;
  told_ = 0;
  reason_ = nullptr;
  failed_ = false;
  busy_ = true;
  deadline_.start(time_limit);
  const auto started = service_.runtime().start(service_, this, kTaskName, [this](lua_State* state) {
    lua_pushcfunction(state, &ConsoleSession::run);
    lua_pushlightuserdata(state, this);
    return 2;
  });
  // It may have begun and ended badly: then that was told.
  if (started != ScriptRuntime::Started::refused || !busy_) return;
  if (!failed_) tell(ConsoleEvent::error, "it cannot be begun: the service has ended");
  on_no_task();
}

int ConsoleSession::run(lua_State* state) {
  auto& self = *static_cast<ConsoleSession*>(lua_touserdata(state, 1));
  lua_settop(state, 0);
  if (!self.load(state)) return 0;
  self.push_environment(state);
  lua_setupvalue(state, 1, 1);
  lua_call(state, 0, LUA_MULTRET);
  const int count = lua_gettop(state);
  for (int index = 1; index <= count; ++index) self.show(state, index);
  return 0;
}

// Leaves the function; false: there is none, and why was told.
bool ConsoleSession::load(lua_State* state) {
  const std::string expression = "return " + text_;
  int status = luaL_loadbufferx(state, expression.data(), expression.size(), kChunk, "t");
  if (status == LUA_ERRSYNTAX) {
    lua_settop(state, 0);
    status = luaL_loadbufferx(state, text_.data(), text_.size(), kChunk, "t");
  }
  if (status == LUA_OK) return true;
  if (status != LUA_ERRSYNTAX) lua_error(state);
  const std::string_view message = check_text(state, -1);
  if (message.ends_with(kAtEnd))
    tell(ConsoleEvent::incomplete);
  else
    tell(ConsoleEvent::error, std::string(message));
  return false;
}

void ConsoleSession::push_environment(lua_State* state) {
  if (environment_ != LUA_NOREF) {
    lua_rawgeti(state, LUA_REGISTRYINDEX, environment_);
    return;
  }
  luaL_checkstack(state, 8, nullptr);
  lua_newtable(state);
  lua_createtable(state, 0, 1);
  lua_pushglobaltable(state);
  lua_setfield(state, -2, "__index");
  lua_setmetatable(state, -2);
  // _G is the console's own, too: what is set in there is set here.
  lua_pushvalue(state, -1);
  lua_setfield(state, -2, "_G");
  auto* box = static_cast<Box*>(lua_newuserdatauv(state, sizeof(Box), 0));
  box->session = this;
  lua_pushvalue(state, -1);
  lua_pushcclosure(state, &ConsoleSession::print, 1);
  lua_setfield(state, -3, "print");
  // Of what is left on the stack nothing is lost should there be no memory for the references.
  const int reference = luaL_ref(state, LUA_REGISTRYINDEX);
  box_ = box;
  box_reference_ = reference;
  lua_pushvalue(state, -1);
  environment_ = luaL_ref(state, LUA_REGISTRYINDEX);
}

int ConsoleSession::print(lua_State* state) {
  std::string line;
  const int count = lua_gettop(state);
  for (int index = 1; index <= count; ++index) {
    std::size_t size = 0;
    const char* text = luaL_tolstring(state, index, &size);
    if (index > 1) line += '\t';
    line.append(text, size);
    lua_pop(state, 1);
    if (line.size() > kMostAnswer) break;
  }
  Sandbox::of(state).charge(state, line.size() / 16 + 100);
  const auto* box = static_cast<Box*>(lua_touserdata(state, lua_upvalueindex(1)));
  if (box->session) box->session->answer(ConsoleEvent::print, line + "\n");
  return 0;
}

void ConsoleSession::show(lua_State* state, int index) {
  if (style_ == ConsoleStyle::json) {
    std::string text = encode_json(state, index);
    if (text.size() > room_) luaL_error(state, "the value is longer than what an answer may be");
    return answer(ConsoleEvent::value, std::move(text));
  }
  const PrettyLimits limits{.bytes = room_};
  if (style_ == ConsoleStyle::table) {
    if (std::string rows = pretty_rows(state, index, limits); !rows.empty())
      return answer(ConsoleEvent::rows, std::move(rows));
  }
  answer(ConsoleEvent::value, pretty(state, index, limits));
}

// ---- Its end -----------------------------------------------------------------------------------------------------

void ConsoleSession::cancel(const char* reason) noexcept {
  if (!busy_ || reason_) return;
  reason_ = reason;
  service_.cancel(*this, reason);
}

void ConsoleSession::on_leader_end(Task&, bool failed) noexcept {
  if (reason_)
    tell(ConsoleEvent::error, reason_);
  else if (failed && !failed_)
    tell(ConsoleEvent::error, "it has failed");
}

void ConsoleSession::on_no_task() noexcept {
  deadline_.stop();
  busy_ = false;
  text_.clear();
  tell(ConsoleEvent::done);
}

void ConsoleSession::report(std::string_view what) noexcept {
  const Task* running = service_.runtime().current();
  contain("what a console is told", [&] {
    const bool of_line = busy_ && (!running || running->group == this);
    if (of_line) return tell(ConsoleEvent::error, std::string(what));
    answer(ConsoleEvent::notice, fmt::format("a task that was begun here failed: {}", what));
  });
}

void ConsoleSession::answer(ConsoleEvent event, std::string text) {
  if (text.size() <= room_ && told_ < kMostEvents) {
    room_ -= text.size();
    ++told_;
    return tell(event, std::move(text));
  }
  if (room_ == 0) return;
  text.resize(std::min(text.size(), room_));
  if (event == ConsoleEvent::print && !text.empty()) text.back() = '\n';
  room_ = 0;
  tell(event, std::move(text));
  tell(ConsoleEvent::notice,
       fmt::format("the answer is longer than {}: the rest is not shown", format_size(std::int64_t{kMostAnswer})));
}

void ConsoleSession::tell(ConsoleEvent event, std::string text) noexcept {
  if (event == ConsoleEvent::error) failed_ = true;
  contain("what a console is told", [&] {
    if (tell_) tell_(event, std::move(text));
  });
}

// ---- Completion --------------------------------------------------------------------------------------------------

std::vector<std::string> ConsoleSession::complete(std::string_view path) noexcept {
  std::vector<std::string> words;
  lua_State* state = service_.runtime().state();
  const int top = lua_gettop(state);
  try {
    luaL_checkstack(state, 16, nullptr);
    push_environment(state);
    bool functions_only = false;
    for (;;) {
      const std::size_t end = path.find_first_of(".:");
      if (end == std::string_view::npos) break;
      step_into(state, path.substr(0, end));
      functions_only = path[end] == ':';
      path.remove_prefix(end + 1);
    }
    gather(state, path, functions_only, words);
  } catch (const LuaPanic&) {
    words.clear();  // no memory is left in the state
  } catch (const std::exception&) {
    words.clear();
  }
  lua_settop(state, top);
  std::ranges::sort(words);
  const auto [first, last] = std::ranges::unique(words);
  words.erase(first, last);
  return words;
}

}  // namespace portolan
