// When a certificate is valid (RFC 5280 section 4.1.2.5), in 64 bits.
//
// OpenSSL's own clock is the system's time_t, which has 32 bits on armhf and armel of Debian 12: from 2038-01-19 on it
// would find no client's certificate valid there. So times go in and out as calendar dates, and the time of day is ours.
// Pure, but for verify_by_our_clock; any thread.
#pragma once

#include <cstdint>
#include <optional>

#include <openssl/ssl.h>

namespace portolan {

// False: out of memory, or no time of the years 1950 to 9999.
bool set_certificate_time(ASN1_TIME* time, std::int64_t unix_seconds) noexcept;
// Seconds since 1970; nothing when it is no time.
std::optional<std::int64_t> certificate_time(const ASN1_TIME* time) noexcept;
// X509_V_OK, or which of OpenSSL's X509_V_ERR_… it is at that moment. Both ends belong to the time of validity.
int certificate_validity(const X509* certificate, std::int64_t unix_seconds) noexcept;

// For SSL_CTX_set_verify: `mode` is its own. Certificates of the peer are judged by OpenSSL but for their times, and by
// our clock for these.
void verify_by_our_clock(SSL_CTX* context, int mode) noexcept;

}  // namespace portolan
