#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <string_view>

#include "floor.h"

namespace portolan::bench {

int open_loopback_socket(int type) {
  const int fd = ::socket(AF_INET, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return -1;
  if (type == SOCK_STREAM) {
    // Accepted sockets inherit it, which saves a system call for every connection.
    const int on = 1;
    ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  }
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) < 0 ||
      (type == SOCK_STREAM && ::listen(fd, 4096) < 0)) {
    ::close(fd);
    return -1;
  }
  return fd;
}

bool announce(int socket, const char* service, const char* scheme) {
  sockaddr_in address{};
  socklen_t size = sizeof address;
  if (::getsockname(socket, reinterpret_cast<sockaddr*>(&address), &size) < 0) return false;
  fmt::print("listening {} {}://127.0.0.1:{}\n", service, scheme, ntohs(address.sin_port));
  return std::fflush(stdout) == 0;
}

}  // namespace portolan::bench

int main(int argc, char** argv) {
  using namespace portolan::bench;
  rlimit descriptors{};
  if (::getrlimit(RLIMIT_NOFILE, &descriptors) == 0) {
    descriptors.rlim_cur = descriptors.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &descriptors);
  }
  const std::string_view mode = argc == 2 ? argv[1] : "";
  if (mode == "echo") return serve_tcp_floor(FloorProtocol::kEcho);
  if (mode == "binary") return serve_tcp_floor(FloorProtocol::kBinary);
  if (mode == "udp") return serve_udp_floor();
  if (mode == "sink") return serve_bulk_sink();
  if (argc == 3 && std::string_view(argv[1]) == "relay") return serve_relay_floor(argv[2]);
  fmt::print(stderr, "usage: bench_floor echo|binary|udp|sink|relay PORT\n");
  return 2;
}
