#include "plugins/relay/relay_service.h"

#include "base/callback.h"
#include "plugins/relay/prober.h"
#include "plugins/relay/stream_session.h"
#include "plugins/relay/udp_session.h"

#include <fmt/format.h>

#include <new>
#include <utility>

namespace portolan::relay {

namespace {

// How often it is looked after those that wait, and after backends that have not answered yet.
constexpr Duration kTick = std::chrono::milliseconds(250);

Address address_of(const Stream& stream) noexcept { return Address::from(stream.peer_address()); }
Address address_of(const DatagramPeer& peer) noexcept { return Address::from(peer.peer_address()); }

std::uint64_t seed_of(const Context& context) noexcept {
  return mix(static_cast<std::uint64_t>(context.now().count()) + context.worker());
}

}  // namespace

RelayService::RelayService(Context& context, RelaySettings settings, RelayState& state,
                           std::shared_ptr<const BackendSet> set, std::vector<const Target*> targets)
    : context_(context),
      settings_(std::move(settings)),
      state_(state),
      set_(std::move(set)),
      targets_(std::move(targets)),
      on_choose_(context.hook("on_choose")),
      random_(seed_of(context)),
      balancer_(set_, settings_.balance, context.worker(), random_.next()),
      tick_(context.timer(*this)),
      queue_(state.waiters(), settings_.queue, *this) {
  faults_ = state.faults_for(settings_.faults);
  if (context.worker() == 0 && set_->settings().health.active) prober_ = std::make_unique<Prober>(*this, *set_);
  start_tick();
}

RelayService::~RelayService() = default;

template <typename Session>
std::expected<Place, NoPlace> RelayService::choose(const Session& session,
                                                   std::span<const Backend* const> tried) noexcept {
  if (on_choose_) {
    const HookValue arguments[] = {HookValue::of(session), HookValue::of(static_cast<std::int64_t>(tried.size()))};
    HookValue results[1];
    if (on_choose_->call(arguments, results) == Hook::Outcome::returned && results[0].kind == HookValue::Kind::text) {
      auto place = balancer_.take(results[0].text, now(), events_);
      if (place || place.error() == NoPlace::full) return place;
      contain("a message", [&] {
        context_.log(LogLevel::warning,
                     fmt::format("on_choose named \"{}\": {}", results[0].text, to_sentence(place.error())));
      });
    }
  }
  return balancer_.choose(address_of(session), tried, now(), events_);
}
template std::expected<Place, NoPlace> RelayService::choose(const Stream&, std::span<const Backend* const>) noexcept;
template std::expected<Place, NoPlace> RelayService::choose(const DatagramPeer&,
                                                            std::span<const Backend* const>) noexcept;

StreamHandler* RelayService::open(Stream& stream) noexcept {
  auto* session = new (std::nothrow) StreamSession(*this, stream);
  if (!session) return nullptr;
  session->start();
  start_tick();
  publish();
  return session;
}

void RelayService::on_datagram(DatagramPeer& peer, std::span<const std::byte> data) noexcept {
  auto* session = static_cast<UdpSession*>(peer.handler());
  if (!session) session = UdpSession::begin(*this, peer);
  if (session) session->from_client(data);
  publish();
}

void RelayService::drain() noexcept {
  draining_ = true;
  if (prober_) prober_->stop();
}

void RelayService::publish() noexcept {
  if (events_.empty()) return;
  for (const Event& event : events_.take()) context_.event(to_string(event.kind), event.detail);
  start_tick();
}

// ---- The tick ------------------------------------------------------------------------------------------------

void RelayService::start_tick() noexcept {
  if (!std::exchange(ticking_, true)) tick_->start(kTick, true);
}

void RelayService::on_timer() noexcept {
  const bool ejected = state_.tick(*set_, now(), events_);
  take_faults();
  serve_queue();
  bool looks = false;
  for (StreamSession* session = streams.first(); session; session = session->next_session) looks |= session->look();
  publish();
  // A daemon that does nothing sleeps: the next session, or the next event, starts it again.
  ticking_ = ejected || looks || queue_.front();
  if (!ticking_) tick_->stop();
}

void RelayService::serve_queue() noexcept {
  while (WaitNode* node = queue_.expired(now())) StreamSession::of(*node).queue_timed_out();
  while (WaitNode* node = queue_.front())
    if (!StreamSession::of(*node).try_queued()) break;
}

// ---- Faults --------------------------------------------------------------------------------------------------

void RelayService::take_faults() noexcept {
  FaultSet::Shared faults;
  if (!contain("faults", [&] { faults = state_.faults_for(settings_.faults); }) || faults == faults_) return;
  faults_ = std::move(faults);
  for (StreamSession* session = streams.first(); session; session = session->next_session) session->faults_changed();
  for (UdpSession* session = peers.first(); session; session = session->next_session) session->faults_changed();
}

}  // namespace portolan::relay
