#include "acceptor.h"

#include "base/log.h"
#include "net/stream_connection.h"
#include "plugin/instance.h"

#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace portolan {

namespace {

// Of one event, so that a storm of connections does not starve the sessions that are there.
constexpr int kAcceptsAtOnce = 64;
constexpr Duration kRetry = std::chrono::milliseconds(100);

}  // namespace

Acceptor::Acceptor(Loop& loop, int descriptor, Transport transport, std::atomic<std::uint64_t>& pauses)
    : descriptor_(descriptor),
      transport_(transport),
      retry_(loop,
             [this] {
               if (instance_) event_.want(IoEvent::kRead);
             }),
      pauses_(pauses) {
  event_.bind(loop, descriptor, &Acceptor::on_event, this);
}

void Acceptor::serve(Instance* instance, Transport transport) noexcept {
  instance_ = instance;
  transport_ = transport;
  if (!instance) retry_.stop();
  if (!retry_.running()) event_.want(instance ? IoEvent::kRead : 0);
}

void Acceptor::on_event(int, short, void* self) noexcept {
  static_cast<Acceptor*>(self)->accept_waiting(kAcceptsAtOnce);
}

void Acceptor::empty_queue() noexcept {
  if (instance_) accept_waiting(65536);
}

void Acceptor::accept_waiting(int most) noexcept {
  instance_->io.tick();
  for (int count = 0; count < most; ++count) {
    sockaddr_storage storage{};
    socklen_t length = sizeof storage;
    auto* address = reinterpret_cast<sockaddr*>(&storage);
    const int descriptor = accept4(descriptor_, address, &length, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (descriptor < 0) {
      if (errno == EAGAIN) break;
      if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
        pause(errno);
        break;
      }
      // The connection was gone before it was ours (ECONNABORTED and the network errors of accept(2)): the next one.
      if (errno == EBADF || errno == EINVAL || errno == ENOTSOCK) break;
      continue;
    }
    paused_ = false;
    const Address peer = Address::from(address);
    const bool proxied = instance_->configuration.proxy_protocol.has_value();
    const auto admission = proxied ? instance_->admit_proxy(peer) : instance_->admit_session(peer);
    if (!admission.admitted) {
      const linger cut{.l_onoff = 1, .l_linger = 0};
      if (admission.drop) setsockopt(descriptor, SOL_SOCKET, SO_LINGER, &cut, sizeof cut);
      close(descriptor);
      continue;
    }
    StreamConnection::accept(*instance_, descriptor, peer, transport_, admission.client);
  }
  instance_->io.settle();
}

void Acceptor::pause(int error) noexcept {
  event_.want(0);
  retry_.start(kRetry);
  // Once for each time that descriptors run out, not for each look whether there is one again.
  if (std::exchange(paused_, true)) return;
  pauses_.fetch_add(1, std::memory_order_relaxed);
  instance_->refuse_message(Refusal::descriptors);
  log::print(LogLevel::warning, {instance_->configuration.name},
             "accepting pauses: {}; raise max_descriptors or lower max_sessions", std::strerror(error));
}

}  // namespace portolan
