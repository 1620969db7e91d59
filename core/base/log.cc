#include "base/log.h"

#include "base/clock.h"

#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <mutex>
#include <string>

namespace portolan::log {

namespace {

constexpr std::uint32_t kRepeats = 10;
constexpr std::int64_t kWindow = 10'000;  // ms
constexpr std::size_t kKinds = 128;       // of lines remembered at once
constexpr std::size_t kLongest = 8192;    // bytes of a message; what is longer is cut
constexpr std::size_t kSampleLength = 96;

std::atomic<LogLevel> current_level{LogLevel::info};
std::atomic<std::uint8_t> current_format{static_cast<std::uint8_t>(Format::automatic)};
std::atomic<std::uint64_t> lost_lines{0};

// Lines alike, as they are held back. Plain arrays: no allocation while the lock is held.
struct Kind {
  std::uint64_t hash = 0;  // 0: free
  std::int64_t since = 0;  // when the window began
  std::uint32_t seen = 0;
  std::uint32_t held = 0;
  LogLevel level = LogLevel::info;
  std::uint8_t service_length = 0;
  std::uint8_t sample_length = 0;
  std::array<char, 64> service{};
  std::array<char, kSampleLength> sample{};
};

// What Kind held back, copied out to be written without the lock.
struct Summary {
  LogLevel level = LogLevel::info;
  std::uint32_t held = 0;
  std::string service;
  std::string sample;
};

std::mutex kinds_mutex;
std::array<Kind, kKinds> kinds;

std::uint64_t hash_of(LogLevel level, const Fields& fields, std::string_view message) noexcept {
  std::uint64_t hash = 0xcbf29ce484222325ULL;  // FNV-1a
  const auto add = [&hash](std::uint8_t byte) { hash = (hash ^ byte) * 0x100000001b3ULL; };
  add(static_cast<std::uint8_t>(level));
  for (const char c : fields.service) add(static_cast<std::uint8_t>(c));
  add(0);
  for (const char c : message.substr(0, message.find_first_of("0123456789"))) add(static_cast<std::uint8_t>(c));
  return hash == 0 ? 1 : hash;
}

Summary take_held(Kind& kind) {
  Summary summary{.level = kind.level,
                  .held = kind.held,
                  .service = std::string(kind.service.data(), kind.service_length),
                  .sample = std::string(kind.sample.data(), kind.sample_length)};
  kind.held = 0;
  return summary;
}

// Whether the line may be written; `ended` is what a window that ended by this line had held back.
bool admit(LogLevel level, const Fields& fields, std::string_view message, Summary& ended) {
  const std::uint64_t hash = hash_of(level, fields, message);
  const std::int64_t now = to_ms(monotonic_now());
  const std::lock_guard lock(kinds_mutex);
  Kind* place = nullptr;
  for (Kind& kind : kinds) {
    if (kind.hash == hash) {
      place = &kind;
      break;
    }
    // The place for a new kind: a free one, else the one whose window began first.
    if (!place || (place->hash != 0 && (kind.hash == 0 || kind.since < place->since))) place = &kind;
  }
  if (place->hash == hash && now - place->since < kWindow) {
    if (++place->seen <= kRepeats) return true;
    ++place->held;
    return false;
  }
  if (place->held > 0) ended = take_held(*place);
  place->hash = hash;
  place->since = now;
  place->seen = 1;
  place->level = level;
  place->service_length = static_cast<std::uint8_t>(fields.service.copy(place->service.data(), place->service.size()));
  std::size_t length = message.copy(place->sample.data(), place->sample.size());
  // Not in the middle of a character.
  while (length < message.size() && length > 0 && (static_cast<std::uint8_t>(message[length]) & 0xc0) == 0x80) --length;
  place->sample_length = static_cast<std::uint8_t>(length);
  return true;
}

// The length of the valid UTF-8 sequence at the front (RFC 3629), 0 when there is none; its code point in `point`.
std::size_t utf8_length(std::string_view text, std::uint32_t& point) noexcept {
  const auto byte = [&text](std::size_t at) { return static_cast<std::uint8_t>(text[at]); };
  const std::uint8_t first = byte(0);
  std::size_t length = 0;
  std::uint32_t least = 0;
  if (first < 0x80) {
    point = first;
    return 1;
  }
  if ((first & 0xe0) == 0xc0) {
    length = 2, least = 0x80, point = first & 0x1fU;
  } else if ((first & 0xf0) == 0xe0) {
    length = 3, least = 0x800, point = first & 0x0fU;
  } else if ((first & 0xf8) == 0xf0) {
    length = 4, least = 0x10000, point = first & 0x07U;
  } else {
    return 0;
  }
  if (text.size() < length) return 0;
  for (std::size_t at = 1; at < length; ++at) {
    if ((byte(at) & 0xc0) != 0x80) return 0;
    point = (point << 6) | (byte(at) & 0x3fU);
  }
  if (point < least || point > 0x10ffff || (point >= 0xd800 && point <= 0xdfff)) return 0;
  return length;
}

// What would move a terminal's cursor, or make a line read as another than it is.
bool deceptive(std::uint32_t point) noexcept {
  return point < 0x20 || (point >= 0x7f && point <= 0x9f) || (point >= 0x2028 && point <= 0x202e) ||
         (point >= 0x2066 && point <= 0x2069);
}

void append_text(std::string& out, std::string_view text) {
  constexpr char kHex[] = "0123456789abcdef";
  while (!text.empty()) {
    std::uint32_t point = 0;
    const std::size_t length = utf8_length(text, point);
    if (length > 0 && !deceptive(point)) {
      out.append(text.substr(0, length));
    } else if (text[0] == '\n') {
      out.append("\\n");
    } else if (text[0] == '\t') {
      out.append("\\t");
    } else if (text[0] == '\r') {
      out.append("\\r");
    } else {
      for (const char c : text.substr(0, length == 0 ? 1 : length)) {
        const auto byte = static_cast<std::uint8_t>(c);
        out.append({'\\', 'x', kHex[byte >> 4], kHex[byte & 15]});
      }
    }
    text.remove_prefix(length == 0 ? 1 : length);
  }
}

void append_json(std::string& out, std::string_view text) {
  constexpr char kHex[] = "0123456789abcdef";
  while (!text.empty()) {
    std::uint32_t point = 0;
    const std::size_t length = utf8_length(text, point);
    if (length == 0) {
      out.append("\xef\xbf\xbd");  // U+FFFD
    } else if (point == '"' || point == '\\') {
      out.append({'\\', static_cast<char>(point)});
    } else if (point == '\n') {
      out.append("\\n");
    } else if (deceptive(point)) {
      out.append("\\u");
      for (int shift = 12; shift >= 0; shift -= 4) out.push_back(kHex[(point >> shift) & 15]);
    } else {
      out.append(text.substr(0, length));
    }
    text.remove_prefix(length == 0 ? 1 : length);
  }
}

std::string_view name_of(LogLevel level) noexcept {
  switch (level) {
    case LogLevel::error: return "error";
    case LogLevel::warning: return "warning";
    case LogLevel::info: return "info";
    case LogLevel::debug: return "debug";
  }
  return "error";
}

std::string_view color_of(LogLevel level) noexcept {
  switch (level) {
    case LogLevel::error: return "\x1b[31m";
    case LogLevel::warning: return "\x1b[33m";
    case LogLevel::info: return "\x1b[32m";
    case LogLevel::debug: return "\x1b[2m";
  }
  return {};
}

bool on_terminal() noexcept {
  static const bool answer = isatty(STDERR_FILENO) == 1;
  return answer;
}

bool colored() noexcept {
  static const bool answer = [] {
    const char* no_color = std::getenv("NO_COLOR");
    const char* terminal = std::getenv("TERM");
    return on_terminal() && !(no_color && *no_color) && terminal && std::string_view(terminal) != "dumb";
  }();
  return answer;
}

std::string line_of(LogLevel level, const Fields& fields, std::string_view message) {
  const std::int64_t now_ms = unix_ms();
  const std::int64_t now = now_ms / 1000;
  const std::int64_t milliseconds = now_ms % 1000;
  std::string line;
  line.reserve(message.size() + 128);
  const auto format = static_cast<Format>(current_format.load(std::memory_order_relaxed));
  if (format == Format::json || (format == Format::automatic && !on_terminal())) {
    const CalendarTime time = utc_time(now);
    fmt::format_to(std::back_inserter(line), R"({{"time":"{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z","level":"{}")",
                   time.year, time.month, time.day, time.hour, time.minute, time.second, milliseconds, name_of(level));
    if (!fields.service.empty()) {
      line.append(R"(,"service":")");
      append_json(line, fields.service);
      line.push_back('"');
    }
    // As text: a reader that takes numbers for doubles would round it.
    if (fields.session != 0) fmt::format_to(std::back_inserter(line), R"(,"session":"{}")", fields.session);
    line.append(R"(,"message":")");
    append_json(line, message);
    line.append("\"}\n");
    return line;
  }
  const CalendarTime time = local_time(now);
  const bool color = colored();
  fmt::format_to(std::back_inserter(line), "{:02}:{:02}:{:02}.{:03} {}{:<7}{} ", time.hour, time.minute, time.second,
                 milliseconds, color ? color_of(level) : "", name_of(level), color ? "\x1b[0m" : "");
  if (!fields.service.empty()) {
    append_text(line, fields.service);
    line.append(": ");
  }
  append_text(line, message);
  if (fields.session != 0) fmt::format_to(std::back_inserter(line), " (session {})", fields.session);
  line.push_back('\n');
  return line;
}

bool write_out(std::string_view line) noexcept {
  while (!line.empty()) {
    const ssize_t count = ::write(STDERR_FILENO, line.data(), line.size());
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) {
      lost_lines.fetch_add(1, std::memory_order_relaxed);
      return false;
    }
    line.remove_prefix(static_cast<std::size_t>(count));
  }
  return true;
}

void put(LogLevel level, const Fields& fields, std::string_view message) {
  std::string cut;
  if (message.size() > kLongest) {
    std::size_t length = kLongest;
    while (length > 0 && (static_cast<std::uint8_t>(message[length]) & 0xc0) == 0x80) --length;
    cut = fmt::format("{} ... ({} bytes more)", message.substr(0, length), message.size() - length);
    message = cut;
  }
  if (!write_out(line_of(level, fields, message))) return;
  if (const std::uint64_t lost = lost_lines.exchange(0, std::memory_order_relaxed); lost > 0) {
    write_out(line_of(LogLevel::warning, {}, fmt::format("{} log lines could not be written", lost)));
  }
}

void put(const Summary& summary) {
  put(summary.level, {.service = summary.service}, fmt::format("{} more like: {}", summary.held, summary.sample));
}

}  // namespace

void set_format(Format format) noexcept {
  current_format.store(static_cast<std::uint8_t>(format), std::memory_order_relaxed);
}

void set_level(LogLevel level) noexcept { current_level.store(level, std::memory_order_relaxed); }

bool enabled(LogLevel level) noexcept { return level <= current_level.load(std::memory_order_relaxed); }

void write(LogLevel level, const Fields& fields, std::string_view message) noexcept {
  if (!enabled(level)) return;
  const int kept_errno = errno;
  try {
    Summary ended;
    const bool admitted = admit(level, fields, message, ended);
    if (ended.held > 0) put(ended);
    if (admitted) put(level, fields, message);
  } catch (...) {  // out of memory
    lost_lines.fetch_add(1, std::memory_order_relaxed);
  }
  errno = kept_errno;
}

void flush_repeats() noexcept {
  const int kept_errno = errno;
  for (Kind& kind : kinds) {
    try {
      Summary summary;
      {
        const std::lock_guard lock(kinds_mutex);
        if (kind.held > 0) summary = take_held(kind);
      }
      if (summary.held > 0) put(summary);
    } catch (...) {
      lost_lines.fetch_add(1, std::memory_order_relaxed);
    }
  }
  errno = kept_errno;
}

}  // namespace portolan::log
