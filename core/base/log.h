// The log: one line for an event, to standard error, human on a terminal and JSON lines elsewhere.
//
// Any thread may call anything here; a line is written with one write(2). A line that repeats (same level, service
// and text up to its first digit) more than `kRepeats` times in `kWindow` is held back, and the number held back is
// said when the window ends. Never throws; a log that cannot be written is counted and forgotten.
#pragma once

#include "plugin/service.h"

#include <fmt/format.h>

#include <cstdint>
#include <string_view>

namespace portolan::log {

enum class Format : std::uint8_t { automatic, text, json };

struct Fields {
  std::string_view service = {};
  std::uint64_t session = 0;  // 0: none
};

void set_format(Format format) noexcept;
void set_level(LogLevel level) noexcept;
bool enabled(LogLevel level) noexcept;
void write(LogLevel level, const Fields& fields, std::string_view message) noexcept;
// Says what is still held back; the daemon calls it every few seconds and at its end.
void flush_repeats() noexcept;

template <typename... Args>
void print(LogLevel level, const Fields& fields, fmt::format_string<Args...> format, Args&&... args) noexcept {
  if (!enabled(level)) return;
  try {
    fmt::memory_buffer text;
    fmt::format_to(fmt::appender(text), format, std::forward<Args>(args)...);
    write(level, fields, {text.data(), text.size()});
  } catch (...) {
    write(LogLevel::error, fields, "a log line could not be made: out of memory");
  }
}
template <typename... Args>
void error(fmt::format_string<Args...> format, Args&&... args) noexcept {
  print(LogLevel::error, {}, format, std::forward<Args>(args)...);
}
template <typename... Args>
void warning(fmt::format_string<Args...> format, Args&&... args) noexcept {
  print(LogLevel::warning, {}, format, std::forward<Args>(args)...);
}
template <typename... Args>
void info(fmt::format_string<Args...> format, Args&&... args) noexcept {
  print(LogLevel::info, {}, format, std::forward<Args>(args)...);
}
template <typename... Args>
void debug(fmt::format_string<Args...> format, Args&&... args) noexcept {
  print(LogLevel::debug, {}, format, std::forward<Args>(args)...);
}

}  // namespace portolan::log
