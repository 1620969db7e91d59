#include "rudp/endpoint.h"

#include "base/callback.h"
#include "rudp/cookie.h"
#include "rudp/engine.h"
#include "rudp/frames.h"

#include <algorithm>
#include <deque>
#include <unordered_map>
#include <utility>

namespace portolan::rudp {

namespace {

// Answers to who is nobody yet: refusals, retries, resets. So many in a row, and so many a second.
constexpr double kStraysAtOnce = 64;
constexpr double kStraysPerSecond = 1000;
constexpr std::size_t kMostStrays = 256;  // that wait to be sent

}  // namespace

struct Endpoint::State final : EngineOwner {
  State(const EndpointOptions& given, EndpointHandler& its_handler) : options(given), handler(its_handler) {}

  void on_engine_wake(ConnectionEngine& engine) noexcept override {
    contain("a connection's turn", [&] { queue.stand_in_line(engine); });
    if (!inside) handler.on_wake();
  }
  ConnectionHandler* on_engine_accepted(Connection& connection) noexcept override {
    return handler.on_connection(connection);
  }

  std::uint64_t fresh_id() {
    for (;;) {
      const Secret random = Secret::random();
      const std::uint64_t id = Reader(random.bytes()).u64();
      if (id != 0 && in_its_place(id) && !engines.contains(id)) return id;
    }
  }
  bool in_its_place(std::uint64_t id) const noexcept {
    return static_cast<std::uint32_t>(id) % options.places == options.place;
  }
  ConnectionEngine* find(std::uint64_t id) noexcept {
    const auto found = engines.find(id);
    return found == engines.end() ? nullptr : found->second.get();
  }

  void on_initial(const Address& from, const Address& to, std::span<const std::byte> datagram);
  void on_unknown(const Address& from, const Address& to, std::uint64_t id);
  void refuse(const Address& from, const Address& to, std::uint64_t id, HandshakeError why);
  // Queues an answer to who has no connection. Nothing when there are too many.
  void answer(const Address& to, const Address& from, std::span<const std::byte> data);
  std::array<std::byte, 16> reset_token(std::uint64_t id) const;
  // In steps by number: whoever is told may open connections.
  void tell_all();
  void own(std::unique_ptr<ConnectionEngine> engine);
  void forget(ConnectionEngine& engine) noexcept;

  EndpointOptions options;
  EndpointHandler& handler;
  std::unordered_map<std::uint64_t, std::unique_ptr<ConnectionEngine>> engines;  // by our connection id
  std::unordered_map<std::uint64_t, std::uint64_t> accepted;  // ours by the initiator's, of those that are half open
  std::optional<CookieMaker> cookies;
  Secret reset_key = Secret::random();
  struct Stray {
    Address to;
    Address from;
    std::array<std::byte, 64> data;
    std::size_t size;
  };
  std::deque<Stray> strays;
  double stray_credit = kStraysAtOnce;
  Duration stray_at{};
  EngineQueue<ConnectionEngine> queue;
  Duration now{};
  bool inside = false;  // of a call of the owner's: it looks at the deadline when that returns
};

// ---- Handshakes of peers -------------------------------------------------------------------------------------

// type | version | initiator's id | cookie's size | cookie | message's size | message 1 | zeros
void Endpoint::State::on_initial(const Address& from, const Address& to, std::span<const std::byte> datagram) {
  Reader in(datagram);
  in.u8();
  const std::uint32_t version = in.u32();
  const std::uint64_t initiator = in.u64();
  if (in.failed() || datagram.size() < kBaseDatagram || !options.accepts) return;
  if (version != kVersion) {
    std::array<std::byte, 1 + 8 + 1 + 4> bytes;
    Writer out(bytes);
    out.u8(packet_type::kVersions);
    out.u64(initiator);
    out.u8(1);
    out.u32(kVersion);
    return answer(from, to, bytes);
  }
  const Bytes cookie = in.bytes(in.u8());
  const Bytes message = in.bytes(in.u16());
  if (in.failed()) return;
  if (const auto known = accepted.find(initiator); known != accepted.end()) {
    ConnectionEngine* engine = find(known->second);
    if (engine && engine->peer() == from) {
      queue.stand_in_line(*engine);
      return engine->repeat_accept();
    }
  }
  if (engines.size() >= options.max_connections) return refuse(from, to, initiator, HandshakeError::unavailable);

  const auto prologue = handshake_prologue(initiator);
  if (options.half_open == 0 || !cookie.empty() || accepted.size() >= options.half_open) {
    if (!cookies) cookies.emplace(now);
    const CookieMaker::Claim claim{from, Bytes(prologue).subspan(4), {}};
    if (cookies->verify(now, claim, cookie) != CookieVerdict::good) {
      const Cookie fresh = cookies->make(now, claim);
      std::array<std::byte, 1 + 4 + 8 + kCookieSize> bytes;
      Writer out(bytes);
      out.u8(packet_type::kRetry);
      out.u32(kVersion);
      out.u64(initiator);
      out.bytes(fresh);
      return answer(from, to, bytes);
    }
  }
  Handshake handshake = Handshake::responder(options.connection.key, prologue);
  const auto parameters = handshake.read_message1(message);
  if (!parameters) return refuse(from, to, initiator, as_peer_sees(parameters.error()));
  const std::uint64_t id = fresh_id();
  const auto token = reset_token(id);
  auto engine = std::make_unique<ConnectionEngine>(*this, options.connection, from, to, id, initiator,
                                                   std::move(handshake), parameters->view(), token, now);
  accepted[initiator] = id;
  own(std::move(engine));
}

// type | version | initiator's id | why
void Endpoint::State::refuse(const Address& from, const Address& to, std::uint64_t id, HandshakeError why) {
  std::array<std::byte, 1 + 4 + 8 + 1> bytes;
  Writer out(bytes);
  out.u8(packet_type::kRefused);
  out.u32(kVersion);
  out.u64(id);
  out.u8(static_cast<std::uint8_t>(why));
  answer(from, to, bytes);
}

// ---- Strays --------------------------------------------------------------------------------------------------

std::array<std::byte, 16> Endpoint::State::reset_token(std::uint64_t id) const {
  std::array<std::byte, 8> bytes;
  Writer(bytes).u64(id);
  constexpr std::string_view kLabel = "rudp reset";
  Secret whole;
  std::array<std::byte, 16> token{};
  if (hmac_sha256(reset_key, {std::as_bytes(std::span(kLabel)), bytes}, whole))
    std::ranges::copy(whole.bytes().first<16>(), token.begin());
  return token;
}

// type | our connection id, as the packet had it | token
void Endpoint::State::on_unknown(const Address& from, const Address& to, std::uint64_t id) {
  if (!options.accepts || !in_its_place(id)) return;
  std::array<std::byte, 1 + 8 + 16> bytes;
  Writer out(bytes);
  out.u8(packet_type::kReset);
  out.u64(id);
  out.bytes(reset_token(id));
  answer(from, to, bytes);
}

void Endpoint::State::answer(const Address& to, const Address& from, std::span<const std::byte> data) {
  const double elapsed = std::chrono::duration<double>(now - stray_at).count();
  stray_credit = std::min(kStraysAtOnce, stray_credit + elapsed * kStraysPerSecond);
  stray_at = now;
  // Cookies go first: they let the honest in while there is a flood.
  const bool cookie = std::to_integer<std::uint8_t>(data[0]) == packet_type::kRetry;
  if (strays.size() >= kMostStrays || (stray_credit < 1 && !cookie)) return;
  if (!cookie) stray_credit -= 1;
  Stray& stray = strays.emplace_back();
  stray.to = to;
  stray.from = from;
  stray.size = data.size();
  std::ranges::copy(data, stray.data.begin());
}

// ---- Endpoint ------------------------------------------------------------------------------------------------

Endpoint::Endpoint(const EndpointOptions& options, EndpointHandler& handler)
    : state_(std::make_unique<State>(options, handler)) {
  if (options.reset_key) state_->reset_key = *options.reset_key;
}
Endpoint::~Endpoint() = default;

Connection* Endpoint::connect(const Address& to, const ConnectionOptions& options, ConnectionHandler& handler,
                              Duration now) noexcept {
  Connection* connection = nullptr;
  state_->now = now;
  contain("a connection", [&] {
    const std::uint64_t id = state_->fresh_id();
    auto engine = std::make_unique<ConnectionEngine>(*state_, options, to, handler, id, now);
    Connection& made = engine->connection();
    state_->own(std::move(engine));
    connection = &made;
  });
  return connection;
}

void Endpoint::receive(const Address& from, const Address& to, std::span<std::byte> data, Duration now) noexcept {
  State& state = *state_;
  state.now = now;
  if (data.empty()) return;
  const std::uint8_t type = std::to_integer<std::uint8_t>(data[0]);
  if (type < packet_type::kOurs) return state.handler.on_foreign_datagram(from, to, data);
  state.inside = true;
  contain("a packet", [&] {
    Reader in(data);
    in.u8();
    if ((type & packet_type::kDataMask) == packet_type::kData) {
      const std::uint64_t id = in.u64();
      if (in.failed()) return;
      ConnectionEngine* engine = state.find(id);
      if (!engine) return state.on_unknown(from, to, id);
      state.queue.stand_in_line(*engine);
      const bool was_half_open = engine->state() == ConnectionEngine::State::half_open;
      engine->on_data_packet(from, to, data, now);
      if (was_half_open && engine->state() != ConnectionEngine::State::half_open)
        state.accepted.erase(engine->peer_id());
      return engine->deliver_events();
    }
    if (type == packet_type::kInitial) return state.on_initial(from, to, data);
    if (type == packet_type::kReset) {
      // It names the connection id that we had put into our packet: the peer's.
      const std::uint64_t id = in.u64();
      const Bytes token = in.bytes(16);
      if (in.failed()) return;
      for (auto& [own, engine] : state.engines)
        if (engine->peer_id() == id && engine->peer() == from) {
          state.queue.stand_in_line(*engine);
          engine->on_reset(std::span<const std::byte, 16>(token.data(), 16));
          return engine->deliver_events();
        }
      return;
    }
    if (type != packet_type::kVersions) {
      if (in.u32() != kVersion) return;
    }
    ConnectionEngine* engine = state.find(in.u64());
    if (in.failed() || !engine || engine->peer() != from) return;
    state.queue.stand_in_line(*engine);
    switch (type) {
      case packet_type::kAccept: engine->on_accept(in, now); break;
      case packet_type::kRetry: {
        const Bytes cookie = in.rest();
        if (cookie.size() <= 255) engine->on_retry(cookie, now);
        break;
      }
      case packet_type::kVersions: engine->on_versions(in); break;
      case packet_type::kRefused: {
        const std::uint8_t why = in.u8();
        if (in.failed()) return;
        engine->on_refused(static_cast<HandshakeError>(why), why);
        break;
      }
      default: return;
    }
    engine->deliver_events();
  });
  state.inside = false;
}

void Endpoint::State::own(std::unique_ptr<ConnectionEngine> engine) {
  ConnectionEngine& its = *engine;
  engines.emplace(its.own_id(), std::move(engine));
  queue.stand_in_line(its);
}

void Endpoint::State::forget(ConnectionEngine& engine) noexcept {
  queue.remove(engine);
  if (const auto known = accepted.find(engine.peer_id()); known != accepted.end() && known->second == engine.own_id())
    accepted.erase(known);
  engines.erase(engine.own_id());
}

void Endpoint::State::tell_all() {
  for (std::size_t i = 0; i < queue.in_line();) {
    ConnectionEngine& engine = *queue.in_line(i);
    engine.deliver_events();
    engine.finished() ? forget(engine) : static_cast<void>(++i);
  }
}

bool Endpoint::transmit(Train& train, std::span<std::byte> buffer, Duration now) noexcept {
  State& state = *state_;
  state.now = now;
  bool built = false;
  state.inside = true;
  contain("a packet to send", [&] {
    if (!state.strays.empty()) {
      const State::Stray& stray = state.strays.front();
      std::ranges::copy(std::span(stray.data).first(stray.size), buffer.begin());
      train = {.to = stray.to, .from = stray.from, .data = buffer.first(stray.size), .segment = stray.size};
      state.strays.pop_front();
      built = true;
      return;
    }
    while (ConnectionEngine* engine = state.queue.front()) {
      built = engine->transmit(train, buffer, now);
      if (built) return state.queue.rotate();
      state.queue.rest(engine->deadline(now));
    }
  });
  state.inside = false;
  return built;
}

Duration Endpoint::deadline() const noexcept {
  const State& state = *state_;
  return !state.strays.empty() || state.queue.front() ? state.now : state.queue.next_time();
}

void Endpoint::on_timeout(Duration now) noexcept {
  State& state = *state_;
  state.now = now;
  state.inside = true;
  contain("a timeout", [&] {
    while (ConnectionEngine* engine = state.queue.take_due(now)) {
      state.queue.stand_in_line(*engine);
      engine->on_timeout(now);
    }
    state.tell_all();
  });
  state.inside = false;
}

void Endpoint::too_long(const Address& to, std::size_t segment, Duration now) noexcept {
  for (auto& [id, engine] : state_->engines)
    if (engine->peer() == to) engine->too_long(segment, now);
}

void Endpoint::set_options(const EndpointOptions& options) noexcept { state_->options = options; }

std::size_t Endpoint::connections() const noexcept { return state_->engines.size(); }

void Endpoint::close_all(std::uint64_t code, std::string_view reason) noexcept {
  for (auto& [id, engine] : state_->engines) engine->connection().close(code, reason);
}

Duration Endpoint::now() const noexcept { return state_->now; }

}  // namespace portolan::rudp
