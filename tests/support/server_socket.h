// A listening socket of the test's own: what connects to it is handed to the test as a Client, which speaks as the
// server's end of that connection.
//
// Owned and used by one thread, which may be any. Loopback and unix only. Nothing in here asserts: a connection that did
// not come is a Client that is not connected.
#pragma once

#include "support/certificates.h"
#include "support/client.h"

#include <string>

namespace portolan::testing {

// A context for the server's end of TLS; freed with it.
class ServerTls {
 public:
  explicit ServerTls(const Identity& identity);
  ~ServerTls() { SSL_CTX_free(context_); }
  ServerTls(const ServerTls&) = delete;
  ServerTls& operator=(const ServerTls&) = delete;
  operator SSL_CTX*() const noexcept { return context_; }

 private:
  SSL_CTX* context_;
};

struct ServerOptions {
  SSL_CTX* tls = nullptr;  // for tls://; not owned
  int receive_buffer = 0;  // SO_RCVBUF of what is accepted
  int backlog = 1024;
};

// Makes a socket, bound and, unless it is udp://, listening; -1 when that fails. `address` becomes what it got.
int bind_socket(std::string& address, const ServerOptions& options = {});

class ServerSocket {
 public:
  explicit ServerSocket(std::string address = "tcp://127.0.0.1:0", const ServerOptions& options = {});
  ~ServerSocket() { close(); }
  ServerSocket(const ServerSocket&) = delete;
  ServerSocket& operator=(const ServerSocket&) = delete;

  const std::string& address() const noexcept { return address_; }  // with the port that it got
  Client accept(Milliseconds patience = kPatience);                 // over TLS with its handshake
  void close() noexcept;                                            // what comes from here on is refused

 private:
  std::string address_;
  ServerOptions options_;
  int descriptor_;
};

}  // namespace portolan::testing
