// portolan.publish and subscribe, and the subscription in Lua.
#include "net/worker_io.h"
#include "script/bind.h"
#include "script/bus.h"
#include "script/json.h"
#include "script/script_service.h"

#include <deque>
#include <utility>

namespace portolan {
namespace {

constexpr const char* kSubscriptionType = "portolan.subscription";
constexpr std::size_t kLongestTopic = 256;
constexpr lua_Integer kQueue = 1000;
constexpr std::size_t kQueueBytes = 4U << 20U;

std::string_view check_topic(lua_State* state, int index) {
  const std::string_view topic = check_text(state, index);
  if (topic.empty() || topic.size() > kLongestTopic) luaL_argerror(state, index, "a topic has from 1 to 256 bytes");
  return topic;
}

// Lives in its object of Lua.
class Subscription final : public ScriptBus::Listener, public Wait {
 public:
  Subscription(ScriptRuntime& runtime, std::string pattern, std::size_t most)
      : runtime_(runtime), inbox_(runtime.inbox()), pattern_(std::move(pattern)), most_(most) {
    inbox_->add(*this, pattern_);
  }
  ~Subscription() { close(); }

  void close() noexcept {
    if (!std::exchange(open_, false)) return;
    inbox_->remove(*this, pattern_);
    messages_.clear();
    if (reader_)
      runtime_.wake(*std::exchange(reader_, nullptr), [](lua_State* state) { return push_failure(state, "closed"); });
  }

  int receive(lua_State* state, Duration timeout) {
    if (!messages_.empty()) {
      const ScriptBus::Message message = take();
      return push(state, *message);
    }
    if (!open_) return push_failure(state, "closed");
    if (reader_) luaL_error(state, "another task receives from this subscription");
    reader_ = &runtime_.waiting(state);
    return runtime_.wait(state, *this, timeout);
  }
  lua_Integer missed() noexcept { return std::exchange(missed_, 0); }

  bool wants(std::string_view topic) const noexcept override { return fits(pattern_, topic); }
  void on_message(const ScriptBus::Message& message) noexcept override {
    if (reader_) {
      runtime_.wake(*std::exchange(reader_, nullptr), [&](lua_State* state) { return push(state, *message); });
      return;
    }
    messages_.push_back(message);
    bytes_ += message->value.size();
    while (messages_.size() > most_ || (bytes_ > kQueueBytes && messages_.size() > 1)) {
      take();
      ++missed_;
    }
  }
  void abandon(Task&) noexcept override { reader_ = nullptr; }

 private:
  ScriptBus::Message take() noexcept {
    ScriptBus::Message message = std::move(messages_.front());
    messages_.pop_front();
    bytes_ -= message->value.size();
    return message;
  }
  static int push(lua_State* state, const BusMessage& message) {
    if (message.json) {
      std::string error;
      if (!decode_json(state, message.value, error)) lua_pushnil(state);  // it was encoded here
    } else {
      push_text(state, message.value);
    }
    push_text(state, message.topic);
    return 2;
  }

  ScriptRuntime& runtime_;
  const std::shared_ptr<ScriptBus::Inbox> inbox_;
  const std::string pattern_;
  const std::size_t most_;
  std::deque<ScriptBus::Message> messages_;
  std::size_t bytes_ = 0;
  Task* reader_ = nullptr;
  lua_Integer missed_ = 0;
  bool open_ = true;
};

Subscription& self(lua_State* state) { return check_object<Subscription>(state, 1, kSubscriptionType); }

int receive(lua_State* state) {
  Subscription& subscription = self(state);
  return subscription.receive(state, timeout_option(state, 2, Duration::zero()));
}
int next_message(lua_State* state) {
  lua_settop(state, 1);
  return self(state).receive(state, Duration::zero());
}
int messages(lua_State* state) {
  self(state);
  lua_settop(state, 1);
  lua_pushcfunction(state, &next_message);
  lua_insert(state, 1);
  return 2;
}
int missed(lua_State* state) {
  lua_pushinteger(state, self(state).missed());
  return 1;
}
int close(lua_State* state) {
  self(state).close();
  return 0;
}

int publish(lua_State* state) {
  auto message = std::make_shared<BusMessage>();
  message->topic = check_topic(state, 1);
  luaL_checkany(state, 2);
  lua_settop(state, 2);
  message->json = lua_type(state, 2) != LUA_TSTRING;
  if (message->json)
    message->value = encode_json(state, 2);
  else
    message->value = check_text(state, 2);
  Sandbox::of(state).charge(state, message->value.size() / 16);
  const std::size_t workers = check_service(state).io().bus().publish(std::move(message));
  lua_pushboolean(state, workers != 0 ? 1 : 0);
  return 1;
}

int subscribe(lua_State* state) {
  std::string pattern(check_topic(state, 1));
  lua_Integer most = kQueue;
  if (!lua_isnoneornil(state, 2)) {
    luaL_checktype(state, 2, LUA_TTABLE);
    if (push_field(state, 2, "queue") != LUA_TNIL) most = luaL_checkinteger(state, -1);
    if (most < 1 || most > 100'000) luaL_error(state, "queue is from 1 to 100000 messages");
    lua_pop(state, 1);
  }
  check_service(state);
  push_object<Subscription>(state, kSubscriptionType, ScriptRuntime::of(state), std::move(pattern),
                            static_cast<std::size_t>(most));
  return 1;
}

constexpr LuaFunction kSubscriptionFunctions[] = {
    {"receive", &receive, "(options?) -> value, topic | nil, reason", "waits for the next message; options: timeout"},
    {"messages", &messages, "() -> iterator", "for value, topic in subscription:messages() do … end"},
    {"missed", &missed, "() -> integer", "messages dropped, the oldest first, since it was last asked"},
    {"close", &close, "()", "ends it"},
};
constexpr LuaFunction kFunctions[] = {
    {"publish", &publish, "(topic, value) -> boolean",
     "to all who subscribe, in any service on any worker; a table travels as JSON. False: nobody does"},
    {"subscribe", &subscribe, "(topic, options?) -> subscription",
     "a topic, or a beginning and \"*\"; options: queue (1000 messages; 4 MiB at most)"},
};

}  // namespace

const LuaArea kBusArea = {"portolan.", "Messages between services and workers.", kFunctions};
const LuaArea kSubscriptionArea = {"subscription:", "What subscribe answers.", kSubscriptionFunctions};

void bind_bus(lua_State* state) {
  add_class(state, kSubscriptionType, "subscription", kSubscriptionFunctions, &close);
  add_functions(state, kFunctions);
}

}  // namespace portolan
