#include "script/fiber.h"

#include <boost/context/detail/fcontext.hpp>

#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <new>
#include <vector>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define PORTOLAN_ASAN 1
#elif __has_feature(thread_sanitizer)
#define PORTOLAN_TSAN 1
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define PORTOLAN_ASAN 1
#elif defined(__SANITIZE_THREAD__)
#define PORTOLAN_TSAN 1
#endif

#if defined(PORTOLAN_ASAN)
#include <sanitizer/common_interface_defs.h>
#elif defined(PORTOLAN_TSAN)
#include <sanitizer/tsan_interface.h>
#endif

namespace portolan {
namespace {

using boost::context::detail::fcontext_t;
using boost::context::detail::jump_fcontext;
using boost::context::detail::make_fcontext;
using boost::context::detail::transfer_t;

// Of address space: 1 MiB where pointers have 64 bits. The frames of a sanitizer are several times as large.
#if defined(PORTOLAN_ASAN) || defined(PORTOLAN_TSAN)
constexpr std::size_t kStack = sizeof(void*) * 512 * 1024;
#else
constexpr std::size_t kStack = sizeof(void*) * 128 * 1024;
#endif

std::atomic<std::size_t> alive_in_process = 0;

std::size_t most_in_process() noexcept {
  static const std::size_t most = [] {
    std::size_t mappings = 65'530;
    if (std::FILE* file = std::fopen("/proc/sys/vm/max_map_count", "re")) {
      if (std::fscanf(file, "%zu", &mappings) != 1) mappings = 65'530;
      std::fclose(file);
    }
    return mappings / 4;
  }();
  return most;
}

std::size_t page_size() noexcept {
  static const auto size = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  return size;
}

}  // namespace

// The sanitizers follow the stack of a thread, and have to be told of another before and after each jump. Inlined: a call
// would begin on one stack and end on another.
struct Fiber::Switch {
#if defined(PORTOLAN_ASAN)
  [[gnu::always_inline]] static inline void* leave(Fiber& fiber, bool inwards, bool for_good) noexcept {
    void* kept = nullptr;
    __sanitizer_start_switch_fiber(for_good ? nullptr : &kept, inwards ? fiber.stack_ : fiber.outer_stack_,
                                   inwards ? kStack : fiber.outer_size_);
    return kept;
  }
  static void arrive(Fiber& fiber, void* kept, bool inside) noexcept {
    __sanitizer_finish_switch_fiber(kept, inside ? &fiber.outer_stack_ : nullptr,
                                    inside ? &fiber.outer_size_ : nullptr);
  }
  static void begin(Fiber&) noexcept {}
  static void end(Fiber&) noexcept {}
#elif defined(PORTOLAN_TSAN)
  [[gnu::always_inline]] static inline void* leave(Fiber& fiber, bool inwards, bool) noexcept {
    if (inwards) fiber.thread_outside_ = __tsan_get_current_fiber();
    __tsan_switch_to_fiber(inwards ? fiber.thread_inside_ : fiber.thread_outside_, 0);
    return nullptr;
  }
  static void arrive(Fiber&, void*, bool) noexcept {}
  static void begin(Fiber& fiber) noexcept { fiber.thread_inside_ = __tsan_create_fiber(0); }
  static void end(Fiber& fiber) noexcept { __tsan_destroy_fiber(fiber.thread_inside_); }
#else
  [[gnu::always_inline]] static inline void* leave(Fiber&, bool, bool) noexcept { return nullptr; }
  static void arrive(Fiber&, void*, bool) noexcept {}
  static void begin(Fiber&) noexcept {}
  static void end(Fiber&) noexcept {}
#endif
  static void run(transfer_t from) noexcept {
    Fiber& fiber = *static_cast<Fiber*>(from.data);
    arrive(fiber, nullptr, true);
    fiber.outside_ = from.fctx;
    fiber.body_(fiber.argument_);
    fiber.alive_ = false;
    leave(fiber, false, true);
    jump_fcontext(fiber.outside_, nullptr);
    std::abort();  // nobody goes back to what has ended
  }
};

std::size_t Fiber::stack_size() noexcept { return kStack; }

std::size_t Fiber::depth() const noexcept {
  return static_cast<std::size_t>(stack_ + kStack - static_cast<std::byte*>(__builtin_frame_address(0)));
}

std::unique_ptr<Fiber> Fiber::make() noexcept {
  // Not exact, and need not be: half of all mappings are left for the rest of the daemon.
  if (alive_in_process.load(std::memory_order_relaxed) >= most_in_process()) return nullptr;
  const std::size_t guard = page_size();
  void* const place = mmap(nullptr, guard + kStack, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (place == MAP_FAILED) return nullptr;
  std::byte* const stack = static_cast<std::byte*>(place) + guard;
  if (mprotect(stack, kStack, PROT_READ | PROT_WRITE) == 0) {
    if (auto* fiber = new (std::nothrow) Fiber(stack)) return std::unique_ptr<Fiber>(fiber);
  }
  munmap(place, guard + kStack);
  return nullptr;
}

Fiber::Fiber(std::byte* stack) noexcept : stack_(stack) {
  alive_in_process.fetch_add(1, std::memory_order_relaxed);
  Switch::begin(*this);
}

Fiber::~Fiber() {
  Switch::end(*this);
  alive_in_process.fetch_sub(1, std::memory_order_relaxed);
  munmap(stack_ - page_size(), page_size() + kStack);
}

bool Fiber::start(Body body, void* argument) noexcept {
  body_ = body;
  argument_ = argument;
  inside_ = make_fcontext(stack_ + kStack, kStack, &Switch::run);
  return resume();
}

bool Fiber::resume() noexcept {
  alive_ = true;
  void* const kept = Switch::leave(*this, true, false);
  const transfer_t back = jump_fcontext(inside_, this);
  Switch::arrive(*this, kept, false);
  inside_ = back.fctx;
  return !alive_;
}

void Fiber::wait() noexcept {
  void* const kept = Switch::leave(*this, false, false);
  const transfer_t back = jump_fcontext(outside_, this);
  Switch::arrive(*this, kept, true);
  outside_ = back.fctx;
}

std::size_t Fiber::most_used() const noexcept {
  const std::size_t page = page_size();
  std::vector<unsigned char> there(kStack / page);
  if (mincore(stack_, kStack, there.data()) != 0) return 0;
  for (std::size_t index = 0; index < there.size(); ++index) {
    if ((there[index] & 1U) != 0) return kStack - index * page;
  }
  return 0;
}

}  // namespace portolan
