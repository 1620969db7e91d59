#include "script/bind.h"

#include "base/units.h"

namespace portolan {
namespace {

constexpr Duration kLongest = std::chrono::hours(24 * 3650);

int collect(lua_State* state) {
  auto* head = static_cast<ObjectHead*>(lua_touserdata(state, 1));
  head->type = nullptr;
  delete std::exchange(head->held, nullptr);
  return 0;
}

}  // namespace

std::span<const LuaArea> lua_areas() noexcept {
  static const LuaArea areas[] = {kTaskArea,        kTaskObjectArea, kDialArea,  kStreamArea,       kDatagramArea,
                                  kUdpArea,         kUdpObjectArea,  kBusArea,   kSubscriptionArea, kNameArea,
                                  kNetArea,         kQueryArea,      kStoreArea, kJsonArea,         kProtobufArea,
                                  kSchemaArea,      kBase64Area,     kHexArea,   kHashArea,         kLimitArea,
                                  kLimitObjectArea, kLogArea};
  return areas;
}

void add_functions(lua_State* state, std::span<const LuaFunction> functions) {
  for (const LuaFunction& one : functions) {
    lua_pushcfunction(state, one.function);
    lua_setfield(state, -2, one.name);
  }
}

void add_class(lua_State* state, const char* type, const char* shown, std::span<const LuaFunction> methods,
               lua_CFunction close) {
  luaL_newmetatable(state, type);
  lua_newtable(state);
  add_functions(state, methods);
  lua_setfield(state, -2, "__index");
  lua_pushcfunction(state, &collect);
  lua_setfield(state, -2, "__gc");
  if (close) {
    lua_pushcfunction(state, close);
    lua_setfield(state, -2, "__close");
  }
  lua_pushstring(state, shown);
  lua_setfield(state, -2, "__metatable");
  lua_pop(state, 1);
}

ObjectHead& object_room(lua_State* state, std::size_t size) {
  auto* head = static_cast<ObjectHead*>(lua_newuserdatauv(state, sizeof(ObjectHead) + size, 1));
  *head = {.type = nullptr, .object = head + 1, .held = nullptr};
  return *head;
}

void name_object(lua_State* state, const char* type) {
  static_cast<ObjectHead*>(lua_touserdata(state, -1))->type = type;
  luaL_setmetatable(state, type);
}

void* check_object(lua_State* state, int index, const char* type) {
  if (lua_type(state, index) == LUA_TUSERDATA) {
    const auto* head = static_cast<ObjectHead*>(lua_touserdata(state, index));
    if (head->type == type) return head->object;
  }
  luaL_typeerror(state, index, type);
  return nullptr;
}

Duration check_duration(lua_State* state, int index) {
  Duration duration{};
  if (lua_type(state, index) == LUA_TNUMBER) {
    const lua_Number seconds = lua_tonumber(state, index);
    if (!(seconds >= 0 && seconds <= 315'360'000)) luaL_argerror(state, index, "a number of seconds, not negative");
    duration = std::chrono::duration_cast<Duration>(std::chrono::duration<double>(seconds));
  } else {
    const auto parsed = parse_duration(check_text(state, index));
    if (!parsed) {
      push_text(state, parsed.error());
      luaL_argerror(state, index, lua_tostring(state, -1));
    }
    duration = *parsed;
  }
  if (duration > kLongest) luaL_argerror(state, index, "longer than ten years");
  return duration;
}

Duration timeout_option(lua_State* state, int index, Duration fallback) {
  if (lua_isnoneornil(state, index)) return fallback;
  luaL_checktype(state, index, LUA_TTABLE);
  if (push_field(state, index, "timeout") == LUA_TNIL) {
    lua_pop(state, 1);
    return fallback;
  }
  const Duration timeout = check_duration(state, -1);
  lua_pop(state, 1);
  return std::max<Duration>(timeout, Duration(1));
}

int push_field(lua_State* state, int index, const char* name) {
  const int table = lua_absindex(state, index);
  lua_pushstring(state, name);
  return lua_rawget(state, table);
}

std::string_view check_text(lua_State* state, int index) {
  std::size_t size = 0;
  const char* text = luaL_checklstring(state, index, &size);
  return {text, size};
}

std::string_view check_datagram(lua_State* state, int index) {
  constexpr std::size_t kMost = 65'507;  // over IPv4
  const std::string_view text = check_text(state, index);
  if (text.size() > kMost) luaL_argerror(state, index, "a datagram has at most 65507 bytes");
  return text;
}

void push_text(lua_State* state, std::string_view text) { lua_pushlstring(state, text.data(), text.size()); }

int push_failure(lua_State* state, std::string_view why) {
  lua_pushnil(state);
  push_text(state, why);
  return 2;
}

ScriptService& check_service(lua_State* state) {
  ScriptService* service = ScriptRuntime::of(state).service();
  if (!service) luaL_error(state, "this can be used by functions of a service, not while the configuration is read");
  return *service;
}

}  // namespace portolan
