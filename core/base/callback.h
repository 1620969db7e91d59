// The boundary to libraries written in C, through which nothing may be thrown.
//
// Two halves: c_callback where a function is handed over, which takes none that could throw (a compiler's error), and
// contain within it, around what can fail in normal life: it is logged, and the daemon goes on. tests/meta/callbacks_test.sh
// looks for functions that are handed over without. Never contain() around a call into Lua, whose errors are
// exceptions; its own C functions throw by design, because it is linked as C++.
#pragma once

#include "base/log.h"

#include <exception>
#include <string_view>
#include <utility>

namespace portolan {

template <typename Result, typename... Arguments>
constexpr auto c_callback(Result (*function)(Arguments...) noexcept) noexcept {
  return function;
}

// True: done. False: it threw, and `what` ("a timer") is in the log.
template <typename Body>
bool contain(std::string_view what, Body&& body) noexcept {
  try {
    std::forward<Body>(body)();
    return true;
  } catch (const std::exception& problem) {
    log::error("{} failed: {}", what, problem.what());
  } catch (...) {
    log::error("{} failed: an exception without a text", what);
  }
  return false;
}

}  // namespace portolan
