// An event loop of one thread, on libevent. The files of core/event/ are the only ones that name libevent.
//
// A Loop and all that is made on it belong to one thread, but for Mailbox::post. No exception leaves a callback.
#pragma once

#include "plugin/descriptor.h"

#include <functional>
#include <memory>
#include <mutex>
#include <vector>

struct event_base;
struct event;

namespace portolan {

class Loop {
 public:
  Loop();
  ~Loop();
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  void run();  // until stop
  void stop() noexcept;
  // One pass; waits for an event when `wait`. For tests.
  void turn(bool wait);
  static Duration now() noexcept;                      // CLOCK_MONOTONIC
  event_base* base() const noexcept { return base_; }  // for core/event/ and evhttp

 private:
  event_base* base_;
};

// Calls `handler` with the events (bits of Watch::kRead, kWrite) that have come on a descriptor. Does not own it.
class Watch {
 public:
  static constexpr short kRead = 2, kWrite = 4;  // EV_READ, EV_WRITE
  Watch(Loop& loop, int descriptor, short events, std::function<void(short)> handler);
  ~Watch();
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;
  void pause() noexcept;
  void resume() noexcept;

 private:
  std::function<void(short)> handler_;
  event* event_;
};

class LoopTimer {
 public:
  LoopTimer(Loop& loop, std::function<void()> handler);
  ~LoopTimer();
  LoopTimer(const LoopTimer&) = delete;
  LoopTimer& operator=(const LoopTimer&) = delete;
  void start(Duration delay, bool repeat = false) noexcept;
  void stop() noexcept;
  bool running() const noexcept;

 private:
  std::function<void()> handler_;
  event* event_;
  bool repeat_ = false;
};

// Work for the end of this turn of the loop: after the events that are active now, and without a system call.
class LoopTask {
 public:
  LoopTask(Loop& loop, std::function<void()> handler);
  ~LoopTask();
  LoopTask(const LoopTask&) = delete;
  LoopTask& operator=(const LoopTask&) = delete;
  void run_soon() noexcept;  // once, however often it is asked for until then

 private:
  std::function<void()> handler_;
  event* event_;
};

class LoopSignal {
 public:
  LoopSignal(Loop& loop, int signal_number, std::function<void()> handler);
  ~LoopSignal();
  LoopSignal(const LoopSignal&) = delete;
  LoopSignal& operator=(const LoopSignal&) = delete;

 private:
  std::function<void()> handler_;
  event* event_;
};

// Work for a loop from other threads: a queue and an eventfd. post may be called from any thread, also after the
// loop has stopped (then the task is destroyed with the mailbox). Tasks run in order, on the loop's thread.
class Mailbox {
 public:
  explicit Mailbox(Loop& loop);
  ~Mailbox();
  void post(std::function<void()> task);

 private:
  void take();
  std::mutex mutex_;
  std::vector<std::function<void()>> tasks_;
  int eventfd_;
  std::unique_ptr<Watch> watch_;
};

}  // namespace portolan
