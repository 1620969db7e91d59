#include "rudp_socket.h"

#include "base/callback.h"
#include "base/unique_fd.h"
#include "event/io_event.h"
#include "event/precise_timer.h"
#include "net/datagram_train.h"
#include "net/packet_info.h"

#include <fmt/format.h>

#include <netinet/udp.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <optional>
#include <string>
#include <utility>

namespace portolan {

namespace {

// Of one event; after each batch what it calls for is sent, so that acknowledgements flow.
constexpr int kBatchesAtOnce = 4;
// Sent at one turn, before the loop looks after others.
constexpr std::size_t kSentAtOnce = 1024 * 1024;
// In both directions: what a gigabit link brings in 30 ms.
constexpr int kBuffer = 4 * 1024 * 1024;
constexpr Duration kBusy = std::chrono::milliseconds(1);

template <typename Value>
bool set(int descriptor, int level, int name, Value value) noexcept {
  return setsockopt(descriptor, level, name, &value, sizeof value) == 0;
}

void prepare(int descriptor, bool v6) noexcept {
  // Beyond the system's bound (net.core.rmem_max) as far as we are allowed to.
  if (!set(descriptor, SOL_SOCKET, SO_RCVBUFFORCE, kBuffer)) set(descriptor, SOL_SOCKET, SO_RCVBUF, kBuffer);
  if (!set(descriptor, SOL_SOCKET, SO_SNDBUFFORCE, kBuffer)) set(descriptor, SOL_SOCKET, SO_SNDBUF, kBuffer);
  set(descriptor, SOL_UDP, UDP_GRO, 1);
  // Never fragmented, and what ICMP says of the path's MTU is not believed: rudp finds it itself (RFC 8899).
  if (v6) {
    set(descriptor, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_PROBE);
    set(descriptor, IPPROTO_IPV6, IPV6_RECVERR, 1);
  } else {
    set(descriptor, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_PROBE);
    set(descriptor, IPPROTO_IP, IP_RECVERR, 1);
  }
}

Address name_of(int descriptor) noexcept {
  sockaddr_storage storage{};
  socklen_t length = sizeof storage;
  auto* address = reinterpret_cast<sockaddr*>(&storage);
  return getsockname(descriptor, address, &length) == 0 ? Address::from(address) : Address();
}

class Socket final : public RudpSocket, rudp::EndpointHandler, TrainTrouble {
 public:
  Socket(Loop& loop, UniqueFd descriptor, bool with_local, const rudp::EndpointOptions& options,
         rudp::EndpointHandler& handler)
      : handler_(handler),
        descriptor_(std::move(descriptor)),
        endpoint_(options, *this),
        sender_(descriptor_.get(), *this),
        reader_(descriptor_.get(), with_local),
        timer_(loop, [this] { on_timer(); }),
        soon_(loop, [this] { take_turn([] {}); }) {
    event_.bind(loop, descriptor_.get(), &Socket::on_event, this);
    event_.want(IoEvent::kRead);
  }

  rudp::Endpoint& endpoint() noexcept override { return endpoint_; }
  Address local() const noexcept override { return name_of(descriptor_.get()); }

  rudp::Connection* connect(const Address& to, const rudp::ConnectionOptions& options,
                            rudp::ConnectionHandler& handler) noexcept override {
    rudp::Connection* connection = endpoint_.connect(to, options, handler, Loop::now());
    on_wake();
    return connection;
  }

  void watch_unreachable(std::function<void(const Address&, int)> told) noexcept override {
    unreachable_ = std::move(told);
  }

  void send_foreign(const Address& to, const Address& from, std::span<const std::byte> data) noexcept override {
    // Not before what waits: but then there is no room in the socket either.
    if (waits_for_room_) return;
    if (sender_.room().empty()) flush();
    sender_.add({.to = to, .from = from, .data = data, .segment = data.size(), .probe = false});
    on_wake();
  }

 private:
  // ---- From the endpoint ----
  rudp::ConnectionHandler* on_connection(rudp::Connection& connection) noexcept override {
    return handler_.on_connection(connection);
  }
  void on_foreign_datagram(const Address& from, const Address& to, std::span<const std::byte> data) noexcept override {
    handler_.on_foreign_datagram(from, to, data);
  }
  // In a turn, what there is to send goes at its end.
  void on_wake() noexcept override {
    if (!in_turn_) soon_.run_soon();
  }

  // ---- From the network ----
  void on_too_long(const Address& to, std::size_t segment) noexcept override {
    endpoint_.too_long(to, segment, Loop::now());
  }
  void on_unreachable(const Address& to, int error_number) noexcept override {
    if (unreachable_) contain("the report of an unreachable peer", [&] { unreachable_(to, error_number); });
  }

  // ---- From the loop ----
  static void on_event(int, short events, void* self) noexcept {
    auto& socket = *static_cast<Socket*>(self);
    if (events & IoEvent::kWrite) socket.waits_for_room_ = false;
    socket.take_turn([&] {
      if (events & IoEvent::kRead) socket.read();
    });
  }

  void on_timer() noexcept {
    busy_ = false;
    take_turn([this] {
      const Duration now = Loop::now();
      if (endpoint_.deadline() <= now) endpoint_.on_timeout(now);
    });
  }

  template <typename Body>
  void take_turn(Body&& body) noexcept {
    in_turn_ = true;
    body();
    const bool more = send();
    in_turn_ = false;
    event_.want(static_cast<short>(waits_for_room_ ? IoEvent::kRead | IoEvent::kWrite : IoEvent::kRead));
    Duration next = endpoint_.deadline();
    const Duration now = Loop::now();
    // While nothing can be sent, a deadline of the endpoint's pacing stays where it is, in the past.
    if (waits_for_room_ || busy_) next = std::max(next, now + kBusy);
    if (busy_) next = now + kBusy;
    timer_.wake_at(more ? now : next);
  }

  void read() noexcept {
    for (int batch = 0; batch < kBatchesAtOnce; ++batch) {
      const auto reception = reader_.receive();
      // Woken for nothing: it was for the error queue, which wakes until it is empty.
      if (reception.trains.empty() && (batch == 0 || reception.error_number != EAGAIN)) reader_.read_errors(*this);
      if (reception.trains.empty()) {
        if (reception.error_number == EAGAIN) return;
        continue;
      }
      const Duration now = Loop::now();
      for (const auto& train : reception.trains) {
        // Without a first byte it is of no protocol at all.
        for (std::span<std::byte> rest = train.data; !rest.empty();) {
          const std::span<std::byte> one = rest.first(std::min(train.segment, rest.size()));
          rest = rest.subspan(one.size());
          endpoint_.receive(train.from, train.to, one, now);
        }
      }
      if (!reception.more) return;
      send();
    }
  }

  // True: there is more to send, but others get their turn first.
  bool send() noexcept {
    if (waits_for_room_ || busy_) return false;
    std::size_t bytes = 0;
    for (bool built = true; built;) {
      built = false;
      for (auto room = sender_.room(); !room.empty(); room = sender_.room()) {
        rudp::Train train;
        if (!endpoint_.transmit(train, room, Loop::now())) break;
        built = true;
        bytes += train.data.size();
        sender_.add(train);
      }
      if (!flush()) return false;
      if (bytes >= kSentAtOnce) return true;
    }
    return false;
  }

  bool flush() noexcept {
    switch (sender_.flush()) {
      case TrainSender::Result::sent: return true;
      case TrainSender::Result::full: waits_for_room_ = true; return false;
      case TrainSender::Result::busy: busy_ = true; return false;
    }
    std::unreachable();
  }

  rudp::EndpointHandler& handler_;
  UniqueFd descriptor_;
  rudp::Endpoint endpoint_;
  TrainSender sender_;
  TrainReader reader_;
  IoEvent event_;
  PreciseTimer timer_;
  LoopTask soon_;
  std::function<void(const Address&, int)> unreachable_;
  bool in_turn_ = false;
  bool waits_for_room_ = false;
  bool busy_ = false;
};

// The same for who is started anew at the same address, and nobody else's: of what the kernel drew when it started, the
// network namespace (containers share the rest), the address, and the users' key where there is one. Without a key it is
// local users who could find it out, and they would need the ids of connections as well.
std::optional<rudp::Secret> reset_key_of(const Address& local, const std::optional<rudp::Key>& key) {
  std::ifstream file("/proc/sys/kernel/random/boot_id");
  std::string boot;
  std::array<char, 64> space{};
  const ssize_t size = readlink("/proc/self/ns/net", space.data(), space.size());
  if (!std::getline(file, boot) || size <= 0) return {};
  const std::string place =
      fmt::format("rudp reset key|{}|{}|{}", boot, std::string_view(space.data(), static_cast<std::size_t>(size)),
                  local.to_string());
  rudp::Secret made;
  if (!hmac_sha256(key.value_or(rudp::Key()), {std::as_bytes(std::span(place))}, made)) return {};
  return made;
}

std::expected<std::unique_ptr<RudpSocket>, std::string> make(Loop& loop, UniqueFd descriptor, const Address& local,
                                                             rudp::EndpointOptions options,
                                                             rudp::EndpointHandler& handler) {
  prepare(descriptor.get(), local.is_v6());
  if (options.accepts && !options.reset_key)
    options.reset_key = reset_key_of(name_of(descriptor.get()), options.connection.key);
  // One that only connects leaves the choice of its own address to the system, each time: the machine may move.
  const bool with_local = options.accepts && local.scope() == AddressScope::unspecified;
  if (with_local) ask_for_packet_info(descriptor.get(), local.is_v6());
  std::unique_ptr<RudpSocket> socket;
  try {
    socket = std::make_unique<Socket>(loop, std::move(descriptor), with_local, options, handler);
  } catch (const std::exception& problem) {
    return std::unexpected(std::string(problem.what()));
  }
  return socket;
}

}  // namespace

std::expected<std::unique_ptr<RudpSocket>, std::string> RudpSocket::open(Loop& loop, const Address& local,
                                                                         const rudp::EndpointOptions& options,
                                                                         rudp::EndpointHandler& handler) {
  UniqueFd descriptor(::socket(local.is_v6() ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  const auto failed = [] { return std::unexpected(std::string(std::strerror(errno))); };
  if (!descriptor) return failed();
  if (local.is_v6()) set(descriptor.get(), IPPROTO_IPV6, IPV6_V6ONLY, 1);
  sockaddr_storage storage;
  const socklen_t length = local.to_sockaddr(storage);
  if (::bind(descriptor.get(), reinterpret_cast<const sockaddr*>(&storage), length) != 0) return failed();
  return make(loop, std::move(descriptor), local, options, handler);
}

std::expected<std::unique_ptr<RudpSocket>, std::string> RudpSocket::adopt(Loop& loop, int descriptor,
                                                                          const rudp::EndpointOptions& options,
                                                                          rudp::EndpointHandler& handler) {
  UniqueFd owned(descriptor);
  const Address local = name_of(descriptor);
  if (local.empty()) return std::unexpected(std::string("the descriptor is not a socket of UDP"));
  return make(loop, std::move(owned), local, options, handler);
}

}  // namespace portolan
