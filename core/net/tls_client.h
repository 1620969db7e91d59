// TLS of outbound connections: what a server has to show, and what is shown to it.
//
// A TlsClientContext is made on the main thread and shared by all workers of a generation. It is immutable but for the
// sessions that it keeps to continue them (RFC 8446 section 2.2), which are behind a lock that a handshake holds for as
// long as it takes to move a pointer. A session is continued only for the name that it was verified for, and within an
// hour of that verification, so that an expired or replaced certificate does not live on in tickets.
#pragma once

#include "net/certificate_problem.h"
#include "plugin/descriptor.h"

#include <expected>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

using SSL = struct ssl_st;
using SSL_CTX = struct ssl_ctx_st;
using SSL_SESSION = struct ssl_session_st;

namespace portolan {

class TlsSession;

struct TlsClientOptions {
  std::string name;               // what the certificate has to be for, and SNI; empty: what was dialed
  std::string ca;                 // PEM file of the authorities to trust; empty: those of the system
  std::string certificate;        // PEM file, shown to a server that asks; empty: none
  std::string key;                // PEM file; empty: in the certificate's
  std::vector<std::string> pins;  // the server's key has to be one of these (RFC 7469), whatever `verify` says
  bool verify = true;             // false: neither chain nor name is looked at
  int min_version = 12;           // 12 or 13
};

class TlsClientContext : public std::enable_shared_from_this<TlsClientContext> {
 public:
  // Opens files. The error names the option or the file.
  static std::expected<std::shared_ptr<const TlsClientContext>, std::string> make(const TlsClientOptions& options);
  ~TlsClientContext();
  TlsClientContext(const TlsClientContext&) = delete;
  TlsClientContext& operator=(const TlsClientContext&) = delete;

 private:
  friend class TlsSession;
  struct SessionFreed {
    void operator()(SSL_SESSION* session) const noexcept;
  };
  struct Kept {
    std::unique_ptr<SSL_SESSION, SessionFreed> session;
    std::string name;        // what the server's certificate was verified for
    Duration verified_at{};  // when
  };

  explicit TlsClientContext(SSL_CTX* context) : context_(context) {}
  std::string set_up(const TlsClientOptions& options);
  // Answers what is wrong, or an empty text.
  std::string prepare(TlsSession& session, std::string_view server_name) const;
  std::string problem_of(X509_STORE_CTX* chain) const;
  Kept take_kept(const std::string& name) const;
  static int verify_peer(X509_STORE_CTX* chain, void* self) noexcept;
  static int keep_session(SSL* ssl, SSL_SESSION* session) noexcept;

  SSL_CTX* const context_;
  std::string name_;
  std::vector<PublicKeyHash> pins_;
  bool verify_ = true;
  mutable std::mutex mutex_;
  mutable std::vector<Kept> kept_;  // the newest last
};

}  // namespace portolan
