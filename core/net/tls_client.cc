#include "tls_client.h"

#include "base/callback.h"
#include "base/clock.h"
#include "net/address.h"
#include "net/certificate_time.h"
#include "net/resolver.h"
#include "net/tls_files.h"
#include "net/tls_session.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>

#include <unistd.h>

namespace portolan {

namespace {

// A server sends two tickets with each handshake: enough for a pool that dials a few connections at once.
constexpr std::size_t kMaxKept = 8;
constexpr Duration kKeepTime = std::chrono::hours(1);

// Where systems have all authorities in one file.
constexpr const char* kBundles[] = {
    "/etc/ssl/certs/ca-certificates.crt",  // Debian, Alpine, OpenWrt
    "/etc/ssl/cert.pem",                   // Alpine, OpenWrt
    "/etc/pki/tls/certs/ca-bundle.crt",    // Fedora
    "/etc/ssl/ca-bundle.pem",              // openSUSE
};

// Named by hashes, as OpenSSL looks them up, one by one and when they are needed.
bool has_authorities(const char* folder) {
  std::error_code error;
  std::filesystem::directory_iterator entry(folder, error);
  for (; !error && entry != std::filesystem::directory_iterator(); entry.increment(error)) {
    if (entry->path().extension() == ".0") return true;
  }
  return false;
}

// OpenSSL's own places are those of the machine that it was built on, and a static one was not built on this.
std::string load_system_authorities(SSL_CTX* context) {
  const char* const told_file = ::secure_getenv(X509_get_default_cert_file_env());
  const char* const told_folder = ::secure_getenv(X509_get_default_cert_dir_env());
  const char* const file = told_file ? told_file : X509_get_default_cert_file();
  const char* const folder = told_folder ? told_folder : X509_get_default_cert_dir();
  if (::access(file, R_OK) == 0 || has_authorities(folder)) {
    if (SSL_CTX_set_default_verify_paths(context) == 1) return {};
    return fmt::format("cannot read the authorities of the system in {} and {} ({})", file, folder, openssl_error());
  }
  if (!told_file && !told_folder) {
    for (const char* bundle : kBundles) {
      if (SSL_CTX_load_verify_file(context, bundle) == 1) return {};
    }
    ERR_clear_error();
  }
  return fmt::format(
      "this machine has no certificates of authorities (neither {} nor {}): install ca-certificates, or give tls.ca",
      file, folder);
}

std::string_view without_dot(std::string_view name) noexcept {
  if (name.ends_with('.')) name.remove_suffix(1);
  return name;
}

}  // namespace

void TlsClientContext::SessionFreed::operator()(SSL_SESSION* session) const noexcept { SSL_SESSION_free(session); }

std::expected<std::shared_ptr<const TlsClientContext>, std::string> TlsClientContext::make(
    const TlsClientOptions& options) {
  SSL_CTX* raw = new_tls_context(TLS_client_method(), options.min_version);
  if (!raw) return std::unexpected("cannot make a TLS context: " + openssl_error());
  const std::shared_ptr<TlsClientContext> context(new TlsClientContext(raw));
  if (std::string error = context->set_up(options); !error.empty()) return std::unexpected(std::move(error));
  return context;
}

TlsClientContext::~TlsClientContext() { SSL_CTX_free(context_); }

std::string TlsClientContext::set_up(const TlsClientOptions& options) {
  name_ = options.name;
  verify_ = options.verify;
  if (!name_.empty() && !is_host_name(name_) && !Address::parse(name_))
    return fmt::format("tls.name: \"{}\" is neither a host name nor an address", name_);
  for (const std::string& pin : options.pins) {
    const auto hash = parse_pin(pin);
    if (!hash)
      return fmt::format(
          "tls.pins: \"{}\" is not the SHA-256 of a public key in base64, which has 44 characters and ends in \"=\"",
          pin);
    pins_.push_back(*hash);
  }
  if (!options.key.empty() && options.certificate.empty())
    return "tls.key is given without tls.certificate: a server is shown both or none";
  if (!options.certificate.empty()) {
    if (std::string error = load_certificate(context_, options.certificate, options.key); !error.empty()) return error;
  }
  if (verify_) {
    std::string error =
        options.ca.empty() ? load_system_authorities(context_) : load_authorities(context_, options.ca, "CA");
    if (!error.empty()) return error;
    // Who names a file trusts what is in it, also a server's own certificate or that of an authority in between.
    if (!options.ca.empty()) X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(context_), X509_V_FLAG_PARTIAL_CHAIN);
  }
  // Always: pins are compared in the middle of the handshake, so that a wrong server sees nothing of ours.
  verify_by_our_clock(context_, SSL_VERIFY_PEER);
  SSL_CTX_set_cert_verify_callback(context_, c_callback(verify_peer), this);
  SSL_CTX_set_session_cache_mode(context_, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
  SSL_CTX_sess_set_new_cb(context_, c_callback(keep_session));
  return {};
}

std::string TlsClientContext::prepare(TlsSession& session, std::string_view server_name) const {
  SSL* const ssl = session.ssl_;
  SSL_set_app_data(ssl, &session);
  session.name_ = without_dot(name_.empty() ? server_name : name_);
  const std::string& name = session.name_;
  X509_VERIFY_PARAM* const wanted = SSL_get0_param(ssl);
  X509_VERIFY_PARAM_set_hostflags(wanted, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
  bool set = true;
  if (is_host_name(name)) {
    set = SSL_set_tlsext_host_name(ssl, name.c_str()) == 1 &&
          (!verify_ || X509_VERIFY_PARAM_set1_host(wanted, name.c_str(), name.size()) == 1);
  } else if (const auto address = Address::parse(name)) {
    set = !verify_ || X509_VERIFY_PARAM_set1_ip(wanted, address->bytes().data(), address->bytes().size()) == 1;
  } else if (verify_) {
    return fmt::format(
        "there is no name that the certificate has to be for (\"{}\" was dialed): give tls.name, or verify = false",
        name);
  }
  if (!set) return "cannot begin a TLS session: " + openssl_error();
  if (const Kept kept = take_kept(name); kept.session && SSL_set_session(ssl, kept.session.get()) == 1)
    session.verified_at_ = kept.verified_at;
  return {};
}

// ---- The server's certificate --------------------------------------------------------------------------------

int TlsClientContext::verify_peer(X509_STORE_CTX* chain, void* self) noexcept {
  const auto& context = *static_cast<const TlsClientContext*>(self);
  auto* const ssl = static_cast<SSL*>(X509_STORE_CTX_get_ex_data(chain, SSL_get_ex_data_X509_STORE_CTX_idx()));
  auto& session = *static_cast<TlsSession*>(SSL_get_app_data(ssl));
  const bool looked = contain("the verification of a certificate", [&] { session.error_ = context.problem_of(chain); });
  if (!looked || !session.error_.empty()) return 0;
  session.verified_at_ = monotonic_now();
  return 1;
}

std::string TlsClientContext::problem_of(X509_STORE_CTX* chain) const {
  if (verify_ && X509_verify_cert(chain) != 1) return certificate_problem(chain);
  X509_STORE_CTX_set_error(chain, X509_V_OK);
  if (pins_.empty()) return {};
  const auto hash = public_key_hash(X509_STORE_CTX_get0_cert(chain));
  if (hash && std::ranges::find(pins_, *hash) != pins_.end()) return {};
  X509_STORE_CTX_set_error(chain, X509_V_ERR_CERT_REJECTED);  // what the server is told: bad_certificate
  return fmt::format("the public key is not one of the pinned ones; it is {}", hash ? pin_of(*hash) : "not readable");
}

// ---- Sessions to continue ------------------------------------------------------------------------------------

// From inside OpenSSL, when a ticket has come. A copy is kept: OpenSSL marks a session whose connection ends without a
// goodbye, and two threads must not share one.
int TlsClientContext::keep_session(SSL* ssl, SSL_SESSION* session) noexcept {
  const auto& owner = *static_cast<const TlsSession*>(SSL_get_app_data(ssl));
  const TlsClientContext& context = *owner.client_;
  contain("the keeping of a TLS session", [&] {
    Kept kept{decltype(Kept::session)(SSL_SESSION_dup(session)), owner.name_, owner.verified_at_};
    if (!kept.session) return;
    const std::lock_guard lock(context.mutex_);
    if (context.kept_.size() == kMaxKept) context.kept_.erase(context.kept_.begin());
    context.kept_.push_back(std::move(kept));
  });
  return 0;  // the reference stays OpenSSL's
}

// A ticket of TLS 1.3 is used once: who watches cannot tell that two connections are of one client (RFC 8446 appendix
// C.4). A session of TLS 1.2 is not renewed with each use, and stays.
TlsClientContext::Kept TlsClientContext::take_kept(const std::string& name) const {
  const Duration oldest = monotonic_now() - kKeepTime;
  const std::lock_guard lock(mutex_);
  std::erase_if(kept_, [oldest](const Kept& kept) { return kept.verified_at < oldest; });
  const auto found = std::find_if(kept_.rbegin(), kept_.rend(), [&](const Kept& kept) { return kept.name == name; });
  if (found == kept_.rend()) return {};
  if (SSL_SESSION_get_protocol_version(found->session.get()) < TLS1_3_VERSION)
    return {decltype(Kept::session)(SSL_SESSION_dup(found->session.get())), found->name, found->verified_at};
  Kept taken = std::move(*found);
  kept_.erase(std::next(found).base());
  return taken;
}

}  // namespace portolan
