#include "limit_set.h"

namespace portolan {

using Count = LimitRule::Count;

template <typename Ask>
LimitVerdict LimitSet::ask_all(LimitState* client, Ask ask) const noexcept {
  for (std::size_t i = 0; i < rules_.size(); ++i) {
    const LimitRule& rule = rules_[i];
    const Duration wait = ask(rule, rule.per == LimitRule::Per::client ? client[i] : states_[i]);
    if (wait > Duration::zero()) return {&rule, wait};
  }
  return {};
}

bool LimitSet::forgotten(const LimitState* client, Duration now) const noexcept {
  for (std::size_t i = 0; i < rules_.size(); ++i)
    if (rules_[i].per == LimitRule::Per::client && !rules_[i].limiter.forgotten(client[i], now)) return false;
  return true;
}

// All are asked before one is taken from: what the one refuses must not use up the others.

LimitVerdict LimitSet::session(LimitState* client, Duration now) const noexcept {
  const auto look = [now](const LimitRule& rule, const LimitState& state) {
    return rule.count == Count::sessions ? rule.limiter.wait(state, now) : Duration::zero();
  };
  const auto take = [now](const LimitRule& rule, LimitState& state) {
    return rule.count == Count::sessions ? rule.limiter.take(state, now, 1) : Duration::zero();
  };
  if (const LimitVerdict verdict = ask_all(client, look)) return verdict;
  return ask_all(client, take);
}

LimitVerdict LimitSet::message(LimitState* client, Duration now, std::size_t bytes) const noexcept {
  const auto look = [now](const LimitRule& rule, const LimitState& state) {
    return rule.count == Count::sessions ? Duration::zero() : rule.limiter.wait(state, now);
  };
  const auto take = [now, bytes](const LimitRule& rule, LimitState& state) {
    if (rule.count == Count::sessions) return Duration::zero();
    return rule.limiter.take(state, now, rule.count == Count::bytes ? static_cast<double>(bytes) : 1);
  };
  if (const LimitVerdict verdict = ask_all(client, look)) return verdict;
  return ask_all(client, take);
}

LimitVerdict LimitSet::more_bytes(LimitState* client, Duration now) const noexcept {
  return ask_all(client, [now](const LimitRule& rule, const LimitState& state) {
    return rule.count == Count::bytes ? rule.limiter.wait(state, now) : Duration::zero();
  });
}

void LimitSet::charge_bytes(LimitState* client, Duration now, std::size_t bytes) const noexcept {
  ask_all(client, [now, bytes](const LimitRule& rule, LimitState& state) {
    if (rule.count == Count::bytes) rule.limiter.charge(state, now, static_cast<double>(bytes));
    return Duration::zero();
  });
}

}  // namespace portolan
