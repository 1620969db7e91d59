// Two streams that are joined: what one receives is sent to the other, without a handler and without a buffer of its own.
//
// Small pieces are read into the worker's buffer and written at once. An event that brings much is bulk: from then on
// splice(2) moves the bytes through a pipe of the worker's pool, until an event brings little again. What the kernel does
// not take waits with the stream that it goes to, and the one that it came from is not read meanwhile.
#include "base/net_error.h"
#include "net/splice_pipe.h"
#include "net/stream_connection.h"
#include "net/worker_io.h"
#include "plugin/instance.h"

#include <algorithm>
#include <cerrno>
#include <utility>

namespace portolan {

namespace {

// How often one event may read, and how much it may splice, before the other sockets get their turn.
constexpr int kReadRounds = 4;
constexpr std::size_t kSpliceTurn = 1024 * 1024;
// An event that brings as much begins or goes on with bulk: for smaller pieces two splices cost more than a copy.
constexpr std::size_t kBulkEvent = 16 * 1024;
// How soon a stream that was over its client's rate is looked at again.
constexpr Duration kRateLook = std::chrono::milliseconds(20);

}  // namespace

void StreamConnection::join(Stream& stream) noexcept {
  auto& other = static_cast<StreamConnection&>(stream);
  if (&other == this || joined_ || other.joined_ || close_asked_ || other.close_asked_) return;
  joined_ = &other;
  other.joined_ = this;
  for (StreamConnection* each : {this, &other}) {
    each->paused_ = false;
    each->self_paced_ = true;
    each->hold_ = Hold::none;
    if (!each->had_message_) each->move_to(instance_.active);
    each->had_message_ = true;
    // Settled when this callback ends, after what it has written.
    each->mark();
  }
}

void StreamConnection::separate() noexcept {
  if (!joined_) return;
  StreamConnection& other = *joined_;
  empty_pipe();
  other.empty_pipe();
  joined_ = other.joined_ = nullptr;
  for (StreamConnection* each : {this, &other}) {
    each->stays_open_ = true;
    // An end that has been passed on already is told to the handler, which has not heard of it.
    each->end_delivered_ = false;
    each->bulk_ = false;
    each->mark();
    each->schedule_resume(instance_.io.now());
  }
}

// What is under way in the pipe is delivered from memory.
void StreamConnection::empty_pipe() noexcept {
  while (pipe_ && pipe_->bytes()) {
    std::byte* buffer = instance_.io.read_buffer();
    const ssize_t count = pipe_->read(buffer, WorkerIo::kReadSize);
    if (count <= 0) break;
    joined_->keep_output({buffer, static_cast<std::size_t>(count)});
  }
  if (pipe_) instance_.io.pipes().give_back(std::move(pipe_));
}

void StreamConnection::handle_joined(short events) noexcept {
  if (reset_asked_) return end_join(NetError::closed);
  if (failure_ == NetError::system) return end_join(failure_);
  if (close_asked_) {
    StreamConnection& other = *joined_;
    separate();
    other.close();
    finish_callback();
    return;
  }
  if (input_) {
    joined_->keep_output(*input_);
    input_.reset();
    joined_->mark();
  }
  if ((unsent() || want_write_ || joined_->waits_in_pipe() || joined_->peer_ended_) && !output_drained()) return;
  const bool reads = !peer_ended_ && hold_ == Hold::none && !paused_ && !blocked();
  if (reads && ((events & IoEvent::kRead) || tls_)) {
    if (!pass_on()) return;
    // What is waited for has not changed when all that came has gone.
    if (events == IoEvent::kRead && steady()) return;
  }
  update_both();
}

bool StreamConnection::steady() const noexcept {
  return !joined_->output_ && !pipe_ && !peer_ended_ && hold_ == Hold::none && !want_write_ && !joined_->want_write_;
}

bool StreamConnection::waits_in_pipe() const noexcept { return pipe_ && pipe_->bytes() != 0; }

bool StreamConnection::blocked() const noexcept {
  return joined_ ? joined_->unsent() != 0 || waits_in_pipe()
                 : !self_paced_ && unsent() >= instance_.limits.output_limit;
}

void StreamConnection::update_both() noexcept {
  update_events();
  joined_->update_events();
}

// Sends what waits for this stream, then the end of what the other has received.
bool StreamConnection::output_drained() noexcept {
  StreamConnection& source = *joined_;
  want_write_ = false;
  if (unsent()) {
    std::size_t taken = 0;
    if (send_now(std::span<const std::byte>(*output_).subspan(output_sent_), taken) == Sent::failed) {
      end_join(failure_);
      return false;
    }
    output_sent_ += taken;
    if (unsent()) return true;
    output_.reset();
    output_sent_ = 0;
    // Bytes that TLS has decrypted already are announced by no event.
    if (source.tls_) source.schedule_resume(instance_.io.now());
  }
  if (source.waits_in_pipe() && !source.pass_on_by_splice()) return false;
  return source.pass_end();
}

bool StreamConnection::pass_on() noexcept {
  StreamConnection& sink = *joined_;
  if (bulk_) return pass_on_by_splice();
  const std::span<std::byte> buffer(instance_.io.read_buffer(), WorkerIo::kReadSize);
  for (int round = 0; round < kReadRounds; ++round) {
    if (over_byte_rate()) return true;
    const Got got = receive(buffer);
    std::size_t taken = 0;
    if (got.bytes) {
      charge_byte_rate(got.bytes);
      if (sink.send_now(buffer.first(got.bytes), taken) == Sent::failed) {
        end_join(sink.failure_);
        return false;
      }
      if (taken < got.bytes) sink.keep_output(buffer.subspan(taken, got.bytes - taken));
    }
    if (got.failed) {
      end_join(failure_);
      return false;
    }
    if (got.end) {
      peer_ended_ = true;
      return pass_end();
    }
    if (got.bytes >= kBulkEvent && spliceable() && sink.spliceable()) bulk_ = true;
    if (got.again || taken < got.bytes) return true;
    if (bulk_) return pass_on_by_splice();
  }
  if (tls_) schedule_resume(instance_.io.now());
  return true;
}

bool StreamConnection::pass_on_by_splice() noexcept {
  StreamConnection& sink = *joined_;
  if (!pipe_) pipe_ = instance_.io.pipes().take();
  if (!pipe_) {
    // No descriptor left: by copy, as before.
    bulk_ = false;
    return pass_on();
  }
  std::size_t moved = 0;
  bool dry = false;  // the socket had no more
  while (moved < kSpliceTurn) {
    if (!dry && !peer_ended_ && pipe_->bytes() < pipe_->capacity() && !over_byte_rate()) {
      const ssize_t count = pipe_->fill(descriptor_);
      if (count > 0) {
        count_input(static_cast<std::size_t>(count));
        charge_byte_rate(static_cast<std::size_t>(count));
      } else if (count == 0) {
        peer_ended_ = true;
      } else if (errno != EAGAIN && errno != EINTR) {
        failure_ = net_error_of(errno);
        end_join(failure_);
        return false;
      } else if (pipe_->bytes() == 0) {
        dry = true;
      }
    }
    if (pipe_->bytes() == 0) break;
    const ssize_t count = pipe_->drain(sink.descriptor_);
    if (count > 0) {
      sink.count_output(static_cast<std::size_t>(count));
      moved += static_cast<std::size_t>(count);
    } else if (count < 0 && (errno == EAGAIN || errno == EINTR)) {
      return true;  // the sink's event goes on from here
    } else {
      sink.failure_ = net_error_of(count < 0 ? errno : EPIPE);
      end_join(sink.failure_);
      return false;
    }
  }
  if (pipe_->bytes() == 0) {
    instance_.io.pipes().give_back(std::move(pipe_));
    bulk_ = moved >= kBulkEvent;
  }
  return pass_end();
}

// The end of this stream's input goes to the other once all before it has.
bool StreamConnection::pass_end() noexcept {
  if (!peer_ended_ || end_delivered_) return true;
  if (joined_->unsent() || waits_in_pipe()) return true;
  end_delivered_ = true;
  if (joined_->end_delivered_) {
    // Both ways are done. Closing says so to TCP, but not to TLS.
    if (joined_->tls_) joined_->end_output_now();
    end_join(NetError::none);
    return false;
  }
  ended_first_ = true;
  joined_->end_output_now();
  StreamConnection& session = outbound_ ? *joined_ : *this;
  if (!session.outbound_) session.move_to(instance_.half_open);
  return true;
}

bool StreamConnection::over_byte_rate() noexcept {
  if (!client_) return false;
  const LimitVerdict over = instance_.more_bytes(*client_);
  if (over.wait == Duration::zero()) return false;
  hold_ = Hold::rate;
  if (over && over.rule->over != LimitRule::Over::delay)
    over_limit(*over.rule);
  else
    schedule_resume(instance_.io.now() + std::max<Duration>(over.wait, kRateLook));
  return true;
}

bool StreamConnection::pass(std::size_t bytes) noexcept {
  if (over_byte_rate()) return false;
  charge_byte_rate(bytes);
  return true;
}

void StreamConnection::charge_byte_rate(std::size_t bytes) noexcept {
  if (client_) instance_.charge_bytes(*client_, bytes);
}

// Ends both, whatever waits. Why the one failed is told to the other's peer as a reset, so that it does not take what it
// got for all.
void StreamConnection::end_join(NetError why) noexcept {
  StreamConnection& other = *joined_;
  const bool cut = why != NetError::none && !refused_ && !other.refused_;
  joined_ = other.joined_ = nullptr;
  for (StreamConnection* each : {this, &other}) {
    if (each->pipe_) instance_.io.pipes().give_back(std::move(each->pipe_));
    each->close_asked_ = each->ending_ = true;
    each->reset_asked_ |= cut && each->failure_ == NetError::none;
  }
  StreamConnection& first = outbound_ ? *this : other;
  StreamConnection& second = outbound_ ? other : *this;
  const auto its_reason = [why](const StreamConnection& stream) {
    return why == NetError::none || why == NetError::timed_out || stream.failure_ != NetError::none ? why
                                                                                                    : NetError::closed;
  };
  first.destroy(its_reason(first));
  second.destroy(its_reason(second));
}

}  // namespace portolan
