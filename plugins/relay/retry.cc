#include "plugins/relay/retry.h"

#include <algorithm>

namespace portolan::relay {

std::string_view to_sentence(NoRetry why) noexcept {
  switch (why) {
    case NoRetry::attempts: return "no attempt is left";
    case NoRetry::deadline: return "no time is left";
    case NoRetry::budget: return "too many sessions are tried again already";
  }
  return {};
}

std::expected<Duration, NoRetry> next_attempt(const RetrySettings& settings, std::uint32_t made, bool elsewhere,
                                              Duration began, Duration now, RetryBudget& budget,
                                              Random& random) noexcept {
  if (made >= settings.attempts) return std::unexpected(NoRetry::attempts);
  Duration delay{};
  if (made > 1 || !elsewhere) {
    Duration ceiling = std::min(settings.backoff, settings.max_backoff);
    for (std::uint32_t n = 1; n < made && ceiling < settings.max_backoff; ++n) ceiling *= 2;
    ceiling = std::min(ceiling, settings.max_backoff);
    delay = Duration(static_cast<std::int64_t>(random.unit() * static_cast<double>(ceiling.count())));
  }
  if (settings.deadline != Duration::zero() && now + delay >= began + settings.deadline) {
    return std::unexpected(NoRetry::deadline);
  }
  if (!budget.retry(settings.budget, settings.min_per_second, now)) return std::unexpected(NoRetry::budget);
  return delay;
}

}  // namespace portolan::relay
