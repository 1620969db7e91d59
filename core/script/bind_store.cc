// portolan.query: SQL that reads. portolan.store: values that outlive the daemon.
#include "base/clock.h"
#include "net/worker_io.h"
#include "script/bind.h"
#include "script/script_service.h"
#include "store/store_access.h"

#include <cmath>
#include <memory>
#include <utility>

namespace portolan {
namespace {

constexpr std::size_t kMostParameters = 100;

void push_value(lua_State* state, const StoreValue& value) {
  if (const auto* integer = std::get_if<std::int64_t>(&value))
    lua_pushinteger(state, *integer);
  else if (const auto* number = std::get_if<double>(&value))
    lua_pushnumber(state, *number);
  else if (const auto* text = std::get_if<std::string>(&value))
    push_text(state, *text);
  else
    lua_pushnil(state);
}

StoreValue check_value(lua_State* state, int index) {
  switch (lua_type(state, index)) {
    case LUA_TNIL:
    case LUA_TNONE: return {};
    case LUA_TBOOLEAN: return std::int64_t{lua_toboolean(state, index)};
    case LUA_TNUMBER:
      if (lua_isinteger(state, index) != 0) return std::int64_t{lua_tointeger(state, index)};
      return lua_tonumber(state, index);
    case LUA_TSTRING: return std::string(check_text(state, index));
    default: luaL_argerror(state, index, "nil, a boolean, a number or a text");
  }
  return {};
}

// ---- portolan.query --------------------------------------------------------------------------------------------

// One question of one task: told on a thread of the store's, which posts; deletes itself when both are done with it.
class ScriptQuestion final : public Wait, public std::enable_shared_from_this<ScriptQuestion> {
 public:
  ScriptQuestion(ScriptService& service, Task& task) : service_(service.shared_from_this()), task_(&task) {}

  std::expected<void, std::string> begin(StoreQuestion question) {
    self_ = shared_from_this();
    const auto asked = service_->io().store().ask(
        std::move(question), [self = self_, &io = service_->io()](std::expected<StoreAnswer, std::string> answer) {
          io.post([self, answer = std::move(answer)] { self->take(answer); });
        });
    if (!asked) {
      self_.reset();
      return std::unexpected(asked.error());
    }
    id_ = *asked;
    return {};
  }
  void abandon(Task&) noexcept override {
    task_ = nullptr;
    if (!service_->stopped()) service_->io().store().cancel(id_);
    self_.reset();
  }

 private:
  void take(const std::expected<StoreAnswer, std::string>& answer) noexcept {
    const auto self = std::exchange(self_, nullptr);
    Task* task = std::exchange(task_, nullptr);
    if (!task) return;
    WorkerIo& io = service_->io();
    io.tick();
    service_->runtime().wake(*task, [&](lua_State* state) {
      if (!answer) return push_failure(state, answer.error());
      lua_createtable(state, static_cast<int>(answer->rows()), 1);
      for (std::size_t row = 0; row < answer->rows(); ++row) {
        lua_createtable(state, 0, static_cast<int>(answer->columns.size()));
        for (std::size_t column = 0; column < answer->columns.size(); ++column) {
          push_value(state, answer->at(row, column));
          lua_setfield(state, -2, answer->columns[column].c_str());
        }
        lua_rawseti(state, -2, static_cast<lua_Integer>(row) + 1);
      }
      mark_list(state);
      lua_pushboolean(state, answer->truncated ? 1 : 0);
      return 2;
    });
    io.settle();
  }

  const std::shared_ptr<ScriptService> service_;
  std::shared_ptr<ScriptQuestion> self_;  // until it is answered or abandoned
  Task* task_;
  StoreAccess::QuestionId id_ = 0;
};

int query(lua_State* state) {
  ScriptService& service = check_service(state);
  StoreQuestion question{.sql = std::string(check_text(state, 1)), .parameters = {}, .limits = {}};
  const int count = lua_gettop(state) - 1;
  if (static_cast<std::size_t>(count) > kMostParameters) luaL_error(state, "at most 100 parameters");
  for (int index = 2; index <= count + 1; ++index) question.parameters.push_back(check_value(state, index));
  auto asked = std::make_shared<ScriptQuestion>(service, service.runtime().waiting(state));
  if (const auto begun = asked->begin(std::move(question)); !begun) return push_failure(state, begun.error());
  return service.runtime().wait(state, *asked, Duration::zero());
}

// ---- portolan.store ----------------------------------------------------------------------------------------------

// The time from which on a value is none any more; the option `expires` is how long it is one.
std::int64_t expires_option(lua_State* state, int index) {
  if (lua_isnoneornil(state, index)) return 0;
  luaL_checktype(state, index, LUA_TTABLE);
  std::int64_t at = 0;
  if (push_field(state, index, "expires") != LUA_TNIL) at = unix_ms() + to_ms(check_duration(state, -1));
  lua_pop(state, 1);
  return at;
}

int put(lua_State* state) {
  ScriptService& service = check_service(state);
  const std::string_view key = check_text(state, 1);
  luaL_checkany(state, 2);
  const auto done = service.io().store().put(service.name(), key, check_value(state, 2), expires_option(state, 3));
  if (!done) return push_failure(state, done.error());
  lua_pushboolean(state, 1);
  return 1;
}

int get(lua_State* state) {
  ScriptService& service = check_service(state);
  const auto value = service.io().store().get(service.name(), check_text(state, 1));
  if (!value) return push_failure(state, value.error());
  push_value(state, *value);
  return 1;
}

int increment(lua_State* state) {
  ScriptService& service = check_service(state);
  const auto sum = service.io().store().increment(service.name(), check_text(state, 1), luaL_optinteger(state, 2, 1),
                                                  expires_option(state, 3));
  if (!sum) return push_failure(state, sum.error());
  lua_pushinteger(state, *sum);
  return 1;
}

constexpr LuaFunction kStore[] = {
    {"put", &put, "(key, value, options?) -> true | nil, reason",
     "keeps a text, a number or a boolean (as 0 or 1) under the service's name; nil deletes; options: expires, a "
     "duration"},
    {"get", &get, "(key) -> value | nil, reason", "what was put, by whichever worker or run of the daemon"},
    {"increment", &increment, "(key, by?, options?) -> integer | nil, reason",
     "adds, by default 1, and answers the sum"},
};
constexpr LuaFunction kFunctions[] = {
    {"query", &query, "(sql, …) -> list of rows, truncated | nil, reason",
     "asks the database; the rows have the columns' names. It sees what has been flushed, and changes nothing"},
};

}  // namespace

const LuaArea kQueryArea = {"portolan.", "The database: its views are in core/store/README.md.", kFunctions};
const LuaArea kStoreArea = {"portolan.store.", "Values that outlive the daemon.", kStore};

void bind_store(lua_State* state) {
  add_functions(state, kFunctions);
  lua_newtable(state);
  add_functions(state, kStore);
  lua_setfield(state, -2, "store");
}

}  // namespace portolan
