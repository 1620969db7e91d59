// The contract of a plugin: what it does at run time, and what core does for it.
//
// Everything here runs on the thread of the worker that made the Service, never concurrently with itself. Nothing
// here blocks and nothing here throws. The rules for what crosses the boundary are those of descriptor.h.
#pragma once

#include "descriptor.h"

#include <cstring>
#include <utility>

namespace portolan {

// ---- Words that plugins and core share -----------------------------------------------------------------------

// Why a session or a message was refused. Counted per service as refused_<reason>.
enum class Refusal : std::uint8_t {
  max_sessions,             // the service is full
  max_sessions_per_client,  // this address has its share
  accept_rate,              // new sessions come too fast
  message_rate,             // a datagram over the rate (a stream is slowed down instead)
  byte_rate,                // likewise, in bytes
  first_message_timeout,    // no whole message in time, or no TLS handshake
  idle_timeout,
  message_too_long,  // over max_line or max_frame
  bad_message,       // not of the protocol
  hook,              // a Lua hook said no
  tls,               // the handshake failed
  output_limit,      // more waits for this peer than output_limit allows
  descriptors,       // the process has no file descriptor left
  draining,
  banned,  // the address is on the list of bans
};
inline constexpr std::size_t kRefusalCount = 15;

// What ended a session, or an attempt at one. The one taxonomy of network failures: logs, counters, the store and
// scripts use these words.
enum class NetError : std::uint8_t {
  none,
  refused,
  unreachable,
  timed_out,
  reset,
  closed,
  name_not_found,
  tls,
  protocol,
  system,  // none of the above: a local failure, with its errno
};

enum class Transport : std::uint8_t { tcp, udp, tls, unix_stream };

enum class LogLevel : std::uint8_t { error, warning, info, debug };

// Who the peer is. Lives as long as its session.
struct SessionInfo {
  std::uint64_t id;       // unique in this run of the daemon
  std::string_view peer;  // "192.0.2.7:4711", "[2001:db8::1]:53", "unix"
  Transport transport;
};

// ---- Sessions ------------------------------------------------------------------------------------------------

// A connected peer of a stream transport (tcp, tls, unix). Owned by core; valid until on_close has returned.
class Stream {
 public:
  // Call before each message that is handled. True: handle it; it is counted as one message of `bytes`. False: not
  // now (the peer is over its rate, does not read its answers, or this turn has run long): return from on_data
  // without consuming it, and core calls on_data again with the same bytes when it may go on.
  virtual bool admit(std::size_t bytes) noexcept = 0;

  // Appends to what is sent when the current callback returns, in one system call. A view into the data that on_data
  // was given is sent from there without a copy; anything else is copied before write returns.
  virtual void write(std::span<const std::byte> data) noexcept = 0;

  // Room to build `size` bytes of output in place; commit says how many were used. Nothing may be called between.
  virtual std::byte* reserve(std::size_t size) noexcept = 0;
  virtual void commit(std::size_t used) noexcept = 0;

  // Ends the session after what was written has been delivered. Input is ignored from now on.
  virtual void close() noexcept = 0;
  // The same, and counts the reason.
  virtual void refuse(Refusal reason) noexcept = 0;

  // Bytes written and not yet taken by the kernel, without those of this callback.
  virtual std::size_t unsent() const noexcept = 0;

  // Makes the text of the peer's address: not for every message.
  virtual SessionInfo info() const noexcept = 0;

  void write(std::string_view text) noexcept { write(std::as_bytes(std::span(text.data(), text.size()))); }

 protected:
  ~Stream() = default;
};

// What a plugin does with a stream: one object for each session, or one shared by all when there is no state.
class StreamHandler {
 public:
  // New bytes have come. `data` is everything received and not yet consumed; the answer is how many of its first
  // bytes are done with. The rest is kept (at most input_limit) and comes back in front of what follows.
  virtual std::size_t on_data(Stream& stream, std::span<const std::byte> data) noexcept = 0;

  // The peer sends no more (FIN, close_notify). `rest` is what was never consumed. Afterwards core closes the
  // stream when everything written has been delivered, unless this answers true: "I go on writing".
  virtual bool on_end(Stream&, std::span<const std::byte> rest) noexcept {
    (void)rest;
    return false;
  }

  // The output queue ran empty after it had been non-empty when a callback returned.
  virtual void on_sent(Stream&) noexcept {}

  // The last call for this stream, whatever ended it. A handler made for one stream deletes itself here. The stream
  // accepts no more writes.
  virtual void on_close(Stream& stream, NetError why) noexcept {
    (void)stream;
    (void)why;
  }

 protected:
  ~StreamHandler() = default;
};

// A peer of a datagram transport: valid during on_datagram only.
class DatagramPeer {
 public:
  // Queues one datagram back to the sender, from the address that it was sent to. A view into the datagram that
  // on_datagram was given is sent without a copy.
  virtual void reply(std::span<const std::byte> data) noexcept = 0;
  virtual void refuse(Refusal reason) noexcept = 0;
  virtual SessionInfo info() const noexcept = 0;
  void reply(std::string_view text) noexcept { reply(std::as_bytes(std::span(text.data(), text.size()))); }

 protected:
  ~DatagramPeer() = default;
};

// An instance of a plugin on one worker. Destroying it comes after on_close of its last stream.
class Service {
 public:
  virtual ~Service() = default;

  // A stream was accepted and has passed the limits. Null refuses it (Refusal::bad_message).
  virtual StreamHandler* open(Stream&) noexcept { return nullptr; }

  // The most that a stream may leave unconsumed, in bytes: a header plus the longest message. When as much waits
  // and nothing is consumed, core ends the session with Refusal::message_too_long.
  virtual std::size_t input_limit() const noexcept { return 64 * 1024; }

  // A datagram that has passed the limits: counted already, never to be admitted.
  virtual void on_datagram(DatagramPeer& peer, std::span<const std::byte> data) noexcept {
    (void)peer;
    (void)data;
  }

  // No new sessions will come: a newer generation serves, or the daemon stops. Stop what runs by itself (timers).
  // Streams may finish what they are at; at a stop core ends them when they have been quiet for a moment, and all that
  // are left at the deadline.
  virtual void drain() noexcept {}
};

// ---- What core grants ----------------------------------------------------------------------------------------

// A value that goes to or comes from a Lua hook. Text is bytes, of any content.
struct HookValue {
  enum class Kind : std::uint8_t { nil, boolean, integer, number, text, session };
  Kind kind = Kind::nil;
  bool boolean = false;
  std::int64_t integer = 0;
  double number = 0;
  std::string_view text = {};
  const Stream* stream = nullptr;      // Kind::session: a table {id, peer, transport, service} in Lua
  const DatagramPeer* peer = nullptr;  // Kind::session of a datagram

  static HookValue of(std::string_view value) noexcept { return {.kind = Kind::text, .text = value}; }
  static HookValue of(std::int64_t value) noexcept { return {.kind = Kind::integer, .integer = value}; }
  static HookValue of(const Stream& value) noexcept { return {.kind = Kind::session, .stream = &value}; }
  static HookValue of(const DatagramPeer& value) noexcept { return {.kind = Kind::session, .peer = &value}; }
};

// A function of the configuration. A call is bounded in instructions and memory (`script` in the configuration).
class Hook {
 public:
  enum class Outcome : std::uint8_t {
    returned,  // `results` holds what it returned, missing values as nil
    failed,    // it raised an error or was stopped; logged and counted: go on by the plugin's default
  };
  // Fills all of `results`; their text is valid until the next call of any hook on this worker.
  virtual Outcome call(std::span<const HookValue> arguments, std::span<HookValue> results) noexcept = 0;

 protected:
  ~Hook() = default;
};

class TimerHandler {
 public:
  virtual void on_timer() noexcept = 0;

 protected:
  ~TimerHandler() = default;
};

class Timer {
 public:
  virtual void start(Duration delay, bool repeat) noexcept = 0;  // restarts a running one
  virtual void stop() noexcept = 0;
  virtual void release() noexcept = 0;  // TimerHandle calls this

 protected:
  ~Timer() = default;
};

// Holds a timer; letting go of it stops and frees the timer.
class TimerHandle {
 public:
  TimerHandle() = default;
  explicit TimerHandle(Timer* timer) noexcept : timer_(timer) {}
  TimerHandle(TimerHandle&& other) noexcept : timer_(std::exchange(other.timer_, nullptr)) {}
  TimerHandle& operator=(TimerHandle&& other) noexcept {
    if (this != &other) {
      if (timer_) timer_->release();
      timer_ = std::exchange(other.timer_, nullptr);
    }
    return *this;
  }
  ~TimerHandle() {
    if (timer_) timer_->release();
  }
  Timer* operator->() const noexcept { return timer_; }
  explicit operator bool() const noexcept { return timer_ != nullptr; }

 private:
  Timer* timer_ = nullptr;
};

// What a service may ask of core. Outlives the service.
class Context {
 public:
  virtual std::string_view service_name() const noexcept = 0;
  virtual unsigned worker() const noexcept = 0;  // 0..workers-1
  virtual Duration now() const noexcept = 0;     // monotonic, as of the start of this callback
  // Adds to the plugin's own counter with this index in Descriptor::counters.
  virtual void count(std::size_t counter, std::uint64_t by = 1) noexcept = 0;
  // A line in the log, with the service's name in front. Repetition is limited by core.
  virtual void log(LogLevel level, std::string_view message) noexcept = 0;
  // The hook of this name, or null when the configuration does not have it. Valid as long as the service.
  virtual Hook* hook(std::string_view name) noexcept = 0;
  // The handler outlives the handle.
  virtual TimerHandle timer(TimerHandler& handler) noexcept = 0;

 protected:
  ~Context() = default;
};

}  // namespace portolan
