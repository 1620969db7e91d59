// Counts what a test program allocates with new, for tests of code that allocates nothing in its steady state. It
// replaces the program's operator new: one file of a program may include it.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <new>

namespace portolan {

inline std::size_t allocation_count = 0;

}  // namespace portolan

void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  ++portolan::allocation_count;
  return std::malloc(size);
}
void* operator new(std::size_t size) {
  if (void* memory = operator new(size, std::nothrow)) return memory;
  throw std::bad_alloc();
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
