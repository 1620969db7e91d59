// cmocka with what it needs in front, and its own warnings kept out.
#pragma once

#include <csetjmp>
#include <cstdarg>
#include <cstddef>
#include <cstdint>

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpedantic"
#pragma GCC diagnostic ignored "-Wvolatile"
extern "C" {
#include <cmocka.h>
}
#pragma GCC diagnostic pop
