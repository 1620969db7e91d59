// Randomness for secrets, keys and ids that strangers must not guess: the kernel's, and nothing else of ours asks it for
// such.
//
// Any thread. It waits where the kernel has gathered none yet (a router in its first second), and does not fail: a kernel
// without getrandom, or a filter that forbids it, ends the program, as no key that it made could be trusted.
#pragma once

#include <cstddef>
#include <span>

namespace portolan {

void random_bytes(std::span<std::byte> out) noexcept;

}  // namespace portolan
