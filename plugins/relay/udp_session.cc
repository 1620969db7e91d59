#include "plugins/relay/udp_session.h"

#include "base/callback.h"
#include "base/net_error.h"
#include "plugins/relay/relay_service.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

namespace portolan::relay {

UdpSession::Faults::Faults(RelayService& service, UdpSession& session, const FaultSet::Shared& set, std::uint64_t id)
    : to_backend(set, FaultDirection::to_backend, id, service.now()),
      to_client(set, FaultDirection::to_client, id, service.now()),
      timer(service.context().timer(session)) {}

UdpSession* UdpSession::begin(RelayService& service, DatagramPeer& peer) noexcept {
  service.state().retry_budget().session(service.now());
  std::string_view why = "out of memory";
  contain("a datagram's session", [&] {
    std::vector<const Backend*> tried;
    while (tried.size() < service.settings().retry.attempts) {
      auto place = service.choose(peer, tried);
      if (!place) {
        why = to_sentence(place.error());
        return;
      }
      tried.push_back(place->member().backend.get());
      auto session = std::make_unique<UdpSession>(service, peer, std::move(*place));
      if (!session->connect()) {
        why = "no link to it";
        continue;
      }
      peer.attach(*session.release());
      return;
    }
  });
  if (auto* session = static_cast<UdpSession*>(peer.handler())) {
    session->faults_changed();
    return session;
  }
  service.context().count(kNoBackend);
  contain("a message", [&] {
    service.context().log(LogLevel::warning, fmt::format("a datagram of {} has no backend: {}", peer.info().peer, why));
  });
  peer.end();
  return nullptr;
}

bool UdpSession::connect() noexcept {
  service_.context().count(kDials);
  link_ = service_.context().link(service_.target(place_.member()), *this);
  if (link_) {
    place_.connected(Duration::zero());
    return true;
  }
  service_.context().count(kDialsFailed);
  place_.failed(Failure::dial, "no link to it", service_.now(), service_.events());
  return false;
}

UdpSession::UdpSession(RelayService& service, DatagramPeer& peer, Place place) noexcept
    : service_(service), peer_(peer), place_(std::move(place)) {
  service_.peers.add(*this);
}

UdpSession::~UdpSession() {
  service_.peers.remove(*this);
  if (link_) link_->release();
}

void UdpSession::from_client(std::span<const std::byte> data) noexcept {
  if (!faults_) return link_->send(data);
  contain("faults", [&] { faults_->to_backend.push(data, service_.now()); });
  pass_on();
}

void UdpSession::on_datagram(std::span<const std::byte> data) noexcept {
  if (!answered_) {
    answered_ = true;
    place_.answered(service_.now(), service_.events());
    service_.publish();
  }
  if (!faults_) return peer_.reply(data);
  contain("faults", [&] { faults_->to_client.push(data, service_.now()); });
  pass_on();
}

void UdpSession::on_refused(NetError why) noexcept {
  service_.context().count(kDialsFailed);
  place_.failed(Failure::dial, to_sentence(why), service_.now(), service_.events());
  service_.publish();
  peer_.end();
}

void UdpSession::on_end() noexcept { delete this; }

// ---- With faults ---------------------------------------------------------------------------------------------

void UdpSession::faults_changed() noexcept {
  const FaultSet::Shared& set = service_.faults();
  const bool wanted = set && set->applies(FaultDirection::both, Carrier::datagrams);
  contain("faults", [&] {
    if (faults_) {
      faults_->to_backend.change(set, service_.now());
      faults_->to_client.change(set, service_.now());
    } else if (wanted) {
      faults_ = std::make_unique<Faults>(service_, *this, set, peer_.info().id);
    }
  });
  if (faults_) pass_on();
  if (faults_ && !faults_->to_backend.needed() && !faults_->to_client.needed()) faults_.reset();
}

void UdpSession::on_timer() noexcept { pass_on(); }

void UdpSession::pass_on() noexcept {
  const Duration now = service_.now();
  while (const auto data = faults_->to_backend.pop(now)) link_->send(*data);
  while (const auto data = faults_->to_client.pop(now)) peer_.reply(*data);
  const Duration next = std::min(faults_->to_backend.next_due(), faults_->to_client.next_due());
  next == Duration::max() ? faults_->timer->stop()
                          : faults_->timer->start(std::max(next - now, Duration::zero()), false);
}

}  // namespace portolan::relay
