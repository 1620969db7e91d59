#include "plugins/relay/prober.h"

#include "plugins/relay/check.h"
#include "plugins/relay/http_check.h"
#include "plugins/relay/relay_service.h"

#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>
#include <string>
#include <utility>

namespace portolan::relay {
namespace {

// How soon a check that could not begin is tried again.
constexpr Duration kBeginAgain = std::chrono::milliseconds(100);

struct ProblemText final : Problems {
  std::string text;
  void add(std::string_view key, std::string_view message) noexcept override {
    if (text.empty()) text = fmt::format("{}: {}", key, message);
  }
};

// A tcp:// backend is dialed as it is for sessions, but for a check of its TLS.
const Target* target_of_check(RelayService& service, const Member& member, std::size_t index) {
  const std::string& address = member.settings.address;
  if (service.settings().check.kind != CheckKind::tls || address.starts_with("tls://")) return &service.target(member);
  ProblemText problem;
  const std::string secured = fmt::format("tls://{}", backend_name(address));
  const Target* target = service.context().target({.address = secured, .tls = service.settings().tls[index].target()},
                                                  fmt::format("backends[{}]", index + 1), problem);
  if (!target) throw std::runtime_error(problem.text);
  return target;
}

std::string request_of_check(const CheckSettings& check, const Member& member) {
  if (check.kind != CheckKind::http) return check.send;
  const std::string& address = member.settings.address;
  const std::string_view host = address.starts_with("unix://") ? "localhost" : backend_name(address);
  return http_request(check.path, check.host.empty() ? host : check.host);
}

// One connection is kept from check to check. Not for ever: a process that has stopped to listen may still serve it.
Pool* pool_of_check(RelayService& service, const Target& target, const ProxyHeaderBytes& preamble) {
  if (service.settings().check.kind != CheckKind::http) return nullptr;
  const HealthSettings& health = service.settings().set.health;
  const Duration longest = std::max(health.every, health.every_down);
  Pool* pool = service.context().pool(target, {.max_connections = 16,
                                               .max_idle = 1,
                                               .max_waiters = 1,
                                               .idle_timeout = 2 * longest,
                                               .max_lifetime = 4 * longest,
                                               .preamble = preamble.view()});
  if (!pool) throw std::bad_alloc();
  return pool;
}

}  // namespace

// The checks of one backend.
class Prober::Probe final : public CheckHandler {
 public:
  Probe(Prober& prober, const Member& member, CheckPlan plan)
      : prober_(prober), member_(member), plan_(std::move(plan)), hook_(context().hook(kCheckHook)) {
    const HealthSettings& settings = prober.set_.settings().health;
    const HealthState state = member.backend->health.state();
    due_ = member.backend->health.due(settings);
    if (state == HealthState::unknown || due_ > context().now()) return;
    const Duration interval = state == HealthState::up ? settings.every : settings.every_down;
    due_ = context().now() +
           Duration(static_cast<std::int64_t>(static_cast<double>(interval.count()) * prober.service_.random().unit()));
  }

  // When act() has something to do.
  Duration next() const noexcept { return check_ ? deadline_ : due_; }
  void act() noexcept { check_ ? check_->time_out() : begin(); }
  void cancel() noexcept {
    if (Check* check = std::exchange(check_, nullptr)) check->cancel();
  }

  void on_check(bool passed, std::string_view reason) noexcept override {
    check_ = nullptr;
    deadline_ = Duration::zero();
    RelayService& service = prober_.service_;
    if (!passed) context().count(kChecksFailed);
    service.state().checked(prober_.set_, member_, passed, reason, context().now(), service.random(), service.events());
    due_ = member_.backend->health.due(prober_.set_.settings().health);
    service.publish();
    prober_.arm();
  }

 private:
  Context& context() const noexcept { return prober_.service_.context(); }

  void begin() noexcept {
    const Duration now = context().now();
    if (deadline_ == Duration::zero()) {
      deadline_ = now + plan_.settings.timeout;
      context().count(kChecks);
    }
    if (plan_.settings.kind == CheckKind::hook) return call_hook();
    const bool datagram = plan_.settings.kind == CheckKind::udp;
    check_ = datagram ? begin_datagram_check(context(), plan_, *this) : begin_stream_check(context(), plan_, *this);
    if (check_) return;
    if (now >= deadline_) return on_check(false, datagram ? "no address is known for its name" : "out of memory");
    due_ = std::min(now + kBeginAgain, deadline_);
  }

  void call_hook() noexcept {
    const HookValue arguments[] = {HookValue::of(member_.name())};
    HookValue results[2];
    if (!hook_ || hook_->call(arguments, results) != Hook::Outcome::returned) return on_check(false, "on_check failed");
    const bool passed = results[0].kind == HookValue::Kind::boolean && results[0].boolean;
    const bool says_why = results[1].kind == HookValue::Kind::text && !results[1].text.empty();
    on_check(passed, says_why ? results[1].text : passed ? "on_check agrees" : "on_check says no");
  }

  Prober& prober_;
  const Member& member_;
  const CheckPlan plan_;
  Hook* const hook_;
  Duration due_{};
  Duration deadline_{};  // of the check that has begun; zero: there is none
  Check* check_ = nullptr;
};

Prober::Prober(RelayService& service, const BackendSet& set)
    : service_(service), set_(set), timer_(service.context().timer(*this)) {
  const CheckSettings& check = service.settings().check;
  for (std::size_t at = 0; at < set.members().size(); ++at) {
    const Member& member = set.members()[at];
    const Target* target = target_of_check(service, member, at);
    const ProxyHeaderBytes preamble = check_header(service.send_proxy(member));
    probes_.push_back(std::make_unique<Probe>(*this, member,
                                              CheckPlan{.settings = check,
                                                        .target = target,
                                                        .pool = pool_of_check(service, *target, preamble),
                                                        .request = request_of_check(check, member),
                                                        .preamble = preamble}));
  }
  arm();
}

Prober::~Prober() { stop(); }

void Prober::stop() noexcept {
  stopped_ = true;
  timer_->stop();
  for (const auto& probe : probes_) probe->cancel();
}

void Prober::on_timer() noexcept {
  in_round_ = true;
  const Duration now = service_.now();
  for (const auto& probe : probes_)
    if (probe->next() <= now) probe->act();
  in_round_ = false;
  arm();
}

void Prober::arm() noexcept {
  if (in_round_ || stopped_ || probes_.empty()) return;
  const Duration next =
      (*std::ranges::min_element(probes_, {}, [](const auto& probe) { return probe->next(); }))->next();
  timer_->start(std::max(next - service_.now(), Duration::zero()), false);
}

}  // namespace portolan::relay
