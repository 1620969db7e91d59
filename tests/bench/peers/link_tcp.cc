// The kernel's TCP with a congestion control of choice, as a peer of the link bench (link_peer.h):
//   link_tcp send FILE HOST PORT CC     link_tcp receive FILE PORT CC
//   link_tcp fetch FILE HOST PORT CC    link_tcp serve FILE PORT CC      the other way round: who connects, receives
//   link_tcp pass HOST PORT CC          connects, and hands the socket to ssh (ProxyUseFdpass), which cannot choose
//   link_tcp say COUNT HOST PORT CC     link_tcp hear FILE PORT CC
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <string_view>
#include <vector>

#include "link_peer.h"

namespace {

using namespace portolan::bench::peer;

int open_socket(const char* control) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int on = 1;
  if (fd < 0 ||
      ::setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, control, static_cast<socklen_t>(std::strlen(control))) < 0) {
    give_up(control);
  }
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  return fd;
}

sockaddr_in address_of(const char* host, const char* port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(std::atoi(port)));
  if (::inet_pton(AF_INET, host, &address.sin_addr) != 1) give_up(host);
  return address;
}

int connect_to(const char* host, const char* port, const char* control) {
  const int fd = open_socket(control);
  const sockaddr_in address = address_of(host, port);
  if (::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) < 0) give_up("connect");
  return fd;
}

int accept_one(const char* port, const char* control) {
  const int fd = open_socket(control);
  const sockaddr_in address = address_of("0.0.0.0", port);
  const int on = 1;
  ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) < 0 || ::listen(fd, 1) < 0)
    give_up("bind");
  const int accepted = ::accept4(fd, nullptr, nullptr, SOCK_CLOEXEC);
  if (accepted < 0) give_up("accept");
  return accepted;
}

void send_all(int fd, std::span<const char> data) {
  for (ssize_t sent; !data.empty(); data = data.subspan(static_cast<std::size_t>(sent))) {
    if ((sent = ::send(fd, data.data(), data.size(), MSG_NOSIGNAL)) < 0) give_up("send");
  }
}

int send_file(int fd, const char* path) {
  const auto file = map_file(path);
  send_all(fd, big_endian(file.size()));
  send_all(fd, file);
  char answer = 0;
  return ::recv(fd, &answer, 1, 0) == 1 && answer == kDone ? 0 : 1;
}

int receive_file(int fd, const char* path) {
  FileReceiver file(path);
  std::vector<char> buffer(256 * 1024);
  for (ssize_t got; (got = ::recv(fd, buffer.data(), buffer.size(), 0)) > 0;) {
    if (!file.take(buffer.data(), static_cast<std::size_t>(got))) continue;
    send_all(fd, {&kDone, 1});
    return 0;
  }
  return 1;
}

int say(int fd, int count) {
  MessageSource source;
  for (int i = 0; i < count; ++i) {
    std::this_thread::sleep_until(source.due());
    send_all(fd, source.next());
  }
  ::shutdown(fd, SHUT_WR);
  char end = 0;
  return ::recv(fd, &end, 1, 0) == 0 ? 0 : 1;
}

int hear(int fd, const char* path) {
  LatencyFile file(path);
  for (Message message; ::recv(fd, message.data(), message.size(), MSG_WAITALL) == kMessageBytes;)
    file.add(message.data());
  return 0;
}

int pass(int fd) {
  char byte = 0;
  iovec part{&byte, 1};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof fd)> control{};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof fd);
  std::memcpy(CMSG_DATA(header), &fd, sizeof fd);
  return ::sendmsg(STDOUT_FILENO, &message, 0) == 1 ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view mode = argc > 1 ? argv[1] : "";
  if (argc == 6) {
    const auto connected = [&] { return connect_to(argv[3], argv[4], argv[5]); };
    if (mode == "send") return send_file(connected(), argv[2]);
    if (mode == "fetch") return receive_file(connected(), argv[2]);
    if (mode == "say") return say(connected(), std::atoi(argv[2]));
  } else if (argc == 5 && mode == "pass") {
    return pass(connect_to(argv[2], argv[3], argv[4]));
  } else if (argc == 5) {
    const auto accepted = [&] { return accept_one(argv[3], argv[4]); };
    if (mode == "receive") return receive_file(accepted(), argv[2]);
    if (mode == "serve") return send_file(accepted(), argv[2]);
    if (mode == "hear") return hear(accepted(), argv[2]);
  }
  std::fprintf(stderr,
               "usage: link_tcp send|fetch|say FILE|COUNT HOST PORT CC; link_tcp receive|serve|hear FILE PORT CC\n");
  return 2;
}
