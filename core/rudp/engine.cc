#include "rudp/engine.h"

#include "base/callback.h"
#include "rudp/endpoint.h"

#include <algorithm>
#include <utility>

namespace portolan::rudp {

namespace {

// When the INITIAL is sent again: soon, since on a bad link it is lost as often as anything; then less often.
constexpr Duration kFirstRepeat = std::chrono::milliseconds(150);
constexpr Duration kMostRepeat = std::chrono::seconds(1);
constexpr std::size_t kMostReason = 256;
// A refusal is not authenticated: it may be a forgery, or of what was spoilt on its way, while a genuine answer still comes.
constexpr unsigned kRefusals = 4;

}  // namespace

std::array<std::byte, 12> handshake_prologue(std::uint64_t initiator_id) noexcept {
  std::array<std::byte, 12> bytes;
  Writer out(bytes);
  out.u32(kVersion);
  out.u64(initiator_id);
  return bytes;
}

std::string_view to_string(CloseReason::Kind kind) noexcept {
  switch (kind) {
    case CloseReason::Kind::local: return "closed";
    case CloseReason::Kind::peer: return "closed by the peer";
    case CloseReason::Kind::forgotten: return "the peer no longer knows the connection";
    case CloseReason::Kind::idle: return "nothing was heard for too long";
    case CloseReason::Kind::no_answer: return "no answer";
    case CloseReason::Kind::refused: return "refused";
    case CloseReason::Kind::key: return "the keys do not match";
    case CloseReason::Kind::version: return "no version in common";
    case CloseReason::Kind::protocol: return "the protocol was broken";
    case CloseReason::Kind::limit: return "a limit of the cipher";
  }
  return "";
}

ConnectionEngine::ConnectionEngine(EngineOwner& owner, const ConnectionOptions& options, const Address& peer,
                                   ConnectionHandler& handler, std::uint64_t own_id, Duration now)
    : owner_(owner),
      options_(options),
      handler_(&handler),
      state_(State::connecting),
      initiator_(true),
      now_(now),
      peer_(peer),
      own_id_(own_id),
      began_at_(now),
      initial_due_at_(now),
      recovery_(options, *this),
      streams_(options, true),
      messages_(options),
      mtu_(options.max_datagram),
      idle_timeout_(options.idle_timeout),
      last_received_at_(now),
      last_sent_at_(now),
      fec_policy_(FecPolicy::Options{.budget = options.redundancy_budget}) {
  handshake_.emplace(Handshake::initiator(options.key, handshake_prologue(own_id)));
  if (const auto message = handshake_->write_message1(own_parameters())) {
    first_message_.assign(message->view().begin(), message->view().end());
  } else {
    end(CloseReason::Kind::protocol, close_code::kProtocol, to_string(message.error()));
  }
}

ConnectionEngine::ConnectionEngine(EngineOwner& owner, const ConnectionOptions& options, const Address& peer,
                                   const Address& local, std::uint64_t own_id, std::uint64_t peer_id,
                                   Handshake&& handshake, Bytes parameters, std::span<const std::byte, 16> reset_token,
                                   Duration now)
    : owner_(owner),
      options_(options),
      handler_(nullptr),
      state_(State::half_open),
      initiator_(false),
      now_(now),
      peer_(peer),
      local_(local),
      own_id_(own_id),
      peer_id_(peer_id),
      handshake_(std::move(handshake)),
      began_at_(now),
      recovery_(options, *this),
      streams_(options, false),
      messages_(options),
      mtu_(options.max_datagram),
      idle_timeout_(options.idle_timeout),
      last_received_at_(now),
      last_sent_at_(now),
      fec_policy_(FecPolicy::Options{.budget = options.redundancy_budget}) {
  Reader in(parameters);
  std::vector<std::byte> answer(8);
  Writer(answer).u64(own_id);
  answer.insert(answer.end(), reset_token.begin(), reset_token.end());
  const std::vector<std::byte> own = own_parameters();
  answer.insert(answer.end(), own.begin(), own.end());
  const auto message = handshake_->write_message2(answer);
  const bool understood = message && read_parameters(in);
  const auto secrets = handshake_->split();
  if (!understood || !secrets) {
    end(CloseReason::Kind::protocol, close_code::kProtocol, "");
    return;
  }
  first_message_.assign(message->view().begin(), message->view().end());
  sealer_.emplace(secrets->cipher, secrets->outgoing);
  opener_.emplace(secrets->cipher, secrets->incoming);
  accept_due_ = true;
}

ConnectionEngine::~ConnectionEngine() = default;

// ---- Handshake -----------------------------------------------------------------------------------------------

// What each side tells of itself, in this order; more may follow in versions to come.
std::vector<std::byte> ConnectionEngine::own_parameters() const {
  std::vector<std::byte> bytes(64);
  Writer out(bytes);
  const PeerLimits limits = streams_.own_limits();
  out.varint(limits.max_data);
  out.varint(limits.max_stream_data);
  out.varint(limits.max_streams);
  out.varint(messages_.max_message());
  out.varint(options_.max_datagram);
  out.varint(
      static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(options_.idle_timeout).count()));
  bytes.resize(out.size());
  return bytes;
}

bool ConnectionEngine::read_parameters(Reader& in) {
  PeerLimits limits;
  limits.max_data = in.varint();
  limits.max_stream_data = in.varint();
  limits.max_streams = in.varint();
  const std::uint64_t max_message = in.varint();
  const std::uint64_t max_datagram = in.varint();
  const std::uint64_t idle_ms = in.varint();
  if (in.failed()) return false;
  streams_.set_peer_limits(limits);
  messages_.set_peer_limit(static_cast<std::size_t>(std::min<std::uint64_t>(max_message, Messages::kMostBytes)));
  mtu_.limit(static_cast<std::size_t>(std::min<std::uint64_t>(max_datagram, kLargestDatagram)));
  constexpr std::uint64_t kMostIdle = 24ULL * 3600 * 1000;
  if (idle_ms > 0)
    idle_timeout_ = std::min<Duration>(idle_timeout_, std::chrono::milliseconds(std::min(idle_ms, kMostIdle)));
  return true;
}

void ConnectionEngine::on_accept(Reader& in, Duration now) {
  now_ = now;
  if (state_ != State::connecting) return;
  const Bytes message = in.bytes(in.u16());
  if (in.failed()) return;
  const auto payload = handshake_->read_message2(message);
  if (!payload) {
    // Perhaps a forgery; and where it is not, the peer's key is another one, and nothing better comes.
    on_refused(payload.error(), 0);
    return;
  }
  Reader parameters(payload->view());
  const std::uint64_t peer_id = parameters.u64();
  const Bytes token = parameters.bytes(16);
  if (!read_parameters(parameters)) return end(CloseReason::Kind::protocol, 0, "an answer that is malformed");
  const auto secrets = handshake_->split();
  if (!secrets) return;
  sealer_.emplace(secrets->cipher, secrets->outgoing);
  opener_.emplace(secrets->cipher, secrets->incoming);
  peer_id_ = peer_id;
  reset_token_.emplace();
  std::ranges::copy(token, reset_token_->begin());
  last_received_at_ = now;
  // Karn: which of several it answers is not known.
  if (initials_ == 1) recovery_.on_handshake(now - initial_sent_at_, now);
  become_open(now);
  ping_due_ = true;  // the acceptor waits for a packet that opens
}

void ConnectionEngine::become_open(Duration now) {
  state_ = State::open;
  first_message_ = {};
  handshake_.reset();
  // Which of several it answers is not known (Karn's rule).
  if (!initiator_ && accepts_ == 1) recovery_.on_handshake(now - accepted_at_, now);
  if (options_.redundancy == Redundancy::fec)
    contain("forward error correction",
            [&] { fec_encoder_.emplace(fec_policy_, FecEncoder::Options{.max_frames = kMostProtected}); });
}

void ConnectionEngine::on_retry(Bytes cookie, Duration now) {
  // One for each INITIAL. A later one stands: the first may have been spoilt, or a forgery.
  if (state_ != State::connecting || cookie.empty() || retried_at_ >= initial_sent_at_) return;
  retried_at_ = now;
  cookie_.assign(cookie.begin(), cookie.end());
  initials_ = 0;
  initial_due_at_ = now;
}

void ConnectionEngine::on_versions(Reader& in) {
  if (state_ != State::connecting) return;
  const unsigned count = in.u8();
  for (unsigned i = 0; i < count; ++i)
    if (in.u32() == kVersion) return;  // nonsense: it was this one that was offered
  if (in.failed() || !refused_often()) return;
  end(CloseReason::Kind::version, 0, "the peer speaks other versions of the protocol");
}

// One for each INITIAL: who forges them in one go is not believed either.
bool ConnectionEngine::refused_often() noexcept {
  if (refused_initial_ == initials_) return false;
  refused_initial_ = initials_;
  return ++refusals_ >= kRefusals;
}

void ConnectionEngine::on_refused(HandshakeError why, std::uint8_t code) {
  if (state_ != State::connecting || !refused_often()) return;
  switch (why) {
    case HandshakeError::peer_has_no_key:
    case HandshakeError::peer_has_key:
    case HandshakeError::wrong_key: return end(CloseReason::Kind::key, code, to_string(why));
    default: return end(CloseReason::Kind::refused, code, "the peer takes no connection");
  }
}

void ConnectionEngine::on_reset(std::span<const std::byte, 16> token) {
  if (state_ != State::open || !reset_token_ || !equal_in_constant_time(token, *reset_token_)) return;
  end(CloseReason::Kind::forgotten, 0, "");
}

bool ConnectionEngine::build_initial(Train& train, std::span<std::byte> buffer, Duration now) {
  Writer out(buffer.first(kBaseDatagram));
  out.u8(packet_type::kInitial);
  out.u32(kVersion);
  out.u64(own_id_);
  out.u8(static_cast<std::uint8_t>(cookie_.size()));
  out.bytes(cookie_);
  out.u16(static_cast<std::uint16_t>(first_message_.size()));
  out.bytes(first_message_);
  out.zeros(out.room());  // so that an answer can be no amplification
  train = to_peer(out.written(), out.size());
  initial_sent_at_ = now;
  initial_due_at_ = now + std::min(kFirstRepeat * (1 << std::min(initials_, 4U)), kMostRepeat);
  ++initials_;
  return true;
}

bool ConnectionEngine::build_accept(Train& train, std::span<std::byte> buffer) {
  Writer out(buffer.first(kBaseDatagram));
  out.u8(packet_type::kAccept);
  out.u32(kVersion);
  out.u64(peer_id_);
  out.u16(static_cast<std::uint16_t>(first_message_.size()));
  out.bytes(first_message_);
  accept_due_ = false;
  accepted_at_ = now_;
  ++accepts_;
  train = to_peer(out.written(), out.size());
  return true;
}

// ---- Time ----------------------------------------------------------------------------------------------------

Duration ConnectionEngine::deadline(Duration now) const noexcept {
  switch (state_) {
    case State::closed: return now;
    case State::connecting:
      if (end_told_) return now;
      return std::min(initial_due_at_, began_at_ + options_.handshake_timeout);
    case State::half_open: return accept_due_ ? now : began_at_ + options_.handshake_timeout;
    case State::closing:
    case State::draining: return close_due_ || !end_told_ ? now : close_until_;
    case State::open: break;
  }
  Duration next =
      std::min({last_received_at_ + idle_timeout_, recovery_.deadline(), acknowledger_.deadline(), keep_alive_at()});
  if (fec_encoder_) next = std::min(next, fec_encoder_->deadline());
  if (candidate_) next = std::min(next, candidate_->due_at);
  if (response_) next = now;
  if (recovery_.window_open()) {
    if (has_content()) next = std::min(next, recovery_.next_send_at());
    next = std::min(next, mtu_.deadline());
  }
  return next;
}

void ConnectionEngine::on_timeout(Duration now) {
  now_ = now;
  switch (state_) {
    case State::connecting:
      if (now - began_at_ >= options_.handshake_timeout) end(CloseReason::Kind::no_answer, 0, "no answer");
      return;
    case State::half_open:
      if (now - began_at_ >= options_.handshake_timeout) {
        state_ = State::closed;
        end_told_ = true;  // nobody was told of its beginning
      }
      return;
    case State::closing:
    case State::draining:
      if (now >= close_until_) state_ = State::closed;
      return;
    case State::closed: return;
    case State::open: break;
  }
  if (now - last_received_at_ >= idle_timeout_)
    return end(CloseReason::Kind::idle, 0, "nothing was heard from the peer");
  recovery_.on_timeout(now);
  if (fec_encoder_) fec_encoder_->close(now);
  if (now >= keep_alive_at()) ping_due_ = true;
  if (candidate_ && now >= candidate_->due_at && candidate_->sent >= 5) candidate_.reset();
}

void ConnectionEngine::too_long(std::size_t segment, Duration now) {
  if (mtu_.too_long(segment, now)) recovery_.on_datagram_size(mtu_.size());
}

// ---- The end -------------------------------------------------------------------------------------------------

// Without a word to the peer.
void ConnectionEngine::end(CloseReason::Kind kind, std::uint64_t code, std::string_view text) {
  if (state_ == State::closed || state_ == State::closing || state_ == State::draining) return;
  // Who was never told of it is not told of its end either.
  if (state_ == State::half_open || !handler_) end_told_ = true;
  state_ = State::closed;
  reason_ = {.kind = kind, .code = code, .text = std::string(text)};
  wake();
}

void ConnectionEngine::close_with(CloseReason::Kind kind, std::uint64_t wire_code, std::string_view text) {
  if (state_ != State::open) {
    return end(kind, wire_code, text);
  }
  text = text.substr(0, kMostReason);
  close_frame_.resize(1 + 8 + 2 + text.size());
  Writer out(close_frame_);
  out.u8(static_cast<std::uint8_t>(FrameType::close));
  out.varint(wire_code);
  out.varint(text.size());
  out.bytes(std::as_bytes(std::span(text)));
  close_frame_.resize(out.size());
  reason_ = {.kind = kind, .code = wire_code, .text = std::string(text)};
  state_ = State::closing;
  close_due_ = true;
  close_until_ = now_ + 3 * recovery_.probe_timeout();
  wake();
}

void ConnectionEngine::close(std::uint64_t code, std::string_view reason) {
  code = std::min(code, kMaxVarint - close_code::kApplication);
  close_with(CloseReason::Kind::local, code == 0 ? close_code::kNone : code + close_code::kApplication, reason);
  reason_.code = code;
}

void ConnectionEngine::deliver_events() {
  if (end_told_) return;
  if (state_ == State::open && !opened_told_) {
    opened_told_ = true;
    if (!handler_) handler_ = owner_.on_engine_accepted(connection_);
    if (!handler_) {
      end_told_ = true;
      return close_with(CloseReason::Kind::refused, close_code::kRefused, "not accepted");
    }
    handler_->on_connected(connection_);
  }
  // By index: who is told may write, consume, open streams, and so cause more.
  std::vector<Streams::Event>& events = streams_.events();
  for (std::size_t i = 0; i < events.size() && !end_told_ && (state_ == State::open || state_ == State::draining);
       ++i) {
    const Streams::Event event = events[i];
    switch (event.kind) {
      case Streams::Event::Kind::opened: handler_->on_stream(connection_, event.stream); break;
      case Streams::Event::Kind::readable: handler_->on_readable(connection_, event.stream); break;
      case Streams::Event::Kind::writable: handler_->on_writable(connection_, event.stream); break;
      case Streams::Event::Kind::delivered: handler_->on_delivered(connection_, event.stream); break;
      case Streams::Event::Kind::reset: handler_->on_reset(connection_, event.stream, event.code); break;
      case Streams::Event::Kind::stopped: handler_->on_stop(connection_, event.stream, event.code); break;
    }
  }
  events.clear();
  for (std::size_t i = 0; i < messages_.whole().size() && handler_; ++i)
    handler_->on_message(connection_, messages_.whole()[i]);
  messages_.clear_whole();
  streams_.sweep();
  if (state_ == State::closed || state_ == State::closing || state_ == State::draining) {
    end_told_ = true;
    handler_->on_closed(connection_, reason_);
  }
}

// ---- The user's ----------------------------------------------------------------------------------------------

std::expected<StreamId, std::string_view> ConnectionEngine::open_stream(unsigned weight) {
  if (state_ != State::open && state_ != State::connecting) return std::unexpected("the connection is closing");
  StreamId id = 0;
  if (!streams_.open(weight, id)) return std::unexpected("the peer allows no more streams at a time");
  return id;
}

std::size_t ConnectionEngine::write(StreamId stream, std::span<const std::byte> data) {
  if (state_ != State::open && state_ != State::connecting) return 0;
  const std::size_t taken = streams_.write(stream, data);
  if (taken > 0) wake();
  return taken;
}

void ConnectionEngine::finish(StreamId stream) {
  streams_.finish(stream);
  wake();
}

void ConnectionEngine::reset(StreamId stream, std::uint64_t code) {
  streams_.reset(stream, std::min(code, kMaxVarint));
  wake();
}

void ConnectionEngine::consume(StreamId stream, std::size_t bytes) {
  streams_.consume(stream, bytes);
  if (streams_.has_control()) wake();
}

void ConnectionEngine::stop(StreamId stream, std::uint64_t code) {
  streams_.stop(stream, std::min(code, kMaxVarint));
  wake();
}

bool ConnectionEngine::send_message(std::span<const std::byte> data, const MessageOptions& options) {
  if (state_ != State::open && state_ != State::connecting) return false;
  // As much as a packet has that repairs protect: it may happen to be in one.
  const std::size_t room = max_protected_frames(mtu_.size() - kDataHeader - kMaxPacketOverhead);
  if (!messages_.send(data, options, room, now_)) return false;
  wake();
  return true;
}

ConnectionStatistics ConnectionEngine::statistics() const noexcept {
  ConnectionStatistics all;
  recovery_.fill(all);
  all.datagram_size = mtu_.size();
  all.packets_sent = packets_sent_;
  all.packets_received = packets_received_;
  all.packets_recovered = packets_recovered_;
  all.bytes_sent = bytes_sent_;
  all.bytes_received = bytes_received_;
  all.stream_bytes_retransmitted = streams_.retransmitted();
  all.messages_expired = messages_.expired();
  all.path_changes = path_changes_;
  return all;
}

// ---- FrameOwner ----------------------------------------------------------------------------------------------

void ConnectionEngine::on_frame_acknowledged(const SentFrame& frame) {
  frame.kind == SentFrame::Kind::message ? messages_.on_acknowledged(frame) : streams_.on_acknowledged(frame);
}

void ConnectionEngine::on_frame_lost(const SentFrame& frame) {
  frame.kind == SentFrame::Kind::message ? messages_.on_lost(frame) : streams_.on_lost(frame);
}

void ConnectionEngine::on_mtu_probe(std::size_t bytes, bool acknowledged) {
  if (mtu_.on_probe(bytes, acknowledged, now_)) recovery_.on_datagram_size(mtu_.size());
}

void ConnectionEngine::on_large_packet_fate(bool acknowledged) {
  if (mtu_.on_large_packet(acknowledged, now_)) recovery_.on_datagram_size(mtu_.size());
}

// ---- Connection ----------------------------------------------------------------------------------------------

std::expected<StreamId, std::string_view> Connection::open_stream(unsigned weight) noexcept {
  std::expected<StreamId, std::string_view> result = std::unexpected("out of memory");
  contain("a stream", [&] { result = engine_.open_stream(weight); });
  return result;
}
std::size_t Connection::write(StreamId stream, std::span<const std::byte> data) noexcept {
  std::size_t taken = 0;
  contain("what is written to a stream", [&] { taken = engine_.write(stream, data); });
  return taken;
}
std::size_t Connection::writable(StreamId stream) const noexcept { return engine_.streams().writable(stream); }
void Connection::finish(StreamId stream) noexcept {
  contain("the end of a stream", [&] { engine_.finish(stream); });
}
void Connection::reset(StreamId stream, std::uint64_t code) noexcept {
  contain("the reset of a stream", [&] { engine_.reset(stream, code); });
}
std::span<const std::byte> Connection::peek(StreamId stream) const noexcept { return engine_.streams().peek(stream); }
void Connection::consume(StreamId stream, std::size_t bytes) noexcept {
  contain("what is read of a stream", [&] { engine_.consume(stream, bytes); });
}
bool Connection::ended(StreamId stream) const noexcept { return engine_.streams().ended(stream); }
void Connection::stop(StreamId stream, std::uint64_t code) noexcept {
  contain("the end of reading", [&] { engine_.stop(stream, code); });
}
std::size_t Connection::unacknowledged(StreamId stream) const noexcept {
  return engine_.streams().unacknowledged(stream);
}
bool Connection::send_message(std::span<const std::byte> data, const MessageOptions& options) noexcept {
  bool taken = false;
  contain("a message", [&] { taken = engine_.send_message(data, options); });
  return taken;
}
void Connection::close(std::uint64_t code, std::string_view reason) noexcept {
  contain("the end of a connection", [&] { engine_.close(code, reason); });
}
bool Connection::connected() const noexcept { return engine_.is_open(); }
bool Connection::protected_by_key() const noexcept { return engine_.protected_by_key(); }
const Address& Connection::peer() const noexcept { return engine_.peer(); }
ConnectionStatistics Connection::statistics() const noexcept { return engine_.statistics(); }
void Connection::set_handler(ConnectionHandler& handler) noexcept { engine_.set_handler(handler); }

}  // namespace portolan::rudp
