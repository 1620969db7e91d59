// portolan.udp: a socket of the script's own, connected to one place.
#include "base/net_error.h"
#include "net/dial_attempt.h"
#include "script/bind.h"
#include "script/script_service.h"

#include <deque>
#include <memory>
#include <utility>

namespace portolan {
namespace {

constexpr const char* kLinkType = "portolan.udp";
constexpr std::size_t kQueue = 256;

// Lives in its object of Lua.
class ScriptLink final : public DatagramLinkHandler, public Wait {
 public:
  explicit ScriptLink(ScriptService& service) : service_(service.shared_from_this()) {}
  ~ScriptLink() { close(); }
  bool open(const Target& target) noexcept {
    link_ = service_->context().link(target, *this);
    return link_ != nullptr;
  }
  void close() noexcept {
    if (DatagramLink* link = std::exchange(link_, nullptr); link && !service_->stopped()) link->release();
    if (reader_) wake([](lua_State* state) { return push_failure(state, "closed"); });
  }
  bool send(std::string_view text) noexcept {
    if (!link_ || service_->stopped()) return false;
    link_->send(std::as_bytes(std::span(text)));
    return true;
  }
  int receive(lua_State* state, Duration timeout) {
    if (!waiting_.empty()) {
      push_text(state, waiting_.front());
      waiting_.pop_front();
      return 1;
    }
    if (!link_) return push_failure(state, "closed");
    if (reader_) luaL_error(state, "another task receives from this socket");
    reader_ = &service_->runtime().waiting(state);
    return service_->runtime().wait(state, *this, timeout);
  }

  void on_datagram(std::span<const std::byte> data) noexcept override {
    const std::string_view text(reinterpret_cast<const char*>(data.data()), data.size());
    if (reader_) {
      wake([&](lua_State* state) {
        push_text(state, text);
        return 1;
      });
    } else if (waiting_.size() < kQueue) {
      waiting_.emplace_back(text);
    }
  }
  void on_refused(NetError why) noexcept override {
    if (reader_) wake([&](lua_State* state) { return push_failure(state, to_sentence(why)); });
  }
  void abandon(Task&) noexcept override { reader_ = nullptr; }

 private:
  template <typename Push>
  void wake(Push&& push) noexcept {
    service_->runtime().wake(*std::exchange(reader_, nullptr), std::forward<Push>(push));
  }

  const std::shared_ptr<ScriptService> service_;  // whose context may be gone: then it has stopped
  DatagramLink* link_ = nullptr;
  Task* reader_ = nullptr;
  std::deque<std::string> waiting_;
};

ScriptLink& self(lua_State* state) { return check_object<ScriptLink>(state, 1, kLinkType); }

int send(lua_State* state) {
  if (!self(state).send(check_datagram(state, 2))) return push_failure(state, "closed");
  lua_pushboolean(state, 1);
  return 1;
}
int receive(lua_State* state) { return self(state).receive(state, timeout_option(state, 2, std::chrono::seconds(30))); }
int close(lua_State* state) {
  self(state).close();
  return 0;
}

int udp(lua_State* state) {
  ScriptService& service = check_service(state);
  const auto target = service.target({.address = check_text(state, 1)});
  if (!target) return push_failure(state, target.error());
  if ((*target)->transport() != Transport::udp) return push_failure(state, "not a udp:// address: use portolan.dial");
  if (!push_object<ScriptLink>(state, kLinkType, service).open(**target))
    return push_failure(state, "it cannot be sent to: the log says why");
  return 1;
}

constexpr LuaFunction kLinkFunctions[] = {
    {"send", &send, "(text) -> true | nil, reason", "one datagram"},
    {"receive", &receive, "(options?) -> string | nil, reason", "the next datagram; options: timeout (30s)"},
    {"close", &close, "()", "ends it"},
};
constexpr LuaFunction kFunctions[] = {
    {"udp", &udp, "(address) -> socket | nil, reason", "a socket that talks with one udp:// address"},
};

}  // namespace

const LuaArea kUdpArea = {"portolan.", "Datagrams to others.", kFunctions};
const LuaArea kUdpObjectArea = {"socket:", "What udp answers.", kLinkFunctions};

void bind_udp(lua_State* state) {
  add_class(state, kLinkType, "socket", kLinkFunctions, &close);
  add_functions(state, kFunctions);
}

}  // namespace portolan
