// A blocking client with a deadline on everything, over tcp, tls, unix or udp. Loopback only.
//
// Owned and used by one thread, which may be any. Nothing in here asserts, so that it also serves in threads: a call
// that fails says so by its answer, end() says how the conversation ended and error() says it as a sentence.
#pragma once

#include "support/waiting.h"

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include <openssl/ssl.h>
#include <sys/socket.h>

namespace portolan::testing {

enum class End {
  none,       // the conversation goes on
  closed,     // the peer has closed in order (FIN; close_notify over TLS)
  reset,      // ECONNRESET, EPIPE
  refused,    // nobody listens
  timed_out,  // the deadline has passed
  failed,     // anything else, a TLS alert among it: see error()
};
const char* to_text(End end);

struct ClientOptions {
  std::string source = {};            // address to connect from: "127.0.0.2"
  int receive_buffer = 0;             // SO_RCVBUF, set before the connect so that it bounds the window
  SSL_CTX* tls = nullptr;             // for tls://; not owned
  bool handshake = true;              // false: stay silent on a tls:// address after the TCP connect
  Milliseconds patience = kPatience;  // for each call
};

class Client {
 public:
  Client() = default;
  // Connects, and shakes hands over TLS. Whether that worked: connected().
  explicit Client(const std::string& address, ClientOptions options = {});
  // The server's end of a connection that was accepted; with options.tls, a server's, it shakes hands.
  static Client of_accepted(int descriptor, ClientOptions options = {});
  ~Client();
  Client(Client&& other) noexcept;
  Client& operator=(Client&& other) noexcept;

  bool connected() const noexcept { return descriptor_ >= 0 && end_ == End::none; }
  End end() const noexcept { return end_; }
  const std::string& error() const noexcept { return error_; }
  int descriptor() const noexcept { return descriptor_; }
  SSL* tls() const noexcept { return ssl_; }
  std::uint16_t local_port() const;
  void set_patience(Milliseconds patience) noexcept { options_.patience = patience; }

  bool send(std::string_view data);                   // all of it; over udp one datagram
  std::size_t send_what_fits(std::string_view data);  // never waits
  std::string receive(std::size_t count);             // `count` bytes, fewer when the conversation ended before
  std::string receive_line();                         // up to and with '\n'
  std::string receive_all();                          // up to the end
  std::string receive_datagram();                     // one; empty when none came
  // Sends and receives at once until all of `data` is sent and `expected` bytes have come.
  std::string exchange(std::string_view data, std::size_t expected);
  bool finish_sending();  // FIN, or close_notify
  void close() noexcept;
  void close_with_reset() noexcept;

 private:
  void shake_hands(int (*step)(SSL*));  // SSL_connect or SSL_accept
  bool wait(short events, const Deadline& deadline);
  // Bytes taken or received, 0 when it would block, -1 when the conversation has ended.
  long try_send(std::string_view data, short* wanted);
  long try_receive(char* data, std::size_t size, short* wanted);
  long ended(End end, std::string what);
  long ended_by_errno(const char* doing);
  long ended_by_tls(int result, const char* doing, short* wanted);

  ClientOptions options_;
  int descriptor_ = -1;
  SSL* ssl_ = nullptr;
  bool datagram_ = false;
  End end_ = End::none;
  std::string error_;
  std::string pending_;  // received, not yet asked for
};

// "tcp://127.0.0.1:80" as a socket address; false when it is no such thing.
bool socket_address(const std::string& address, sockaddr_storage& out, socklen_t& length, int& type);

}  // namespace portolan::testing
