// Certificates beyond 2038, and that those out of their time are refused, which OpenSSL leaves to us.
#include "net/certificate_time.h"

#include "base/clock.h"
#include "net/tls.h"
#include "support/certificates.h"
#include "support/temporary_folder.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <memory>

#include "support/cmocka.h"  // last: it has a macro named fail

using namespace portolan;
using namespace portolan::testing;

namespace {

constexpr std::int64_t kYear = 365 * 86'400;

struct Freed {
  void operator()(ASN1_TIME* value) const { ASN1_TIME_free(value); }
  void operator()(X509* value) const { X509_free(value); }
};

void times_go_in_and_out_in_64_bits(void**) {
  const std::unique_ptr<ASN1_TIME, Freed> time(ASN1_TIME_new());
  for (const std::int64_t seconds :
       {std::int64_t{0}, std::int64_t{1'700'049'600}, std::int64_t{2'147'483'647}, std::int64_t{2'147'483'648},
        std::int64_t{2'524'607'999}, std::int64_t{2'524'608'000}, std::int64_t{4'300'000'000},
        std::int64_t{253'402'300'799}}) {
    assert_true(set_certificate_time(time.get(), seconds));
    const auto back = certificate_time(time.get());
    assert_true(back.has_value());
    assert_int_equal(*back, seconds);
    // RFC 5280 section 4.1.2.5: until 2049 as UTCTime, from 2050 on as GeneralizedTime.
    assert_int_equal(ASN1_STRING_type(time.get()), seconds < 2'524'608'000 ? V_ASN1_UTCTIME : V_ASN1_GENERALIZEDTIME);
  }
  assert_false(certificate_time(nullptr).has_value());
}

void validity_has_two_ends(void**) {
  const std::unique_ptr<X509, Freed> certificate(X509_new());
  for (const std::int64_t from :
       {std::int64_t{1'700'049'600}, std::int64_t{2'147'483'000}, std::int64_t{4'300'000'000}}) {
    const std::int64_t until = from + 10 * kYear;
    assert_true(set_certificate_time(X509_getm_notBefore(certificate.get()), from));
    assert_true(set_certificate_time(X509_getm_notAfter(certificate.get()), until));
    assert_int_equal(certificate_validity(certificate.get(), from - 1), X509_V_ERR_CERT_NOT_YET_VALID);
    assert_int_equal(certificate_validity(certificate.get(), from), X509_V_OK);
    assert_int_equal(certificate_validity(certificate.get(), until), X509_V_OK);
    assert_int_equal(certificate_validity(certificate.get(), until + 1), X509_V_ERR_CERT_HAS_EXPIRED);
  }
  // OpenSSL gives a new certificate no times at all.
  const std::unique_ptr<X509, Freed> empty(X509_new());
  assert_int_equal(certificate_validity(empty.get(), 0), X509_V_ERR_ERROR_IN_CERT_NOT_BEFORE_FIELD);
}

// A handshake over a pair of sockets, both ends by turns; answers what the server made of it.
bool handshake(const TlsContext& server_context, SSL_CTX* client_context) {
  int ends[2];
  assert_int_equal(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
  auto server = TlsSession::accept(server_context, ends[0]);
  SSL* const client = SSL_new(client_context);
  SSL_set_fd(client, ends[1]);
  SSL_set_connect_state(client);
  auto outcome = TlsSession::Outcome::want_read;
  for (int round = 0; round < 20; ++round) {
    SSL_do_handshake(client);
    outcome = server->handshake().outcome;
    if (outcome != TlsSession::Outcome::want_read && outcome != TlsSession::Outcome::want_write) break;
  }
  SSL_free(client);
  server.reset();
  ::close(ends[0]);
  ::close(ends[1]);
  return outcome == TlsSession::Outcome::done;
}

void clients_out_of_their_time_are_refused(void**) {
  const TemporaryFolder folder;
  const std::int64_t now = unix_ms() / 1000;
  const auto served = [&](const Identity& authority, const Identity& client) {
    TlsOptions options;
    options.self_signed = true;
    options.client_ca = folder.write("ca.pem", authority.certificate);
    const auto context = TlsContext::make(options);
    assert_true(context.has_value());
    const ClientTls tls({.identity = client});
    return handshake(**context, tls);
  };
  const Identity authority = make_authority("Our CA");
  assert_true(served(authority, issue(authority, "of today")));
  assert_true(served(authority, issue(authority, "for a century", {now - 3600, now + 100 * kYear})));
  assert_false(served(authority, issue(authority, "of yesterday", {now - kYear, now - 3600})));
  assert_false(served(authority, issue(authority, "of tomorrow", {now + 86'400, now + kYear})));
  assert_false(served(authority, issue(authority, "of 2106", {4'300'000'000, 4'300'000'000 + kYear})));
  // The whole chain is looked at, not the client's own alone; and a stranger is one at any time.
  const Identity old_authority = make_authority("Old CA", {now - kYear, now - 3600});
  assert_false(served(old_authority, issue(old_authority, "of today")));
  assert_false(served(authority, issue(make_authority("Strangers"), "stranger")));
}

}  // namespace

int main() {
  const CMUnitTest tests[] = {
      cmocka_unit_test(times_go_in_and_out_in_64_bits),
      cmocka_unit_test(validity_has_two_ends),
      cmocka_unit_test(clients_out_of_their_time_are_refused),
  };
  return cmocka_run_group_tests(tests, nullptr, nullptr);
}
