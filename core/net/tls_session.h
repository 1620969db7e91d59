// One connection's TLS on OpenSSL, of either side, over a non-blocking socket that it does not own.
//
// Belongs to its stream and its worker. Made from a context of its side (tls.h, tls_client.h), which may go before it.
#pragma once

#include "plugin/descriptor.h"

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>

using SSL = struct ssl_st;
using SSL_CTX = struct ssl_ctx_st;

namespace portolan {

class TlsContext;
class TlsClientContext;

class TlsSession {
 public:
  enum class Outcome : unsigned char { done, want_read, want_write, closed, failed };
  struct Result {
    Outcome outcome;
    std::size_t bytes = 0;  // with Outcome::done
  };
  // The server's side. Null when out of memory.
  static std::unique_ptr<TlsSession> accept(const TlsContext& context, int descriptor);
  // The client's side. `server_name` is what was dialed, a host name or a numeric address without a port: it is what the
  // server is told (SNI, RFC 6066 section 3: host names only) and what its certificate has to be for, unless the context
  // has a name of its own. Null when out of memory; what else is wrong is said by handshake().
  static std::unique_ptr<TlsSession> connect(const TlsClientContext& context, int descriptor,
                                             std::string_view server_name);
  ~TlsSession();

  Result handshake() noexcept;
  Result read(std::span<std::byte> into) noexcept;
  Result write(std::span<const std::byte> from) noexcept;
  // Tells the peer that no more comes (close_notify).
  void shutdown() noexcept;
  // After Outcome::failed: why. On the server's side as OpenSSL says it.
  const std::string& error() const noexcept { return error_; }
  bool reset_by_peer() const noexcept { return reset_by_peer_; }
  // On the server's side: the host name that the client asked for (SNI), as it came; empty without one.
  std::string_view server_name() const noexcept;
  // The handshake continued an earlier session: no certificate was sent.
  bool resumed() const noexcept;

 private:
  friend class TlsClientContext;
  explicit TlsSession(SSL* ssl) : ssl_(ssl) {}
  static std::unique_ptr<TlsSession> make(SSL_CTX* context, int descriptor);
  Result outcome_of(int result) noexcept;

  SSL* ssl_;
  std::string error_;
  bool reset_by_peer_ = false;
  // The client's side only.
  std::shared_ptr<const TlsClientContext> client_;
  std::string name_;        // what the certificate has to be for
  Duration verified_at_{};  // when it was found to be, perhaps by the session that this one resumes
};

}  // namespace portolan
