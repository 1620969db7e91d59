// The contract's interfaces with every function doing nothing: a test overrides what it is about.
#pragma once

#include "plugin/service.h"

namespace portolan::testing {

class StubStream : public Stream {
 public:
  bool admit(std::size_t) noexcept override { return true; }
  bool pass(std::size_t) noexcept override { return true; }
  void write(std::span<const std::byte>) noexcept override {}
  std::byte* reserve(std::size_t) noexcept override { return nullptr; }
  void commit(std::size_t) noexcept override {}
  void close() noexcept override {}
  void refuse(Refusal) noexcept override {}
  void end_output() noexcept override {}
  void reset() noexcept override {}
  void pause() noexcept override {}
  void resume() noexcept override {}
  void join(Stream&) noexcept override {}
  void separate() noexcept override {}
  std::size_t unsent() const noexcept override { return 0; }
  std::uint64_t bytes_in() const noexcept override { return 0; }
  std::uint64_t bytes_out() const noexcept override { return 0; }
  bool ended_first() const noexcept override { return false; }
  NetAddress peer_address() const noexcept override { return {.family = 4, .port = 4711, .bytes = {192, 0, 2, 7}}; }
  NetAddress local_address() const noexcept override { return {.family = 4, .port = 7, .bytes = {192, 0, 2, 1}}; }
  std::string_view server_name() const noexcept override { return {}; }
  SessionInfo info() const noexcept override { return {1, "192.0.2.7:4711", Transport::tcp}; }
  bool answered() const noexcept override { return false; }
  Question* question() const noexcept override { return nullptr; }
  void question(Question*) noexcept override {}
  using Stream::write;

 protected:
  ~StubStream() = default;
};

// No option is set, and all are zero or empty.
struct NoOptions final : Options {
  bool has(std::string_view) const noexcept override { return false; }
  bool boolean(std::string_view) const noexcept override { return false; }
  std::int64_t integer(std::string_view) const noexcept override { return 0; }
  double number(std::string_view) const noexcept override { return 0; }
  Duration duration(std::string_view) const noexcept override { return {}; }
  std::string_view text(std::string_view) const noexcept override { return {}; }
  std::size_t count(std::string_view) const noexcept override { return 0; }
  std::string_view text_at(std::string_view, std::size_t) const noexcept override { return {}; }
  const Options& table(std::string_view) const noexcept override { return *this; }
  const Options& table_at(std::string_view, std::size_t) const noexcept override { return *this; }
  std::uint8_t listens() const noexcept override { return 0; }
  bool has_hook(std::string_view) const noexcept override { return false; }
};

class StubContext : public Context {
 public:
  std::string_view service_name() const noexcept override { return "test"; }
  unsigned worker() const noexcept override { return 0; }
  Duration now() const noexcept override { return {}; }
  void count(std::size_t, std::uint64_t) noexcept override {}
  void log(LogLevel, std::string_view) noexcept override {}
  Hook* hook(std::string_view) noexcept override { return nullptr; }
  TimerHandle timer(TimerHandler&) noexcept override { return {}; }
  const Target* target(const TargetOptions&, std::string_view, Problems&) noexcept override { return nullptr; }
  DialHandle dial(const Target&, Duration, DialHandler&, std::span<const std::byte>) noexcept override { return {}; }
  Pool* pool(const Target&, const PoolOptions&) noexcept override { return nullptr; }
  DatagramLink* link(const Target&, DatagramLinkHandler&) noexcept override { return nullptr; }
  DatagramLink* join(const DatagramGroup&, DatagramLinkHandler&, std::string_view, Problems&) noexcept override {
    return nullptr;
  }
  SharedState* shared_state(SharedState* (*)() noexcept) noexcept override { return nullptr; }
  void event(std::string_view, std::string_view) noexcept override {}
  void keep_message(const KeptMessage&) noexcept override {}
  void keep_transfer(const KeptTransfer&) noexcept override {}
  void recent_messages(std::string_view, std::uint32_t, RecentMessagesHandler&) noexcept override {}
  bool ban(const NetAddress&, Duration, std::string_view, Problems& problems) noexcept override {
    problems.add("", "there is no list of bans");
    return false;
  }
  using Context::count;

 protected:
  ~StubContext() = default;
};

}  // namespace portolan::testing
