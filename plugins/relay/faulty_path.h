// The way of a session's bytes while the service has faults: what one stream receives goes through StreamFaults and is
// written to the other when it is due.
//
// Owned by the StreamSession, on its thread. It holds at most StreamFaults' limit for each direction and pauses the stream
// that brings more.
#pragma once

#include "plugin/service.h"
#include "plugins/relay/fault_stream.h"

namespace portolan::relay {

class FaultyPath final : private TimerHandler {
 public:
  // Neither stream is joined. Throws std::bad_alloc.
  FaultyPath(Context& context, Stream& client, Stream& backend, const FaultSet::Shared& faults);

  void change(const FaultSet::Shared& faults) noexcept;
  // No fault is left, and nothing is under way: the streams may be joined.
  bool over() const noexcept { return !to_backend_.faults.needed() && !to_client_.faults.needed(); }
  // As the StreamHandler's functions.
  std::size_t take(Stream& stream, std::span<const std::byte> data) noexcept;
  bool end(Stream& stream, std::span<const std::byte> rest) noexcept;
  void sent(Stream& stream) noexcept;

 private:
  struct Direction {
    Direction(Stream& from, Stream& to, StreamFaults engine) : source(from), sink(to), faults(std::move(engine)) {}
    Stream& source;
    Stream& sink;
    StreamFaults faults;
    bool paused = false;
    bool ended = false;   // passed on to the sink
    bool resets = false;  // once the sink has sent what it has
  };
  void on_timer() noexcept override;
  Direction& from(const Stream& stream) noexcept { return &stream == &to_backend_.source ? to_backend_ : to_client_; }
  // False: both streams have been reset.
  bool drive(Direction& direction) noexcept;
  void arm() noexcept;

  Context& context_;
  TimerHandle timer_;
  Direction to_backend_;
  Direction to_client_;
};

}  // namespace portolan::relay
