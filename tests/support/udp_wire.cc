#include "support/udp_wire.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <vector>

namespace portolan::testing {
namespace {

sockaddr_in loopback(std::uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

int open_socket() {
  const int descriptor = ::socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  const sockaddr_in any = loopback(0);
  const int room = 4 * 1024 * 1024;
  ::setsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
  if (descriptor < 0 || ::bind(descriptor, reinterpret_cast<const sockaddr*>(&any), sizeof any) != 0) std::abort();
  return descriptor;
}

struct Client {
  sockaddr_in address;
  int upstream;    // connected to the server
  unsigned moves;  // before it was opened
};

int open_upstream(std::uint16_t server) {
  const int descriptor = open_socket();
  const sockaddr_in to = loopback(server);
  if (::connect(descriptor, reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0) std::abort();
  return descriptor;
}

}  // namespace

UdpWire::UdpWire(std::uint16_t port) : server_(port), socket_(open_socket()) {
  if (::pipe2(stop_, O_CLOEXEC) != 0) std::abort();
  thread_ = std::thread([this] { run(); });
}

UdpWire::~UdpWire() {
  ::close(stop_[1]);
  thread_.join();
  ::close(stop_[0]);
  ::close(socket_);
}

std::string UdpWire::address() const {
  sockaddr_in address{};
  socklen_t size = sizeof address;
  ::getsockname(socket_, reinterpret_cast<sockaddr*>(&address), &size);
  return "127.0.0.1:" + std::to_string(ntohs(address.sin_port));
}

void UdpWire::run() {
  std::vector<Client> clients;
  std::vector<char> buffer(65536);
  for (;;) {
    std::vector<pollfd> wanted = {{stop_[0], POLLIN, 0}, {socket_, POLLIN, 0}};
    for (const Client& client : clients) wanted.push_back({client.upstream, POLLIN, 0});
    ::poll(wanted.data(), wanted.size(), -1);
    if (wanted[0].revents != 0) break;
    sockaddr_in from{};
    socklen_t size = sizeof from;
    for (ssize_t got; (got = ::recvfrom(socket_, buffer.data(), buffer.size(), 0, reinterpret_cast<sockaddr*>(&from),
                                        &size)) >= 0;) {
      to_server_ += static_cast<std::uint64_t>(got);
      if (cut_) continue;
      Client* known = nullptr;
      for (Client& client : clients) {
        if (client.address.sin_port == from.sin_port) known = &client;
      }
      const unsigned moves = moves_;
      if (!known) {
        known = &clients.emplace_back(from, open_upstream(server_), moves);
      } else if (known->moves != moves) {
        const int other = open_upstream(server_);  // before the old one goes, whose port it must not get
        ::close(known->upstream);
        *known = {from, other, moves};
      }
      (void)::send(known->upstream, buffer.data(), static_cast<std::size_t>(got), 0);
    }
    for (const Client& client : clients) {
      for (;;) {
        const ssize_t got = ::recv(client.upstream, buffer.data(), buffer.size(), 0);
        if (got < 0) break;  // nothing more, or nobody there
        to_clients_ += static_cast<std::uint64_t>(got);
        if (cut_) continue;
        (void)::sendto(socket_, buffer.data(), static_cast<std::size_t>(got), 0,
                       reinterpret_cast<const sockaddr*>(&client.address), sizeof client.address);
      }
    }
  }
  for (const Client& client : clients) ::close(client.upstream);
}

}  // namespace portolan::testing
