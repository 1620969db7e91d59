#include "dial_attempt.h"

#include "base/callback.h"
#include "base/net_error.h"
#include "base/unique_fd.h"
#include "config/core_schema.h"
#include "net/rudp_dialer.h"
#include "net/rudp_settings.h"
#include "net/stream_connection.h"
#include "net/worker_io.h"
#include "plugin/instance.h"

#include <fmt/format.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <utility>

namespace portolan {

// ---- The target ----------------------------------------------------------------------------------------------

std::expected<std::unique_ptr<OutboundTarget>, std::string> OutboundTarget::make(const TargetOptions& options,
                                                                                 const std::string& folder) {
  auto endpoint = Endpoint::parse_target(options.address);
  if (!endpoint) return std::unexpected(endpoint.error());
  std::unique_ptr<OutboundTarget> target(new OutboundTarget());
  target->text_ = options.address;
  target->endpoint_ = std::move(*endpoint);
  if (!options.source.empty()) {
    const auto source = Address::parse(options.source);
    if (!source) return std::unexpected(fmt::format("source: {}", source.error()));
    target->source_ = *source;
  }
  if (target->transport() == Transport::rudp) {
    auto rudp = read_rudp(options.rudp, folder);
    if (!rudp) return std::unexpected(rudp.error());
    target->rudp_ = std::move(*rudp);
  }
  if (target->transport() != Transport::tls) return target;
  const auto path = [&](std::string_view text) { return text.empty() ? std::string() : resolve_path(folder, text); };
  TlsClientOptions tls{.name = std::string(options.tls.name),
                       .ca = path(options.tls.ca),
                       .certificate = path(options.tls.certificate),
                       .key = path(options.tls.key),
                       .verify = options.tls.verify};
  if (!options.tls.pins.empty())
    for (const std::string_view pin : split_list(options.tls.pins, ',')) tls.pins.emplace_back(pin);
  auto context = TlsClientContext::make(tls);
  if (!context) return std::unexpected(context.error());
  target->tls_ = std::move(*context);
  return target;
}

// ---- The attempt ---------------------------------------------------------------------------------------------

Dial* DialAttempt::begin(Instance& instance, const OutboundTarget& target, Duration timeout, DialHandler& handler,
                         std::span<const std::byte> preamble) noexcept {
  DialAttempt* attempt = nullptr;
  const bool begun = contain("a connection", [&] {
    attempt = new DialAttempt(instance, target, timeout, handler, preamble);
    attempt->start();
  });
  if (!begun) delete std::exchange(attempt, nullptr);
  return attempt;
}

DialAttempt::DialAttempt(Instance& instance, const OutboundTarget& target, Duration timeout, DialHandler& handler,
                         std::span<const std::byte> preamble)
    : instance_(instance),
      target_(target),
      handler_(handler),
      deadline_(instance.io.now() + timeout),
      preamble_(preamble.begin(), preamble.end()),
      address_(target.endpoint().address) {
  instance_.attempts.add(*this, instance_.io.now());
}

DialAttempt::~DialAttempt() { instance_.attempts.remove(*this); }

void DialAttempt::start() {
  const std::string& name = target_.endpoint().name;
  if (name.empty()) return try_next();
  NameCache& names = instance_.io.names();
  if (const CachedName* known = names.find(name, AddressFamily::any)) return try_addresses(*known);
  lookup_ = names.lookup(name, AddressFamily::any, [this](const auto& result) { resolved(result); });
  wait();
}

void DialAttempt::resolved(const std::expected<CachedName, ResolveFailure>& result) noexcept {
  WorkerIo& io = instance_.io;
  io.tick();
  if (result) {
    try_addresses(*result);
  } else {
    remember(result.error().error, result.error().message);
    report(failure_);
  }
  io.settle();
}

void DialAttempt::try_addresses(const CachedName& name) noexcept {
  if (!contain("the addresses of a name", [&] { addresses_ = name.addresses; }))
    return fail_later(NetError::system, "out of memory");
  for (Address& one : addresses_) one.set_port(target_.endpoint().address.port());
  try_next();
}

socklen_t DialAttempt::socket_address(sockaddr_storage& out) const noexcept {
  const Endpoint& endpoint = target_.endpoint();
  return endpoint.transport == Transport::unix_stream ? endpoint.to_sockaddr(out) : address_.to_sockaddr(out);
}

// Begins with the next address; the last failure is the one that is told.
void DialAttempt::try_next() noexcept {
  if (!addresses_.empty()) address_ = addresses_[next_];
  ++next_;
  if (target_.transport() == Transport::rudp) return try_rudp();
  sockaddr_storage storage;
  const socklen_t length = socket_address(storage);
  UniqueFd descriptor(::socket(storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  const auto refused = [&](int error) {
    // On this machine a unix socket says so; what follows is ours, and says nothing about the target.
    if (error == EAGAIN) return fail_later(NetError::refused, "its queue of connections is full");
    if (error == EADDRNOTAVAIL) return fail_later(NetError::system, "no local port or address is left for it");
    fail_later(net_error_of(error), std::strerror(error));
  };
  if (!descriptor) {
    const bool out = errno == EMFILE || errno == ENFILE;
    return fail_later(NetError::system,
                      out ? "no file descriptor is left; raise max_descriptors" : std::strerror(errno));
  }
  const int on = 1;
  if (storage.ss_family != AF_UNIX) {
    if (instance_.configuration.no_delay) setsockopt(descriptor.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (!target_.source().empty()) {
      setsockopt(descriptor.get(), IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
      sockaddr_storage source;
      const socklen_t source_length = target_.source().to_sockaddr(source);
      if (bind(descriptor.get(), reinterpret_cast<const sockaddr*>(&source), source_length) != 0) return refused(errno);
    }
  }
  if (::connect(descriptor.get(), reinterpret_cast<const sockaddr*>(&storage), length) != 0 && errno != EINPROGRESS)
    return refused(errno);
  connection_ = StreamConnection::connect(instance_, descriptor.get(), address_, target_.transport(), *this);
  if (!connection_) return refused(ENOMEM);
  descriptor.release();
}

void DialAttempt::try_rudp() noexcept {
  std::string problem = "out of memory";
  contain("a stream of rudp", [&] {
    auto stream = instance_.io.rudp().dial(address_, target_.source(), target_.rudp());
    if (stream)
      connection_ = StreamConnection::connect(instance_, std::move(*stream), address_, *this);
    else
      problem = std::move(stream.error());
  });
  if (!connection_) fail_later(NetError::system, std::move(problem));
}

std::unique_ptr<TlsSession> DialAttempt::begin_tls(int descriptor) const {
  const Endpoint& endpoint = target_.endpoint();
  return TlsSession::connect(*target_.tls(), descriptor,
                             endpoint.name.empty() ? endpoint.address.host() : endpoint.name);
}

void DialAttempt::wait() noexcept {
  if (timer_) return;
  contain("a connection's timeout", [this] {
    timer_.emplace(instance_.io.loop(), [this] { timed_out(); });
    timer_->start(std::max(deadline_ - instance_.io.now(), Duration::zero()));
  });
}

void DialAttempt::timed_out() noexcept {
  WorkerIo& io = instance_.io;
  io.tick();
  remember(NetError::timed_out, connection_ ? "no connection in time" : "the name was not resolved in time");
  if (StreamConnection* connection = std::exchange(connection_, nullptr)) connection->abandon();
  report(NetError::timed_out);
  io.settle();
}

void DialAttempt::remember(NetError why, std::string_view message) {
  failure_ = why;
  message_ = message;
  // Which of a name's addresses it was.
  if (!addresses_.empty() && next_ > 0) message_ = fmt::format("{} ({})", message, address_.to_string());
}

// Not from inside dial: the timer that waits strikes at once instead.
void DialAttempt::fail_later(NetError why, std::string message) noexcept {
  remember(why, message);
  timer_.emplace(instance_.io.loop(), [attempt = this] {
    DialAttempt* const self = attempt;  // the timer, and with it what it has captured, goes
    WorkerIo& io = self->instance_.io;
    io.tick();
    if (self->next_ < self->addresses_.size()) {
      self->timer_.reset();
      self->wait();
      self->try_next();
    } else {
      self->report(self->failure_);
    }
    io.settle();
  });
  timer_->start(Duration::zero());
}

void DialAttempt::report(NetError why) noexcept {
  DialHandler& handler = handler_;
  const std::string message = std::move(message_);
  delete this;
  handler.on_dial_failed(why, message);
}

StreamHandler* DialAttempt::succeed(DialAttempt* attempt, Stream& stream) noexcept {
  DialHandler& handler = attempt->handler_;
  delete attempt;
  return handler.on_dial(stream);
}

void DialAttempt::fail(DialAttempt* attempt, NetError why, std::string_view message) noexcept {
  attempt->connection_ = nullptr;
  attempt->remember(why, message);
  if (attempt->next_ < attempt->addresses_.size()) return attempt->try_next();
  attempt->report(why);
}

void DialAttempt::cancel() noexcept {
  if (connection_) connection_->abandon();
  delete this;
}

}  // namespace portolan
