// Loopback sockets and clocks for the load generators. One thread uses all of it: the driver's.
#pragma once

#include <netinet/in.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace portolan::bench {

// What a load or a server says when it could not go on: one phrase that ends up in the row of the table.
using Failure = std::unexpected<std::string>;
template <typename T>
using Result = std::expected<T, std::string>;

using Clock = std::chrono::steady_clock;

class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    if (this != &other) {
      reset();
      fd_ = std::exchange(other.fd_, -1);
    }
    return *this;
  }
  ~Descriptor() { reset(); }

  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }
  void reset();

 private:
  int fd_ = -1;
};

// Every load ends at whichever bound comes first.
struct Bounds {
  double seconds = 1.0;
  std::uint64_t requests = UINT64_MAX;
};

struct Tally {
  std::uint64_t requests = 0;  // answered, and every answer was the right one
  std::uint64_t lost = 0;      // datagrams asked for again
  double seconds = 0;
  double generator_cpu_seconds = 0;
  double late_us = 0;             // open loops: of the request that was sent longest after it was due
  std::vector<float> latency_us;  // of every request (or batch), from its first byte to the answer's last
};

// A server that says nothing for this long has failed.
inline constexpr int kSilenceMs = 2000;

// `tcp://127.0.0.1:41234`; IPv4 alone, because every bench is on the loopback.
Result<sockaddr_in> parse_address(std::string_view text);

Result<Descriptor> connect_tcp(const sockaddr_in& address);  // blocking connect, then a non-blocking socket
Result<Descriptor> connect_udp(const sockaddr_in& address);
// For a server that cannot choose its port and say which: the kernel's choice, free at this moment.
Result<sockaddr_in> free_loopback_address(int socket_type);
void close_by_reset(Descriptor& socket);

bool watch(int epoll, int operation, int fd, std::uint32_t mask, std::uint32_t index);
// Sends all of it, waiting for room where there is none.
Result<void> send_all(int fd, const char* data, std::size_t size);
// Waits until `text` has come, and forgets all up to its end; what has come behind it is in `kept`.
Result<void> read_until(int fd, std::string& kept, std::string_view text);

// Eight letters that tell one message from every other, so that a stale or a foreign answer cannot pass.
inline constexpr std::size_t kTagSize = 8;
void write_tag(char* at, std::uint32_t number, char first_letter = 'a');
// The number of what write_tag wrote; UINT32_MAX for what it did not.
std::uint32_t read_tag(const char* at);

std::string error_text(std::string_view what);
double seconds_since(Clock::time_point begin);
float us_since(Clock::time_point begin);
double own_cpu_seconds();
std::size_t raise_descriptor_limit();

// Ctrl-C ends a load early, so that the servers and the temporary files still get cleaned up.
void catch_interrupts();
bool interrupted();

}  // namespace portolan::bench
