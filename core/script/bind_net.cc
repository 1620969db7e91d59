// portolan.net: addresses and interfaces; portolan.resolve: names.
#include "net/address.h"
#include "net/interfaces.h"
#include "net/name_cache.h"
#include "net/network.h"
#include "net/worker_io.h"
#include "script/bind.h"
#include "script/script_service.h"

#include <memory>

namespace portolan {
namespace {

constexpr Duration kResolveTimeout = std::chrono::seconds(10);

void set_text(lua_State* state, const char* key, std::string_view value) {
  push_text(state, value);
  lua_setfield(state, -2, key);
}
void set_integer(lua_State* state, const char* key, lua_Integer value) {
  lua_pushinteger(state, value);
  lua_setfield(state, -2, key);
}

void push_address(lua_State* state, const Address& address) {
  lua_newtable(state);
  set_text(state, "address", address.host());
  set_text(state, "family", address.is_v4() ? "ipv4" : "ipv6");
  set_text(state, "scope", to_string(address.scope()));
  if (address.port()) set_integer(state, "port", address.port());
}

int parse(lua_State* state) {
  const auto address = Address::parse(check_text(state, 1));
  if (!address) return push_failure(state, address.error());
  push_address(state, *address);
  return 1;
}

int contains(lua_State* state) {
  const auto network = Network::parse(check_text(state, 1));
  if (!network) return push_failure(state, network.error());
  const auto address = Address::parse(check_text(state, 2));
  if (!address) return push_failure(state, address.error());
  lua_pushboolean(state, network->contains(*address) ? 1 : 0);
  return 1;
}

int list_interfaces(lua_State* state) {
  const auto found = interfaces();
  if (!found) return push_failure(state, found.error());
  Sandbox::of(state).charge(state, 1000);
  lua_newtable(state);
  lua_Integer place = 0;
  for (const Interface& one : *found) {
    lua_newtable(state);
    set_text(state, "name", one.name);
    set_integer(state, "index", static_cast<lua_Integer>(one.index));
    set_integer(state, "mtu", one.mtu);
    set_text(state, "mac", one.mac);
    lua_newtable(state);
    for (const std::string& flag : one.flag_names()) {
      lua_pushboolean(state, 1);
      lua_setfield(state, -2, flag.c_str());
    }
    lua_setfield(state, -2, "flags");
    lua_newtable(state);
    lua_Integer at = 0;
    for (const InterfaceAddress& entry : one.addresses) {
      push_address(state, entry.address);
      if (entry.prefix >= 0) set_integer(state, "prefix", entry.prefix);
      lua_rawseti(state, -2, ++at);
    }
    mark_list(state);
    lua_setfield(state, -2, "addresses");
    lua_rawseti(state, -2, ++place);
  }
  mark_list(state);
  return 1;
}

// One lookup of one task. Deletes itself when it is over.
class ScriptLookup final : public Wait {
 public:
  ScriptLookup(ScriptService& service, Task& task) : service_(service), task_(task) {}
  void begin(std::string_view name, AddressFamily family) {
    handle_ = service_.io().names().lookup(name, family, [this](const auto& result) { answer(result); });
  }
  void abandon(Task&) noexcept override { delete this; }

 private:
  void answer(const std::expected<CachedName, ResolveFailure>& result) noexcept {
    const std::unique_ptr<ScriptLookup> self(this);
    WorkerIo& io = service_.io();
    io.tick();
    service_.runtime().wake(task_, [&](lua_State* state) {
      if (!result) return push_failure(state, result.error().message);
      lua_newtable(state);
      lua_Integer place = 0;
      for (const Address& address : result->addresses) {
        push_text(state, address.host());
        lua_rawseti(state, -2, ++place);
      }
      return 1;
    });
    io.settle();
  }

  ScriptService& service_;
  Task& task_;
  NameHandle handle_;
};

int resolve(lua_State* state) {
  ScriptService& service = check_service(state);
  const std::string_view name = check_text(state, 1);
  AddressFamily family = AddressFamily::any;
  if (!lua_isnoneornil(state, 2)) {
    luaL_checktype(state, 2, LUA_TTABLE);
    if (push_field(state, 2, "family") != LUA_TNIL) {
      const std::string_view asked = check_text(state, -1);
      if (asked != "ipv4" && asked != "ipv6") luaL_error(state, "family is \"ipv4\" or \"ipv6\"");
      family = asked == "ipv4" ? AddressFamily::v4 : AddressFamily::v6;
    }
    lua_pop(state, 1);
  }
  const Duration timeout = timeout_option(state, 2, kResolveTimeout);
  auto lookup = std::make_unique<ScriptLookup>(service, service.runtime().waiting(state));
  lookup->begin(name, family);
  return service.runtime().wait(state, *lookup.release(), timeout);
}

struct FirstReason final : Problems {
  void add(std::string_view, std::string_view message) noexcept override {
    if (text.empty()) text = message;
  }
  std::string text;
};

// ban(address, duration, reason?)
int ban(lua_State* state) {
  ScriptService& service = check_service(state);
  const auto address = Address::parse(check_text(state, 1));
  if (!address) return push_failure(state, address.error());
  const Duration time = check_duration(state, 2);
  const std::string_view reason = lua_isnoneornil(state, 3) ? std::string_view("by a script") : check_text(state, 3);
  FirstReason problems;
  if (!service.context().ban(address->plain(), time, reason.substr(0, 200), problems))
    return push_failure(state, problems.text);
  lua_pushboolean(state, 1);
  return 1;
}

constexpr LuaFunction kNet[] = {
    {"parse", &parse, "(text) -> { address, family, scope, port? } | nil, reason",
     "\"192.0.2.1\", \"[::1]:80\"; scope: loopback, private, link-local, multicast, global, …"},
    {"contains", &contains, "(network, address) -> boolean | nil, reason", "\"10.0.0.0/8\", \"10.1.2.3\""},
    {"interfaces", &list_interfaces, "() -> list | nil, reason", "name, index, mtu, mac, flags, addresses"},
};
constexpr LuaFunction kFunctions[] = {
    {"ban", &ban, "(address, duration, reason?) -> true | nil, reason",
     "no service serves this client for so long, and its sessions end; `portolan bans` lists and lifts it"},
    {"resolve", &resolve, "(name, options?) -> list of addresses | nil, reason",
     "asks the name servers, or a cache in front; options: family \"ipv4\" or \"ipv6\", timeout (10s)"},
};

}  // namespace

const LuaArea kNetArea = {"portolan.net.", "Addresses and interfaces.", kNet};
const LuaArea kNameArea = {"portolan.", "Names and bans.", kFunctions};

void bind_net(lua_State* state) {
  lua_newtable(state);
  add_functions(state, kNet);
  lua_setfield(state, -2, "net");
  add_functions(state, kFunctions);
}

}  // namespace portolan
