// The contract of a plugin: what it does at run time, and what core does for it.
//
// Everything here runs on the thread of the worker that made the Service, never concurrently with itself. Nothing
// here blocks and nothing here throws. The rules for what crosses the boundary are those of descriptor.h.
#pragma once

#include "descriptor.h"
#include "kept.h"
#include "words.h"

#include <cstring>
#include <utility>

// Names used below, in the order of this file: Stream and its StreamHandler, DatagramPeer, Service; then what core
// grants: Hook, Timer, Target and Dial, Pool, DatagramLink, DatagramGroup, SharedState, what kept.h has, all through Context.

namespace portolan {

// Who the peer is. Lives as long as its session.
struct SessionInfo {
  std::uint64_t id;       // unique in this run of the daemon
  std::string_view peer;  // "192.0.2.7:4711", "[2001:db8::1]:53", "unix"
  Transport transport;
};

// ---- Sessions ------------------------------------------------------------------------------------------------

// For core: what a hook was asked for a stream, until its answer is taken (Hook::ask).
class Question {
 public:
  virtual bool answered() const noexcept = 0;
  virtual void drop() noexcept = 0;  // the stream has gone

 protected:
  ~Question() = default;
};

// A connected peer of a stream transport (tcp, tls, unix, rudp). Owned by core; valid until on_close has returned.
class Stream {
 public:
  // Call before each message that is handled. True: handle it; it is counted as one message of `bytes`. False: not
  // now (the peer is over its rate, does not read its answers, or this turn has run long): return from on_data
  // without consuming it, and core calls on_data again with the same bytes when it may go on. A message that comes again
  // because a hook has answered for it was admitted already, and is not counted twice.
  virtual bool admit(std::size_t bytes) noexcept = 0;
  // The message that comes first now has waited for a hook, which has answered.
  virtual bool answered() const noexcept = 0;

  // The same for bytes that are passed on and are no messages: they count against the client's byte limits alone.
  virtual bool pass(std::size_t bytes) noexcept = 0;

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

  // No more is written: the peer sees an end once all before it is delivered. Receiving goes on.
  virtual void end_output() noexcept = 0;

  // Ends the session now: what waits is dropped, and the peer sees a reset. on_close comes before this returns, or, when
  // called from one of the stream's own callbacks, after it.
  virtual void reset() noexcept = 0;

  // Neither reads nor calls on_data from now on; the peer feels it by its window. An end of the peer is not noticed
  // meanwhile, and no timeout strikes but that of whoever paused it.
  // From the first pause, resume or join of a stream on it is the plugin alone that holds back its input: otherwise core
  // does not read a peer that leaves more than output_limit unread, which is right for answers and a deadlock for what is
  // passed on between two who both send first.
  virtual void pause() noexcept = 0;
  // Goes on; what was kept comes to on_data again, from the loop and never from inside this call.
  virtual void resume() noexcept = 0;

  // From now on core itself passes on what each of the two receives to the other, in both directions: small pieces by
  // read and write, bulk by splice(2), TLS and rudp by copy. What the handlers left unconsumed goes first. An end is passed on as
  // an end once all before it is delivered, a reset as a reset; who does not read holds back who sends. No on_data,
  // on_end or on_sent comes any more; on_close comes for both streams when both have ended, or one has failed: with the
  // failure for that one, and NetError::closed for the other.
  // Both are open streams of this service, and neither is in another join. A paused one goes on.
  virtual void join(Stream& other) noexcept = 0;
  // Ends a join, if there is one: handlers are called again, with on_end for a stream whose peer has ended before. What
  // is under way to either stream is delivered still.
  virtual void separate() noexcept = 0;

  // Bytes written and not yet taken by the kernel, without those of this callback.
  virtual std::size_t unsent() const noexcept = 0;
  // Since the connection, on the plugin's side of TLS.
  virtual std::uint64_t bytes_in() const noexcept = 0;
  virtual std::uint64_t bytes_out() const noexcept = 0;

  // In a join: the peer of this one sent its end before that of the other did.
  virtual bool ended_first() const noexcept = 0;
  // Whom the stream is from, and the address that it came to: those that a PROXY header has told, if there was one.
  virtual NetAddress peer_address() const noexcept = 0;
  virtual NetAddress local_address() const noexcept = 0;
  // The host that a client of TLS asked for (SNI), as it came: not checked. Empty without.
  virtual std::string_view server_name() const noexcept = 0;
  // Makes the text of the peer's address: not for every message.
  virtual SessionInfo info() const noexcept = 0;

  // For core: what waits for a hook. Null: nothing does.
  virtual Question* question() const noexcept = 0;
  virtual void question(Question* asked) noexcept = 0;

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

// What a plugin keeps for a peer of a datagram transport (DatagramPeer::attach).
class DatagramHandler {
 public:
  // The last call for this peer: it was quiet for datagram_timeout, gave its place to a new one, or was ended.
  virtual void on_end() noexcept = 0;

 protected:
  ~DatagramHandler() = default;
};

// A peer of a datagram transport. Without a handler it is valid during on_datagram only; with one, until on_end of that
// has returned.
class DatagramPeer {
 public:
  // Queues one datagram back to the sender, from the address that it was sent to; it leaves at the end of this turn of the
  // loop. A view into a datagram that a callback was given in this turn is sent without a copy.
  virtual void reply(std::span<const std::byte> data) noexcept = 0;
  virtual void refuse(Refusal reason) noexcept = 0;
  // Keeps the peer. Once for each; handler() is null until then.
  virtual void attach(DatagramHandler& handler) noexcept = 0;
  virtual DatagramHandler* handler() const noexcept = 0;
  // Ends its session as if it had been quiet: on_end comes before this returns. Its next datagram begins a new one.
  virtual void end() noexcept = 0;
  virtual NetAddress peer_address() const noexcept = 0;
  // udp; or rudp, where a datagram is a message: it came whole and once, as its answer will, and is longer than a packet.
  virtual Transport transport() const noexcept = 0;
  virtual SessionInfo info() const noexcept = 0;
  void reply(std::string_view text) noexcept { reply(std::as_bytes(std::span(text.data(), text.size()))); }

 protected:
  ~DatagramPeer() = default;
};

// An order or a question of the operator: `portolan drain web b1` is {"drain", {{"backend", "b1"}}}.
struct CommandArgument {
  std::string_view name;
  std::string_view value;
};
struct Command {
  std::string_view name;
  std::span<const CommandArgument> arguments;
  // The value of an argument, or "" when it was not given.
  std::string_view operator[](std::string_view argument) const noexcept {
    for (const CommandArgument& one : arguments)
      if (one.name == argument) return one.value;
    return {};
  }
};
// Where the answer goes: one of the two, once. Neither: the plugin does not know the command.
class CommandAnswer {
 public:
  virtual void json(std::string_view text) noexcept = 0;        // one JSON value
  virtual void refuse(std::string_view sentence) noexcept = 0;  // what is wrong, and what to do

 protected:
  ~CommandAnswer() = default;
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

  // A command of the operator that fits its declaration. The instances on all workers get it, those of earlier generations
  // and of a reload under way, too: what it does to something shared, it does once for each of them. The answer of the
  // first worker's serving instance is the one that is shown; where an answer must be one, it comes from the SharedState.
  virtual void on_command(const Command& command, CommandAnswer& answer) noexcept {
    (void)command;
    (void)answer;
  }
};

// ---- What core grants ----------------------------------------------------------------------------------------

struct HookField;

// A value that goes to or comes from a Lua hook. Text is bytes, of any content.
struct HookValue {
  enum class Kind : std::uint8_t { nil, boolean, integer, number, text, session, record };
  Kind kind = Kind::nil;
  bool boolean = false;
  std::int64_t integer = 0;
  double number = 0;
  std::string_view text = {};
  const Stream* stream = nullptr;      // Kind::session: a table {id, peer, transport, service} in Lua
  const DatagramPeer* peer = nullptr;  // Kind::session of a datagram
  const HookField* fields = nullptr;   // Kind::record: a table in Lua. To a hook, never from one
  std::size_t field_count = 0;

  static HookValue of(std::string_view value) noexcept { return {.kind = Kind::text, .text = value}; }
  static HookValue of(std::int64_t value) noexcept { return {.kind = Kind::integer, .integer = value}; }
  static HookValue of(const Stream& value) noexcept { return {.kind = Kind::session, .stream = &value}; }
  static HookValue of(const DatagramPeer& value) noexcept { return {.kind = Kind::session, .peer = &value}; }
  static HookValue of(std::span<const HookField> value) noexcept {
    return {.kind = Kind::record, .fields = value.data(), .field_count = value.size()};
  }
};
struct HookField {
  std::string_view name;
  HookValue value;
};

// A function of the configuration. A call is bounded in instructions and memory (`script` in the configuration).
class Hook {
 public:
  enum class Outcome : std::uint8_t {
    returned,  // `results` holds what it returned, missing values as nil
    failed,    // it raised an error or was stopped; logged and counted: go on by the plugin's default
    waits,     // of ask() alone: it has no answer yet
  };
  // Fills all of `results`; their text is valid until the next call of any hook on this worker. The hook cannot wait.
  virtual Outcome call(std::span<const HookValue> arguments, std::span<HookValue> results) noexcept = 0;

  // The same for a message of a stream, to be called in on_data, and the hook may wait. Outcome::waits: leave the message
  // unconsumed. The stream is paused, and on_data gets it again when there is an answer: to ask again then is to take it.
  // One question to one hook for a message; what is done before it is done again, unless Stream::answered is asked.
  virtual Outcome ask(Stream& stream, std::span<const HookValue> arguments, std::span<HookValue> results) noexcept = 0;

  // ---- As a task, which may wait for whatever it likes while the loop goes on: it begins at once ----
  // The stream is the task's from now on, its only argument: to be called in Service::open, whose answer this is. When the
  // task ends, the stream closes. Null: it was not taken.
  virtual StreamHandler* serve(Stream& stream) noexcept = 0;
  // For a datagram, to be called in Service::on_datagram: its argument holds the text, and may answer later.
  virtual void receive(DatagramPeer& peer, std::span<const std::byte> data) noexcept = 0;
  // With these arguments, for the service: it is cancelled when the service drains. What it returns is of no interest.
  // False: it was not begun.
  virtual bool start(std::span<const HookValue> arguments) noexcept = 0;

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
  // From any thread: on_timer is called soon, on the service's thread, once however often this is.
  virtual void strike() noexcept = 0;
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

// A place to connect to, prepared once: where, and how TLS is verified there. Owned by core, lives as long as the service.
class Target {
 public:
  virtual std::string_view text() const noexcept = 0;  // "tcp://10.0.0.7:8080"
  virtual Transport transport() const noexcept = 0;

 protected:
  ~Target() = default;
};
struct TlsTarget {
  std::string_view name = {};         // that the certificate must be for, sent as SNI; empty: the target's host
  std::string_view ca = {};           // PEM file of authorities; empty: the system's
  std::string_view certificate = {};  // PEM files of a client certificate; empty: none
  std::string_view key = {};
  std::string_view pins = {};  // SHA-256 of the peer's public key (RFC 7469 section 2.4), base64, separated by commas
  bool verify = true;          // the chain and the name; pins are compared even without
};
struct RudpTarget {
  std::string_view key = {};       // pre-shared, as text; empty: none, so no protection
  std::string_view key_file = {};  // instead: in its first line
  std::string_view congestion = "model";
  std::string_view redundancy = "fec";
  double rate = 0;      // bytes a second, of congestion "fixed"
  double max_rate = 0;  // 0: no limit
  Duration idle_timeout = std::chrono::seconds(30);
  Duration keep_alive = std::chrono::seconds(10);
};
struct TargetOptions {
  std::string_view address;      // tcp://, tls://, udp://, rudp:// with a number or a name and a port; unix://
  std::string_view source = {};  // local address to connect from; empty: the system's choice
  TlsTarget tls = {};
  RudpTarget rudp = {};
};

class DialHandler {
 public:
  // Connected, TLS included: the handler of the new stream, or null to close it at once.
  virtual StreamHandler* on_dial(Stream& stream) noexcept = 0;
  // `message` is a sentence without the target: "connection refused", of a name with the last address that was tried.
  // NetError::system is a failure of this machine (no descriptor, no port): it says nothing about the target.
  virtual void on_dial_failed(NetError why, std::string_view message) noexcept = 0;

 protected:
  ~DialHandler() = default;
};

// An attempt to connect that is under way.
class Dial {
 public:
  virtual void cancel() noexcept = 0;  // no call comes after it

 protected:
  ~Dial() = default;
};

// Holds an attempt: letting go of it cancels. Whoever is called says forget() first: the attempt is over then.
class DialHandle {
 public:
  DialHandle() = default;
  explicit DialHandle(Dial* dial) noexcept : dial_(dial) {}
  DialHandle(DialHandle&& other) noexcept : dial_(std::exchange(other.dial_, nullptr)) {}
  DialHandle& operator=(DialHandle&& other) noexcept {
    if (this != &other) {
      cancel();
      dial_ = std::exchange(other.dial_, nullptr);
    }
    return *this;
  }
  ~DialHandle() { cancel(); }
  void cancel() noexcept {
    if (Dial* dial = std::exchange(dial_, nullptr)) dial->cancel();
  }
  void forget() noexcept { dial_ = nullptr; }
  explicit operator bool() const noexcept { return dial_ != nullptr; }

 private:
  Dial* dial_ = nullptr;
};

struct PoolOptions {
  std::uint32_t max_connections = 64;  // in use, idle, and being dialed
  std::uint32_t max_idle = 8;
  std::uint32_t max_waiters = 1024;
  Duration idle_timeout = std::chrono::seconds(60);  // 0: none
  Duration max_lifetime{};                           // of a connection; 0: none
  std::span<const std::byte> preamble = {};          // of each connection, as of Context::dial
};
struct PoolStatistics {
  // Now.
  std::uint32_t active = 0;
  std::uint32_t idle = 0;
  std::uint32_t dialing = 0;
  std::uint32_t waiters = 0;
  // Since the pool was made.
  std::uint64_t created = 0;
  std::uint64_t reused = 0;          // handed out again
  std::uint64_t failed = 0;          // attempts to connect
  std::uint64_t stale = 0;           // dropped while idle: the peer closed, or spoke unasked
  std::uint64_t expired = 0;         // dropped while idle: idle_timeout, max_lifetime, over max_idle
  std::uint64_t handed_out = 0;      // created or reused
  std::uint64_t waited_in_vain = 0;  // acquire timed out
  Duration wait_total{};             // from acquire to the stream, of all that were handed out
  Duration wait_max{};
};

// Connections to one target that are used for one exchange after the other. Owned by core, lives as long as the service;
// it keeps none while the service drains.
class Pool {
 public:
  // As Context::dial, with a connection that is idle or a new one; when there is room for neither, the handler waits its
  // turn. `timeout` is for the wait and the connection together. A stream that was in use before has bytes_out(): should
  // it end before it has answered, the peer had closed it already, and the request may be tried again.
  // Empty, and nothing is told, when max_waiters wait already.
  virtual DialHandle acquire(Duration timeout, DialHandler& handler) noexcept = 0;
  // The exchange on this stream of the pool is over, and the next may begin: its handler is not called any more, not even
  // on_close. What was read and not consumed, or not sent yet, makes it useless, and it is closed. A stream that is not
  // given back ends as any other does: by its handler, or by the peer.
  virtual void give_back(Stream& stream) noexcept = 0;
  virtual PoolStatistics statistics() const noexcept = 0;

 protected:
  ~Pool() = default;
};

// A UDP socket of the service's own, connected to one target or in one group.
class DatagramLink {
 public:
  // Queues a datagram, as DatagramPeer::reply does. What cannot be sent is lost, as on any link.
  virtual void send(std::span<const std::byte> data) noexcept = 0;
  virtual void release() noexcept = 0;  // closes it; no call comes after

 protected:
  ~DatagramLink() = default;
};
class DatagramLinkHandler {
 public:
  virtual void on_datagram(std::span<const std::byte> data) noexcept = 0;
  // The other end said that nobody is there (ICMP). The link stays.
  virtual void on_refused(NetError why) noexcept = 0;

 protected:
  ~DatagramLinkHandler() = default;
};

// A group of UDP: whoever is in it hears what any of them sends.
struct DatagramGroup {
  std::string_view address;         // udp://239.1.2.3:5000 (multicast), udp://192.168.1.255:5000 (broadcast); IPv4
  std::string_view interface = {};  // its name or address; empty: the system's choice
  unsigned hops = 1;                // routers that a multicast datagram may pass, and one
};

// What the instances of one service share, on all workers and over reloads: its members are atomics or behind a lock that
// is not taken for a message. Owned by core, found by the service's name and plugin.
class SharedState {
 public:
  virtual ~SharedState() = default;
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

  // A place to connect to, for as long as this service lives; null, with a sentence in `problems` under `key`, when
  // something is wrong with it (a file that cannot be read, say).
  virtual const Target* target(const TargetOptions& options, std::string_view key, Problems& problems) noexcept = 0;
  // Connects within `timeout`: the name, the connection and TLS together. A name's addresses are tried in turn. The
  // handler, which outlives the attempt, is called exactly once, from the loop and never from inside dial. The stream is
  // the service's: it counts bytes but is no session, and ends with the service at the latest.
  // `preamble`, a few hundred bytes at most, is sent once the connection stands, in front of TLS: a PROXY header.
  virtual DialHandle dial(const Target& target, Duration timeout, DialHandler& handler,
                          std::span<const std::byte> preamble = {}) noexcept = 0;
  // The connections of this service, on this worker, to a target: one pool, with the options that were given first. Null
  // when out of memory.
  virtual Pool* pool(const Target& target, const PoolOptions& options) noexcept = 0;
  // A UDP target whose host is a name takes its first address; null, with the reason in the log, when there is none yet.
  virtual DatagramLink* link(const Target& target, DatagramLinkHandler& handler) noexcept = 0;
  // Joins a group. What is sent comes back to its sender, too, and to others on this machine. Null, with a sentence in
  // `problems` under `key`, when that cannot be.
  virtual DatagramLink* join(const DatagramGroup& group, DatagramLinkHandler& handler, std::string_view key,
                             Problems& problems) noexcept = 0;

  // The state that the instances of this service share, made by the first that asks; null when out of memory.
  virtual SharedState* shared_state(SharedState* (*make)() noexcept) noexcept = 0;
  // A thing that an operator would want to find again: a row of the store's `events`, and a line in the log.
  virtual void event(std::string_view kind, std::string_view detail) noexcept = 0;
  // Bans a client's address for so long, by hand, from every service; its sessions end, but not inside this call. False, with
  // a sentence in `problems`: it has none (a unix peer), it is never banned (bans.never), or the list is full.
  virtual bool ban(const NetAddress& client, Duration time, std::string_view reason, Problems& problems) noexcept = 0;

  // Hands a message to the store, under this service's name; what the views show is copied. It waits for no disk, and
  // without a store it does nothing.
  virtual void keep_message(const KeptMessage& message) noexcept = 0;
  // Likewise, a row of the history of transfers.
  virtual void keep_transfer(const KeptTransfer& transfer) noexcept = 0;
  // The last `count` messages of a room that were kept under this service's name, by whichever worker and run of the
  // daemon: those of a moment ago are among them. The handler, which lives as long as the service, is called once from
  // the loop, never from inside this call and never once the service has gone.
  virtual void recent_messages(std::string_view room, std::uint32_t count, RecentMessagesHandler& handler) noexcept = 0;

 protected:
  ~Context() = default;
};

}  // namespace portolan
