// ENet as a peer of the link bench (link_peer.h), with reliable packets on one channel, and else at its defaults.
#include <enet/enet.h>

#include <string_view>

#include "link_peer.h"

namespace {

using namespace portolan::bench::peer;

constexpr std::size_t kPieceBytes = 64 * 1024;
// Far more than its window of 64 KiB, and little enough not to hold a file in memory.
constexpr int kPiecesAtOnce = 16;
constexpr enet_uint32 kTurnMs = 1;
constexpr enet_uint32 kConnectMs = 20'000;

int pieces_under_way = 0;

[[noreturn]] void fail(const char* what) {
  std::fprintf(stderr, "%s\n", what);
  std::exit(1);
}

ENetHost* make_host(const ENetAddress* address) {
  if (enet_initialize() != 0) fail("ENet does not start");
  ENetHost* host = enet_host_create(address, 1, 1, 0, 0);
  if (host == nullptr) give_up("no socket");
  return host;
}

ENetHost* listen_at(const char* port) {
  ENetAddress address{};
  address.host = ENET_HOST_ANY;
  address.port = static_cast<enet_uint16>(std::atoi(port));
  return make_host(&address);
}

struct Connection {
  ENetHost* host;
  ENetPeer* peer;
};

Connection connect_to(const char* name, const char* port) {
  ENetHost* host = make_host(nullptr);
  ENetAddress address{};
  address.port = static_cast<enet_uint16>(std::atoi(port));
  enet_address_set_host_ip(&address, name);
  ENetPeer* peer = enet_host_connect(host, &address, 1, 0);
  ENetEvent event{};
  if (peer == nullptr || enet_host_service(host, &event, kConnectMs) <= 0 || event.type != ENET_EVENT_TYPE_CONNECT) {
    fail("no connection");
  }
  return {host, peer};
}

void send_piece(ENetPeer* peer, const char* data, std::size_t size) {
  ENetPacket* packet = enet_packet_create(data, size, ENET_PACKET_FLAG_RELIABLE);
  packet->freeCallback = [](ENetPacket*) { --pieces_under_way; };
  ++pieces_under_way;
  if (enet_peer_send(peer, 0, packet) < 0) fail("ENet takes no packet");
}

int send_file(const Connection& to, const char* path) {
  auto file = map_file(path);
  const auto size = big_endian(file.size());
  send_piece(to.peer, size.data(), size.size());
  for (;;) {
    while (!file.empty() && pieces_under_way < kPiecesAtOnce) {
      const auto piece = file.first(std::min(file.size(), kPieceBytes));
      send_piece(to.peer, piece.data(), piece.size());
      file = file.subspan(piece.size());
    }
    ENetEvent event{};
    if (enet_host_service(to.host, &event, kTurnMs) < 0 || event.type == ENET_EVENT_TYPE_DISCONNECT)
      fail("ENet has given the connection up");
    if (event.type == ENET_EVENT_TYPE_RECEIVE) return 0;
  }
}

int receive_file(ENetHost* host, const char* path) {
  FileReceiver file(path);
  for (ENetEvent event{}; enet_host_service(host, &event, 1000) >= 0;) {
    if (event.type == ENET_EVENT_TYPE_DISCONNECT) return 0;
    if (event.type != ENET_EVENT_TYPE_RECEIVE) continue;
    const bool all = file.take(reinterpret_cast<const char*>(event.packet->data), event.packet->dataLength);
    enet_packet_destroy(event.packet);
    if (all) send_piece(event.peer, &kDone, 1);
  }
  return 1;
}

int say(const Connection& to, int count) {
  MessageSource source;
  for (int i = 0; i < count; ++i) {
    ENetEvent event{};
    while (std::chrono::steady_clock::now() < source.due()) enet_host_service(to.host, &event, kTurnMs);
    const Message message = source.next();
    send_piece(to.peer, message.data(), message.size());
    enet_host_flush(to.host);
  }
  while (pieces_under_way > 0) {
    ENetEvent event{};
    if (enet_host_service(to.host, &event, kTurnMs) < 0 || event.type == ENET_EVENT_TYPE_DISCONNECT) return 1;
  }
  return 0;
}

int hear(ENetHost* host, const char* path) {
  LatencyFile file(path);
  for (ENetEvent event{}; enet_host_service(host, &event, 1000) >= 0;) {
    if (event.type == ENET_EVENT_TYPE_DISCONNECT) return 0;
    if (event.type != ENET_EVENT_TYPE_RECEIVE) continue;
    file.add(reinterpret_cast<const char*>(event.packet->data));
    enet_packet_destroy(event.packet);
  }
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view mode = argc > 1 ? argv[1] : "";
  if (argc == 5 && mode == "send") return send_file(connect_to(argv[3], argv[4]), argv[2]);
  if (argc == 5 && mode == "say") return say(connect_to(argv[3], argv[4]), std::atoi(argv[2]));
  if (argc == 4 && mode == "receive") return receive_file(listen_at(argv[3]), argv[2]);
  if (argc == 4 && mode == "hear") return hear(listen_at(argv[3]), argv[2]);
  std::fprintf(stderr, "usage: link_enet send|say FILE|COUNT HOST PORT; link_enet receive|hear FILE PORT\n");
  return 2;
}
