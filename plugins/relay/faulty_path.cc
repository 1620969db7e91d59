#include "plugins/relay/faulty_path.h"

#include "base/callback.h"

#include <algorithm>

namespace portolan::relay {

FaultyPath::FaultyPath(Context& context, Stream& client, Stream& backend, const FaultSet::Shared& faults)
    : context_(context),
      timer_(context.timer(*this)),
      to_backend_(client, backend, StreamFaults(faults, FaultDirection::to_backend, client.info().id, context.now())),
      to_client_(backend, client, StreamFaults(faults, FaultDirection::to_client, client.info().id, context.now())) {
  arm();
}

void FaultyPath::change(const FaultSet::Shared& faults) noexcept {
  contain("a change of faults", [&] {
    to_backend_.faults.change(faults, context_.now());
    to_client_.faults.change(faults, context_.now());
  });
  arm();
}

std::size_t FaultyPath::take(Stream& stream, std::span<const std::byte> data) noexcept {
  Direction& direction = from(stream);
  // First what is due: it makes room.
  if (!drive(direction)) return 0;
  const std::size_t size = std::min(direction.faults.room(), data.size());
  if (size != 0 && !stream.pass(size)) return 0;  // over its rate: it comes again
  const bool taken = size != 0 && contain("faults", [&] { direction.faults.push(data.first(size), context_.now()); });
  const std::size_t used = taken ? size : 0;
  if (used < data.size()) {
    direction.paused = true;
    stream.pause();
  }
  if (drive(direction)) arm();
  return used;
}

bool FaultyPath::end(Stream& stream, std::span<const std::byte> rest) noexcept {
  Direction& direction = from(stream);
  // There is no second chance for these.
  contain("faults", [&] {
    if (!rest.empty()) direction.faults.push(rest, context_.now());
    direction.faults.end(context_.now());
  });
  if (drive(direction)) arm();
  return true;
}

void FaultyPath::sent(Stream& stream) noexcept {
  if (drive(&stream == &to_backend_.sink ? to_backend_ : to_client_)) arm();
}

void FaultyPath::on_timer() noexcept {
  if (drive(to_backend_) && drive(to_client_)) arm();
}

bool FaultyPath::drive(Direction& direction) noexcept {
  using Kind = StreamFaults::Output::Kind;
  // What the sink has not sent is let go first: the rest waits in the faults, where it is bounded.
  while (direction.sink.unsent() == 0) {
    const auto output = direction.faults.pop(context_.now());
    if (output.kind == Kind::nothing) break;
    if (output.kind == Kind::bytes) {
      direction.sink.write(output.bytes);
      continue;
    }
    if (output.kind == Kind::reset) {
      direction.resets = true;
      break;
    }
    direction.ended = true;
    direction.sink.end_output();
    if (to_backend_.ended && to_client_.ended) {
      to_backend_.source.close();
      to_client_.source.close();
    }
    break;
  }
  // What passed before it is not cut off with the rest.
  if (direction.resets && direction.sink.unsent() == 0) {
    // The session, and this with it, may be gone when this returns.
    direction.source.reset();
    return false;
  }
  if (direction.paused && !direction.faults.full()) {
    direction.paused = false;
    direction.source.resume();
  }
  return true;
}

void FaultyPath::arm() noexcept {
  Duration next = Duration::max();
  for (const Direction* direction : {&to_backend_, &to_client_})
    if (direction->sink.unsent() == 0) next = std::min(next, direction->faults.next_due());
  if (next == Duration::max()) return timer_->stop();
  timer_->start(std::max(next - context_.now(), Duration::zero()), false);
}

}  // namespace portolan::relay
