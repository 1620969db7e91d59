// What scripts count, and how often they let something happen: portolan.count and portolan.limit.
#include "base/clock.h"
#include "base/units.h"
#include "config/configuration.h"
#include "limits/limiter.h"
#include "script/bind.h"
#include "script/script_service.h"

#include <algorithm>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>

namespace portolan {
namespace {

constexpr const char* kLimitType = "portolan.limit";
constexpr lua_Integer kUsualKeys = 10'000;
constexpr lua_Integer kMostKeys = 1'000'000;
constexpr std::size_t kLongestKey = 256;
// What a key costs beside its text, in bytes and in instructions.
constexpr std::size_t kKeyCost = 100;

// count(name, by?)
int count(lua_State* state) {
  const std::string_view name = check_text(state, 1);
  const lua_Integer by = luaL_optinteger(state, 2, 1);
  if (by < 0) luaL_argerror(state, 2, "a counter only grows");
  ScriptService& service = check_service(state);
  Counter* counter = service.counter(name);
  if (!counter) {
    push_text(state, service.counter_problem(name));
    luaL_argerror(state, 1, lua_tostring(state, -1));
  }
  counter->add(static_cast<std::uint64_t>(by));
  return 0;
}

// The states of one limit, by key. Lives in its object of Lua.
class KeyedLimit {
 public:
  KeyedLimit(Sandbox& sandbox, Limiter limiter, double rate, std::size_t most)
      : sandbox_(sandbox), limiter_(limiter), rate_(rate), most_(most) {}
  // Some thirty years' worth, which nanoseconds of 64 bits can hold.
  double most_cost() const noexcept { return std::max(rate_ * 1e9, 1.0); }
  ~KeyedLimit() { sandbox_.return_memory(bytes_); }

  // How long until it may be: zero, and it is counted. Too many keys, none of which is as good as new: nothing.
  std::optional<Duration> take(lua_State* state, const std::string& key, double cost, Duration now) {
    auto found = states_.find(key);
    if (found == states_.end()) {
      if (states_.size() >= most_ && !forget(now)) return std::nullopt;
      if (!sandbox_.take_memory(key.size() + kKeyCost)) luaL_error(state, "not enough memory");
      bytes_ += key.size() + kKeyCost;
      found = states_.try_emplace(key).first;
    }
    return limiter_.take(found->second, now, cost);
  }

 private:
  // Those that are as good as new. To look at all is worth it when that many have come since.
  bool forget(Duration now) {
    if (now < look_again_) return false;
    std::erase_if(states_, [&](const auto& one) {
      if (!limiter_.forgotten(one.second, now)) return false;
      sandbox_.return_memory(one.first.size() + kKeyCost);
      bytes_ -= one.first.size() + kKeyCost;
      return true;
    });
    if (states_.size() >= most_) look_again_ = now + std::chrono::milliseconds(100);
    return states_.size() < most_;
  }

  Sandbox& sandbox_;
  const Limiter limiter_;
  const double rate_;
  const std::size_t most_;
  std::unordered_map<std::string, LimitState> states_;
  std::size_t bytes_ = 0;
  Duration look_again_{};
};

KeyedLimit& self(lua_State* state) { return check_object<KeyedLimit>(state, 1, kLimitType); }

// take(key?, cost?)
int take(lua_State* state) {
  KeyedLimit& limit = self(state);
  const std::string_view key = lua_isnoneornil(state, 2) ? std::string_view() : check_text(state, 2);
  if (key.size() > kLongestKey) luaL_argerror(state, 2, "a key has at most 256 bytes");
  const lua_Number cost = luaL_optnumber(state, 3, 1);
  if (!(cost >= 0 && cost <= limit.most_cost())) luaL_argerror(state, 3, "not negative, and not what takes years");
  Sandbox::of(state).charge(state, kKeyCost);
  const auto wait = limit.take(state, std::string(key), cost, monotonic_now());
  lua_pushboolean(state, wait && *wait == Duration::zero() ? 1 : 0);
  // With more keys than it may keep, nobody knows: a moment from now.
  lua_pushnumber(state, std::chrono::duration<double>(wait.value_or(std::chrono::milliseconds(100))).count());
  return 2;
}

// limit(rate, options?)
int limit(lua_State* state) {
  const auto rate = lua_type(state, 1) == LUA_TNUMBER ? lua_tonumber(state, 1) : parse_rate(check_text(state, 1));
  if (!rate || !(*rate >= 1e-9 && *rate <= 1e9))
    luaL_argerror(state, 1, "a rate above 0: \"5/s\", \"100/m\", or a number for each second");
  Duration window = std::chrono::seconds(1);
  lua_Integer keys = kUsualKeys;
  LimitAlgorithm algorithm = LimitAlgorithm::token_bucket;
  if (!lua_isnoneornil(state, 2)) {
    luaL_checktype(state, 2, LUA_TTABLE);
    if (push_field(state, 2, "window") != LUA_TNIL) window = check_duration(state, -1);
    if (push_field(state, 2, "keys") != LUA_TNIL) keys = luaL_checkinteger(state, -1);
    if (push_field(state, 2, "algorithm") != LUA_TNIL) {
      const std::string_view name = check_text(state, -1);
      if (name == "fixed_window")
        algorithm = LimitAlgorithm::fixed_window;
      else if (name == "sliding_window")
        algorithm = LimitAlgorithm::sliding_window;
      else if (name != "token_bucket")
        luaL_error(state, "algorithm is \"token_bucket\", \"fixed_window\" or \"sliding_window\"");
    }
    lua_pop(state, 3);
    if (window < std::chrono::milliseconds(1)) luaL_error(state, "window is at least 1 ms");
    if (keys < 1 || keys > kMostKeys) luaL_error(state, "keys is from 1 to 1000000");
  }
  push_object<KeyedLimit>(state, kLimitType, Sandbox::of(state), Limiter(algorithm, *rate, window), *rate,
                          static_cast<std::size_t>(keys));
  return 1;
}

constexpr LuaFunction kLimitFunctions[] = {
    {"take", &take, "(key?, cost?) -> boolean, seconds",
     "whether it may be now, and is counted; if not, in how many seconds to ask again. Each key has a limit of its "
     "own"},
};
constexpr LuaFunction kFunctions[] = {
    {"count", &count, "(name, by?)",
     "adds to a counter of the service: it appears in `portolan stats`, /metrics and the view plugin_counters. At most "
     "100 "
     "names"},
    {"limit", &limit, "(rate, options?) -> limit",
     "how often, on this worker: \"5/s\", \"100/m\"; options: window (1s: so much of the rate at once), keys (10000), "
     "algorithm (token_bucket, fixed_window, sliding_window)"},
};

}  // namespace

const LuaArea kLimitArea = {"portolan.", "Counting, and limiting.", kFunctions};
const LuaArea kLimitObjectArea = {"limit:", "What limit answers.", kLimitFunctions};

void bind_limits(lua_State* state) {
  add_class(state, kLimitType, "limit", kLimitFunctions);
  add_functions(state, kFunctions);
}

}  // namespace portolan
