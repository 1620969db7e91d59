// Certificates of the test's own, made by OpenSSL when they are wanted, and TLS contexts for clients that use them.
//
// Any thread; whoever gets a context frees it (ClientTls does).
#pragma once

#include <cstdint>
#include <string>

#include <openssl/ssl.h>

namespace portolan::testing {

// A key and its certificate, both PEM.
struct Identity {
  std::string key;
  std::string certificate;
};

// From when to when a certificate is valid, in seconds since 1970. Both 0: from an hour ago for a day.
struct Validity {
  std::int64_t from = 0;
  std::int64_t until = 0;
};

// Signs for itself, and may sign others.
Identity make_authority(const std::string& name, const Validity& validity = {});
// One that `authority` has signed, and that may sign others.
Identity issue_authority(const Identity& authority, const std::string& name, const Validity& validity = {});
// For `name` and the addresses of loopback, signed by `authority`.
Identity issue(const Identity& authority, const std::string& name, const Validity& validity = {});
// For these names, as OpenSSL writes them ("DNS:nas.lan,IP:192.0.2.1"); `name` is its common name.
Identity issue_for(const Identity& authority, const std::string& name, const std::string& names,
                   const Validity& validity = {});
// "sha256/" and the SHA-256 of its public key in base64.
std::string public_key_pin(const Identity& identity);

struct ClientTlsOptions {
  std::string authority = {};  // PEM: the server must be signed by it; empty: anything goes
  Identity identity = {};      // shown to a server that asks; empty: none
  int min_version = TLS1_2_VERSION;
  int max_version = TLS1_3_VERSION;
};

class ClientTls {
 public:
  explicit ClientTls(const ClientTlsOptions& options = {});
  ~ClientTls() { SSL_CTX_free(context_); }
  ClientTls(const ClientTls&) = delete;
  ClientTls& operator=(const ClientTls&) = delete;
  operator SSL_CTX*() const noexcept { return context_; }

 private:
  SSL_CTX* context_;
};

// The common name of the certificate that the peer showed.
std::string peer_name(SSL* ssl);

}  // namespace portolan::testing
