#include "plugins/relay/stream_session.h"

#include "base/callback.h"
#include "plugins/relay/faulty_path.h"
#include "plugins/relay/relay_service.h"

#include <fmt/format.h>

#include <utility>

namespace portolan::relay {

StreamSession::StreamSession(RelayService& service, Stream& client) noexcept : service_(service), client_(&client) {
  service_.streams.add(*this);
}

StreamSession::~StreamSession() {
  leave_queue();
  service_.streams.remove(*this);
}

void StreamSession::leave_queue() noexcept {
  if (attempts_ && attempts_->waiting()) service_.queue().remove(*attempts_);
}

// ---- To a backend --------------------------------------------------------------------------------------------

void StreamSession::start() noexcept {
  client_->pause();
  service_.state().retry_budget().session(service_.now());
  if (!contain("a session", [this] { attempts_ = std::make_unique<Attempts>(*this); })) return client_->reset();
  attempts_->began = service_.now();
  // Whoever came before goes before.
  if (service_.queue().front()) return wait_for_place();
  attempt();
}

void StreamSession::attempt() noexcept {
  auto place = service_.choose(*client_, attempts_->tried);
  if (place) return dial(std::move(*place));
  if (place.error() == NoPlace::full && attempts_->made == 0) return wait_for_place();
  give_up(to_sentence(place.error()));
}

void StreamSession::dial(Place place) noexcept {
  place_ = std::move(place);
  ++attempts_->made;
  attempts_->dialed_at = service_.now();
  service_.context().count(kDials);
  const Member& member = place_.member();
  dial_ = service_.context().dial(service_.target(member), service_.settings().connect_timeout, *this,
                                  session_header(service_.send_proxy(member), *client_).view());
  if (!dial_) give_up("out of memory");
}

void StreamSession::wait_for_place() noexcept {
  if (!service_.queue().push(*attempts_, service_.now())) return give_up("all backends are full, and so is the queue");
  service_.context().count(kQueued);
  service_.waiting();
  // A place may have become free just before.
  if (service_.queue().front() == attempts_.get()) try_queued();
}

bool StreamSession::try_queued() noexcept {
  auto place = service_.choose(*client_, attempts_->tried);
  if (!place && place.error() == NoPlace::full) return false;
  leave_queue();
  place ? dial(std::move(*place)) : give_up(to_sentence(place.error()));
  return true;
}

void StreamSession::queue_timed_out() noexcept {
  leave_queue();
  service_.context().count(kQueueTimeouts);
  give_up("no backend had a place in time");
}

void StreamSession::on_dial_failed(NetError why, std::string_view message) noexcept {
  dial_.forget();
  service_.context().count(kDialsFailed);
  if (why == NetError::system) {
    place_.leave();  // our own failure: no word about the backend
  } else {
    contain("a failed attempt", [&] { attempts_->tried.push_back(place_.member().backend.get()); });
    place_.failed(Failure::dial, message, service_.now(), service_.events());
    service_.publish();
  }
  const auto delay = next_attempt(service_.settings().retry, attempts_->made, service_.elsewhere(attempts_->tried),
                                  attempts_->began, service_.now(), service_.state().retry_budget(), service_.random());
  if (!delay) return give_up(fmt::format("{} ({})", message, to_sentence(delay.error())));
  service_.context().count(kRetries);
  if (*delay == Duration::zero()) return attempt();
  if (!attempts_->pause) attempts_->pause = service_.context().timer(*this);
  attempts_->pause->start(*delay, false);
}

void StreamSession::on_timer() noexcept {
  attempt();
  service_.publish();
}

// The client sees a reset: an end would say that there was an answer, and that it was empty.
void StreamSession::give_up(std::string_view why) noexcept {
  service_.context().count(kNoBackend);
  contain("a message", [&] {
    service_.context().log(LogLevel::warning,
                           fmt::format("a session of {} has no backend: {}", client_->info().peer, why));
  });
  client_->reset();
}

StreamHandler* StreamSession::on_dial(Stream& stream) noexcept {
  dial_.forget();
  backend_ = &stream;
  place_.connected(service_.now() - attempts_->dialed_at);
  attempts_.reset();
  connect_streams();
  return this;
}

void StreamSession::connect_streams() noexcept {
  const FaultSet::Shared& faults = service_.faults();
  if (faults && faults->applies(FaultDirection::both, Carrier::streams))
    contain("faults", [&] { faulty_ = std::make_unique<FaultyPath>(service_.context(), *client_, *backend_, faults); });
  if (!faulty_) return client_->join(*backend_);
  client_->resume();
  backend_->resume();  // it is not paused: but what one takes must not hold back what it sends
}

// ---- With faults ---------------------------------------------------------------------------------------------

void StreamSession::faults_changed() noexcept {
  if (!client_ || !backend_) return;
  if (faulty_) return faulty_->change(service_.faults());
  const FaultSet::Shared& faults = service_.faults();
  if (!faults || !faults->applies(FaultDirection::both, Carrier::streams)) return;
  contain("faults", [&] { faulty_ = std::make_unique<FaultyPath>(service_.context(), *client_, *backend_, faults); });
  if (faulty_) client_->separate();
}

std::size_t StreamSession::on_data(Stream& stream, std::span<const std::byte> data) noexcept {
  if (faulty_ && faulty_->over()) {
    faulty_.reset();
    client_->join(*backend_);
  }
  return faulty_ ? faulty_->take(stream, data) : 0;
}

bool StreamSession::on_end(Stream& stream, std::span<const std::byte> rest) noexcept {
  return faulty_ && faulty_->end(stream, rest);
}

void StreamSession::on_sent(Stream& stream) noexcept {
  if (faulty_) faulty_->sent(stream);
}

// ---- The end -------------------------------------------------------------------------------------------------

bool StreamSession::look() noexcept {
  if (answered_) return false;
  if (!backend_ || backend_->bytes_in() == 0) return true;
  answered_ = true;
  place_.answered(service_.now(), service_.events());
  return false;
}

// What the end of the backend's stream says about the backend.
void StreamSession::judge_backend(NetError why) noexcept {
  if (answered_) return;
  answered_ = true;
  const bool failed = why != NetError::none && why != NetError::closed;
  if (backend_->bytes_in() != 0) {
    place_.answered(service_.now(), service_.events());
  } else if (failed || backend_->ended_first()) {
    place_.failed(Failure::closed_early, failed ? "it broke the connection" : "it closed before its first byte",
                  service_.now(), service_.events());
  } else if (why == NetError::none) {
    // In order, after the client: a protocol without answers.
    place_.answered(service_.now(), service_.events());
  }
}

void StreamSession::on_close(Stream& stream, NetError why) noexcept {
  faulty_.reset();
  const bool of_backend = &stream == backend_;
  if (of_backend) judge_backend(why);
  (of_backend ? backend_ : client_) = nullptr;
  dial_.cancel();
  leave_queue();
  // The other may end before this returns, and this session with it.
  if (Stream* other = of_backend ? client_ : backend_) return why == NetError::none ? other->close() : other->reset();
  RelayService& service = service_;
  place_.leave();
  delete this;
  service.publish();
}

}  // namespace portolan::relay
