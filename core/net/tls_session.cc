#include "tls_session.h"

#include "net/tls.h"
#include "net/tls_client.h"
#include "net/tls_files.h"

#include <openssl/err.h>
#include <openssl/ssl.h>

#include <cerrno>
#include <cstring>

namespace portolan {

namespace {

// What a client can do about the server's refusal, or about what is no TLS at all; null: OpenSSL's own words have to do.
const char* advice(unsigned long code) noexcept {
  if (ERR_GET_LIB(code) != ERR_LIB_SSL) return nullptr;
  switch (ERR_GET_REASON(code)) {
    case SSL_R_WRONG_VERSION_NUMBER: return "the peer does not speak TLS: look at the port";
    case SSL_R_UNSUPPORTED_PROTOCOL:
    case SSL_R_TLSV1_ALERT_PROTOCOL_VERSION:
      return "the peer does not speak the versions of TLS that are allowed here: lower tls.min_version, or update the "
             "peer";
    case SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED:
      return "the peer wants a certificate of ours: give tls.certificate and tls.key";
    case SSL_R_TLSV1_ALERT_UNKNOWN_CA:
      return "the peer does not trust the authority of our certificate: give one of the peer's authority as "
             "tls.certificate";
    case SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED: return "the peer finds our certificate expired: renew tls.certificate";
    case SSL_R_SSLV3_ALERT_BAD_CERTIFICATE:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN:
    case SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE: return "the peer refuses our certificate: look at its log";
    case SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE:
      return "the peer refuses the handshake: it may want a certificate of ours (tls.certificate), or have no cipher "
             "in common with us";
    case SSL_R_TLSV1_UNRECOGNIZED_NAME: return "the peer does not serve that name: give the right one as tls.name";
    default: return nullptr;
  }
}

}  // namespace

std::unique_ptr<TlsSession> TlsSession::make(SSL_CTX* context, int descriptor) {
  SSL* ssl = SSL_new(context);
  if (!ssl) return nullptr;
  if (SSL_set_fd(ssl, descriptor) != 1) {
    SSL_free(ssl);
    return nullptr;
  }
  return std::unique_ptr<TlsSession>(new TlsSession(ssl));
}

std::unique_ptr<TlsSession> TlsSession::accept(const TlsContext& context, int descriptor) {
  auto session = make(context.context_, descriptor);
  if (session) SSL_set_accept_state(session->ssl_);
  return session;
}

std::unique_ptr<TlsSession> TlsSession::connect(const TlsClientContext& context, int descriptor,
                                                std::string_view server_name) {
  auto session = make(context.context_, descriptor);
  if (!session) return nullptr;
  SSL_set_connect_state(session->ssl_);
  session->client_ = context.shared_from_this();
  session->error_ = context.prepare(*session, server_name);
  return session;
}

TlsSession::~TlsSession() { SSL_free(ssl_); }

TlsSession::Result TlsSession::outcome_of(int result) noexcept {
  const int saved = errno;
  switch (SSL_get_error(ssl_, result)) {
    case SSL_ERROR_WANT_READ: return {Outcome::want_read};
    case SSL_ERROR_WANT_WRITE: return {Outcome::want_write};
    case SSL_ERROR_ZERO_RETURN: return {Outcome::closed};
    case SSL_ERROR_SYSCALL:
      if (saved == ECONNRESET || saved == EPIPE) {
        reset_by_peer_ = true;
        error_ = "the peer reset the connection";
      } else {
        error_ = saved ? std::strerror(saved) : "the peer closed without close_notify";
      }
      ERR_clear_error();
      return {Outcome::failed};
    default:
      // What the verification of the peer has said is better than OpenSSL's "certificate verify failed".
      if (const char* what = client_ ? advice(ERR_peek_last_error()) : nullptr; what && error_.empty()) error_ = what;
      if (error_.empty()) error_ = openssl_error();
      ERR_clear_error();
      return {Outcome::failed};
  }
}

TlsSession::Result TlsSession::handshake() noexcept {
  if (!error_.empty()) return {Outcome::failed};
  ERR_clear_error();
  errno = 0;
  const int result = SSL_do_handshake(ssl_);
  return result == 1 ? Result{Outcome::done} : outcome_of(result);
}

TlsSession::Result TlsSession::read(std::span<std::byte> into) noexcept {
  ERR_clear_error();
  errno = 0;
  std::size_t got = 0;
  const int result = SSL_read_ex(ssl_, into.data(), into.size(), &got);
  return result == 1 ? Result{Outcome::done, got} : outcome_of(result);
}

TlsSession::Result TlsSession::write(std::span<const std::byte> from) noexcept {
  ERR_clear_error();
  errno = 0;
  std::size_t taken = 0;
  const int result = SSL_write_ex(ssl_, from.data(), from.size(), &taken);
  return result == 1 ? Result{Outcome::done, taken} : outcome_of(result);
}

void TlsSession::shutdown() noexcept {
  ERR_clear_error();
  SSL_shutdown(ssl_);
  ERR_clear_error();
}

std::string_view TlsSession::server_name() const noexcept {
  const char* name = SSL_get_servername(ssl_, TLSEXT_NAMETYPE_host_name);
  return name ? name : std::string_view();
}

bool TlsSession::resumed() const noexcept { return SSL_session_reused(ssl_) == 1; }

}  // namespace portolan
