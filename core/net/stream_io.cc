// The data path of a stream: what the plugin writes, how it is sent, and how input is read and delivered.
// The session's life (events, closing, timeouts, its record) is in stream_connection.cc.
#include "stream_connection.h"

#include "base/callback.h"
#include "base/net_error.h"
#include "net/worker_io.h"
#include "plugin/instance.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <utility>

namespace portolan {

namespace {

// How often one event may read before the other sockets get their turn.
constexpr int kReadRounds = 4;
// How soon a stream that was over its client's rate is looked at again.
constexpr Duration kRateLook = std::chrono::milliseconds(20);
// A turn's buffer that once grew large is not kept for ever.
constexpr std::size_t kKeepCapacity = 1024 * 1024;

}  // namespace

// ---- What the plugin calls -----------------------------------------------------------------------------------

bool StreamConnection::admit(std::size_t bytes) noexcept {
  if (close_asked_ || state_ != State::open) return false;
  if (question_) {
    if (!question_->answered()) return false;
    if (!answer_admitted_) return answer_admitted_ = true;
    // What it was asked for has gone without taking the answer: it is not that of the next message.
    Question* const left = question_;
    question(nullptr);
    left->drop();
  }
  Turn& turn = instance_.io.turn();
  // Only input can be put off and given again. Asked from elsewhere (open, on_sent, a timer), "not now" is all.
  const auto hold = [&](Hold why) {
    if (in_turn_ && !turn.input.empty()) hold_ = why;
    return false;
  };
  if (!turn.ending) {
    if (unsent() + turn.size() >= instance_.limits.output_limit) return hold(Hold::output);
    if (instance_.hook_time() - turn.hook_time > WorkerIo::kTurn) return hold(Hold::turn);
  }
  if (client_) {
    const Duration now = instance_.io.now();
    Duration wait =
        instance_.message_rate.limited() ? instance_.message_rate.take(client_->messages, now, 1) : Duration::zero();
    if (wait == Duration::zero() && instance_.byte_rate.limited())
      wait = instance_.byte_rate.take(client_->bytes, now, static_cast<double>(bytes));
    if (const LimitSet* set = instance_.limit_set.get(); set && wait == Duration::zero()) {
      const LimitVerdict over = set->message(client_->states_of(*set), now, bytes);
      if (over && over.rule->over != LimitRule::Over::delay) {
        over_limit(*over.rule);
        return false;
      }
      wait = over.wait;
    }
    if (wait > Duration::zero() && !turn.ending) {
      // Many streams of one client may wait for the same token: all of them awake for each would be a busy loop. The
      // bucket holds a second's worth, so that looking less often loses nothing.
      turn.resume_at = now + std::max<Duration>(wait, kRateLook);
      return hold(Hold::rate);
    }
  }
  if (!had_message_) {
    had_message_ = true;
    move_to(instance_.active);
  }
  ++messages_;
  ++turn.messages;
  if (instance_.statistics) {
    instance_.stats[CoreCounter::messages].add();
    instance_.stats.message_size.record(bytes);
  }
  return true;
}

void StreamConnection::write(std::span<const std::byte> data) noexcept {
  // Called by plugins, often from inside libevent. What does not fit into the memory is over the limit, too.
  if (!contain("what a session writes", [&] { append(data); })) refuse(Refusal::output_limit);
}

void StreamConnection::append(std::span<const std::byte> data) {
  if (close_asked_ || output_ended_ || end_output_asked_ || state_ != State::open || data.empty()) return;
  if (!in_turn_) {
    // Nothing holds back who writes from outside this stream's own turn: here its queue is bounded.
    if (unsent() && unsent() + data.size() > instance_.limits.output_limit) return refuse(Refusal::output_limit);
    keep_output(data);
    return mark();
  }
  Turn& turn = instance_.io.turn();
  if (turn.output.empty()) {
    const bool of_input = data.data() >= turn.input.data() && data.data() < turn.input.data() + turn.input.size();
    if (of_input && turn.view.empty()) {
      turn.view = data;
      return;
    }
    if (of_input && turn.view.data() + turn.view.size() == data.data()) {
      turn.view = {turn.view.data(), turn.view.size() + data.size()};
      return;
    }
    turn.output.insert(turn.output.end(), turn.view.begin(), turn.view.end());
    turn.view = {};
  }
  turn.output.insert(turn.output.end(), data.begin(), data.end());
}

std::byte* StreamConnection::reserve(std::size_t size) noexcept {
  Turn& turn = instance_.io.turn();
  if (!in_turn_) {
    // Built in the turn's buffer behind whatever another stream has there; commit moves it out.
    turn.reserved_at = turn.output.size();
    turn.output.resize(turn.reserved_at + size);
    return turn.output.data() + turn.reserved_at;
  }
  if (!turn.view.empty()) {
    turn.output.insert(turn.output.end(), turn.view.begin(), turn.view.end());
    turn.view = {};
  }
  turn.reserved_at = turn.output.size();
  turn.output.resize(turn.reserved_at + size);
  return turn.output.data() + turn.reserved_at;
}

void StreamConnection::commit(std::size_t used) noexcept {
  Turn& turn = instance_.io.turn();
  if (in_turn_) {
    turn.output.resize(close_asked_ || state_ != State::open ? turn.reserved_at : turn.reserved_at + used);
    return;
  }
  write(std::span<const std::byte>(turn.output.data() + turn.reserved_at, used));
  turn.output.resize(turn.reserved_at);
}

void StreamConnection::close() noexcept {
  if (close_asked_) return;
  close_asked_ = true;
  if (!in_turn_) mark();
}

void StreamConnection::end_output() noexcept {
  if (close_asked_ || output_ended_) return;
  end_output_asked_ = true;
  if (!in_turn_) mark();
}

void StreamConnection::reset() noexcept {
  if (reset_asked_ || ending_) return;
  reset_asked_ = close_asked_ = true;
  if (in_turn_) return;
  joined_ ? end_join(NetError::closed) : destroy(NetError::closed);
}

void StreamConnection::pause() noexcept {
  paused_ = self_paced_ = true;
  if (!in_turn_ && (wanted() & IoEvent::kRead)) update_events();
}

void StreamConnection::resume() noexcept {
  self_paced_ = true;
  if (!paused_) return;
  paused_ = false;
  schedule_resume(instance_.io.now());
}

void StreamConnection::refuse(Refusal reason) noexcept { refuse(reason, !outbound_); }

void StreamConnection::refuse(Refusal reason, bool blamed) noexcept {
  if (close_asked_) return;
  refused_ = true;
  refusal_ = reason;
  instance_.refuse(reason, peer_, blamed ? Instance::Blame::stream : Instance::Blame::nobody);
  close();
}

NetAddress StreamConnection::local_address() const noexcept {
  if (destination_) return *destination_;
  if (rudp_) return rudp_->local().plain();
  sockaddr_storage storage;
  socklen_t length = sizeof storage;
  if (getsockname(descriptor_, reinterpret_cast<sockaddr*>(&storage), &length) != 0) return {};
  return Address::from(reinterpret_cast<const sockaddr*>(&storage)).plain();
}

void StreamConnection::over_limit(const LimitRule& rule) noexcept {
  const bool blamed = rule.per == LimitRule::Per::client;
  rule.over == LimitRule::Over::drop ? cut(rule.refusal(), blamed) : refuse(rule.refusal(), blamed);
}

SessionInfo StreamConnection::info() const noexcept {
  if (!peer_text_) peer_text_ = std::make_unique<std::string>(peer_.empty() ? "unix" : peer_.to_string());
  return {.id = id_, .peer = *peer_text_, .transport = transport_};
}

// ---- A turn: one callback of the handler, and what it wrote --------------------------------------------------

void StreamConnection::begin_turn() noexcept {
  Turn& turn = instance_.io.turn();
  turn.input = {};
  turn.view = {};
  turn.output.clear();
  turn.messages = 0;
  turn.ending = false;
  turn.hook_time = instance_.hook_time();
  in_turn_ = true;
}

bool StreamConnection::flush_turn() noexcept {
  Turn& turn = instance_.io.turn();
  const std::span<const std::byte> data = turn.view.empty() ? std::span<const std::byte>(turn.output) : turn.view;
  if (!data.empty()) {
    std::size_t taken = 0;
    if (unsent() == 0) {
      if (send_now(data, taken) == Sent::failed) {
        destroy(failure_);
        return false;
      }
    }
    if (taken < data.size()) keep_output(data.subspan(taken));
  }
  if (turn.messages && instance_.statistics) {
    const auto spent = Loop::now() - instance_.io.now();
    instance_.stats.latency.record(static_cast<std::uint64_t>(spent.count()), turn.messages);
  }
  if (turn.output.capacity() > kKeepCapacity) turn.output = {};
  return true;
}

void StreamConnection::keep_output(std::span<const std::byte> rest) {
  if (!output_) output_ = instance_.io.take_buffer();
  if (output_sent_ > 0 && output_sent_ >= output_->size() / 2) {
    output_->erase(output_->begin(), output_->begin() + static_cast<std::ptrdiff_t>(output_sent_));
    output_sent_ = 0;
  }
  output_->insert(output_->end(), rest.begin(), rest.end());
  had_unsent_ = true;
}

StreamConnection::Sent StreamConnection::send_now(std::span<const std::byte> data, std::size_t& taken) noexcept {
  taken = 0;
  want_write_ = false;
  if (rudp_) {
    const std::ptrdiff_t sent = rudp_->send(data);
    if (sent < 0) {
      failure_ = rudp_->output_failure();
      return Sent::failed;
    }
    taken = static_cast<std::size_t>(sent);
  } else if (!tls_) {
    const ssize_t sent = send(descriptor_, data.data(), data.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN && errno != EINTR) {
      failure_ = net_error_of(errno);
      return Sent::failed;
    }
    taken = sent > 0 ? static_cast<std::size_t>(sent) : 0;
  } else {
    while (taken < data.size()) {
      const auto result = tls_->write(data.subspan(taken));
      if (result.outcome == TlsSession::Outcome::done) {
        taken += result.bytes;
        continue;
      }
      if (result.outcome == TlsSession::Outcome::want_write || result.outcome == TlsSession::Outcome::want_read) break;
      failure_ = tls_->reset_by_peer() ? NetError::reset : NetError::tls;
      return Sent::failed;
    }
  }
  if (taken) count_output(taken);
  return taken == data.size() ? Sent::all : Sent::some;
}

void StreamConnection::count_output(std::size_t bytes) noexcept {
  bytes_out_ += bytes;
  last_activity_ = instance_.io.now();
  if (state_ == State::closing || (had_message_ && state_ == State::open)) queue_->touch(*this, last_activity_);
  if (counted_) instance_.stats[CoreCounter::bytes_out].add(bytes);
}

void StreamConnection::count_input(std::size_t bytes) noexcept {
  bytes_in_ += bytes;
  last_activity_ = instance_.io.now();
  if (had_message_) queue_->touch(*this, last_activity_);
  if (counted_) instance_.stats[CoreCounter::bytes_in].add(bytes);
}

// ---- Input ---------------------------------------------------------------------------------------------------

// Past TLS, if there is any.
StreamConnection::Got StreamConnection::receive_plain(std::span<std::byte> into) noexcept {
  Got got;
  if (rudp_) {
    got.bytes = rudp_->receive(into);
    got.again = got.bytes < into.size();
    got.end = got.bytes == 0 && rudp_->ended();
    if (got.bytes || got.end || rudp_->failure() == NetError::none) return got;
    failure_ = rudp_->failure();
    got.failed = true;
    return got;
  }
  const ssize_t count = recv(descriptor_, into.data(), into.size(), 0);
  if (count > 0) {
    got.bytes = static_cast<std::size_t>(count);
    // Less than there was room for: the socket is empty, which spares a read that finds nothing.
    got.again = got.bytes < into.size();
  } else if (count == 0) {
    got.end = true;
  } else if (errno == EAGAIN || errno == EINTR) {
    got.again = true;
  } else {
    failure_ = net_error_of(errno);
    got.failed = true;
  }
  return got;
}

StreamConnection::Got StreamConnection::receive(std::span<std::byte> into) noexcept {
  Got got;
  if (!tls_) {
    got = receive_plain(into);
  } else {
    while (got.bytes < into.size()) {
      const auto result = tls_->read(into.subspan(got.bytes));
      if (result.outcome == TlsSession::Outcome::done) {
        got.bytes += result.bytes;
        continue;
      }
      got.again = result.outcome == TlsSession::Outcome::want_read;
      want_write_ = result.outcome == TlsSession::Outcome::want_write;
      got.again |= want_write_;
      got.end = result.outcome == TlsSession::Outcome::closed;
      if (result.outcome == TlsSession::Outcome::failed) {
        got.failed = true;
        failure_ = tls_->reset_by_peer() ? NetError::reset : NetError::tls;
      }
      break;
    }
  }
  if (got.bytes) count_input(got.bytes);
  return got;
}

bool StreamConnection::read_input() noexcept {
  const std::span<std::byte> buffer(instance_.io.read_buffer(), WorkerIo::kReadSize);
  for (int round = 0; round < kReadRounds; ++round) {
    const Got got = receive(buffer);
    if (got.bytes) {
      const std::span<const std::byte> data = buffer.first(got.bytes);
      bool alive = true;
      if (input_) {
        input_->insert(input_->end(), data.begin(), data.end());
        alive = deliver(*input_, true);
      } else {
        alive = deliver(data, false);
      }
      if (!alive) return false;
    }
    if (got.end) peer_ended_ = true;
    if (joined_) {
      if (!got.failed) return true;
      end_join(failure_);
      return false;
    }
    if (got.failed) {
      destroy(failure_);
      return false;
    }
    if (got.end) return deliver_end();
    if (got.again || close_asked_ || hold_ != Hold::none || paused_) return true;
    if (blocked()) return true;
  }
  // More may wait inside TLS, where no event of the socket would tell.
  if (tls_) schedule_resume(instance_.io.now());
  return true;
}

bool StreamConnection::deliver(std::span<const std::byte> data, bool buffered) noexcept {
  Turn& turn = instance_.io.turn();
  std::size_t done = 0;
  for (;;) {
    hold_ = Hold::none;
    begin_turn();
    turn.input = data.subspan(done);
    const std::size_t consumed = handler_->on_data(*this, turn.input);
    in_turn_ = false;
    done += std::min(consumed, turn.input.size());
    if (!flush_turn()) return false;
    if (close_asked_) {
      input_.reset();
      return true;
    }
    if (joined_ || paused_) break;
    // What stopped it was its own output, and that is gone already.
    if (hold_ != Hold::output || unsent() >= instance_.limits.output_limit / 2 || done == data.size()) break;
  }
  const std::span<const std::byte> rest = data.subspan(done);
  if (rest.empty()) {
    input_.reset();
  } else if (!buffered) {
    input_ = std::make_unique<std::vector<std::byte>>(rest.begin(), rest.end());
  } else if (done) {
    input_->erase(input_->begin(), input_->begin() + static_cast<std::ptrdiff_t>(done));
  }
  if (rest.empty()) {
    hold_ = Hold::none;
  } else if (hold_ == Hold::none && !paused_ && !joined_ && rest.size() >= instance_.input_limit) {
    refuse(Refusal::message_too_long);
  } else if (hold_ == Hold::rate) {
    schedule_resume(turn.resume_at);
  } else if (hold_ == Hold::turn) {
    schedule_resume(instance_.io.now());
  }
  return true;
}

bool StreamConnection::deliver_end() noexcept {
  // What was received is answered first, however long it is held.
  if (hold_ != Hold::none || end_delivered_ || close_asked_ || paused_ || joined_) return true;
  end_delivered_ = true;
  begin_turn();
  Turn& turn = instance_.io.turn();
  turn.ending = true;
  if (input_) turn.input = *input_;
  ended_first_ = !output_ended_ && !end_output_asked_;
  stays_open_ = handler_->on_end(*this, turn.input);
  in_turn_ = false;
  if (!flush_turn()) return false;
  input_.reset();
  if (!stays_open_) close_asked_ = true;
  return true;
}

void StreamConnection::schedule_resume(Duration at) noexcept {
  if (resume_at_ != Duration::zero()) return;
  resume_at_ = at;
  instance_.io.resume_at(at, *this);
}

void StreamConnection::take_up() noexcept {
  if (joined_) {
    hold_ = Hold::none;
    // Not as an event of the socket: none is waited for now.
    return handle_joined(IoEvent::kRead | IoEvent::kWrite);
  }
  if (state_ == State::open && !paused_) {
    hold_ = Hold::none;
    if (input_ && !deliver(*input_, true)) return;
    if (hold_ == Hold::none && !close_asked_ && !joined_ && !paused_) {
      // Reads once more even so: TLS may hold bytes that no event announces.
      if (!(peer_ended_ ? deliver_end() : read_input())) return;
    }
  }
  finish_callback();
}

}  // namespace portolan
