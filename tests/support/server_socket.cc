#include "support/server_socket.h"

#include <cstdlib>
#include <utility>

#include <arpa/inet.h>
#include <openssl/pem.h>
#include <sys/socket.h>
#include <unistd.h>

namespace portolan::testing {

ServerTls::ServerTls(const Identity& identity) : context_(SSL_CTX_new(TLS_server_method())) {
  BIO* text = BIO_new_mem_buf(identity.key.data(), static_cast<int>(identity.key.size()));
  EVP_PKEY* key = PEM_read_bio_PrivateKey(text, nullptr, nullptr, nullptr);
  BIO_free(text);
  text = BIO_new_mem_buf(identity.certificate.data(), static_cast<int>(identity.certificate.size()));
  X509* certificate = PEM_read_bio_X509(text, nullptr, nullptr, nullptr);
  BIO_free(text);
  if (SSL_CTX_use_certificate(context_, certificate) != 1 || SSL_CTX_use_PrivateKey(context_, key) != 1) std::abort();
  SSL_CTX_set_mode(context_, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  EVP_PKEY_free(key);
  X509_free(certificate);
}

int bind_socket(std::string& address, const ServerOptions& options) {
  sockaddr_storage name;
  socklen_t length = 0;
  int type = 0;
  if (!socket_address(address, name, length, type)) return -1;
  const int descriptor = ::socket(name.ss_family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (options.receive_buffer > 0)
    ::setsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &options.receive_buffer, sizeof options.receive_buffer);
  if (::bind(descriptor, reinterpret_cast<const sockaddr*>(&name), length) != 0 ||
      (type != SOCK_DGRAM && ::listen(descriptor, options.backlog) != 0)) {
    ::close(descriptor);
    return -1;
  }
  if (name.ss_family == AF_UNIX) return descriptor;
  ::getsockname(descriptor, reinterpret_cast<sockaddr*>(&name), &length);
  const auto port = ntohs(name.ss_family == AF_INET6 ? reinterpret_cast<const sockaddr_in6&>(name).sin6_port
                                                     : reinterpret_cast<const sockaddr_in&>(name).sin_port);
  address = address.substr(0, address.rfind(':') + 1) + std::to_string(port);
  return descriptor;
}

ServerSocket::ServerSocket(std::string address, const ServerOptions& options)
    : address_(std::move(address)), options_(options), descriptor_(bind_socket(address_, options)) {}

Client ServerSocket::accept(Milliseconds patience) {
  const Deadline deadline(patience);
  for (;;) {
    const int accepted = ::accept4(descriptor_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (accepted >= 0) return Client::of_accepted(accepted, {.tls = options_.tls});
    pollfd entry{.fd = descriptor_, .events = POLLIN, .revents = 0};
    if (deadline.passed() || ::poll(&entry, 1, deadline.left_ms()) < 0) return {};
  }
}

void ServerSocket::close() noexcept {
  if (descriptor_ >= 0) ::close(std::exchange(descriptor_, -1));
}

}  // namespace portolan::testing
