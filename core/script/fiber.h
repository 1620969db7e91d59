// A C stack of its own, on which a function runs that can be left in its middle and gone back to (a stackful coroutine).
// What a script calls may so wait wherever it stands, in C++ and in Lua alike, and to switch costs a few nanoseconds: Lua's
// own way to suspend a coroutine is an error that unwinds the stack, which is an exception here and costs microseconds.
//
// One thread, that which made it. Refused: to leave it from inside of a `catch`, and to end it while its function waits
// there, whose objects would never be destroyed: who owns it lets that come to its end first.
#pragma once

#include <cstddef>
#include <memory>

namespace portolan {

class Fiber {
 public:
  using Body = void (*)(void* argument) noexcept;

  // Null: no memory for a stack, or there are so many in the process that the kernel's limit of mappings (vm.max_map_count)
  // would be in sight: each takes two.
  static std::unique_ptr<Fiber> make() noexcept;
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  // Both run the function until it waits or ends, and answer whether it has ended.
  bool start(Body body, void* argument) noexcept;
  bool resume() noexcept;
  // For the function: back to who has started or resumed it.
  void wait() noexcept;
  // From within: how much of the stack is in use.
  std::size_t depth() const noexcept;
  bool alive() const noexcept { return alive_; }  // it has been started, and has not ended

  // Of a stack. Lua calls C no deeper than 200 times, and so do patterns; tests/core/script/fiber_test.cc looks at how
  // much of it the worst of scripts take. Only what is touched takes memory: most of those that wait, one page.
  static std::size_t stack_size() noexcept;
  std::size_t most_used() const noexcept;  // of this one, for that test: in pages that were touched

 private:
  explicit Fiber(std::byte* stack) noexcept;
  struct Switch;

  std::byte* const stack_;  // its lowest byte, above a page that nobody may touch
  void* inside_ = nullptr;  // where it goes on
  void* outside_ = nullptr;
  Body body_ = nullptr;
  void* argument_ = nullptr;
  bool alive_ = false;
  // What the sanitizers know of the two stacks; nothing without them.
  [[maybe_unused]] void* thread_outside_ = nullptr;
  [[maybe_unused]] void* thread_inside_ = nullptr;
  [[maybe_unused]] const void* outer_stack_ = nullptr;
  [[maybe_unused]] std::size_t outer_size_ = 0;
};

}  // namespace portolan
