// The bounded patterns against Lua's own, on patterns and texts made at random from a fixed seed.
#include "script/sandbox.h"

#include <lua.hpp>

#include <array>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <string_view>

#include "support/cmocka.h"

using namespace portolan;

namespace {

constexpr const char* kProbe = R"(
  local function show(...)
    local out = {}
    for i = 1, select('#', ...) do out[i] = tostring((select(i, ...))) end
    return '<' .. table.concat(out, ',') .. '>'
  end
  local function try(f, ...)
    local result = { pcall(f, ...) }
    if not result[1] then return 'error: ' .. tostring(result[2]):gsub('%w+%.lua:%d+: ', '') end
    return show(table.unpack(result))
  end
  function probe(s, p, r, init)
    local out = { try(string.find, s, p, init), try(string.match, s, p, init), try(string.find, s, p, init, true),
      try(string.gsub, s, p, r), try(string.gsub, s, p, { a = 'T', b = false, ['1'] = 7 }),
      try(string.gsub, s, p, function(...) return select('#', ...) > 1 and '[' .. show(...) .. ']' end, 2) }
    local ok, why = pcall(function()
      local n = 0
      for a, b in string.gmatch(s, p) do
        out[#out + 1] = show(a, b)
        n = n + 1
        if n > 50 then break end
      end
    end)
    if not ok then out[#out + 1] = 'error: ' .. tostring(why) end
    return table.concat(out, ' ')
  end
)";

std::string probe(lua_State* state, const std::string& text, const std::string& pattern, const std::string& replacement,
                  int start) {
  lua_settop(state, 0);
  lua_getglobal(state, "probe");
  lua_pushlstring(state, text.data(), text.size());
  lua_pushlstring(state, pattern.data(), pattern.size());
  lua_pushlstring(state, replacement.data(), replacement.size());
  lua_pushinteger(state, start);
  lua_pcall(state, 4, 1, 0);
  std::size_t length = 0;
  const char* answer = luaL_tolstring(state, -1, &length);
  return {answer, length};
}

class Random {
 public:
  std::size_t below(std::size_t bound) {
    seed_ = seed_ * 6364136223846793005U + 1442695040888963407U;
    return static_cast<std::size_t>(seed_ >> 33U) % bound;
  }
  template <std::size_t N>
  std::string text(const std::array<const char*, N>& pieces, std::size_t most) {
    std::string out;
    for (std::size_t left = below(most + 1); left > 0; --left) out += pieces[below(N)];
    return out;
  }

 private:
  std::uint64_t seed_ = 7;
};

void answers_are_those_of_lua(void**) {
  constexpr std::array kTextPieces = {"a", "b", "ab", "1", " ", ".", "(", ")", "%", "]", "\n", "A"};
  constexpr std::array kPatternPieces = {"a",  "b",  "%a",    "%d",   "%s",   ".",  "*",    "+",      "-",  "?",
                                         "(",  ")",  "()",    "[ab]", "[^a]", "%1", "%b()", "%f[%w]", "^",  "$",
                                         "%W", "%%", "[a-c]", "[%d]", "[]]",  "[",  "%",    "]",      "%2", "(a)"};
  constexpr std::array kReplacementPieces = {"x", "%0", "%1", "%%", "%2", "%", "y"};
  const std::unique_ptr<lua_State, void (*)(lua_State*)> stock(luaL_newstate(), &lua_close);
  luaL_openlibs(stock.get());
  Sandbox sandbox({.memory = std::size_t{32} << 20U, .memory_hint = {}, .instructions_hint = {}});
  if (luaL_loadbufferx(stock.get(), kProbe, std::string_view(kProbe).size(), "@probe.lua", "t") != LUA_OK) fail();
  if (lua_pcall(stock.get(), 0, 0, 0) != LUA_OK) fail();
  if (!sandbox.run("probe.lua", kProbe, 1'000'000)) fail();
  Random random;
  int matched = 0;
  for (int round = 0; round < 60'000; ++round) {
    const std::string text = random.text(kTextPieces, 12);
    const std::string pattern = random.text(kPatternPieces, 6);
    const std::string replacement = random.text(kReplacementPieces, 3);
    const int start = static_cast<int>(random.below(20)) - 8;
    const std::string expected = probe(stock.get(), text, pattern, replacement, start);
    const std::string found = probe(sandbox.state(), text, pattern, replacement, start);
    if (expected.find("<true,1") != std::string::npos) ++matched;
    if (expected == found) continue;
    std::fprintf(stderr, "text \"%s\" pattern \"%s\" replacement \"%s\"\nlua:  %s\nhere: %s\n", text.c_str(),
                 pattern.c_str(), replacement.c_str(), expected.c_str(), found.c_str());
    fail();
  }
  assert_true(matched > 5000);  // or it compared nothing
}

}  // namespace

int main() {
  const CMUnitTest tests[] = {cmocka_unit_test(answers_are_those_of_lua)};
  return cmocka_run_group_tests(tests, nullptr, nullptr);
}
