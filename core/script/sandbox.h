// A Lua state that a configuration cannot use against its host: string, table, math and utf8 only, a cap on memory
// and a budget of instructions.
//
// Owned by whoever makes it, used by one thread at a time. It refuses bytecode, finalizers and coroutines of the
// script's own: each is a way around the budget. Time that C functions spend on behalf of the script counts as
// instructions (see library.cc); processor time is limited as a last resort.
//
// Lua is built as C++: an error in it is a C++ exception of Lua's own. Never catch (...) around a call into it.
#pragma once

#include "plugin/service.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <expected>
#include <string>
#include <string_view>

struct lua_State;
struct lua_Debug;

namespace portolan {

// Thrown by Lua functions that fail outside of a protected call. Deliberately no std::exception.
struct LuaPanic {};

class Sandbox;
class ScriptRuntime;

// What stands behind an object of Lua: destroyed when that is collected, or after the state. Lua may lose a finalizer (it
// calls one in protected mode, and gives up when there is no memory or stack for it); so nothing of ours lies in its blocks.
class SandboxObject {
 public:
  explicit SandboxObject(Sandbox& sandbox) noexcept;
  virtual ~SandboxObject();
  SandboxObject(const SandboxObject&) = delete;
  SandboxObject& operator=(const SandboxObject&) = delete;

 private:
  friend class Sandbox;
  SandboxObject** before_;  // what points to it
  SandboxObject* next_;
};

class Sandbox {
  enum class Stop : std::uint8_t { none, instructions, time, abandoned };
  // Of a call: what it may use, and what became of it.
  struct Account {
    std::int64_t left = 0;      // instructions
    std::uint64_t granted = 0;  // what `left` began with
    std::uint32_t charges = 0;
    int step = 1;  // instructions between two looks at the budget
    bool bounded = false;
    Stop stopped = Stop::none;
    Duration time_granted{};  // processor time
    Duration time_limit{};    // on the thread's processor clock; zero: not looked at yet
    Duration began{};
    lua_State* running = nullptr;
    std::array<char, 96> position{};  // "file.lua:12: " of the latest refusal
  };

 public:
  // The hints end the sentences on a stopped script: ", or raise script.memory".
  struct Limits {
    std::size_t memory = 0;
    std::string_view memory_hint = {};
    std::string_view instructions_hint = {};
  };

  // Throws std::bad_alloc when not even the libraries fit into the memory.
  explicit Sandbox(const Limits& limits);
  ~Sandbox();
  Sandbox(const Sandbox&) = delete;
  Sandbox& operator=(const Sandbox&) = delete;

  lua_State* state() const noexcept { return state_; }
  static Sandbox& of(lua_State* state) noexcept;

  // Runs a chunk of text and leaves what it returns, one value, on the stack of state(). The error is a sentence with
  // file:line in front.
  std::expected<void, std::string> run(const std::string& file, std::string_view source, std::uint64_t instructions);

  // Around a call on `running` that the caller makes itself. Between them, memory and instructions are bounded.
  void begin(lua_State* running, std::uint64_t instructions, Duration processor_time) noexcept;
  void end() noexcept { now_.bounded = false; }

  // Between them: ends all that runs on `running`, as a stop does, without a word.
  [[noreturn]] void abandon(lua_State* running);
  // A call in the middle of another (the end of a task that is dropped) has an account of its own.
  Account set_aside() noexcept;
  void take_back(const Account& account) noexcept;

  // What went wrong in the call before end(), with the error value on top of `running`: a sentence.
  std::string failure(lua_State* running, int status);

  // Takes instructions from the budget for work that C does. Raises a Lua error when there are none left.
  void charge(lua_State* running, std::uint64_t instructions);

  // Memory outside of Lua that a script has us keep counts as its own. False: there is not so much.
  bool take_memory(std::size_t size) noexcept;
  void return_memory(std::size_t size) noexcept { used_ -= size; }

  // Where tasks run: null in a state that only reads a file.
  void set_runtime(ScriptRuntime* runtime) noexcept { runtime_ = runtime; }
  ScriptRuntime* runtime() const noexcept { return runtime_; }

  // The call that has ended was stopped, whatever the script has made of that.
  bool stopped() const noexcept { return now_.stopped != Stop::none; }
  std::size_t memory_used() const noexcept { return used_; }
  void collect_garbage() noexcept;

  // Where portolan.log and print go. The service is a view that the caller keeps alive.
  void set_log(LogLevel level, std::string_view service) noexcept {
    log_level_ = level;
    log_service_ = service;
  }
  // print writes there, instead of to the log.
  void print_to(std::FILE* file) noexcept { print_file_ = file; }
  std::FILE* print_file() const noexcept { return print_file_; }
  LogLevel log_level() const noexcept { return log_level_; }
  std::string_view log_service() const noexcept { return log_service_; }

 private:
  friend class SandboxObject;
  static void* allocate(void* self, void* block, std::size_t old_size, std::size_t new_size) noexcept;
  bool out_of_time() noexcept;
  int step() const noexcept;
  static void on_count(lua_State* running, lua_Debug* activation);
  void stop(lua_State* running, Stop why) noexcept;
  [[noreturn]] static void raise(lua_State* running);
  void note_position(lua_State* running) noexcept;

  Limits limits_;
  ScriptRuntime* runtime_ = nullptr;
  std::size_t used_ = 0;
  std::size_t large_ = 0;  // of it, in large blocks
  SandboxObject* objects_ = nullptr;
  Account now_;
  LogLevel log_level_ = LogLevel::debug;
  std::string_view log_service_;
  std::FILE* print_file_ = nullptr;
  std::string shown_name_;  // the file as Lua's messages shorten it
  std::string file_;
  lua_State* state_ = nullptr;
};

}  // namespace portolan
