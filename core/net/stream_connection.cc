#include "stream_connection.h"

#include "base/callback.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/net_error.h"
#include "net/dial_attempt.h"
#include "net/session_status.h"
#include "net/splice_pipe.h"
#include "net/worker_io.h"
#include "plugin/instance.h"

#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace portolan {

namespace {

// How often one event may drop what a closing peer still sends before the others get their turn.
constexpr int kDropRounds = 4;

}  // namespace

void StreamConnection::accept(Instance& instance, int descriptor, const Address& peer, Transport transport,
                              ClientEntry* client) noexcept {
  StreamConnection* stream = nullptr;
  Carrier carrier{.descriptor = descriptor};
  contain("a new session", [&] {
    stream = new StreamConnection(instance, carrier, peer, transport, client, nullptr);
    if (transport == Transport::tls) stream->tls_ = TlsSession::accept(*instance.tls, descriptor);
  });
  if (!stream) {
    ::close(descriptor);
    return instance.session_ended(client);
  }
  if (transport == Transport::tls && !stream->tls_) return stream->destroy(NetError::system);
  if (instance.configuration.proxy_protocol)
    stream->await_proxy_header();
  else if (transport != Transport::tls && !stream->open_handler())
    return;
  stream->update_events();
}

void StreamConnection::accept(Instance& instance, std::unique_ptr<RudpStream> rudp, const Address& peer,
                              ClientEntry* client) noexcept {
  StreamConnection* stream = nullptr;
  Carrier carrier{.rudp = std::move(rudp)};
  contain("a new session",
          [&] { stream = new StreamConnection(instance, carrier, peer, Transport::rudp, client, nullptr); });
  if (!stream) return instance.session_ended(client);
  if (stream->open_handler()) stream->update_events();
}

StreamConnection* StreamConnection::connect(Instance& instance, int descriptor, const Address& peer,
                                            Transport transport, DialAttempt& attempt) noexcept {
  StreamConnection* stream = nullptr;
  Carrier carrier{.descriptor = descriptor};
  contain("a new connection",
          [&] { stream = new StreamConnection(instance, carrier, peer, transport, nullptr, &attempt); });
  // On this machine the handshake is over by the time that this callback ends: it is looked at then, which spares the
  // event in most cases, and a look that comes too early costs one system call.
  if (stream) stream->mark();
  return stream;
}

StreamConnection* StreamConnection::connect(Instance& instance, std::unique_ptr<RudpStream> rudp, const Address& peer,
                                            DialAttempt& attempt) noexcept {
  StreamConnection* stream = nullptr;
  Carrier carrier{.rudp = std::move(rudp)};
  contain("a new connection",
          [&] { stream = new StreamConnection(instance, carrier, peer, Transport::rudp, nullptr, &attempt); });
  if (stream) stream->mark();
  return stream;
}

StreamConnection::StreamConnection(Instance& instance, Carrier& carrier, const Address& peer, Transport transport,
                                   ClientEntry* client, DialAttempt* attempt)
    : instance_(instance),
      attempt_(attempt),
      rudp_(std::move(carrier.rudp)),
      client_(client),
      id_(instance.io.next_session_id()),
      started_(instance.io.now()),
      last_activity_(started_),
      peer_(peer),
      descriptor_(carrier.descriptor),
      transport_(transport),
      state_(attempt                       ? State::connecting
             : transport == Transport::tls ? State::handshake
                                           : State::open),
      counted_(instance.statistics && !attempt),
      outbound_(attempt != nullptr) {
  if (rudp_)
    rudp_->bind(&StreamConnection::on_event, this);
  else
    event_.bind(instance.io.loop(), descriptor_, &StreamConnection::on_event, this);
  had_message_ = outbound_ || instance_.limits.first_message_timeout == Duration::zero();
  queue_ = outbound_ ? &instance_.outbound : had_message_ ? &instance_.active : &instance_.awaiting;
  queue_->add(*this, started_);
  if (!outbound_) instance_.arm_timeouts();
}

StreamConnection::~StreamConnection() = default;

bool StreamConnection::open_handler() noexcept {
  state_ = State::open;
  begin_turn();
  handler_ = outbound_ ? DialAttempt::succeed(std::exchange(attempt_, nullptr), *this) : instance_.service->open(*this);
  in_turn_ = false;
  if (!handler_) {
    if (!outbound_ && !refused_) instance_.refuse(Refusal::bad_message, peer_);
    destroy(outbound_ ? NetError::none : NetError::protocol);
    return false;
  }
  return flush_turn() && finish_callback();
}

// ---- Events --------------------------------------------------------------------------------------------------

void StreamConnection::on_event(int, short events, void* self) noexcept {
  auto& stream = *static_cast<StreamConnection*>(self);
  WorkerIo& io = stream.instance_.io;
  io.tick();
  stream.handle(events);
  io.settle();
}

void StreamConnection::handle(short events) noexcept {
  if (joined_) return handle_joined(events);
  if (state_ < State::open) return advance();
  if (state_ == State::lingering) return drop_lingering_input();
  if ((events & IoEvent::kWrite) && !flush_pending()) return;
  const bool reads = state_ == State::open && !peer_ended_ && hold_ == Hold::none && !close_asked_ && !paused_;
  // What the peer had not taken may have been all that a handler waited for before it joined.
  if (reads && !joined_ && ((events & IoEvent::kRead) || tls_) && !read_input()) return;
  finish_callback();
}

void StreamConnection::advance() noexcept {
  if (state_ == State::connecting) return advance_connect();
  state_ == State::proxy_header ? read_proxy_header() : advance_handshake();
}

void StreamConnection::advance_connect() noexcept {
  if (rudp_) {
    if (rudp_->state() == RudpStream::State::open) return connected();
    if (rudp_->state() == RudpStream::State::failed) return fail_connect(rudp_->failure(), rudp_->message());
    attempt_->wait();
    return update_events();
  }
  // Asked again, connect(2) says how the first call went.
  sockaddr_storage storage;
  const socklen_t length = attempt_->socket_address(storage);
  if (::connect(descriptor_, reinterpret_cast<const sockaddr*>(&storage), length) != 0 && errno != EISCONN) {
    if (errno == EALREADY || errno == EINPROGRESS || errno == EINTR) {
      attempt_->wait();
      return update_events();
    }
    return fail_connect(net_error_of(errno), std::strerror(errno));
  }
  connected();
}

void StreamConnection::connected() noexcept {
  // Nothing waits on a new connection: what it does not take at once, it never will.
  if (const auto preamble = attempt_->preamble(); !preamble.empty()) {
    const std::ptrdiff_t sent =
        rudp_ ? rudp_->send(preamble) : ::send(descriptor_, preamble.data(), preamble.size(), MSG_NOSIGNAL);
    if (sent != static_cast<std::ptrdiff_t>(preamble.size()))
      return fail_connect(sent >= 0 || rudp_ ? NetError::system : net_error_of(errno),
                          sent >= 0 || rudp_ ? std::strerror(ENOBUFS) : std::strerror(errno));
  }
  if (transport_ != Transport::tls) {
    open_handler();
    return;
  }
  state_ = State::handshake;
  contain("a TLS session", [this] { tls_ = attempt_->begin_tls(descriptor_); });
  if (!tls_) return fail_connect(NetError::system, "out of memory");
  advance_handshake();
}

void StreamConnection::fail_connect(NetError why, std::string_view message) noexcept {
  DialAttempt::fail(std::exchange(attempt_, nullptr), why, message);
  destroy(NetError::none);
}

void StreamConnection::advance_handshake() noexcept {
  const auto result = tls_->handshake();
  want_write_ = result.outcome == TlsSession::Outcome::want_write;
  switch (result.outcome) {
    case TlsSession::Outcome::want_read:
    case TlsSession::Outcome::want_write:
      if (attempt_) attempt_->wait();
      return update_events();
    case TlsSession::Outcome::done:
      if (!open_handler() || joined_ || paused_) return;
      // The first message often comes with the end of the handshake and waits in TLS already.
      if (state_ == State::open && hold_ == Hold::none && !read_input()) return;
      finish_callback();
      return;
    default: break;
  }
  if (outbound_)
    return fail_connect(tls_->reset_by_peer() ? NetError::reset : NetError::tls,
                        tls_->error().empty() ? "the peer closed during the TLS handshake" : tls_->error());
  instance_.refuse(Refusal::tls, peer_);
  refused_ = true;
  refusal_ = Refusal::tls;
  log::print(LogLevel::info, {instance_.configuration.name, id_}, "TLS handshake with {} failed: {}", info().peer,
             tls_->error().empty() ? "the peer closed" : tls_->error());
  destroy(NetError::tls);
}

bool StreamConnection::flush_pending() noexcept {
  want_write_ = false;
  if (unsent()) {
    std::size_t taken = 0;
    const auto rest = std::span<const std::byte>(*output_).subspan(output_sent_);
    if (send_now(rest, taken) == Sent::failed) {
      destroy(failure_);
      return false;
    }
    output_sent_ += taken;
  }
  if (output_ && unsent() == 0) {
    instance_.io.give_back(std::move(output_));
    output_sent_ = 0;
  }
  if (unsent() == 0 && end_output_asked_) end_output_now();
  if (state_ != State::open || close_asked_) return true;
  if (hold_ == Hold::output && unsent() <= instance_.limits.output_limit / 2) {
    hold_ = Hold::none;
    if (input_ && !deliver(*input_, true)) return false;
    if (hold_ == Hold::none && peer_ended_ && !close_asked_ && !deliver_end()) return false;
  }
  if (had_unsent_ && unsent() == 0 && !close_asked_ && !joined_) {
    had_unsent_ = false;
    begin_turn();
    handler_->on_sent(*this);
    in_turn_ = false;
    return flush_turn();
  }
  return true;
}

bool StreamConnection::finish_callback() noexcept {
  if (joined_) {
    mark();
    return true;
  }
  if (close_asked_ && state_ == State::open) {
    state_ = State::closing;
    input_.reset();
  }
  if (reset_asked_) {
    destroy(NetError::closed);
    return false;
  }
  if (end_output_asked_ && unsent() == 0) end_output_now();
  if (state_ == State::closing && unsent() == 0) {
    if (peer_ended_ || output_ended_) {
      // A peer that ended first, by close_notify, still has to be told that its answer is whole.
      if (tls_) tls_->shutdown();
      destroy(NetError::none);
      return false;
    }
    linger();
  }
  update_events();
  return true;
}

void StreamConnection::end_output_now() noexcept {
  end_output_asked_ = false;
  if (output_ended_) return;
  output_ended_ = true;
  // One way only from here. (The session of a join is moved by its join.)
  if (!outbound_ && !joined_ && state_ == State::open && had_message_) move_to(instance_.half_open);
  if (tls_) tls_->shutdown();
  rudp_ ? rudp_->finish() : static_cast<void>(shutdown(descriptor_, SHUT_WR));
}

void StreamConnection::linger() noexcept {
  end_output_now();
  state_ = State::lingering;
  move_to(instance_.lingering);
}

void StreamConnection::move_to(TimeoutQueue& queue) noexcept {
  queue_->remove(*this);
  queue_ = &queue;
  queue_->add(*this, instance_.io.now());
  instance_.arm_timeouts();
}

void StreamConnection::mark() noexcept {
  if (!marked_) instance_.io.mark(*this);
  marked_ = true;
}

void StreamConnection::drop_lingering_input() noexcept {
  // Straight from the socket: what comes is not wanted, in TLS or not.
  for (int round = 0; round < kDropRounds; ++round) {
    const Got got = receive_plain({instance_.io.read_buffer(), WorkerIo::kReadSize});
    if (got.end || got.failed) return destroy(NetError::none);
    if (got.bytes == 0) return;
  }
}

void StreamConnection::update_events() noexcept {
  short wanted = 0;
  switch (state_) {
    case State::connecting: wanted = IoEvent::kWrite; break;
    case State::proxy_header: wanted = IoEvent::kRead; break;
    case State::handshake: wanted = want_write_ ? IoEvent::kWrite : IoEvent::kRead; break;
    case State::open:
      if (!peer_ended_ && hold_ == Hold::none && !paused_ && !blocked()) wanted = IoEvent::kRead;
      break;
    case State::closing: break;
    case State::lingering: wanted = IoEvent::kRead; break;
  }
  if (state_ != State::lingering && (unsent() || want_write_ || (joined_ && joined_->waits_in_pipe())))
    wanted |= IoEvent::kWrite;
  if (want(wanted)) return;
  log::print(LogLevel::error, {instance_.configuration.name, id_},
             "cannot watch the connection of {}: {}; it is closed", info().peer, std::strerror(errno));
  // Not from inside a callback of the handler: the worker settles it.
  failure_ = NetError::system;
  close_asked_ = true;
  mark();
}

bool StreamConnection::want(short events) noexcept {
  if (!rudp_) return event_.want(events);
  rudp_->want(events);
  return true;
}

void StreamConnection::settle_marked() noexcept {
  marked_ = false;
  if (state_ == State::connecting && !close_asked_) return advance_connect();
  if (joined_) return handle_joined(0);
  if (failure_ == NetError::system) return destroy(failure_);
  if (state_ < State::open || state_ == State::lingering) {
    if (close_asked_) destroy(NetError::none);
    return;
  }
  if (unsent() && !(wanted() & IoEvent::kWrite) && !flush_pending()) return;
  finish_callback();
}

void StreamConnection::time_out(Refusal reason) noexcept {
  if (state_ == State::proxy_header) return refuse_proxy(reason, "its PROXY header did not come in time");
  // Not idle: it waits for us.
  if (state_ == State::open && (paused_ || (hold_ == Hold::rate && reason == Refusal::idle_timeout))) return;
  if (joined_) {
    instance_.refuse(reason, peer_);
    refused_ = true;
    refusal_ = reason;
    return end_join(NetError::timed_out);
  }
  if (state_ == State::closing || state_ == State::lingering) return destroy(NetError::timed_out);
  if (state_ == State::handshake || unsent()) {
    instance_.refuse(reason, peer_);
    refused_ = true;
    refusal_ = reason;
    return destroy(NetError::timed_out);
  }
  refuse(reason);
}

void StreamConnection::drain_if_quiet(Duration quiet) noexcept {
  if (close_asked_ || unsent() || input_ || paused_) return;
  if (instance_.io.now() - last_activity_ >= quiet) close();
}

void StreamConnection::abort(NetError why) noexcept {
  if (joined_) return end_join(why);
  destroy(why);
}

void StreamConnection::cut(Refusal reason, bool blamed) noexcept {
  if (reset_asked_) return;
  reset_asked_ = close_asked_ = true;
  refused_ = true;
  refusal_ = reason;
  instance_.refuse(reason, peer_, blamed ? Instance::Blame::stream : Instance::Blame::nobody);
  mark();
}

bool StreamConnection::reusable() const noexcept {
  if (state_ != State::open || close_asked_ || peer_ended_ || output_ended_ || end_output_asked_) return false;
  if (input_ || unsent() || joined_) return false;
  if (rudp_) return !rudp_->readable();
  std::byte byte;
  return recv(descriptor_, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN;
}

void StreamConnection::abandon() noexcept {
  attempt_ = nullptr;
  destroy(NetError::none);
}

void StreamConnection::destroy(NetError why) noexcept {
  if (marked_) instance_.io.unmark(*this);
  if (resume_at_ != Duration::zero()) instance_.io.cancel_resume(resume_at_, *this);
  queue_->remove(*this);
  close_asked_ = true;  // the handler's last words are not sent
  if (attempt_) DialAttempt::fail(std::exchange(attempt_, nullptr), NetError::closed, "the service ends");
  if (Question* asked = std::exchange(question_, nullptr)) asked->drop();
  if (handler_) {
    in_turn_ = true;
    handler_->on_close(*this, why);
  }
  if (counted_ && why != NetError::none && why != NetError::closed && !refused_)
    instance_.stats[CoreCounter::failed].add();
  if (!outbound_ && state_ != State::proxy_header && instance_.recorder && instance_.recorder->wants_session())
    record_end(why);
  event_.stop();
  if (reset_asked_ || (unsent() && why != NetError::none)) {
    // What the peer got is not whole: a FIN would say that it is.
    const struct ::linger cut{.l_onoff = 1, .l_linger = 0};
    rudp_ ? rudp_->cut() : static_cast<void>(setsockopt(descriptor_, SOL_SOCKET, SO_LINGER, &cut, sizeof cut));
  }
  if (!rudp_) ::close(descriptor_);
  Instance& instance = instance_;
  ClientEntry* client = client_;
  const bool session = !outbound_;
  delete this;
  session ? instance.session_ended(client) : instance.connection_ended();
}

void StreamConnection::record_end(NetError why) noexcept {
  const std::int64_t now = unix_ms();
  instance_.recorder->session({.id = id_,
                               .service = instance_.configuration.name,
                               .peer = std::string(info().peer),
                               .transport = transport_,
                               .started_ms = now - to_ms(instance_.io.now() - started_),
                               .ended_ms = now,
                               .bytes_in = bytes_in_,
                               .bytes_out = bytes_out_,
                               .messages = messages_,
                               .ended_by = std::string(refused_                ? to_string(refusal_)
                                                       : why == NetError::none ? to_string(NetError::closed)
                                                                               : to_string(why))});
}

SessionStatus StreamConnection::status() const {
  const Duration now = Loop::now();
  return {.id = id_,
          .service = instance_.configuration.name,
          .peer = std::string(info().peer),
          .transport = transport_,
          .started_ms = unix_ms() - to_ms(now - started_),
          .idle_ms = to_ms(now - last_activity_),
          .bytes_in = bytes_in_,
          .bytes_out = bytes_out_,
          .messages = messages_,
          .unsent = unsent()};
}

}  // namespace portolan
