// Messages: whatever the bytes, decoding ends within its budget in a table or a reason; a table that was decoded can be
// encoded, and what is encoded is decoded to the same, which is encoded to the same bytes. Input: a byte that chooses the
// message, then its bytes.
#include "fuzz_target.h"
#include "script/sandbox.h"

#include <lua.hpp>

#include <memory>
#include <string>

using namespace portolan;

namespace {

constexpr std::string_view kScript = R"lua(
local schema = portolan.protobuf.load([[
  syntax = "proto3";
  import "two";
  message M {
    double d = 1; float f = 2; int32 i32 = 3; int64 i64 = 4; uint32 u32 = 5; uint64 u64 = 6; sint32 s32 = 7; sint64 s64 = 8;
    fixed32 f32 = 9; fixed64 f64 = 10; sfixed32 sf32 = 11; sfixed64 sf64 = 12; bool b = 13; string s = 14; bytes y = 15;
    K k = 16; M m = 17; repeated int32 packed = 18; repeated sint64 loose = 19 [packed = false]; repeated string texts = 20;
    repeated M list = 21; map<string, M> by_name = 22; map<sint64, double> by_number = 23; map<bool, K> flags = 24;
    oneof o { string left = 25; M right = 26; K other = 27; } optional int32 maybe = 28; Two two = 29;
    repeated fixed32 fixed = 30; repeated K ks = 31; repeated float floats = 32;
  }
  enum K { option allow_alias = true; ZERO = 0; ONE = 1; UNO = 1; MINUS = -1; }
]], { imports = { two = [[
  message Two { required int32 id = 1; optional string s = 2 [default = "x"]; repeated Two twos = 3; map<int32, Two> map = 4; }
]] } })
return function(name, bytes, defaults)
  local value, why = schema:decode(name, bytes, { defaults = defaults })
  if not value then
    assert(type(why) == "string" and why:find(": ", 1, true), why)
    return
  end
  local again, problem = schema:encode(name, value)
  assert(again, problem)
  local same = assert(schema:decode(name, again, { defaults = defaults }))
  assert(schema:encode(name, same) == again, "not the same again")
end
)lua";

// A state that has grown or failed is made anew, so that no input hangs on another.
std::unique_ptr<Sandbox> make_state() {
  auto sandbox = std::make_unique<Sandbox>(
      Sandbox::Limits{.memory = std::size_t{16} << 20U, .memory_hint = {}, .instructions_hint = {}});
  const auto result = sandbox->run("fuzz.lua", kScript, 1'000'000);
  if (!result) std::fprintf(stderr, "%s\n", result.error().c_str());
  fuzz::check(result.has_value(), "the script is read");
  return sandbox;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static std::unique_ptr<Sandbox> sandbox = make_state();
  fuzz::Input input(data, size);
  const std::uint8_t choice = input.byte();
  lua_State* state = sandbox->state();
  lua_pushvalue(state, 1);
  lua_pushstring(state, (choice & 1U) != 0 ? "Two" : "M");
  lua_pushlstring(state, input.rest().data(), input.rest().size());
  lua_pushboolean(state, (choice & 2U) != 0 ? 1 : 0);
  sandbox->begin(state, 1'000'000, std::chrono::seconds(10));
  const int status = lua_pcall(state, 3, 0, 0);
  sandbox->end();
  if (status != LUA_OK) {
    const std::string why = sandbox->failure(state, status);
    if (!sandbox->stopped() && status != LUA_ERRMEM) std::fprintf(stderr, "%s\n", why.c_str());
    fuzz::check(sandbox->stopped() || status == LUA_ERRMEM, "nothing fails but for a limit");
    sandbox = make_state();
  }
  sandbox->collect_garbage();  // or libFuzzer takes what will be collected for a leak, and looks for it each time
  return 0;
}
