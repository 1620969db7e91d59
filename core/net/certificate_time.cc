#include "certificate_time.h"

#include "base/callback.h"
#include "base/clock.h"

#include <openssl/x509v3.h>

#include <cstdio>
#include <ctime>

namespace portolan {
namespace {

// OpenSSL calls it for each certificate of the chain, with `ok` when it has found nothing wrong with that one.
int check_time(int ok, X509_STORE_CTX* chain) noexcept {
  if (ok != 1) return ok;
  const X509* const certificate = X509_STORE_CTX_get_current_cert(chain);
  const int verdict = certificate ? certificate_validity(certificate, unix_ms() / 1000) : X509_V_ERR_UNSPECIFIED;
  if (verdict == X509_V_OK) return 1;
  X509_STORE_CTX_set_error(chain, verdict);
  return 0;
}

}  // namespace

bool set_certificate_time(ASN1_TIME* time, std::int64_t unix_seconds) noexcept {
  const CalendarTime utc = utc_time(unix_seconds);
  char text[32];
  std::snprintf(text, sizeof text, "%04d%02u%02u%02u%02u%02uZ", static_cast<int>(utc.year), utc.month, utc.day,
                utc.hour, utc.minute, utc.second);
  // Two digits for the year until 2049, four from then on, as the RFC says.
  return ASN1_TIME_set_string_X509(time, text) == 1;
}

std::optional<std::int64_t> certificate_time(const ASN1_TIME* time) noexcept {
  std::tm parts{};
  if (!time || ASN1_TIME_to_tm(time, &parts) != 1) return std::nullopt;
  return unix_seconds_of({.year = std::int64_t{parts.tm_year} + 1900,
                          .month = static_cast<unsigned>(parts.tm_mon + 1),
                          .day = static_cast<unsigned>(parts.tm_mday),
                          .hour = static_cast<unsigned>(parts.tm_hour),
                          .minute = static_cast<unsigned>(parts.tm_min),
                          .second = static_cast<unsigned>(parts.tm_sec)});
}

int certificate_validity(const X509* certificate, std::int64_t unix_seconds) noexcept {
  const auto from = certificate_time(X509_get0_notBefore(certificate));
  const auto until = certificate_time(X509_get0_notAfter(certificate));
  if (!from) return X509_V_ERR_ERROR_IN_CERT_NOT_BEFORE_FIELD;
  if (!until) return X509_V_ERR_ERROR_IN_CERT_NOT_AFTER_FIELD;
  if (unix_seconds < *from) return X509_V_ERR_CERT_NOT_YET_VALID;
  if (unix_seconds > *until) return X509_V_ERR_CERT_HAS_EXPIRED;
  return X509_V_OK;
}

void verify_by_our_clock(SSL_CTX* context, int mode) noexcept {
  X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(context), X509_V_FLAG_NO_CHECK_TIME);
  SSL_CTX_set_verify(context, mode, c_callback(check_time));
}

}  // namespace portolan
