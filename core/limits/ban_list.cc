#include "ban_list.h"

#include "base/callback.h"
#include "base/clock.h"
#include "base/net_error.h"

#include <fmt/format.h>

#include <algorithm>

namespace portolan {

namespace {

// A flood of new addresses must not make every violation look at all the others.
constexpr std::int64_t kSweepEveryMs = 1000;

}  // namespace

bool BanList::is_violation(Refusal reason) noexcept {
  switch (reason) {
    case Refusal::accept_rate:
    case Refusal::message_rate:
    case Refusal::byte_rate:
    case Refusal::max_sessions_per_client:
    case Refusal::message_too_long:
    case Refusal::bad_message:
    case Refusal::first_message_timeout:
    case Refusal::tls: return true;
    default: return false;
  }
}

void BanList::configure(BanOptions options) {
  {
    const std::lock_guard lock(suspects_mutex_);
    violations_ = options.violations;
    within_ms_ = to_ms(options.within);
    most_suspects_ = options.max;
    if (!options.automatic) suspects_.clear();
  }
  automatic_.store(options.automatic, std::memory_order_relaxed);
  const NetworkList never = options.never;
  {
    const std::unique_lock lock(bans_mutex_);
    options_ = std::move(options);
  }
  lift_if([&never](const Ban& ban) { return never.contains(ban.client); });
}

void BanList::restore(std::vector<Ban> bans, std::int64_t now_ms) {
  const std::unique_lock lock(bans_mutex_);
  for (Ban& ban : bans) {
    if (ban.until_ms <= now_ms || options_.never.contains(ban.client)) continue;
    const Address client = ban.client;
    bans_.insert_or_assign(client, std::move(ban));
  }
  note_count();
}

bool BanList::find(const Address& peer, std::int64_t now_ms) const noexcept {
  const std::shared_lock lock(bans_mutex_);
  const auto found = bans_.find(peer.client());
  // One address of a banned /64 may be among those that never are.
  return found != bans_.end() && found->second.until_ms > now_ms && !options_.never.contains(peer);
}

void BanList::violation(const Address& peer, Refusal reason, std::string_view service, bool datagram,
                        std::int64_t now_ms) noexcept {
  if (!automatic_.load(std::memory_order_relaxed) || peer.empty() || !is_violation(reason)) return;
  const Address client = peer.client();
  std::int64_t until_ms = 0;
  {
    const std::shared_lock lock(bans_mutex_);
    if ((datagram && !options_.datagrams) || options_.never.contains(peer)) return;
    if (const auto found = bans_.find(client); found != bans_.end() && found->second.until_ms > now_ms) return;
    until_ms = now_ms + to_ms(options_.time);
  }
  contain("a ban", [&] {
    const std::uint32_t violations = count(client, now_ms);
    if (violations == 0) return;
    std::ignore = insert({.client = client,
                          .until_ms = until_ms,
                          .since_ms = now_ms,
                          .reason = std::string(to_string(reason)),
                          .service = std::string(service),
                          .violations = violations},
                         now_ms);
  });
}

std::uint32_t BanList::count(const Address& client, std::int64_t now_ms) {
  const std::lock_guard lock(suspects_mutex_);
  const auto over = [&](const Suspect& suspect) {
    return now_ms - suspect.first_ms >= within_ms_ || now_ms < suspect.first_ms;
  };
  auto found = suspects_.find(client);
  if (found == suspects_.end()) {
    if (suspects_.size() >= most_suspects_ && (now_ms - swept_ms_ >= kSweepEveryMs || now_ms < swept_ms_)) {
      swept_ms_ = now_ms;
      std::erase_if(suspects_, [&](const auto& item) { return over(item.second); });
    }
    if (suspects_.size() >= most_suspects_ && violations_ > 1) return 0;
    found = suspects_.emplace(client, Suspect{now_ms, 0}).first;
  }
  Suspect& suspect = found->second;
  if (over(suspect)) suspect = {now_ms, 0};
  if (++suspect.violations < violations_) return 0;
  const std::uint32_t violations = suspect.violations;
  suspects_.erase(found);
  return violations;
}

bool BanList::make_room(std::int64_t now_ms) {
  if (bans_.size() < options_.max) return true;
  std::erase_if(bans_, [now_ms](const auto& item) { return item.second.until_ms <= now_ms; });
  if (bans_.size() < options_.max) return true;
  const auto first = std::ranges::min_element(
      bans_, {}, [](const auto& item) { return std::pair(item.second.by_hand(), item.second.until_ms); });
  if (first->second.by_hand()) return false;
  bans_.erase(first);
  return true;
}

std::expected<void, std::string> BanList::insert(Ban ban, std::int64_t now_ms) {
  const std::lock_guard in_order(changes_mutex_);
  {
    const std::unique_lock lock(bans_mutex_);
    const auto known = bans_.find(ban.client);
    // Another worker was first.
    if (!ban.by_hand() && known != bans_.end() && known->second.until_ms > now_ms) return {};
    if (known == bans_.end() && !make_room(now_ms)) {
      note_count();
      return std::unexpected(
          fmt::format("{} addresses are banned by hand, which is as many as bans.max allows: lift some", bans_.size()));
    }
    bans_.insert_or_assign(ban.client, ban);
    note_count();
  }
  total_.fetch_add(1, std::memory_order_relaxed);
  tell(ban, Change::banned);
  return {};
}

std::expected<void, std::string> BanList::add(Ban ban, std::int64_t now_ms) {
  if (ban.client.empty()) return std::unexpected("a ban is of an address; unix peers have none");
  {
    const std::shared_lock lock(bans_mutex_);
    if (options_.never.contains(ban.client))
      return std::unexpected(fmt::format("{} is in bans.never of the configuration", ban_text(ban.client)));
  }
  return insert(std::move(ban), now_ms);
}

template <typename Chosen>
std::size_t BanList::lift_if(Chosen chosen) {
  const std::lock_guard in_order(changes_mutex_);
  std::vector<Ban> lifted;
  {
    const std::unique_lock lock(bans_mutex_);
    std::erase_if(bans_, [&](auto& item) {
      if (!chosen(item.second)) return false;
      lifted.push_back(std::move(item.second));
      return true;
    });
    note_count();
  }
  for (const Ban& ban : lifted) tell(ban, Change::lifted);
  return lifted.size();
}

bool BanList::lift(const Address& client) {
  return lift_if([&client](const Ban& ban) { return ban.client == client; }) != 0;
}

std::size_t BanList::lift_all() {
  return lift_if([](const Ban&) { return true; });
}

std::vector<Ban> BanList::list(std::int64_t now_ms) const {
  std::vector<Ban> all;
  {
    const std::shared_lock lock(bans_mutex_);
    for (const auto& [client, ban] : bans_)
      if (ban.until_ms > now_ms) all.push_back(ban);
  }
  std::ranges::sort(all, {}, [](const Ban& ban) { return std::pair(ban.until_ms, ban_text(ban.client)); });
  return all;
}

std::size_t BanList::expire(std::int64_t now_ms) {
  if (!any()) return 0;
  const std::unique_lock lock(bans_mutex_);
  std::erase_if(bans_, [now_ms](const auto& item) { return item.second.until_ms <= now_ms; });
  note_count();
  return bans_.size();
}

void BanList::tell(const Ban& ban, Change change) const {
  if (listener_) listener_(ban, change);
}

}  // namespace portolan
