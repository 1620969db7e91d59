// The functions that scripts are given, one file for each area (bind_*.cc), and what these files share.
//
// They are C functions of Lua: an error in one is Lua's, so nothing that needs a destructor may be alive across a call that
// raises unless it is an object whose destructor C++ runs (Lua is linked as C++: all are). None is noexcept.
#pragma once

#include "plugin/descriptor.h"
#include "script/runtime.h"

#include <lua.hpp>

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace portolan {

// A function as it is documented: lua/README.md and the annotations for editors are made of these.
struct LuaFunction {
  const char* name;
  lua_CFunction function;
  const char* signature;  // (text, options?) -> boolean | nil, reason
  const char* help;
};

// Functions that are called alike: "portolan.net." and "stream:" stand in front of their names.
struct LuaArea {
  const char* prefix;
  const char* about;  // a sentence
  std::span<const LuaFunction> functions;
};
// All there are, in the order of the reference.
std::span<const LuaArea> lua_areas() noexcept;
extern const LuaArea kTaskArea, kTaskObjectArea, kStreamArea, kDialArea, kDatagramArea, kUdpArea, kUdpObjectArea,
    kBusArea, kSubscriptionArea, kNetArea, kNameArea, kQueryArea, kStoreArea, kJsonArea, kBase64Area, kHexArea,
    kHashArea, kLimitArea, kLimitObjectArea, kLogArea, kProtobufArea, kSchemaArea;

// Marks the table on top of the stack as a list, for JSON.
void mark_list(lua_State* state);

// Each adds its functions to the table `portolan` on top of the stack.
void bind_tasks(lua_State* state);
void bind_streams(lua_State* state);
void bind_udp(lua_State* state);
void bind_bus(lua_State* state);
void bind_encodings(lua_State* state);
void bind_store(lua_State* state);
void bind_json(lua_State* state);
void bind_net(lua_State* state);
void bind_limits(lua_State* state);
void bind_protobuf(lua_State* state);

void add_functions(lua_State* state, std::span<const LuaFunction> functions);
// The class `type` of objects with these methods. A script sees `shown` for its metatable, and can neither look into that nor
// change it. `close` is what leaving the scope of a <close> variable does, null: nothing.
void add_class(lua_State* state, const char* type, const char* shown, std::span<const LuaFunction> methods,
               lua_CFunction close = nullptr);

// Objects of such a class. Each begins with the address of its type's name: to compare that is quicker than to look for a
// metatable, and nobody but these functions makes objects that a script can lay its hands on.
struct alignas(8) ObjectHead {  // as Lua aligns: what lies behind it has numbers of 64 bits
  const char* type;             // null: not yet
  void* object;
  SandboxObject* held;  // what is destroyed with it; null: nothing has to be
};
template <typename Object>
struct HeldObject final : SandboxObject {
  template <typename... Arguments>
  explicit HeldObject(Sandbox& sandbox, Arguments&&... arguments)
      : SandboxObject(sandbox), value(std::forward<Arguments>(arguments)...) {}
  Object value;
};
// Room for one, and `size` bytes more in Lua's own memory, left on the stack; and what makes it an object.
ObjectHead& object_room(lua_State* state, std::size_t size = 0);
void name_object(lua_State* state, const char* type);
void* check_object(lua_State* state, int index, const char* type);  // raises when it is something else
template <typename Object, typename... Arguments>
Object& push_object(lua_State* state, const char* type, Arguments&&... arguments) {
  ObjectHead& head = object_room(state);
  auto* held = new HeldObject<Object>(Sandbox::of(state), std::forward<Arguments>(arguments)...);
  head.held = held;
  head.object = &held->value;
  name_object(state, type);
  return held->value;
}
template <typename Object>
Object& check_object(lua_State* state, int index, const char* type) {
  return *static_cast<Object*>(check_object(state, index, type));
}

// "5s", or a number of seconds; raises. Not negative, and at most ten years.
Duration check_duration(lua_State* state, int index);
// The field `timeout` of the options at `index`, which may be absent.
Duration timeout_option(lua_State* state, int index, Duration fallback);
std::string_view check_text(lua_State* state, int index);
// Pushes the field of the table, without asking a metatable, and answers its type: what runs nothing changes nothing.
int push_field(lua_State* state, int index, const char* name);
// A text that fits a datagram; raises.
std::string_view check_datagram(lua_State* state, int index);
void push_text(lua_State* state, std::string_view text);
// nil and the reason.
int push_failure(lua_State* state, std::string_view why);
// The service whose code runs; raises when there is none.
ScriptService& check_service(lua_State* state);

}  // namespace portolan
