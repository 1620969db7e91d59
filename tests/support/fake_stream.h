// Stand-ins for core in tests of plugins: a stream, a datagram peer, a context, options, a hook.
//
// They hold a plugin to the contract of plugin/service.h and abort where it is broken: more consumed than came,
// writing after the end, a reservation left open, an option asked for that the schema does not have. One thread.
// Wherever plugin code looks at input, the input is an allocation of exactly its size, freed when the call returns,
// so that AddressSanitizer sees a byte read too far or too late.
#pragma once

#include "plugin/service.h"
#include "support/contract_stubs.h"

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace portolan::testing {

// A session as core runs it, without a socket: input goes in by receive and end, everything else is there to look at.
class FakeStream final : public StubStream {
 public:
  static constexpr std::size_t kNoLimit = ~std::size_t{0};

  // Opens a session of `service`, which outlives it.
  explicit FakeStream(Service& service);
  ~FakeStream();
  FakeStream(const FakeStream&) = delete;
  FakeStream& operator=(const FakeStream&) = delete;

  // Bytes from the peer. As in core, what is not consumed is kept up to input_limit; ignored after the end.
  void receive(std::string_view bytes);
  // Calls on_data again after admit said no. Sets the number of messages that are let in.
  void resume_admitting(std::size_t admit_next = kNoLimit);
  // The peer sends no more.
  void end();
  // The session is over; the handler sees on_close. The destructor does it when the test has not.
  void close_now(NetError why = NetError::none);

  std::size_t admit_next = kNoLimit;  // messages that admit lets in from now on

  std::string output;                 // all that was written
  std::vector<std::size_t> admitted;  // the sizes of the messages
  std::size_t refused_to_admit = 0;   // calls of admit that were answered with no
  std::size_t copied = 0;             // bytes of output that are not views of the input
  bool closed = false;                // close or refuse was called
  std::optional<Refusal> refusal;
  bool goes_on_writing = false;  // what on_end answered
  std::string kept;              // input not consumed
  std::size_t waiting = 0;       // what unsent answers: a peer that does not read

  // The peer has read all that waited.
  void read_all();
  bool admit(std::size_t bytes) noexcept override;
  void write(std::span<const std::byte> data) noexcept override;
  std::byte* reserve(std::size_t size) noexcept override;
  void commit(std::size_t used) noexcept override;
  void close() noexcept override;
  void refuse(Refusal reason) noexcept override;
  std::size_t unsent() const noexcept override { return waiting; }
  SessionInfo info() const noexcept override {
    return {.id = 7, .peer = "192.0.2.7:4711", .transport = Transport::tcp};
  }
  using Stream::write;

 private:
  void call_on_data();
  void may_write() const noexcept;

  Service& service_;
  StreamHandler* handler_;
  std::span<const std::byte> input_;  // of the callback that is running
  std::unique_ptr<std::byte[]> reserved_;
  std::size_t reserved_size_ = 0;
  bool in_callback_ = false;
  bool refused_admission_ = false;
};

class FakePeer final : public DatagramPeer {
 public:
  std::vector<std::string> replies;
  std::optional<Refusal> refusal;
  bool replied_with_view = false;  // the last reply was a view of the datagram
  DatagramHandler* attached = nullptr;

  // Gives `service` one datagram.
  void send(Service& service, std::string_view bytes);

  void reply(std::span<const std::byte> data) noexcept override;
  void refuse(Refusal reason) noexcept override { refusal = reason; }
  void attach(DatagramHandler& handler) noexcept override { attached = &handler; }
  NetAddress peer_address() const noexcept override { return {.family = 4, .port = 53, .bytes = {192, 0, 2, 8}}; }
  Transport transport() const noexcept override { return Transport::udp; }
  DatagramHandler* handler() const noexcept override { return attached; }
  void end() noexcept override {
    if (DatagramHandler* handler = std::exchange(attached, nullptr)) handler->on_end();
  }
  SessionInfo info() const noexcept override {
    return {.id = 8, .peer = "[2001:db8::1]:53", .transport = Transport::udp};
  }
  using DatagramPeer::reply;

 private:
  std::span<const std::byte> input_;
};

// A hook that is a C++ function. Texts in its results must live until the next call.
class FakeHook final : public Hook {
 public:
  using Function = std::function<Outcome(std::span<const HookValue>, std::span<HookValue>)>;
  explicit FakeHook(Function function) : function_(std::move(function)) {}
  Outcome call(std::span<const HookValue> arguments, std::span<HookValue> results) noexcept override {
    ++calls;
    return function_(arguments, results);
  }
  Outcome ask(Stream&, std::span<const HookValue> arguments, std::span<HookValue> results) noexcept override {
    return call(arguments, results);
  }
  StreamHandler* serve(Stream&) noexcept override { return nullptr; }
  void receive(DatagramPeer&, std::span<const std::byte>) noexcept override {}
  bool start(std::span<const HookValue>) noexcept override { return false; }
  std::size_t calls = 0;

 private:
  Function function_;
};

// The options of a service: what a test sets, otherwise the defaults of the schema. A list has one element at most.
class FakeOptions final : public Options {
 public:
  explicit FakeOptions(const Descriptor& descriptor) : descriptor_(descriptor) {}
  FakeOptions& set(std::string_view key, std::string_view value);  // as a user would write it: "lines", "8KiB", "true"
  FakeOptions& set_hook(std::string_view name);

  bool has(std::string_view key) const noexcept override;
  bool boolean(std::string_view key) const noexcept override;
  std::int64_t integer(std::string_view key) const noexcept override;
  double number(std::string_view key) const noexcept override;
  Duration duration(std::string_view key) const noexcept override;
  std::string_view text(std::string_view key) const noexcept override;
  std::size_t count(std::string_view key) const noexcept override;
  std::string_view text_at(std::string_view key, std::size_t index) const noexcept override;
  const Options& table(std::string_view key) const noexcept override;
  const Options& table_at(std::string_view key, std::size_t index) const noexcept override;
  std::uint8_t listens() const noexcept override { return descriptor_.transports; }
  bool has_hook(std::string_view name) const noexcept override;

 private:
  const Option& find(std::string_view key) const noexcept;
  std::string_view value(const Option& option) const noexcept;

  const Descriptor& descriptor_;
  std::map<std::string, std::string, std::less<>> values_;
  std::vector<std::string> hooks_;
};

class FakeProblems final : public Problems {
 public:
  void add(std::string_view key, std::string_view message) noexcept override { all.emplace_back(key, message); }
  bool has(std::string_view key) const noexcept;
  std::vector<std::pair<std::string, std::string>> all;
};

class FakeContext final : public StubContext {
 public:
  explicit FakeContext(const Descriptor& descriptor) : counts(descriptor.counters.size()), descriptor_(descriptor) {}
  // The function that the configuration has under this name.
  FakeHook& set_hook(std::string_view name, FakeHook::Function function);
  std::uint64_t counted(std::string_view counter) const noexcept;

  std::vector<std::uint64_t> counts;
  std::vector<std::pair<LogLevel, std::string>> log_lines;
  Duration time{};

  Duration now() const noexcept override { return time; }
  void count(std::size_t counter, std::uint64_t by) noexcept override;
  void log(LogLevel level, std::string_view message) noexcept override { log_lines.emplace_back(level, message); }
  Hook* hook(std::string_view name) noexcept override;
  using Context::count;

 private:
  const Descriptor& descriptor_;
  std::map<std::string, FakeHook, std::less<>> hooks_;
};

// Makes the service that `options` describe; null when the plugin reports a problem.
std::unique_ptr<Service> make_service(const Descriptor& descriptor, Context& context, const Options& options);

}  // namespace portolan::testing
