// A chat service without sockets and threads: instances on several workers and of several generations, and people who
// talk through streams that are none. One thread, which is each worker's in turn.
#pragma once

#include "plugins/chat/chat_service.h"
#include "support/contract_stubs.h"
#include "support/fake_stream.h"

#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace portolan {
extern const Descriptor plugin_chat;
}

namespace portolan::testing {

// A timer that fires when the house takes a turn.
class HouseTimer final : public Timer {
 public:
  HouseTimer(TimerHandler& handler, std::vector<HouseTimer*>& all) : handler_(handler), all_(all) {
    all_.push_back(this);
  }
  void start(Duration, bool) noexcept override { wanted = true; }
  void stop() noexcept override { wanted = false; }
  void strike() noexcept override { wanted = true; }
  void release() noexcept override {
    std::erase(all_, this);
    delete this;
  }
  void fire() {
    wanted = false;
    handler_.on_timer();
  }
  bool wanted = false;

 private:
  TimerHandler& handler_;
  std::vector<HouseTimer*>& all_;
};

class HouseContext final : public StubContext {
 public:
  HouseContext(SharedState& state, unsigned worker, std::vector<HouseTimer*>& timers)
      : state_(state), worker_(worker), timers_(timers), counts(plugin_chat.counters.size()) {}
  unsigned worker() const noexcept override { return worker_; }
  Duration now() const noexcept override { return time; }
  void count(std::size_t counter, std::uint64_t by) noexcept override { counts.at(counter) += by; }
  TimerHandle timer(TimerHandler& handler) noexcept override { return TimerHandle(new HouseTimer(handler, timers_)); }
  SharedState* shared_state(SharedState* (*)() noexcept) noexcept override { return &state_; }
  Hook* hook(std::string_view name) noexcept override {
    const auto found = hooks.find(name);
    return found == hooks.end() ? nullptr : &found->second;
  }
  using Context::count;

  Duration time = std::chrono::seconds(1000);
  std::map<std::string, FakeHook, std::less<>> hooks;

 private:
  SharedState& state_;
  const unsigned worker_;
  std::vector<HouseTimer*>& timers_;

 public:
  std::vector<std::uint64_t> counts;
};

struct House {
  chat::ChatState state;
  std::vector<HouseTimer*> timers;
  FakeOptions options{plugin_chat};
  std::vector<std::unique_ptr<HouseContext>> contexts;
  std::vector<std::unique_ptr<Service>> services;
  std::map<std::string, std::unique_ptr<FakeStream>, std::less<>> people;
  std::map<std::string, FakeHook::Function, std::less<>> hooks;  // of the instances that are made next

  // The index of the instance.
  std::size_t make(unsigned worker) {
    contexts.push_back(std::make_unique<HouseContext>(state, worker, timers));
    for (const auto& [name, function] : hooks) contexts.back()->hooks.emplace(name, FakeHook(function));
    services.push_back(make_service(plugin_chat, *contexts.back(), options));
    return services.size() - 1;
  }
  FakeStream& connect(const std::string& who, std::size_t instance = 0) {
    return *(people[who] = std::make_unique<FakeStream>(*services[instance]));
  }
  // Connected, named, and everybody's ears empty again.
  FakeStream& enter(const std::string& who, std::size_t instance = 0) {
    FakeStream& stream = connect(who, instance);
    stream.receive(who + "\n");
    turn();
    forget();
    return stream;
  }
  void turn() {
    for (int round = 0; round < 100; ++round) {
      bool fired = false;
      for (std::size_t index = 0; index < timers.size(); ++index) {
        if (!timers[index]->wanted) continue;
        timers[index]->fire();
        fired = true;
      }
      if (!fired) return;
    }
    std::fprintf(stderr, "the house never comes to rest\n");
    std::abort();
  }
  void forget() {
    for (auto& [name, stream] : people) stream->output.clear();
  }
  FakeStream& operator[](std::string_view who) { return *people.find(who)->second; }
  // He says it, and what he and the others have heard since is there.
  void say(std::string_view who, const std::string& line) {
    (*this)[who].receive(line + "\n");
    turn();
  }
  void leave(const std::string& who) {
    people.erase(who);
    turn();
  }
  std::string heard(std::string_view who) { return std::exchange((*this)[who].output, {}); }
  std::uint64_t counted(chat::Count counter) const {
    std::uint64_t sum = 0;
    for (const auto& context : contexts) sum += context->counts[counter];
    return sum;
  }
  ~House() {
    people.clear();
    services.clear();
  }
};

}  // namespace portolan::testing
