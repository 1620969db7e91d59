#include "script/script_datagram.h"

#include "base/net_error.h"
#include "script/bind.h"

#include <new>
#include <utility>

namespace portolan {
namespace {

constexpr const char* kDatagramType = "portolan.datagram";

// What keeps a peer; core's until its session ends.
class KeptPeer final : public DatagramHandler {
 public:
  explicit KeptPeer(std::shared_ptr<ScriptDatagram::Way> way) : way_(std::move(way)) {}
  void on_end() noexcept override {
    way_->peer = nullptr;
    delete this;
  }
  const std::shared_ptr<ScriptDatagram::Way>& way() const noexcept { return way_; }

 private:
  std::shared_ptr<ScriptDatagram::Way> way_;
};

// In Lua: its user value is the text.
struct Box {
  std::shared_ptr<ScriptDatagram::Way> way;
};

Box& self(lua_State* state) { return check_object<Box>(state, 1, kDatagramType); }

int reply(lua_State* state) {
  Box& box = self(state);
  const std::string_view text = check_datagram(state, 2);
  if (!box.way->peer) return push_failure(state, "the session of the peer has ended");
  box.way->peer->reply(text);
  lua_pushboolean(state, 1);
  return 1;
}

int index(lua_State* state) {
  Box& box = self(state);
  const std::string_view key = lua_type(state, 2) == LUA_TSTRING ? check_text(state, 2) : std::string_view();
  if (key == "data") {
    lua_getiuservalue(state, 1, 1);
  } else if (key == "reply") {
    lua_pushcfunction(state, &reply);  // of kFunctions
  } else if (key == "peer" && box.way->peer) {
    push_text(state, box.way->peer->info().peer);
  } else if (key == "id" && box.way->peer) {
    lua_pushinteger(state, static_cast<lua_Integer>(box.way->peer->info().id));
  } else {
    lua_pushnil(state);
  }
  return 1;
}

constexpr LuaFunction kFunctions[] = {
    {"reply", &reply, "(text) -> true | nil, reason", "a datagram back, from the address that this one came to"},
};

}  // namespace

const LuaArea kDatagramArea = {"datagram:", "What on_datagram is given. Its fields: data, peer, id.", kFunctions};

void ScriptDatagram::push(lua_State* state, std::span<const std::byte> data) {
  auto* kept = static_cast<KeptPeer*>(peer_.handler());
  way_ = kept ? kept->way() : std::make_shared<Way>(&peer_);
  push_object<Box>(state, kDatagramType, way_);
  push_text(state, {reinterpret_cast<const char*>(data.data()), data.size()});
  lua_setiuservalue(state, -2, 1);
}

void ScriptDatagram::keep() noexcept {
  if (!way_ || peer_.handler()) return;
  if (auto* kept = new (std::nothrow) KeptPeer(way_)) peer_.attach(*kept);
}

ScriptDatagram::~ScriptDatagram() {
  if (way_ && !peer_.handler()) way_->peer = nullptr;
}

void ScriptDatagram::open_metatable(lua_State* state) {
  add_class(state, kDatagramType, "datagram", kFunctions);
  // Its fields beside its methods.
  luaL_getmetatable(state, kDatagramType);
  lua_pushcfunction(state, &index);
  lua_setfield(state, -2, "__index");
  lua_pop(state, 1);
}

}  // namespace portolan
