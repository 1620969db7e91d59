// UDT4 as a peer of the link bench (link_peer.h), everything at its default.
#include <arpa/inet.h>
#include <udt/udt.h>

#include <string_view>
#include <vector>

#include "link_peer.h"

namespace {

using namespace portolan::bench::peer;

constexpr std::size_t kPieceBytes = 1024 * 1024;

[[noreturn]] void fail(const char* what) {
  std::fprintf(stderr, "%s: %s\n", what, UDT::getlasterror().getErrorMessage());
  std::exit(1);
}

sockaddr_in address_of(const char* host, const char* port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(std::atoi(port)));
  ::inet_pton(AF_INET, host, &address.sin_addr);
  return address;
}

UDTSOCKET connect_to(const char* host, const char* port) {
  const UDTSOCKET socket = UDT::socket(AF_INET, SOCK_STREAM, 0);
  const sockaddr_in address = address_of(host, port);
  if (UDT::connect(socket, reinterpret_cast<const sockaddr*>(&address), sizeof address) == UDT::ERROR) fail("connect");
  return socket;
}

UDTSOCKET accept_one(const char* port) {
  const UDTSOCKET socket = UDT::socket(AF_INET, SOCK_STREAM, 0);
  const sockaddr_in address = address_of("0.0.0.0", port);
  if (UDT::bind(socket, reinterpret_cast<const sockaddr*>(&address), sizeof address) == UDT::ERROR ||
      UDT::listen(socket, 1) == UDT::ERROR) {
    fail("bind");
  }
  const UDTSOCKET accepted = UDT::accept(socket, nullptr, nullptr);
  if (accepted == UDT::INVALID_SOCK) fail("accept");
  return accepted;
}

void send_all(UDTSOCKET socket, std::span<const char> data) {
  while (!data.empty()) {
    const int sent = UDT::send(socket, data.data(), static_cast<int>(std::min(data.size(), kPieceBytes)), 0);
    if (sent == UDT::ERROR) fail("send");
    data = data.subspan(static_cast<std::size_t>(sent));
  }
}

int send_file(UDTSOCKET socket, const char* path) {
  const auto file = map_file(path);
  send_all(socket, big_endian(file.size()));
  send_all(socket, file);
  char answer = 0;
  return UDT::recv(socket, &answer, 1, 0) == 1 && answer == kDone ? 0 : 1;
}

int receive_file(UDTSOCKET socket, const char* path) {
  FileReceiver file(path);
  std::vector<char> buffer(kPieceBytes);
  for (int got; (got = UDT::recv(socket, buffer.data(), static_cast<int>(buffer.size()), 0)) > 0;) {
    if (!file.take(buffer.data(), static_cast<std::size_t>(got))) continue;
    send_all(socket, {&kDone, 1});
    UDT::close(socket);  // lingers until the answer has been acknowledged
    return 0;
  }
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view mode = argc > 1 ? argv[1] : "";
  UDT::startup();
  int code = 2;
  if (argc == 5 && mode == "send") {
    code = send_file(connect_to(argv[3], argv[4]), argv[2]);
  } else if (argc == 4 && mode == "receive") {
    code = receive_file(accept_one(argv[3]), argv[2]);
  } else {
    std::fprintf(stderr, "usage: link_udt send FILE HOST PORT; link_udt receive FILE PORT\n");
  }
  // Its own threads take a second to end, and there is nothing left to do for them.
  std::_Exit(code);
}
