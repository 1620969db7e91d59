#include "rudp/streams.h"

#include "rudp/frames.h"

#include <algorithm>

namespace portolan::rudp {

namespace {

constexpr std::uint64_t kOwnRoom = 64 * 1024;        // that each stream may hold whatever the others do
constexpr std::uint64_t kFirstWindow = 1024 * 1024;  // of a stream of which nothing has been read
constexpr std::uint64_t kLeastWindow = 64 * 1024;

}  // namespace

Streams::Streams(const ConnectionOptions& options, bool initiator)
    : options_(options),
      initiator_(initiator),
      next_own_(initiator ? 0 : 1),
      max_data_(options.receive_window),
      max_streams_(std::max<std::uint64_t>(options.max_streams, 1)) {}

Streams::~Streams() = default;

void Streams::set_peer_limits(const PeerLimits& limits) noexcept {
  peer_ = limits;
  for (auto& [id, stream] : streams_) {
    stream->peer_window = limits.max_stream_data;
    if (sendable(*stream)) make_ready(*stream);
    tell_writer(*stream);
  }
}

std::uint64_t Streams::first_window() const noexcept {
  return std::min<std::uint64_t>(options_.stream_window, kFirstWindow);
}

PeerLimits Streams::own_limits() const noexcept {
  return {.max_data = max_data_, .max_stream_data = first_window(), .max_streams = max_streams_};
}

Streams::Stream* Streams::find(StreamId id) noexcept {
  const auto found = streams_.find(id);
  return found == streams_.end() ? nullptr : found->second.get();
}
const Streams::Stream* Streams::find(StreamId id) const noexcept {
  const auto found = streams_.find(id);
  return found == streams_.end() ? nullptr : found->second.get();
}

// ---- The user's ----------------------------------------------------------------------------------------------

bool Streams::open(unsigned weight, StreamId& id) {
  // Before the peer has said how many it allows, one may be begun.
  if (opened_own_ >= std::max<std::uint64_t>(peer_.max_streams, 1)) return false;
  auto stream = std::make_unique<Stream>();
  stream->id = id = next_own_;
  stream->weight = std::clamp(weight, 1U, 256U);
  stream->peer_window = peer_.max_stream_data;
  stream->window = first_window();
  streams_.emplace(id, std::move(stream));
  next_own_ += 2;
  ++opened_own_;
  return true;
}

std::size_t Streams::writable(StreamId id) const noexcept {
  const Stream* stream = find(id);
  if (!stream || stream->out.finishing() || stream->out.reset_code()) return 0;
  const std::uint64_t held = stream->out.held();
  const std::uint64_t shared = held_ < options_.send_buffer ? options_.send_buffer - held_ : 0;
  const std::uint64_t own = held < kOwnRoom ? kOwnRoom - held : 0;
  // What is far beyond the peer's window would lie here until its reader goes on, in the room of streams that flow.
  const std::uint64_t reach = stream->peer_window + 2 * kOwnRoom;
  const std::uint64_t within = reach - std::min(reach, stream->out.written());
  return static_cast<std::size_t>(std::min(std::max(shared, own), within));
}

std::size_t Streams::write(StreamId id, std::span<const std::byte> data) {
  Stream* stream = find(id);
  if (!stream) return 0;
  const std::size_t taken = std::min(data.size(), writable(id));
  if (taken < data.size()) stream->writer_waits = true;
  if (taken == 0) return 0;
  stream->out.append(data.first(taken));
  held_ += taken;
  make_ready(*stream);
  return taken;
}

void Streams::finish(StreamId id) noexcept {
  Stream* stream = find(id);
  if (!stream || stream->out.finishing() || stream->out.reset_code()) return;
  stream->out.finish();
  make_ready(*stream);
}

void Streams::reset(StreamId id, std::uint64_t code) noexcept {
  Stream* stream = find(id);
  if (!stream || stream->out.reset_code() || stream->out.delivered()) return;
  const std::uint64_t held = stream->out.held();
  stream->out.reset(code);
  release(held);
  stream->reset_due = true;
  want_control(*stream);
}

std::span<const std::byte> Streams::peek(StreamId id) const noexcept {
  const Stream* stream = find(id);
  return stream ? stream->in.peek() : std::span<const std::byte>();
}

std::uint64_t Streams::unheld_window() const noexcept {
  return options_.receive_window - std::min<std::uint64_t>(options_.receive_window, data_received_ - data_consumed_);
}

// How far the peer may send ahead of the reader: further for who reads on, and less far the more lies unread, so that
// readers that have stopped leave something to the others, however many they are (the dynamic threshold of switches with a
// shared memory: Choudhury and Hahne, IEEE/ACM Transactions on Networking 6(2), 1998). A reader that has read up to a gap
// would read on: there it counts as far as what has come.
void Streams::renew_window(Stream& stream) {
  if (stream.in.size_known()) return;
  const std::uint64_t reached = stream.in.readable() == 0 ? stream.in.highest() : stream.in.consumed();
  const std::uint64_t ahead = std::min(
      {std::uint64_t{options_.stream_window}, kFirstWindow + reached, std::max(kLeastWindow, unheld_window() / 4)});
  const std::uint64_t window = std::min(stream.in.consumed() + options_.stream_window, reached + ahead);
  // When half of it is used, so that the news is under way before it is needed.
  if (window < stream.window + ahead / 2) return;
  stream.window = window;
  stream.window_due = true;
  want_control(stream);
}

void Streams::renew_window() noexcept {
  // When half of what readers that have stopped leave of it is used: of the whole it might never be.
  const std::uint64_t limit = data_consumed_ + options_.receive_window;
  if (limit <= max_data_ || max_data_ - data_received_ > unheld_window() / 2) return;
  max_data_ = limit;
  max_data_due_ = true;
}

void Streams::consume(StreamId id, std::size_t bytes) noexcept {
  Stream* stream = find(id);
  if (!stream) return;
  stream->in.consume(std::min<std::uint64_t>(bytes, stream->in.readable()));
  const std::uint64_t consumed = stream->in.consumed() - stream->counted;
  stream->counted = stream->in.consumed();
  data_consumed_ += consumed;
  renew_window(*stream);
  renew_window();
  maybe_done(*stream);
}

bool Streams::ended(StreamId id) const noexcept {
  const Stream* stream = find(id);
  return !stream || stream->in.ended();
}

void Streams::stop(StreamId id, std::uint64_t code) noexcept {
  Stream* stream = find(id);
  if (!stream || stream->in.stopped() || stream->in.ended()) return;
  data_consumed_ += stream->in.highest() - stream->counted;
  stream->in.stop();
  stream->counted = stream->in.consumed();
  renew_window();
  stream->stop_code = code;
  stream->stop_due = !stream->in.size_known();
  want_control(*stream);
  maybe_done(*stream);
}

std::size_t Streams::unacknowledged(StreamId id) const noexcept {
  const Stream* stream = find(id);
  return stream ? static_cast<std::size_t>(stream->out.held()) : 0;
}

// ---- Frames that came ----------------------------------------------------------------------------------------

Streams::Stream* Streams::find_or_open(StreamId id, Problem& problem) {
  if (Stream* found = find(id)) return found;
  if (own(id)) {
    if (id >= next_own_) problem = "a frame for a stream that was not opened";
    return nullptr;
  }
  const std::uint64_t number = id >> 1U;
  if (number < opened_peer_) return nullptr;  // has ended
  if (number >= max_streams_) {
    problem = "more streams than allowed";
    return nullptr;
  }
  // Those below it were opened by frames that are still on their way.
  Stream* last = nullptr;
  for (; opened_peer_ <= number; ++opened_peer_) {
    auto stream = std::make_unique<Stream>();
    stream->id = opened_peer_ << 1U | (id & 1U);
    stream->peer_window = peer_.max_stream_data;
    stream->window = first_window();
    last = stream.get();
    streams_.emplace(stream->id, std::move(stream));
    tell(Event::Kind::opened, *last);
  }
  return last;
}

Streams::Problem Streams::on_stream(StreamId id, std::uint64_t offset, std::span<const std::byte> data, bool end) {
  Problem problem = nullptr;
  Stream* stream = find_or_open(id, problem);
  if (!stream) return problem;
  std::uint64_t fresh = 0;
  switch (stream->in.receive(offset, data, end, stream->window, fresh)) {
    case ReceiveHalf::Outcome::window: return "more on a stream than its window allows";
    case ReceiveHalf::Outcome::final_size: return "a stream whose end moves";
    case ReceiveHalf::Outcome::gaps: return "a stream of too many pieces";
    case ReceiveHalf::Outcome::fine: break;
  }
  data_received_ += fresh;
  if (data_received_ > max_data_) return "more on all streams than the connection's window allows";
  if (stream->in.stopped()) {
    data_consumed_ += fresh;
    stream->counted = stream->in.consumed();
    renew_window();
    maybe_done(*stream);
    return nullptr;
  }
  if (!stream->in.was_reset() && (stream->in.readable() > 0 || stream->in.all_received()))
    tell(Event::Kind::readable, *stream);
  else
    renew_window(*stream);
  return nullptr;
}

Streams::Problem Streams::on_reset_stream(StreamId id, std::uint64_t code, std::uint64_t final_size) {
  Problem problem = nullptr;
  Stream* stream = find_or_open(id, problem);
  if (!stream) return problem;
  if (stream->in.was_reset() || (stream->in.all_received() && stream->in.readable() == 0)) return nullptr;
  std::uint64_t fresh = 0;
  switch (stream->in.reset(final_size, stream->window, fresh)) {
    case ReceiveHalf::Outcome::window: return "a reset beyond a stream's window";
    case ReceiveHalf::Outcome::final_size: return "a stream whose end moves";
    case ReceiveHalf::Outcome::gaps:
    case ReceiveHalf::Outcome::fine: break;
  }
  data_received_ += fresh;
  if (data_received_ > max_data_) return "more on all streams than the connection's window allows";
  data_consumed_ += stream->in.consumed() - stream->counted;
  stream->counted = stream->in.consumed();
  renew_window();
  if (!stream->in.stopped()) tell(Event::Kind::reset, *stream, code);
  maybe_done(*stream);
  return nullptr;
}

Streams::Problem Streams::on_stop_sending(StreamId id, std::uint64_t code) {
  Problem problem = nullptr;
  Stream* stream = find_or_open(id, problem);
  if (!stream || stream->out.reset_code() || stream->out.delivered()) return problem;
  tell(Event::Kind::stopped, *stream, code);
  reset(id, code);
  return nullptr;
}

void Streams::on_max_data(std::uint64_t limit) noexcept {
  if (limit <= peer_.max_data) return;
  const bool blocked = data_sent_ >= peer_.max_data;
  peer_.max_data = limit;
  if (!blocked) return;
  for (auto& [id, stream] : streams_)
    if (sendable(*stream)) make_ready(*stream);
}

Streams::Problem Streams::on_max_stream_data(StreamId id, std::uint64_t limit) {
  Problem problem = nullptr;
  Stream* stream = find_or_open(id, problem);
  if (!stream) return problem;
  if (limit > stream->peer_window) {
    stream->peer_window = limit;
    if (sendable(*stream)) make_ready(*stream);
    tell_writer(*stream);
  }
  return nullptr;
}

void Streams::on_max_streams(std::uint64_t limit) noexcept { peer_.max_streams = std::max(peer_.max_streams, limit); }

// ---- The fate of what was sent -------------------------------------------------------------------------------

void Streams::on_acknowledged(const SentFrame& frame) {
  Stream* stream = find(frame.id);
  if (!stream) return;
  if (frame.kind == SentFrame::Kind::reset_stream) {
    stream->out.acknowledge_reset();
  } else if (frame.kind == SentFrame::Kind::stream) {
    const std::uint64_t held = stream->out.held();
    stream->out.acknowledge(frame.offset, frame.length, frame.end);
    if (!stream->out.reset_code()) release(held - stream->out.held());
    tell_writer(*stream);
  } else {
    return;
  }
  if (stream->out.delivered() && !stream->delivered_told) {
    stream->delivered_told = true;
    if (!stream->out.reset_code()) tell(Event::Kind::delivered, *stream);
    maybe_done(*stream);
  }
}

void Streams::on_lost(const SentFrame& frame) {
  if (frame.kind == SentFrame::Kind::max_data) {
    max_data_due_ = true;
    return;
  }
  if (frame.kind == SentFrame::Kind::max_streams) {
    max_streams_due_ = true;
    return;
  }
  Stream* stream = find(frame.id);
  if (!stream) return;
  switch (frame.kind) {
    case SentFrame::Kind::stream:
      stream->out.lose(frame.offset, frame.length, frame.end);
      if (sendable(*stream)) make_ready(*stream);
      return;
    case SentFrame::Kind::reset_stream: stream->reset_due = true; break;
    case SentFrame::Kind::stop_sending: stream->stop_due = !stream->in.size_known(); break;
    case SentFrame::Kind::max_stream_data: stream->window_due = !stream->in.size_known(); break;
    default: return;
  }
  want_control(*stream);
}

void Streams::tell(Event::Kind kind, Stream& stream, std::uint64_t code) { events_.push_back({kind, stream.id, code}); }

std::uint64_t Streams::worth_telling() const noexcept {
  return std::min<std::uint64_t>(options_.send_buffer / 4, kOwnRoom);
}

void Streams::tell_writer(Stream& stream) {
  if (!stream.writer_waits || writable(stream.id) < worth_telling()) return;
  stream.writer_waits = false;
  tell(Event::Kind::writable, stream);
}

void Streams::release(std::uint64_t bytes) {
  const std::uint64_t enough = options_.send_buffer - worth_telling();
  const bool was_full = held_ > enough;
  held_ -= bytes;
  if (!was_full || held_ > enough) return;
  for (auto& [id, stream] : streams_) tell_writer(*stream);
}

void Streams::maybe_done(Stream& stream) {
  if (stream.done || !stream.out.delivered() || !stream.in.ended()) return;
  stream.done = true;
  done_.push_back(stream.id);
}

void Streams::sweep() {
  for (const StreamId id : done_) {
    const auto found = streams_.find(id);
    if (found == streams_.end()) continue;
    Stream* stream = found->second.get();
    held_ -= stream->out.held();
    std::erase(ready_, stream);
    std::erase(control_, stream);
    if (!own(id)) {
      ++max_streams_;
      max_streams_due_ = true;
    }
    streams_.erase(found);
  }
  done_.clear();
}

}  // namespace portolan::rudp
