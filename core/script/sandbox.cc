#include "script/sandbox.h"

#include "base/callback.h"
#include "base/clock.h"
#include "base/units.h"
#include "script/library.h"

#include <fmt/format.h>
#include <lua.hpp>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <new>
#include <utility>

namespace portolan {
namespace {

// How often the budget is looked at. Fewer instructions than this cannot be told apart.
constexpr int kStep = 200;
// One instruction may walk along a whole text (a comparison, or "12" + 1, at 3 ns a byte): with large ones about, looks come
// after fewer. What is below this is small; and looks are no further apart than walks along so much.
constexpr std::size_t kLarge = std::size_t{64} << 10U;
constexpr std::size_t kWalked = std::size_t{12} << 20U;
// A C function that charges many times is looked at by the clock this often.
constexpr std::uint32_t kChargesPerLook = 64;
// Allocating is work: clearing and copying memory counts as one instruction for so many bytes.
constexpr std::size_t kBytesPerInstruction = 16;
constexpr std::size_t kChargedAllocation = 1024;
// Lua collects all garbage before it gives up on an allocation, which takes long in a full state.
constexpr std::int64_t kRefusalCost = 10'000;
constexpr Duration kRunTime = std::chrono::seconds(10);
// Lua cuts longer names of files in its messages.
constexpr std::size_t kLongestName = 55;

int panic(lua_State*) { throw LuaPanic{}; }

int open_all(lua_State* state) {
  open_library(state);
  return 0;
}

}  // namespace

Sandbox::Sandbox(const Limits& limits) : limits_(limits) {
  state_ = lua_newstate(c_callback(&Sandbox::allocate), this);
  if (state_ == nullptr) throw std::bad_alloc();
  // The state is not closed by the destructor when this constructor throws.
  *static_cast<Sandbox**>(lua_getextraspace(state_)) = this;
  lua_atpanic(state_, &panic);
  lua_pushcfunction(state_, &open_all);
  now_.bounded = true;
  const int status = lua_pcall(state_, 0, 0, 0);
  now_.bounded = false;
  if (status != LUA_OK) {
    lua_close(state_);
    throw std::bad_alloc();
  }
}

SandboxObject::SandboxObject(Sandbox& sandbox) noexcept : before_(&sandbox.objects_), next_(sandbox.objects_) {
  if (next_) next_->before_ = &next_;
  sandbox.objects_ = this;
}

SandboxObject::~SandboxObject() {
  *before_ = next_;
  if (next_) next_->before_ = before_;
}

Sandbox::~Sandbox() {
  lua_close(state_);
  while (objects_) delete objects_;
}

Sandbox& Sandbox::of(lua_State* state) noexcept { return **static_cast<Sandbox**>(lua_getextraspace(state)); }

void* Sandbox::allocate(void* self_pointer, void* block, std::size_t old_size, std::size_t new_size) noexcept {
  Sandbox& self = *static_cast<Sandbox*>(self_pointer);
  if (block == nullptr) old_size = 0;  // Lua passes a type code there
  if (new_size == 0) {
    std::free(block);
    self.used_ -= old_size;
    if (old_size >= kLarge) self.large_ -= old_size;
    return nullptr;
  }
  if (new_size > old_size && self.now_.bounded) {
    const std::size_t growth = new_size - old_size;
    // Not used_ + growth: where sizes have 32 bits, that wraps.
    const bool too_much = self.used_ > self.limits_.memory || growth > self.limits_.memory - self.used_;
    if (too_much) {
      self.now_.left -= kRefusalCost;
    } else if (growth >= kChargedAllocation) {
      self.now_.left -= static_cast<std::int64_t>(growth / kBytesPerInstruction);
    }
    // The budget of a run that is stopped is not enforced here: reporting its end may need a little memory.
    const bool too_long = self.now_.left < 0 && self.now_.running != nullptr && self.now_.stopped == Stop::none;
    if (too_much || too_long) {
      if (too_long) {
        self.stop(self.now_.running, Stop::instructions);
      } else if (self.now_.running != nullptr && self.now_.stopped == Stop::none) {
        self.note_position(self.now_.running);
      }
      return nullptr;
    }
  }
  void* result = std::realloc(block, new_size);
  if (result == nullptr) return result;
  self.used_ += new_size - old_size;
  if (old_size >= kLarge) self.large_ -= old_size;
  if (new_size >= kLarge) {
    self.large_ += new_size;
    Account& now = self.now_;
    if (now.bounded && now.running && now.stopped == Stop::none && self.step() < now.step) {
      now.step = self.step();
      lua_sethook(now.running, &Sandbox::on_count, LUA_MASKCOUNT, now.step);  // may be called at any time
    }
  }
  return result;
}

void Sandbox::note_position(lua_State* running) noexcept {
  now_.position[0] = '\0';
  lua_Debug activation;
  // These two only read: they are safe within an allocation and within a hook.
  for (int level = 0; lua_getstack(running, level, &activation) != 0; ++level) {
    lua_getinfo(running, "Sl", &activation);
    if (activation.currentline <= 0) continue;
    std::snprintf(now_.position.data(), now_.position.size(), "%s:%d: ", activation.short_src, activation.currentline);
    return;
  }
}

void Sandbox::stop(lua_State* running, Stop why) noexcept {
  now_.stopped = why;
  note_position(running);
}

void Sandbox::raise(lua_State* running) {
  // From now on every instruction ends here, so that no pcall in the script outlives the budget.
  lua_sethook(running, &Sandbox::on_count, LUA_MASKCOUNT, 1);
  lua_pushlightuserdata(running, nullptr);  // needs no memory; failure() knows what to say
  lua_error(running);
  std::abort();  // lua_error does not return, but is not declared so
}

void Sandbox::on_count(lua_State* running, lua_Debug*) {
  Sandbox& self = of(running);
  if (self.now_.stopped == Stop::none) {
    self.now_.left -= self.now_.step;
    if (self.now_.left < 0) {
      self.stop(running, Stop::instructions);
    } else if (self.out_of_time()) {
      self.stop(running, Stop::time);
    }
  }
  if (self.now_.stopped != Stop::none) raise(running);
}

// The clock of the processor is a system call, that of the wall is none: it is asked first.
bool Sandbox::out_of_time() noexcept {
  const Duration wall = monotonic_now();
  if (now_.began == Duration::zero()) now_.began = wall;
  if (wall - now_.began <= now_.time_granted / 2) return false;
  const Duration now = thread_time();
  if (now_.time_limit == Duration::zero()) now_.time_limit = now + now_.time_granted / 2;
  return now > now_.time_limit;
}

void Sandbox::charge(lua_State* running, std::uint64_t instructions) {
  if (!now_.bounded) return;
  constexpr std::uint64_t kMost = std::uint64_t{1} << 60U;
  now_.left -= static_cast<std::int64_t>(std::min(instructions, kMost));
  if (now_.left >= 0) {
    if (++now_.charges % kChargesPerLook != 0 || !out_of_time()) return;
    if (now_.stopped == Stop::none) stop(running, Stop::time);
  }
  if (now_.stopped == Stop::none) stop(running, Stop::instructions);
  raise(running);
}

void Sandbox::begin(lua_State* running, std::uint64_t instructions, Duration processor_time_granted) noexcept {
  now_.running = running;
  now_.granted = instructions;
  now_.left = static_cast<std::int64_t>(instructions);
  now_.time_granted = processor_time_granted;
  now_.time_limit = now_.began = Duration::zero();
  now_.stopped = Stop::none;
  now_.position[0] = '\0';
  now_.bounded = true;
  now_.step = static_cast<int>(std::clamp<std::uint64_t>(instructions, 1, static_cast<std::uint64_t>(step())));
  lua_sethook(running, &Sandbox::on_count, LUA_MASKCOUNT, now_.step);
}

int Sandbox::step() const noexcept {
  return large_ == 0 ? kStep : static_cast<int>(std::clamp<std::size_t>(kWalked / large_, 1, kStep));
}

bool Sandbox::take_memory(std::size_t size) noexcept {
  const auto fits = [&] { return used_ <= limits_.memory && size <= limits_.memory - used_; };
  if (!fits()) collect_garbage();
  if (!fits()) return false;
  used_ += size;
  return true;
}

void Sandbox::abandon(lua_State* running) {
  if (now_.stopped == Stop::none) now_.stopped = Stop::abandoned;
  raise(running);
}

Sandbox::Account Sandbox::set_aside() noexcept { return std::exchange(now_, {}); }

void Sandbox::take_back(const Account& account) noexcept { now_ = account; }

std::string Sandbox::failure(lua_State* running, int status) {
  std::string text;
  if (now_.stopped == Stop::instructions) {
    text = fmt::format("{}stopped after {} instructions: does it loop without end?{}", now_.position.data(),
                       format_count(now_.granted), limits_.instructions_hint);
  } else if (now_.stopped == Stop::time) {
    text = fmt::format("{}stopped after {} of processor time: does it loop without end?", now_.position.data(),
                       format_duration(now_.time_granted));
  } else if (status == LUA_ERRMEM) {
    text = fmt::format("{}stopped at {} of memory: does it grow without end?{}", now_.position.data(),
                       format_size(static_cast<std::int64_t>(limits_.memory)), limits_.memory_hint);
  } else if (lua_type(running, -1) == LUA_TSTRING) {
    std::size_t length = 0;
    const char* message = lua_tolstring(running, -1, &length);
    text.assign(message, std::min<std::size_t>(length, 1000));
  } else {
    text = fmt::format("an error was raised whose value is no text but a {}", luaL_typename(running, -1));
  }
  if (text.starts_with(shown_name_ + ":")) text.replace(0, shown_name_.size(), file_);
  return text;
}

void Sandbox::collect_garbage() noexcept {
  try {
    lua_gc(state_, LUA_GCCOLLECT);
  } catch (const LuaPanic&) {
    // Nothing can raise here: the script has no finalizers. What is left is collected later.
  }
}

std::expected<void, std::string> Sandbox::run(const std::string& file, std::string_view source,
                                              std::uint64_t instructions) {
  file_ = file;
  shown_name_ = file.size() <= kLongestName ? file : std::filesystem::path(file).filename().string();
  if (shown_name_.size() > kLongestName) shown_name_.resize(kLongestName);
  // A first line that starts with # is for the shell, as in Lua's own loader.
  if (source.starts_with('#')) {
    const std::size_t end = source.find('\n');
    source.remove_prefix(end == std::string_view::npos ? source.size() : end);
  }
  begin(state_, instructions, kRunTime);
  const std::string chunk = "@" + shown_name_;
  int status = luaL_loadbufferx(state_, source.data(), source.size(), chunk.c_str(), "t");
  if (status == LUA_OK) status = lua_pcall(state_, 0, 1, 0);
  end();
  lua_sethook(state_, nullptr, 0, 0);
  if (status != LUA_OK) {
    std::string text = failure(state_, status);
    lua_settop(state_, 0);
    return std::unexpected(std::move(text));
  }
  return {};
}

}  // namespace portolan
