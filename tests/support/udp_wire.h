// A wire between UDP clients and one server on loopback: passes everything on, and counts it.
//
// Its address stays while the server behind it dies and comes back on the same port. Made and destroyed on the test's main
// thread; passes on in a thread of its own.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <thread>

namespace portolan::testing {

class UdpWire {
 public:
  // To 127.0.0.1:`port`.
  explicit UdpWire(std::uint16_t port);
  ~UdpWire();
  UdpWire(const UdpWire&) = delete;
  UdpWire& operator=(const UdpWire&) = delete;

  std::string address() const;  // "127.0.0.1:4711"
  std::uint64_t bytes_to_server() const noexcept { return to_server_; }
  std::uint64_t bytes_to_clients() const noexcept { return to_clients_; }
  // Nothing passes any more, in neither direction, until it is mended.
  void cut(bool is_cut) noexcept { cut_ = is_cut; }
  // As a NAT that forgets: what clients send from now on comes to the server from other ports.
  void move() noexcept { ++moves_; }

 private:
  void run();

  std::uint16_t server_;
  int socket_;
  int stop_[2];
  std::atomic<bool> cut_ = false;
  std::atomic<unsigned> moves_ = 0;
  std::atomic<std::uint64_t> to_server_ = 0;
  std::atomic<std::uint64_t> to_clients_ = 0;
  std::thread thread_;
};

}  // namespace portolan::testing
