// Streams: what a session or a dialed connection can do in Lua, and portolan.dial.
#include "base/net_error.h"
#include "net/dial_attempt.h"
#include "script/bind.h"
#include "script/script_datagram.h"
#include "script/script_service.h"
#include "script/script_stream.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

namespace portolan {
namespace {

constexpr const char* kStreamType = "portolan.stream";
constexpr unsigned kMostAtOnce = 32;
constexpr std::size_t kTogether = 4096;
constexpr Duration kDialTimeout = std::chrono::seconds(10);
// Of what a dialed peer is asked for: a session has the limits of its service.
constexpr Duration kDialedTimeout = std::chrono::seconds(30);

}  // namespace

// What a stream is in Lua. When it is collected, a session goes on with its task; a dialed connection is of no use to
// anybody.
struct StreamReference {
  ~StreamReference() {
    stream.in_lua_ = false;
    if (stream.side_ == ScriptStream::Side::dialed && stream.stream_) stream.stream_->close();
    stream.release();
  }
  ScriptStream& stream;
};

struct StreamFunctions {
  static ScriptStream& self(lua_State* state) { return ScriptStream::check(state, 1); }

  // ---- Reading -----------------------------------------------------------------------------------------------
  static std::size_t size_option(lua_State* state, int index, const char* name, std::size_t most) {
    if (lua_isnoneornil(state, index)) return most;
    luaL_checktype(state, index, LUA_TTABLE);
    std::size_t size = most;
    if (push_field(state, index, name) != LUA_TNIL) {
      const lua_Integer value = luaL_checkinteger(state, -1);
      if (value < 1 || static_cast<std::uint64_t>(value) > most)
        luaL_error(state, "%s is from 1 to %d here (the service reads no more at once)", name, static_cast<int>(most));
      size = static_cast<std::size_t>(value);
    }
    lua_pop(state, 1);
    return size;
  }

  static int read(lua_State* state, ScriptStream& stream, ReadRequest request, int options) {
    const Duration timeout = timeout_option(state, options, stream.timeout_);
    if (stream.reader_) luaL_error(state, "another task reads from this stream");
    if (!stream.stream_ || stream.ended_ || stream.closing_) {
      // What came before the end is still there.
      const auto answer = request.look(stream.tail_);
      if (answer.state == ReadRequest::Answer::State::complete && !stream.closing_) {
        push_text(state, answer.value);
        stream.tail_.erase(0, answer.used);
        return 1;
      }
      push_failure(state, answer.state == ReadRequest::Answer::State::too_long ? "too long" : stream.end_reason());
      if (stream.tail_.empty()) return 2;
      push_text(state, stream.tail_);
      return 3;
    }
    ScriptRuntime& runtime = stream.service_->runtime();
    // At hand: but a task that is given all that waits has only one budget for it.
    if (stream.in_data_ && stream.at_once_ < kMostAtOnce) {
      const auto answer = request.look(stream.data_.substr(stream.used_));
      if (answer.state == ReadRequest::Answer::State::complete &&
          (stream.side_ == ScriptStream::Side::dialed || stream.stream_->admit(answer.used))) {
        ++stream.at_once_;
        stream.used_ += answer.used;
        push_text(state, answer.value);
        return 1;
      }
      request.scanned = 0;
    }
    stream.request_ = std::move(request);
    stream.reader_ = &runtime.waiting(state);
    // What waits with core already is given again, from the loop.
    if (!stream.in_data_) stream.ask_again();
    return runtime.wait(state, stream.reading_, timeout);
  }

  static std::size_t most(const ScriptStream& stream) { return stream.most_; }

  static int read_bytes(lua_State* state) {
    ScriptStream& stream = self(state);
    ReadRequest request{.kind = ReadRequest::Kind::some, .size = most(stream)};
    if (!lua_isnoneornil(state, 2)) {
      const lua_Integer count = luaL_checkinteger(state, 2);
      if (count < 1 || static_cast<std::uint64_t>(count) > most(stream))
        luaL_error(state, "read takes from 1 to %d bytes at once here (the service reads no more at once)",
                   static_cast<int>(most(stream)));
      request.kind = ReadRequest::Kind::exactly;
      request.size = static_cast<std::size_t>(count);
    }
    return read(state, stream, std::move(request), 3);
  }
  static int read_some(lua_State* state) {
    ScriptStream& stream = self(state);
    return read(state, stream, {.kind = ReadRequest::Kind::some, .size = size_option(state, 2, "max", most(stream))},
                2);
  }
  static int read_line(lua_State* state) {
    ScriptStream& stream = self(state);
    return read(state, stream, {.kind = ReadRequest::Kind::line, .size = size_option(state, 2, "max", most(stream))},
                2);
  }
  static int read_until(lua_State* state) {
    ScriptStream& stream = self(state);
    const std::string_view delimiter = check_text(state, 2);
    if (delimiter.empty() || delimiter.size() > 1024) luaL_argerror(state, 2, "from 1 to 1024 bytes");
    return read(state, stream,
                {.kind = ReadRequest::Kind::until,
                 .size = size_option(state, 3, "max", most(stream)),
                 .delimiter = std::string(delimiter)},
                3);
  }
  static int read_frame(lua_State* state) {
    ScriptStream& stream = self(state);
    ReadRequest request{.kind = ReadRequest::Kind::frame, .size = size_option(state, 2, "max", most(stream))};
    if (!lua_isnoneornil(state, 2)) {
      frame_options(state, 2, request.header, request.little_endian);
    }
    return read(state, stream, std::move(request), 2);
  }
  static void frame_options(lua_State* state, int index, unsigned& header, bool& little_endian) {
    luaL_checktype(state, index, LUA_TTABLE);
    if (push_field(state, index, "header") != LUA_TNIL) {
      const lua_Integer size = luaL_checkinteger(state, -1);
      if (size != 1 && size != 2 && size != 4) luaL_error(state, "header is 1, 2 or 4 bytes");
      header = static_cast<unsigned>(size);
    }
    if (push_field(state, index, "endian") != LUA_TNIL) {
      const std::string_view endian = check_text(state, -1);
      if (endian != "big" && endian != "little") luaL_error(state, "endian is \"big\" or \"little\"");
      little_endian = endian == "little";
    }
    lua_pop(state, 2);
  }

  // for line in stream:lines() do
  static int next_line(lua_State* state) {
    lua_settop(state, 1);  // without the line before
    return read_line(state);
  }
  static int lines(lua_State* state) {
    self(state);
    lua_settop(state, 1);
    lua_pushcfunction(state, &next_line);
    lua_insert(state, 1);
    return 2;
  }

  // ---- Writing -----------------------------------------------------------------------------------------------
  static int write(lua_State* state) { return write_texts(state, self(state)); }

  // The texts are what is on the stack from 2 on.
  static int write_texts(lua_State* state, ScriptStream& stream) {
    ScriptRuntime& runtime = stream.service_->runtime();
    const int top = lua_gettop(state);
    std::size_t size = 0;
    for (int index = 2; index <= top; ++index) size += check_text(state, index).size();
    while (true) {
      if (!stream.stream_ || stream.closing_ || stream.finished_) return push_failure(state, stream.end_reason());
      const std::size_t before =
          stream.in_turn_ ? stream.written_ + stream.stream_->unsent() : stream.stream_->unsent();
      if (before == 0 || before + size <= stream.service_->output_limit()) break;
      if (!runtime.current()) return push_failure(state, "its peer does not read what was written before");
      if (stream.in_turn_) {
        runtime.wait_turn(state);
      } else {
        stream.writers_.push_back(&runtime.waiting(state));
        // Woken with something: its time is over.
        if (const int failure = runtime.wait(state, stream.writing_, stream.timeout_); failure > 0) return failure;
      }
    }
    if (stream.in_turn_ && top > 2 && size - 1 < kTogether) {
      // In one piece, which costs less than a piece each. Numbers have become texts above: nothing raises here.
      char* out = reinterpret_cast<char*>(stream.stream_->reserve(size));
      for (int index = 2; index <= top; ++index) out = std::ranges::copy(check_text(state, index), out).out;
      stream.stream_->commit(size);
    } else if (stream.in_turn_ || top == 2) {
      for (int index = 2; index <= top; ++index) stream.stream_->write(check_text(state, index));
    } else {
      // Outside of a turn what is behind the first would be over the limit of what waits.
      std::string all;
      all.reserve(size);
      for (int index = 2; index <= top; ++index) all += check_text(state, index);
      stream.stream_->write(all);
    }
    stream.written_ += size;
    lua_pushboolean(state, 1);
    return 1;
  }

  // write_frame(text, options?)
  static int write_frame(lua_State* state) {
    ScriptStream& stream = self(state);
    const std::string_view text = check_text(state, 2);
    unsigned header = 4;
    bool little_endian = false;
    if (!lua_isnoneornil(state, 3)) frame_options(state, 3, header, little_endian);
    if (header < 4 && text.size() >> (8 * header)) luaL_argerror(state, 2, "longer than its header can say");
    char length[4];
    for (unsigned index = 0; index < header; ++index) {
      const unsigned shift = 8 * (little_endian ? index : header - 1 - index);
      length[index] = static_cast<char>(text.size() >> shift);
    }
    lua_settop(state, 2);
    lua_pushlstring(state, length, header);
    lua_insert(state, 2);
    return write_texts(state, stream);
  }

  // ---- The rest ----------------------------------------------------------------------------------------------
  static int close(lua_State* state) {
    self(state).close(false);
    return 0;
  }
  static int reset(lua_State* state) {
    self(state).close(true);
    return 0;
  }
  static int finish(lua_State* state) {
    ScriptStream& stream = self(state);
    stream.finished_ = true;
    if (stream.stream_ && !stream.closing_) stream.stream_->end_output();
    return 0;
  }
  // Back to the pool: whoever dials next has it.
  static int give_back(lua_State* state) {
    ScriptStream& stream = self(state);
    if (!stream.pool_) luaL_error(state, "only what was dialed with pool can be released: close it");
    if (stream.reader_ || !stream.writers_.empty()) luaL_error(state, "another task waits for this stream");
    const bool useful = stream.stream_ && !stream.closing_ && !stream.ended_ && !stream.finished_;
    if (useful) stream.pool_->give_back(*std::exchange(stream.stream_, nullptr));
    stream.close(false);
    lua_pushboolean(state, useful ? 1 : 0);
    return 1;
  }
  static int timeout(lua_State* state) {
    ScriptStream& stream = self(state);
    stream.timeout_ = lua_isnoneornil(state, 2) ? Duration::zero() : check_duration(state, 2);
    return 0;
  }
  static int is_open(lua_State* state) {
    const ScriptStream& stream = self(state);
    lua_pushboolean(state, stream.stream_ && !stream.closing_ ? 1 : 0);
    return 1;
  }

  // Functions by name, and what describes the stream.
  static int index(lua_State* state) {
    lua_pushvalue(state, 2);
    if (lua_rawget(state, lua_upvalueindex(1)) != LUA_TNIL) return 1;
    ScriptStream& stream = self(state);
    const std::string_view key = lua_type(state, 2) == LUA_TSTRING ? check_text(state, 2) : std::string_view();
    if (key == "id") {
      lua_pushinteger(state, static_cast<lua_Integer>(stream.id_));
    } else if (key == "transport") {
      push_text(state, to_string(stream.transport_));
    } else if (key == "service") {
      push_text(state, stream.service_name_);
    } else if (key == "peer") {
      if (stream.peer_.empty() && stream.stream_) stream.peer_ = stream.stream_->info().peer;
      push_text(state, stream.peer_);
    } else if (key == "reused") {
      lua_pushboolean(state, stream.reused_ ? 1 : 0);
    } else if (key == "server_name") {
      push_text(state, stream.stream_ ? stream.stream_->server_name() : std::string_view());
    }
    return 1;
  }
  static int to_text(lua_State* state) {
    const ScriptStream& stream = self(state);
    lua_pushfstring(state, "stream %I (%s)", static_cast<LUAI_UACINT>(stream.id_),
                    stream.stream_ && !stream.closing_ ? "open" : "closed");
    return 1;
  }
};

void ScriptStream::push(lua_State* state) {
  push_object<StreamReference>(state, kStreamType, *this);
  in_lua_ = true;
}

ScriptStream& ScriptStream::check(lua_State* state, int index) {
  return check_object<StreamReference>(state, index, kStreamType).stream;
}

namespace {

constexpr LuaFunction kStreamFunctions[] = {
    {"read", &StreamFunctions::read_bytes, "(count?, options?) -> string | nil, reason, rest?",
     "so many bytes; without a count what there is, at least one"},
    {"read_some", &StreamFunctions::read_some, "(options?) -> string | nil, reason",
     "what there is, at least one byte and at most `max`"},
    {"read_line", &StreamFunctions::read_line, "(options?) -> string | nil, reason, rest?",
     "a line without its ending, at most `max` bytes"},
    {"read_until", &StreamFunctions::read_until, "(delimiter, options?) -> string | nil, reason, rest?",
     "what comes before the delimiter, which is taken too"},
    {"read_frame", &StreamFunctions::read_frame, "(options?) -> string | nil, reason, rest?",
     "a message behind its length: `header` bytes (1, 2 or 4), `endian` \"big\" or \"little\", at most `max`"},
    {"lines", &StreamFunctions::lines, "() -> iterator", "for line in session:lines() do … end"},
    {"write", &StreamFunctions::write, "(text, …) -> true | nil, reason",
     "sends the texts and numbers; waits when the peer has left more than output_limit unread"},
    {"write_frame", &StreamFunctions::write_frame, "(text, options?) -> true | nil, reason",
     "sends a message behind its length: `header` and `endian` as in read_frame"},
    {"finish", &StreamFunctions::finish, "()", "the peer sees an end; reading goes on"},
    {"close", &StreamFunctions::close, "()", "ends it when all is sent"},
    {"release", &StreamFunctions::give_back, "() -> boolean",
     "of one that was dialed with pool: the exchange is over, and the next dial may have it. False: it was of no more "
     "use"},
    {"reset", &StreamFunctions::reset, "()", "ends it at once: the peer sees a reset"},
    {"timeout", &StreamFunctions::timeout, "(duration?)", "for reads and writes that name none; nil or 0: none"},
    {"is_open", &StreamFunctions::is_open, "() -> boolean", "neither side has closed it"},
};

// ---- portolan.dial -------------------------------------------------------------------------------------------------

// One attempt of one task. Deletes itself when it is over.
class ScriptDial final : public Wait, private DialHandler {
 public:
  ScriptDial(ScriptService& service, std::shared_ptr<const OutboundTarget> target, Pool* pool)
      : service_(service), target_(std::move(target)), pool_(pool) {}

  bool begin(Task& task, Duration timeout) {
    task_ = &task;
    handle_ = pool_ ? pool_->acquire(timeout, *this) : service_.context().dial(*target_, timeout, *this);
    return static_cast<bool>(handle_);
  }
  void abandon(Task&) noexcept override { delete this; }

 private:
  StreamHandler* on_dial(Stream& stream) noexcept override {
    handle_.forget();
    ScriptStream* made = new (std::nothrow) ScriptStream(service_, stream, ScriptStream::Side::dialed, pool_);
    ScriptService& service = service_;
    Task& task = *task_;
    delete this;
    if (!made) {
      service.runtime().wake(task, [](lua_State* state) { return push_failure(state, "out of memory"); });
      return nullptr;
    }
    // What a session's task dials is the session's.
    made->belong_to(task.group && task.group->inherits() ? static_cast<ScriptStream*>(task.group) : nullptr);
    made->begin_turn();
    service.runtime().wake(task, [&](lua_State* state) {
      made->push(state);
      made->timeout(kDialedTimeout);
      return 1;
    });
    made->end_turn();
    return made->take_up() ? made : nullptr;
  }
  void on_dial_failed(NetError, std::string_view message) noexcept override {
    handle_.forget();
    ScriptService& service = service_;
    Task& task = *task_;
    const std::string why(message);
    delete this;
    service.runtime().wake(task, [&](lua_State* state) { return push_failure(state, why); });
  }

  ScriptService& service_;
  const std::shared_ptr<const OutboundTarget> target_;
  Pool* const pool_;
  Task* task_ = nullptr;
  DialHandle handle_;
};

std::string text_field(lua_State* state, int index, const char* name) {
  std::string text;
  if (push_field(state, index, name) != LUA_TNIL) text = check_text(state, -1);
  lua_pop(state, 1);
  return text;
}

// pool = true, or { max, idle, idle_timeout }. What the first says who dials the place is how it stays.
bool pool_options(lua_State* state, int index, PoolOptions& options) {
  const int kind = push_field(state, index, "pool");
  bool wanted = lua_toboolean(state, -1) != 0;
  if (kind == LUA_TTABLE) {
    const auto number = [&](const char* name, std::uint32_t& value, lua_Integer least) {
      if (push_field(state, -1, name) != LUA_TNIL) {
        const lua_Integer asked = luaL_checkinteger(state, -1);
        if (asked < least || asked > 10'000)
          luaL_error(state, "pool.%s is from %d to 10000", name, static_cast<int>(least));
        value = static_cast<std::uint32_t>(asked);
      }
      lua_pop(state, 1);
    };
    number("max", options.max_connections, 1);
    number("idle", options.max_idle, 0);
    if (push_field(state, -1, "idle_timeout") != LUA_TNIL) options.idle_timeout = check_duration(state, -1);
    lua_pop(state, 1);
  } else if (kind != LUA_TNIL && kind != LUA_TBOOLEAN) {
    luaL_error(state, "pool is true, or a table of max, idle and idle_timeout");
  }
  lua_pop(state, 1);
  return wanted;
}

// The texts that a RudpTarget of a call has views of.
struct RudpTexts {
  std::string key, key_file, congestion, redundancy;
};

void rudp_options(lua_State* state, int table, RudpTexts& texts, RudpTarget& rudp) {
  texts = {.key = text_field(state, table, "key"),
           .key_file = text_field(state, table, "key_file"),
           .congestion = text_field(state, table, "congestion"),
           .redundancy = text_field(state, table, "redundancy")};
  rudp.key = texts.key;
  rudp.key_file = texts.key_file;
  if (!texts.congestion.empty()) rudp.congestion = texts.congestion;
  if (!texts.redundancy.empty()) rudp.redundancy = texts.redundancy;
  const auto rate = [&](const char* name, double& value) {
    if (push_field(state, table, name) != LUA_TNIL) value = luaL_checknumber(state, -1);
    lua_pop(state, 1);
    if (!(value >= 0)) luaL_error(state, "rudp.%s is a number of bytes a second", name);
  };
  rate("rate", rudp.rate);
  rate("max_rate", rudp.max_rate);
  const auto duration = [&](const char* name, Duration& value) {
    if (push_field(state, table, name) != LUA_TNIL) value = check_duration(state, -1);
    lua_pop(state, 1);
  };
  duration("idle_timeout", rudp.idle_timeout);
  duration("keep_alive", rudp.keep_alive);
}

int dial(lua_State* state) {
  ScriptService& service = check_service(state);
  TargetOptions options{.address = check_text(state, 1)};
  const Duration timeout = timeout_option(state, 2, kDialTimeout);
  std::string source, name, ca, certificate, key, pins;
  RudpTexts rudp;
  PoolOptions pooling;
  bool pooled = false;
  if (!lua_isnoneornil(state, 2)) {
    pooled = pool_options(state, 2, pooling);
    source = text_field(state, 2, "source");
    if (push_field(state, 2, "tls") != LUA_TNIL) {
      luaL_checktype(state, -1, LUA_TTABLE);
      const int tls = lua_gettop(state);
      name = text_field(state, tls, "name");
      ca = text_field(state, tls, "ca");
      certificate = text_field(state, tls, "certificate");
      key = text_field(state, tls, "key");
      pins = text_field(state, tls, "pins");
      if (push_field(state, tls, "verify") != LUA_TNIL) options.tls.verify = lua_toboolean(state, -1) != 0;
      lua_pop(state, 1);
    }
    lua_pop(state, 1);
    if (push_field(state, 2, "rudp") != LUA_TNIL) {
      luaL_checktype(state, -1, LUA_TTABLE);
      rudp_options(state, lua_gettop(state), rudp, options.rudp);
    }
    lua_pop(state, 1);
  }
  options.source = source;
  options.tls.name = name;
  options.tls.ca = ca;
  options.tls.certificate = certificate;
  options.tls.key = key;
  options.tls.pins = pins;
  auto target = service.target(options);
  if (!target) return push_failure(state, target.error());
  if ((*target)->transport() == Transport::udp)
    return push_failure(state, "udp:// has no connection: use portolan.udp");
  Task& task = service.runtime().waiting(state);
  Pool* const pool = pooled ? service.pool(*target, pooling) : nullptr;
  if (pooled && !pool) return push_failure(state, "too many places have a pool already");
  auto attempt = std::make_unique<ScriptDial>(service, std::move(*target), pool);
  if (!attempt->begin(task, timeout))
    return push_failure(state, pool ? "too many wait for a connection" : "out of memory");
  // The attempt has a timeout of its own.
  return service.runtime().wait(state, *attempt.release(), Duration::zero());
}

constexpr LuaFunction kFunctions[] = {
    {"dial", &dial, "(address, options?) -> stream | nil, reason",
     "connects: tcp://, tls://, rudp://, unix://; options: timeout (10s), source, tls = { name, ca, pins, verify, … }, "
     "rudp = { key, key_file, congestion, max_rate, … }, pool = true "
     "or { max (64), idle (8), idle_timeout (60s) }: one that was released, or a new one"},
};

}  // namespace

const LuaArea kDialArea = {"portolan.", "Connections to others.", kFunctions};
const LuaArea kStreamArea = {
    "stream:",
    "A session, or what dial answers. Its fields: id, peer, transport, service, over TLS "
    "server_name, and reused, when others had it from a pool before. What waits takes a timeout in its options.",
    kStreamFunctions};

void ScriptStream::open_metatable(lua_State* state) {
  add_class(state, kStreamType, "stream", kStreamFunctions, &StreamFunctions::close);
  // Its fields beside its methods.
  luaL_getmetatable(state, kStreamType);
  push_field(state, -1, "__index");
  lua_pushcclosure(state, &StreamFunctions::index, 1);
  lua_setfield(state, -2, "__index");
  lua_pushcfunction(state, &StreamFunctions::to_text);
  lua_setfield(state, -2, "__tostring");
  lua_pop(state, 1);
}

void bind_streams(lua_State* state) {
  ScriptDatagram::open_metatable(state);
  ScriptStream::open_metatable(state);
  add_functions(state, kFunctions);
}

}  // namespace portolan
