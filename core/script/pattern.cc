#include "script/pattern.h"

#include "script/sandbox.h"

#include <lua.hpp>

#include <array>
#include <cctype>
#include <cstring>
#include <string_view>

namespace portolan {
namespace {

constexpr int kMostCaptures = 32;
constexpr int kDeepest = 200;
constexpr std::size_t kChargeEvery = 256;
// Characters of a [set] that are looked through for one instruction.
constexpr std::size_t kSetPerInstruction = 8;
constexpr char kEscape = '%';

bool is_in_class(unsigned char c, char name) {
  bool result = false;
  switch (std::tolower(static_cast<unsigned char>(name))) {
    case 'a': result = std::isalpha(c) != 0; break;
    case 'c': result = std::iscntrl(c) != 0; break;
    case 'd': result = std::isdigit(c) != 0; break;
    case 'g': result = std::isgraph(c) != 0; break;
    case 'l': result = std::islower(c) != 0; break;
    case 'p': result = std::ispunct(c) != 0; break;
    case 's': result = std::isspace(c) != 0; break;
    case 'u': result = std::isupper(c) != 0; break;
    case 'w': result = std::isalnum(c) != 0; break;
    case 'x': result = std::isxdigit(c) != 0; break;
    default: return static_cast<unsigned char>(name) == c;
  }
  return std::isupper(static_cast<unsigned char>(name)) != 0 ? !result : result;
}

// One subject and one pattern. Raises Lua errors from within, so that it holds nothing that needs a destructor.
class Matcher {
 public:
  Matcher(lua_State* state, std::string_view subject, std::string_view pattern)
      : state_(state),
        begin_(subject.data()),
        end_(begin_ + subject.size()),
        pattern_(pattern.data()),
        pattern_end_(pattern_ + pattern.size()) {}

  // Where a match of the whole pattern that starts at `at` ends, or null.
  const char* match_at(const char* at) {
    captures_count_ = 0;
    depth_ = 0;
    return match(at, pattern_);
  }

  // Pushes the captures, or the whole match when there are none and `whole` says so. Answers how many.
  int push_captures(const char* from, const char* to, bool whole) {
    const int count = captures_count_ == 0 && whole ? 1 : captures_count_;
    luaL_checkstack(state_, count, "too many captures");
    for (int index = 0; index < count; ++index) push_capture(index, from, to);
    return count;
  }

  void push_capture(int index, const char* from, const char* to) {
    if (index >= captures_count_) {
      if (index != 0) luaL_error(state_, "invalid capture index %%%d", index + 1);
      lua_pushlstring(state_, from, static_cast<std::size_t>(to - from));
      return;
    }
    const Capture& capture = captures_[static_cast<std::size_t>(index)];
    if (capture.kind == Capture::position) {
      lua_pushinteger(state_, capture.start - begin_ + 1);
    } else if (capture.kind == Capture::open) {
      luaL_error(state_, "unfinished capture");
    } else {
      lua_pushlstring(state_, capture.start, capture.length);
    }
  }

 private:
  struct Capture {
    enum Kind : std::uint8_t { open, closed, position };
    const char* start;
    std::size_t length;
    Kind kind;
  };

  void step(std::size_t instructions = 1) {
    steps_ += instructions;
    if (steps_ < kChargeEvery) return;
    Sandbox::of(state_).charge(state_, steps_);
    steps_ = 0;
  }
  // A set may be as long as the pattern, and is looked through for every character of the subject.
  void step_through_set(const char* from, const char* to) {
    step(static_cast<std::size_t>(to - from) / kSetPerInstruction);
  }

  // The end of the single-character class that starts at `p`.
  const char* class_end(const char* p) {
    if (*p++ == kEscape) {
      if (p == pattern_end_) luaL_error(state_, "malformed pattern (ends with '%%')");
      return p + 1;
    }
    if (p[-1] != '[') return p;
    const char* const start = p;
    if (p != pattern_end_ && *p == '^') ++p;
    do {  // a ] in the first place stands for itself
      if (p == pattern_end_) luaL_error(state_, "malformed pattern (missing ']')");
      if (*p++ == kEscape) {
        if (p == pattern_end_) luaL_error(state_, "malformed pattern (missing ']')");
        ++p;
      }
    } while (p == pattern_end_ || *p != ']');
    step_through_set(start, p);
    return p + 1;
  }

  // `p` is at the [, `last` at the ] of a set.
  static bool is_in_set(unsigned char c, const char* p, const char* last) {
    ++p;
    bool found = true;
    if (*p == '^') {
      found = false;
      ++p;
    }
    for (; p < last; ++p) {
      if (*p == kEscape) {
        ++p;
        if (is_in_class(c, *p)) return found;
      } else if (p + 2 < last && p[1] == '-') {
        if (static_cast<unsigned char>(*p) <= c && c <= static_cast<unsigned char>(p[2])) return found;
        p += 2;
      } else if (static_cast<unsigned char>(*p) == c) {
        return found;
      }
    }
    return !found;
  }

  bool single(const char* s, const char* p, const char* class_end) {
    step();
    if (s >= end_) return false;
    const auto c = static_cast<unsigned char>(*s);
    switch (*p) {
      case '.': return true;
      case kEscape: return is_in_class(c, p[1]);
      case '[': step_through_set(p, class_end); return is_in_set(c, p, class_end - 1);
      default: return static_cast<unsigned char>(*p) == c;
    }
  }

  const char* longest(const char* s, const char* p, const char* class_end) {
    const char* last = s;
    while (single(last, p, class_end)) ++last;
    for (;; --last) {
      if (const char* result = match(last, class_end + 1)) return result;
      if (last == s) return nullptr;
    }
  }

  const char* shortest(const char* s, const char* p, const char* class_end) {
    for (;; ++s) {
      if (const char* result = match(s, class_end + 1)) return result;
      if (!single(s, p, class_end)) return nullptr;
    }
  }

  const char* begin_capture(const char* s, const char* p, Capture::Kind kind) {
    if (captures_count_ >= kMostCaptures) luaL_error(state_, "too many captures");
    captures_[static_cast<std::size_t>(captures_count_++)] = {s, 0, kind};
    const char* result = match(s, p);
    if (result == nullptr) --captures_count_;
    return result;
  }

  const char* end_capture(const char* s, const char* p) {
    int index = captures_count_ - 1;
    while (index >= 0 && captures_[static_cast<std::size_t>(index)].kind != Capture::open) --index;
    if (index < 0) luaL_error(state_, "invalid pattern capture");
    Capture& capture = captures_[static_cast<std::size_t>(index)];
    capture.kind = Capture::closed;
    capture.length = static_cast<std::size_t>(s - capture.start);
    const char* result = match(s, p);
    if (result == nullptr) capture.kind = Capture::open;
    return result;
  }

  // %b(): from an opening character to the one that closes it.
  const char* balanced(const char* s, const char* p) {
    if (pattern_end_ - p < 2) luaL_error(state_, "malformed pattern (missing arguments to '%%b')");
    if (s >= end_ || *s != p[0]) return nullptr;
    int depth = 1;
    for (++s; s < end_; ++s) {
      step();
      if (*s == p[1]) {
        if (--depth == 0) return s + 1;
      } else if (*s == p[0]) {
        ++depth;
      }
    }
    return nullptr;
  }

  // %1: the text of an earlier capture again.
  const char* repeated(const char* s, char digit) {
    const int index = digit - '1';
    if (index < 0 || index >= captures_count_ || captures_[static_cast<std::size_t>(index)].kind == Capture::open) {
      luaL_error(state_, "invalid capture index %%%d", index + 1);
    }
    const Capture& capture = captures_[static_cast<std::size_t>(index)];
    if (capture.kind == Capture::position) return nullptr;  // it has no text
    // The work done here is not seen by single().
    Sandbox::of(state_).charge(state_, capture.length / 16);
    if (static_cast<std::size_t>(end_ - s) < capture.length) return nullptr;
    return std::memcmp(s, capture.start, capture.length) == 0 ? s + capture.length : nullptr;
  }

  const char* match(const char* s, const char* p) {
    if (++depth_ > kDeepest) luaL_error(state_, "pattern too complex");
    const char* result = match_from(s, p);
    --depth_;
    return result;
  }

  const char* match_from(const char* s, const char* p) {
    while (p != pattern_end_) {
      step();
      if (*p == '(') {
        if (p + 1 != pattern_end_ && p[1] == ')') return begin_capture(s, p + 2, Capture::position);
        return begin_capture(s, p + 1, Capture::open);
      }
      if (*p == ')') return end_capture(s, p + 1);
      if (*p == '$' && p + 1 == pattern_end_) return s == end_ ? s : nullptr;
      if (*p == kEscape && p + 1 != pattern_end_) {
        if (p[1] == 'b') {
          s = balanced(s, p + 2);
          if (s == nullptr) return nullptr;
          p += 4;
          continue;
        }
        if (p[1] == 'f') {
          p += 2;
          if (p == pattern_end_ || *p != '[') luaL_error(state_, "missing '[' after '%%f' in pattern");
          const char* last = class_end(p);
          step_through_set(p, last);
          const unsigned char before = s == begin_ ? '\0' : static_cast<unsigned char>(s[-1]);
          const unsigned char after = s == end_ ? '\0' : static_cast<unsigned char>(*s);
          if (is_in_set(before, p, last - 1) || !is_in_set(after, p, last - 1)) return nullptr;
          p = last;
          continue;
        }
        if (p[1] >= '0' && p[1] <= '9') {
          s = repeated(s, p[1]);
          if (s == nullptr) return nullptr;
          p += 2;
          continue;
        }
      }
      const char* last = class_end(p);
      const char suffix = last == pattern_end_ ? '\0' : *last;
      if (suffix == '*') return longest(s, p, last);
      if (suffix == '+') return single(s, p, last) ? longest(s + 1, p, last) : nullptr;
      if (suffix == '-') return shortest(s, p, last);
      if (suffix == '?') {
        if (single(s, p, last)) {
          if (const char* result = match(s + 1, last + 1)) return result;
        }
        p = last + 1;
        continue;
      }
      if (!single(s, p, last)) return nullptr;
      ++s;
      p = last;
    }
    return s;
  }

  lua_State* state_;
  const char* begin_;
  const char* end_;
  const char* pattern_;
  const char* pattern_end_;
  int depth_ = 0;
  std::size_t steps_ = 0;
  int captures_count_ = 0;
  std::array<Capture, kMostCaptures> captures_;
};

std::string_view check_text(lua_State* state, int index) {
  std::size_t length = 0;
  const char* text = luaL_checklstring(state, index, &length);
  return {text, length};
}

// The third argument of find and match: from 1, or from the end when negative. Answers an offset, perhaps past the end.
std::size_t check_start(lua_State* state, int index, std::size_t length) {
  const lua_Integer start = luaL_optinteger(state, index, 1);
  if (start > 0) return static_cast<std::size_t>(start) - 1;
  if (start == 0 || start < -static_cast<lua_Integer>(length)) return 0;
  return length - static_cast<std::size_t>(-start);
}

int find_or_match(lua_State* state, bool find) {
  const std::string_view subject = check_text(state, 1);
  std::string_view pattern = check_text(state, 2);
  const std::size_t start = check_start(state, 3, subject.size());
  if (start > subject.size()) {
    lua_pushnil(state);
    return 1;
  }
  Sandbox::of(state).charge(state, pattern.size() / 16);
  const bool plain = pattern.find_first_of("^$*+?.([%-") == std::string_view::npos;
  if (find && (lua_toboolean(state, 4) != 0 || plain)) {
    Sandbox::of(state).charge(state, (subject.size() - start) / 16);
    const void* found =
        memmem(subject.data() + start, subject.size() - start, pattern.data(), pattern.size());  // linear, always
    if (found == nullptr) {
      lua_pushnil(state);
      return 1;
    }
    const lua_Integer at = static_cast<const char*>(found) - subject.data();
    lua_pushinteger(state, at + 1);
    lua_pushinteger(state, at + static_cast<lua_Integer>(pattern.size()));
    return 2;
  }
  const bool anchored = pattern.starts_with('^');
  if (anchored) pattern.remove_prefix(1);
  Matcher matcher(state, subject, pattern);
  const char* const end = subject.data() + subject.size();
  for (const char* at = subject.data() + start; at <= end; ++at) {
    if (const char* last = matcher.match_at(at)) {
      if (!find) return matcher.push_captures(at, last, true);
      lua_pushinteger(state, at - subject.data() + 1);
      lua_pushinteger(state, last - subject.data());
      return matcher.push_captures(at, last, false) + 2;
    }
    if (anchored) break;
  }
  lua_pushnil(state);
  return 1;
}

int string_find(lua_State* state) { return find_or_match(state, true); }
int string_match(lua_State* state) { return find_or_match(state, false); }

// Upvalues: subject, pattern, offset to go on from, end of the last match (or -1).
int next_match(lua_State* state) {
  const std::string_view subject = check_text(state, lua_upvalueindex(1));
  const std::string_view pattern = check_text(state, lua_upvalueindex(2));
  const auto start = static_cast<std::size_t>(lua_tointeger(state, lua_upvalueindex(3)));
  const lua_Integer last_end = lua_tointeger(state, lua_upvalueindex(4));
  Matcher matcher(state, subject, pattern);
  for (std::size_t offset = start; offset <= subject.size(); ++offset) {
    const char* at = subject.data() + offset;
    const char* last = matcher.match_at(at);
    if (last == nullptr || last - subject.data() == last_end) continue;
    lua_pushinteger(state, last - subject.data());
    lua_copy(state, -1, lua_upvalueindex(3));
    lua_replace(state, lua_upvalueindex(4));
    return matcher.push_captures(at, last, true);
  }
  return 0;
}

int string_gmatch(lua_State* state) {
  const std::size_t length = check_text(state, 1).size();
  check_text(state, 2);
  const std::size_t start = check_start(state, 3, length);
  lua_settop(state, 2);
  lua_pushinteger(state, static_cast<lua_Integer>(start > length ? length + 1 : start));
  lua_pushinteger(state, -1);
  lua_pushcclosure(state, &next_match, 4);
  return 1;
}

void add_replacement_text(lua_State* state, luaL_Buffer& buffer, Matcher& matcher, const char* from, const char* to) {
  const std::string_view text = check_text(state, 3);
  for (std::size_t at = 0; at < text.size(); ++at) {
    if (text[at] != kEscape) {
      luaL_addchar(&buffer, text[at]);
      continue;
    }
    const char c = ++at < text.size() ? text[at] : '\0';
    if (c == kEscape) {
      luaL_addchar(&buffer, kEscape);
    } else if (c == '0') {
      luaL_addlstring(&buffer, from, static_cast<std::size_t>(to - from));
    } else if (c >= '1' && c <= '9') {
      matcher.push_capture(c - '1', from, to);
      luaL_tolstring(state, -1, nullptr);  // a position is a number
      lua_remove(state, -2);
      luaL_addvalue(&buffer);
    } else {
      luaL_error(state, "invalid use of '%%' in replacement string");
    }
  }
}

// Answers whether the text changed.
bool add_replacement(lua_State* state, luaL_Buffer& buffer, Matcher& matcher, const char* from, const char* to,
                     int kind) {
  if (kind == LUA_TFUNCTION) {
    lua_pushvalue(state, 3);
    lua_call(state, matcher.push_captures(from, to, true), 1);
  } else if (kind == LUA_TTABLE) {
    matcher.push_capture(0, from, to);
    lua_gettable(state, 3);
  } else {
    add_replacement_text(state, buffer, matcher, from, to);
    return true;
  }
  if (lua_toboolean(state, -1) == 0) {
    lua_pop(state, 1);
    luaL_addlstring(&buffer, from, static_cast<std::size_t>(to - from));
    return false;
  }
  if (lua_isstring(state, -1) == 0) luaL_error(state, "invalid replacement value (a %s)", luaL_typename(state, -1));
  luaL_addvalue(&buffer);
  return true;
}

int string_gsub(lua_State* state) {
  const std::string_view subject = check_text(state, 1);
  std::string_view pattern = check_text(state, 2);
  const int kind = lua_type(state, 3);
  luaL_argexpected(state, kind == LUA_TNUMBER || kind == LUA_TSTRING || kind == LUA_TFUNCTION || kind == LUA_TTABLE, 3,
                   "string/function/table");
  const lua_Integer most = luaL_optinteger(state, 4, static_cast<lua_Integer>(subject.size()) + 1);
  const bool anchored = pattern.starts_with('^');
  if (anchored) pattern.remove_prefix(1);
  Matcher matcher(state, subject, pattern);
  luaL_Buffer buffer;
  luaL_buffinit(state, &buffer);
  const char* at = subject.data();
  const char* const end = at + subject.size();
  const char* last_end = nullptr;
  lua_Integer count = 0;
  bool changed = false;
  while (count < most) {
    const char* last = matcher.match_at(at);
    if (last != nullptr && last != last_end) {
      ++count;
      changed = add_replacement(state, buffer, matcher, at, last, kind) || changed;
      at = last_end = last;
    } else if (at < end) {
      luaL_addchar(&buffer, *at);
      ++at;
    } else {
      break;
    }
    if (anchored) break;
  }
  if (!changed) {
    lua_pushvalue(state, 1);
  } else {
    luaL_addlstring(&buffer, at, static_cast<std::size_t>(end - at));
    luaL_pushresult(&buffer);
  }
  lua_pushinteger(state, count);
  return 2;
}

}  // namespace

void open_patterns(lua_State* state) {
  const luaL_Reg functions[] = {{"find", &string_find},
                                {"match", &string_match},
                                {"gmatch", &string_gmatch},
                                {"gsub", &string_gsub},
                                {nullptr, nullptr}};
  luaL_setfuncs(state, functions, 0);
}

}  // namespace portolan
