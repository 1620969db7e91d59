// TLS of a service that listens: its context, from which the sessions of its clients (tls_session.h) are made. That of
// outbound connections is in tls_client.h.
//
// A TlsContext is made on the main thread, is immutable, and is shared by all workers of a generation.
#pragma once

#include "config/configuration.h"
#include "net/tls_client.h"
#include "net/tls_session.h"

#include <expected>
#include <memory>
#include <string>

using SSL_CTX = struct ssl_ctx_st;

namespace portolan {

// What is wrong with these files (missing, unreadable, not PEM, a key that does not fit), or an empty text.
std::string check_tls(const TlsOptions& options);

class TlsContext {
 public:
  static std::expected<std::shared_ptr<const TlsContext>, std::string> make(const TlsOptions& options);
  ~TlsContext();
  TlsContext(const TlsContext&) = delete;
  TlsContext& operator=(const TlsContext&) = delete;

 private:
  friend class TlsSession;
  explicit TlsContext(SSL_CTX* context) : context_(context) {}
  SSL_CTX* context_;
};

}  // namespace portolan
