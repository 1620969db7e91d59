// A stream in the hands of scripts: a session that a task serves, or a connection that a script has dialed.
//
// It outlives its stream as long as Lua refers to it or tasks of the session are left, and deletes itself then. What was
// received waits with core until it is read, so that a script that does not read holds back its peer. One worker's thread.
#pragma once

#include "plugin/service.h"
#include "script/read_request.h"
#include "script/task.h"

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

struct lua_State;

namespace portolan {

class ScriptService;

class ScriptStream final : public StreamHandler, public TaskGroup {
 public:
  enum class Side : std::uint8_t { session, dialed };
  // A pool: that the stream goes back to when it is released. Throws std::bad_alloc.
  ScriptStream(ScriptService& service, Stream& stream, Side side, Pool* pool = nullptr);

  // Pushes the object that stands for it in Lua, for the first and only time. Raises.
  void push(lua_State* state);
  // The one at this place of the stack; raises when there is something else.
  static ScriptStream& check(lua_State* state, int index);
  static void open_metatable(lua_State* state);  // once for each state

  // Around what its tasks may do at once: what they write is gathered, and it stays although they may be done with it and
  // Lua collect it. Who has ended the turn lets go of it: by take_up(), or release().
  void begin_turn() noexcept {
    ++tasks;
    in_turn_ = true;
    written_ = 0;
  }
  void end_turn() noexcept {
    in_turn_ = false;
    --tasks;
  }
  void timeout(Duration timeout) noexcept { timeout_ = timeout; }
  // A dialed one ends with this session; or, for none, with the last session of the service.
  void belong_to(ScriptStream* session) noexcept;
  void close(bool reset) noexcept;
  // After its first turn: false, and it is gone, when Lua has no object for it.
  bool take_up() noexcept;

  // ---- StreamHandler ----
  std::size_t on_data(Stream& stream, std::span<const std::byte> data) noexcept override;
  bool on_end(Stream& stream, std::span<const std::byte> rest) noexcept override;
  void on_sent(Stream& stream) noexcept override;
  void on_close(Stream& stream, NetError why) noexcept override;

 private:
  ~ScriptStream();  // by release()
  friend struct StreamFunctions;
  friend struct StreamReference;
  struct Reading final : Wait {
    explicit Reading(ScriptStream& owner) noexcept : stream(owner) {}
    void abandon(Task&) noexcept override { stream.reader_ = nullptr; }
    ScriptStream& stream;
  };
  struct Writing final : Wait {
    explicit Writing(ScriptStream& owner) noexcept : stream(owner) {}
    void abandon(Task& task) noexcept override { std::erase(stream.writers_, &task); }
    ScriptStream& stream;
  };

  void on_leader_end(Task& task, bool failed) noexcept override;
  void on_no_task() noexcept override { release(); }
  // Gives the reader what it asked for from data_. It may have asked again and again.
  void serve_reader() noexcept;
  void answer_reader(const ReadRequest::Answer& answer) noexcept;
  void fail_reader(std::string_view rest) noexcept;
  void wake_writers() noexcept;
  // What core keeps of the input is given again, from the loop.
  void ask_again() noexcept;
  void close_dialed() noexcept;
  void release() noexcept;  // `this` may be gone afterwards
  std::string_view end_reason() const noexcept;

  const std::shared_ptr<ScriptService> service_;  // whose instance may be gone: then it has stopped
  Stream* stream_;                                // null once it has closed, or was released
  Pool* const pool_;
  Task* reader_ = nullptr;
  ReadRequest request_;
  std::vector<Task*> writers_;         // that wait for room
  ScriptStream* session_ = nullptr;    // of a dialed one, that it ends with
  std::vector<ScriptStream*> dialed_;  // of a session
  Reading reading_{*this};
  Writing writing_{*this};
  std::string service_name_;
  std::string tail_;         // not read when the peer ended
  std::string peer_;         // its address, once it was asked for
  const std::size_t most_;   // that a read may ask for
  std::size_t written_ = 0;  // in this turn
  std::string_view data_;    // in on_data: what has come
  std::size_t used_ = 0;     // of it
  unsigned at_once_ = 0;     // reads answered without suspending the task, which has one budget for all of them
  Duration timeout_{};       // of a read or write that names none; zero: none
  std::uint64_t id_;
  Transport transport_;
  NetError why_ = NetError::none;
  Side side_;
  bool reused_ = false;   // others had it before
  bool in_turn_ = false;  // what is written is gathered
  bool in_data_ = false;  // what is read is at hand
  bool finished_ = false;
  bool in_lua_ = false;   // Lua refers to it
  bool ended_ = false;    // the peer has
  bool closing_ = false;  // the script has closed it
};

}  // namespace portolan
