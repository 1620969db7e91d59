#include "tls.h"

#include "base/clock.h"
#include "net/certificate_time.h"
#include "net/tls_files.h"

#include <openssl/evp.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <fmt/format.h>

#include <utility>

namespace portolan {

namespace {

constexpr std::int64_t kSelfSignedSeconds = std::int64_t{3650} * 86'400;

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
  return load_certificate(context, options.certificate, options.key);
}

std::string load_client_ca(SSL_CTX* context, const std::string& path) {
  if (path.empty()) return {};
  if (std::string error = load_authorities(context, path, "client CA"); !error.empty()) return error;
  STACK_OF(X509_NAME)* names = SSL_load_client_CA_file(path.c_str());
  if (!names) return fmt::format("the client CA \"{}\" is not a PEM certificate ({})", path, openssl_error());
  SSL_CTX_set_client_CA_list(context, names);
  verify_by_our_clock(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT);
  return {};
}

}  // namespace

std::expected<std::shared_ptr<const TlsContext>, std::string> TlsContext::make(const TlsOptions& options) {
  SSL_CTX* raw = new_tls_context(TLS_server_method(), options.min_version);
  if (!raw) return std::unexpected("cannot make a TLS context: " + openssl_error());
  std::shared_ptr<const TlsContext> context(new TlsContext(raw));
  SSL_CTX_set_options(raw, SSL_OP_CIPHER_SERVER_PREFERENCE);
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

}  // namespace portolan
