#include "tls.h"

#include "base/clock.h"
#include "net/certificate_time.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace portolan {

namespace {

constexpr std::int64_t kSelfSignedSeconds = std::int64_t{3650} * 86'400;

std::string openssl_error() {
  const unsigned long code = ERR_peek_last_error();
  ERR_clear_error();
  if (!code) return "no reason given";
  const char* reason = ERR_reason_error_string(code);
  return reason ? reason : fmt::format("error {:#x}", code);
}

std::string unreadable(const std::string& path, const char* what) {
  return fmt::format("cannot read the {} \"{}\": {}", what, path, std::strerror(errno));
}

bool readable(const std::string& path) {
  if (std::FILE* file = std::fopen(path.c_str(), "re")) {
    std::fclose(file);
    return true;
  }
  return false;
}

template <auto Free>
struct Freer {
  template <typename T>
  void operator()(T* pointer) const noexcept {
    Free(pointer);
  }
};
using KeyPtr = std::unique_ptr<EVP_PKEY, Freer<EVP_PKEY_free>>;
using CertificatePtr = std::unique_ptr<X509, Freer<X509_free>>;

struct Identity {
  KeyPtr key;
  CertificatePtr certificate;
};

void add_extension(X509* certificate, int id, const char* value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, certificate, certificate, nullptr, nullptr, 0);
  if (X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &context, id, value)) {
    X509_add_ext(certificate, extension, -1);
    X509_EXTENSION_free(extension);
  }
}

// For `self_signed`: an ECDSA P-256 key and a certificate for localhost, made once and kept in memory until the
// process ends, so that a reload does not change it under clients that pinned it. Main thread only.
const Identity& self_signed_identity() {
  static const Identity identity = [] {
    Identity made;
    made.key.reset(EVP_EC_gen("P-256"));
    made.certificate.reset(X509_new());
    X509* certificate = made.certificate.get();
    X509_set_version(certificate, X509_VERSION_3);
    std::uint64_t serial = 0;
    RAND_bytes(reinterpret_cast<unsigned char*>(&serial), sizeof serial);
    ASN1_INTEGER_set_uint64(X509_get_serialNumber(certificate), serial >> 1U);
    const std::int64_t now = unix_ms() / 1000;
    set_certificate_time(X509_getm_notBefore(certificate), now - 3600);
    set_certificate_time(X509_getm_notAfter(certificate), now + kSelfSignedSeconds);
    X509_set_pubkey(certificate, made.key.get());
    X509_NAME* name = X509_get_subject_name(certificate);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, reinterpret_cast<const unsigned char*>("localhost"), -1, -1,
                               0);
    X509_set_issuer_name(certificate, name);
    add_extension(certificate, NID_subject_alt_name, "DNS:localhost,IP:127.0.0.1,IP:::1");
    add_extension(certificate, NID_basic_constraints, "critical,CA:TRUE");
    X509_sign(certificate, made.key.get(), EVP_sha256());
    return made;
  }();
  return identity;
}

std::string load_identity(SSL_CTX* context, const TlsOptions& options) {
  if (options.self_signed) {
    const Identity& identity = self_signed_identity();
    if (SSL_CTX_use_certificate(context, identity.certificate.get()) != 1 ||
        SSL_CTX_use_PrivateKey(context, identity.key.get()) != 1)
      return "cannot make a self-signed certificate: " + openssl_error();
    return {};
  }
  if (!readable(options.certificate)) return unreadable(options.certificate, "certificate");
  if (SSL_CTX_use_certificate_chain_file(context, options.certificate.c_str()) != 1)
    return fmt::format("the certificate \"{}\" is not a PEM certificate ({})", options.certificate, openssl_error());
  const std::string& key = options.key.empty() ? options.certificate : options.key;
  if (!readable(key)) return unreadable(key, "key");
  if (SSL_CTX_use_PrivateKey_file(context, key.c_str(), SSL_FILETYPE_PEM) != 1) {
    const unsigned long code = ERR_peek_last_error();
    if (ERR_GET_LIB(code) == ERR_LIB_X509 && ERR_GET_REASON(code) == X509_R_KEY_VALUES_MISMATCH) {
      ERR_clear_error();
      return fmt::format(
          "the key \"{}\" does not fit the certificate \"{}\": give the key that the certificate was made for", key,
          options.certificate);
    }
    if (ERR_GET_LIB(code) == ERR_LIB_X509 && ERR_GET_REASON(code) == X509_R_KEY_TYPE_MISMATCH) {
      ERR_clear_error();
      return fmt::format("the key \"{}\" is of another type than the certificate \"{}\"", key, options.certificate);
    }
    return fmt::format("the key \"{}\" is not a PEM private key without a passphrase ({})", key, openssl_error());
  }
  if (SSL_CTX_check_private_key(context) != 1)
    return fmt::format(
        "the key \"{}\" does not fit the certificate \"{}\": give the key that the certificate was made for", key,
        options.certificate);
  return {};
}

std::string load_client_ca(SSL_CTX* context, const std::string& path) {
  if (path.empty()) return {};
  if (!readable(path)) return unreadable(path, "client CA");
  STACK_OF(X509_NAME)* names = SSL_load_client_CA_file(path.c_str());
  if (!names || SSL_CTX_load_verify_locations(context, path.c_str(), nullptr) != 1) {
    if (names) sk_X509_NAME_pop_free(names, X509_NAME_free);
    return fmt::format("the client CA \"{}\" is not a PEM certificate ({})", path, openssl_error());
  }
  SSL_CTX_set_client_CA_list(context, names);
  verify_by_our_clock(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT);
  return {};
}

}  // namespace

std::expected<std::shared_ptr<const TlsContext>, std::string> TlsContext::make(const TlsOptions& options) {
  ERR_clear_error();
  SSL_CTX* raw = SSL_CTX_new(TLS_server_method());
  if (!raw) return std::unexpected("cannot make a TLS context: " + openssl_error());
  std::shared_ptr<const TlsContext> context(new TlsContext(raw));
  SSL_CTX_set_min_proto_version(raw, options.min_version == 13 ? TLS1_3_VERSION : TLS1_2_VERSION);
  SSL_CTX_set_options(raw, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE |
                               SSL_OP_IGNORE_UNEXPECTED_EOF);
  // Read-ahead halves the reads of a record; releasing buffers makes an idle session small.
  SSL_CTX_set_read_ahead(raw, 1);
  SSL_CTX_set_mode(raw, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
  // Tickets resume without state here; the cache would keep a session for each client instead.
  SSL_CTX_set_session_cache_mode(raw, SSL_SESS_CACHE_OFF);
  const unsigned char id[] = "portolan";
  SSL_CTX_set_session_id_context(raw, id, sizeof id - 1);
  if (std::string error = load_identity(raw, options); !error.empty()) return std::unexpected(std::move(error));
  if (std::string error = load_client_ca(raw, options.client_ca); !error.empty())
    return std::unexpected(std::move(error));
  return context;
}

TlsContext::~TlsContext() { SSL_CTX_free(context_); }

std::string check_tls(const TlsOptions& options) {
  auto context = TlsContext::make(options);
  return context ? std::string() : context.error();
}

std::unique_ptr<TlsSession> TlsSession::accept(const TlsContext& context, int descriptor) {
  SSL* ssl = SSL_new(context.context_);
  if (!ssl) return nullptr;
  if (SSL_set_fd(ssl, descriptor) != 1) {
    SSL_free(ssl);
    return nullptr;
  }
  SSL_set_accept_state(ssl);
  return std::unique_ptr<TlsSession>(new TlsSession(ssl));
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
    default: error_ = openssl_error(); return {Outcome::failed};
  }
}

TlsSession::Result TlsSession::handshake() noexcept {
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

}  // namespace portolan
