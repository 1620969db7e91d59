#include "app/ban_keeper.h"

#include "base/callback.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/units.h"

#include <fmt/format.h>

namespace portolan {

std::expected<void, std::string> BanKeeper::begin(const BanOptions& options, Store* store, StoreRecorder* recorder) {
  recorder_ = recorder;
  configure(options);
  if (!store) return {};
  auto bans = store->bans();
  if (!bans) return std::unexpected(bans.error());
  list_.restore(std::move(*bans), unix_ms());
  return {};
}

void BanKeeper::configure(const BanOptions& options) {
  usual_time_ = options.time;
  list_.configure(options);
}

std::expected<void, std::string> BanKeeper::ban(const Address& client, Duration time, std::string reason) {
  const std::int64_t now = unix_ms();
  return list_.add({.client = client,
                    .until_ms = now + to_ms(time > Duration::zero() ? time : usual_time_),
                    .since_ms = now,
                    .reason = std::move(reason)},
                   now);
}

void BanKeeper::changed(const Ban& ban, BanList::Change change) noexcept {
  const bool lifted = change == BanList::Change::lifted;
  contain("a ban", [&] {
    if (recorder_) recorder_->ban(ban, lifted);
    if (lifted) {
      log::info("the ban of {} is lifted", ban_text(ban.client));
      return;
    }
    const std::string time = format_duration(std::chrono::milliseconds(ban.until_ms - ban.since_ms));
    if (ban.by_hand())
      log::warning("{} is banned by hand for {}: {}", ban_text(ban.client), time, ban.reason);
    else
      log::print(LogLevel::warning, {ban.service}, "{} is banned for {} after {} violations, the last: {}",
                 ban_text(ban.client), time, ban.violations, ban.reason);
    end_sessions_(ban.client);
  });
}

}  // namespace portolan
