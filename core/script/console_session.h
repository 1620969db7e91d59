// A console's session in one worker's Lua state: the environment in which its lines are evaluated, one at a time, each as a task.
//
// What a line sets as a global stays in the environment, which looks into the globals of the state behind it: the services'
// functions can be called and are not changed. print in it tells the console. A line has the budget of any task between two
// waits, and a time for the whole; its answer is cut at kMostAnswer. What it spawns runs on until the session ends.
//
// Owned by the WorkerConsole, beside the service that it evaluates for, which outlives it. One worker's thread, and never from
// inside a task.
#pragma once

#include "event/loop.h"
#include "script/task.h"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace portolan {

class ScriptService;

// What a console is told. The names are those of the admin API.
enum class ConsoleEvent : std::uint8_t {
  session,     // where it evaluates, as JSON: the first
  notice,      // a sentence of the daemon's
  print,       // what was printed, its end of line included
  value,       // one value, as text or as JSON
  rows,        // a table: lines of cells with tabs between (pretty_rows)
  error,       // why there is no value
  incomplete,  // the line is the beginning of something: it is to be sent again, with more
  done,        // the last word on a line
};
std::string_view to_string(ConsoleEvent event) noexcept;

enum class ConsoleStyle : std::uint8_t {
  text,   // a table with what is in it
  table,  // as text, but rows as rows
  json,
};

class ConsoleSession final : private TaskGroup {
 public:
  static constexpr std::size_t kMostAnswer = 1U << 20U;
  // Told on the worker's thread; after `done` the next line may come.
  using Tell = std::function<void(ConsoleEvent event, std::string text)>;

  ConsoleSession(ScriptService& service, ConsoleStyle style, Tell tell);
  // Ends what still runs, and says so.
  ~ConsoleSession();
  ConsoleSession(const ConsoleSession&) = delete;
  ConsoleSession& operator=(const ConsoleSession&) = delete;

  bool busy() const noexcept { return busy_; }
  // Not while it is busy.
  void evaluate(std::string text, Duration time_limit) noexcept;
  // What it evaluates ends with this reason, a text that lives as long as the program.
  void cancel(const char* reason) noexcept;
  // What the service reports: a failure of the line, or of something that it has begun.
  void report(std::string_view what) noexcept;
  // What may stand for the last name in "portolan.sto" or "stream:wr", as it is in the state now; sorted, "(" behind functions.
  std::vector<std::string> complete(std::string_view path) noexcept;

 private:
  // What print holds on to: it may outlive the session, in a variable of a service.
  struct Box {
    ConsoleSession* session;
  };
  static int run(lua_State* state);
  static int print(lua_State* state);
  void push_environment(lua_State* state);
  bool load(lua_State* state);
  void show(lua_State* state, int index);
  void on_leader_end(Task& task, bool failed) noexcept override;
  void on_no_task() noexcept override;
  bool inherits() const noexcept override { return false; }
  void tell(ConsoleEvent event, std::string text = {}) noexcept;
  // Of what is bounded.
  void answer(ConsoleEvent event, std::string text);

  ScriptService& service_;
  const ConsoleStyle style_;
  Tell tell_;
  LoopTimer deadline_;
  std::string text_;  // that is evaluated
  std::size_t room_ = kMostAnswer;
  std::size_t told_ = 0;
  const char* reason_ = nullptr;  // why it was cancelled
  Box* box_ = nullptr;
  int box_reference_;
  int environment_;  // its reference
  bool busy_ = false;
  bool failed_ = false;  // an error was told
};

}  // namespace portolan
