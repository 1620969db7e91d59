// TLS on OpenSSL: a service's context, and one session's state.
//
// A TlsContext is made on the main thread, is immutable, and is shared by all workers of a generation. A TlsSession
// belongs to its stream and its worker.
#pragma once

#include "config/configuration.h"

#include <cstddef>
#include <expected>
#include <memory>
#include <span>
#include <string>

using SSL = struct ssl_st;
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

// The server's side of one connection, over a non-blocking socket that it does not own.
class TlsSession {
 public:
  enum class Outcome : unsigned char { done, want_read, want_write, closed, failed };
  struct Result {
    Outcome outcome;
    std::size_t bytes = 0;  // with Outcome::done
  };
  // Null when out of memory.
  static std::unique_ptr<TlsSession> accept(const TlsContext& context, int descriptor);
  ~TlsSession();

  Result handshake() noexcept;
  Result read(std::span<std::byte> into) noexcept;
  Result write(std::span<const std::byte> from) noexcept;
  // Tells the peer that no more comes (close_notify).
  void shutdown() noexcept;
  // After Outcome::failed: why, as OpenSSL says it.
  const std::string& error() const noexcept { return error_; }
  bool reset_by_peer() const noexcept { return reset_by_peer_; }

 private:
  explicit TlsSession(SSL* ssl) : ssl_(ssl) {}
  Result outcome_of(int result) noexcept;
  SSL* ssl_;
  std::string error_;
  bool reset_by_peer_ = false;
};

}  // namespace portolan
