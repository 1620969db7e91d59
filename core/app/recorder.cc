#include "recorder.h"

#include "base/clock.h"
#include "base/net_error.h"

namespace portolan {

void StoreRecorder::refusal(unsigned worker, const std::string& service, const Address& client,
                            Refusal reason) noexcept {
  if (!store_) return;
  const std::int64_t now = unix_ms();
  Window& window = windows_[worker];
  if (window.second != now / 1000) window = {.second = now / 1000};
  if (++window.count > kRefusalsPerSecond) return;
  store_->add(EventRecord{.time_ms = now,
                          .kind = "refused",
                          .service = service,
                          .client = client.empty() ? "unix" : client.host(),
                          .detail = std::string(to_string(reason))});
}

void StoreRecorder::ban(const Ban& ban, bool lifted) noexcept {
  if (!store_) return;
  store_->add(EventRecord{.time_ms = unix_ms(),
                          .kind = lifted ? "ban_lifted" : "banned",
                          .service = ban.service,
                          .client = ban_text(ban.client),
                          .detail = ban.reason});
  store_->add(BanRecord{.ban = ban, .lifted = lifted});
}

void StoreRecorder::event(std::string kind, std::string service, std::string detail) noexcept {
  if (!store_) return;
  store_->add(EventRecord{
      .time_ms = unix_ms(), .kind = std::move(kind), .service = std::move(service), .detail = std::move(detail)});
}

}  // namespace portolan
