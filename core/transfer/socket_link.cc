#include "transfer/socket_link.h"

#include "base/callback.h"
#include "base/unique_fd.h"
#include "net/listener.h"

#include <fmt/format.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

namespace portolan::transfer {
namespace {

constexpr std::size_t kMostInput = 256 * 1024;

Endpoint endpoint(const Place& place) {
  return {.transport = place.carrier == Carrier::tcp ? Transport::tcp : Transport::unix_stream,
          .address = place.address,
          .path = place.path,
          .name = {}};
}

class SocketLink final : public Link {
 public:
  SocketLink(Loop& loop, UniqueFd socket, std::string peer, const LinkOptions& options, LinkHandler* handler)
      : socket_(std::move(socket)),
        peer_(std::move(peer)),
        handler_(handler),
        connecting_(handler != nullptr),
        readable_(loop, socket_.get(), Watch::kRead, [this](short) { read(); }),
        writable_(loop, socket_.get(), Watch::kWrite, [this](short) { write_again(); }) {
    const int on = 1;
    ::setsockopt(socket_.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (options.rudp.max_rate > 0) {
      const auto rate = static_cast<std::uint32_t>(std::min(options.rudp.max_rate, 4e9));
      ::setsockopt(socket_.get(), SOL_SOCKET, SO_MAX_PACING_RATE, &rate, sizeof rate);
    }
    connecting_ ? readable_.pause() : writable_.pause();
  }

  void set_handler(LinkHandler& handler) noexcept override { handler_ = &handler; }
  std::span<const std::byte> peek() const noexcept override { return std::span(input_).subspan(used_); }
  void consume(std::size_t bytes) noexcept override {
    used_ += bytes;
    if (used_ == input_.size()) {
      input_.clear();
      used_ = 0;
    }
    if (input_.size() - used_ < kMostInput && !closed_) readable_.resume();
  }
  std::size_t write(std::span<const std::byte> data) noexcept override {
    if (connecting_ || closed_) return 0;
    const ssize_t put = ::send(socket_.get(), data.data(), data.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    const std::size_t taken = put > 0 ? static_cast<std::size_t>(put) : 0;
    // A failure shows when it is read from.
    if (taken < data.size()) writable_.resume();
    return taken;
  }
  void close() noexcept override {
    closed_ = true;
    readable_.pause();
    writable_.pause();
    ::shutdown(socket_.get(), SHUT_RDWR);
  }
  std::string peer() const override { return peer_; }

 private:
  void read() {
    if (used_ > 0) {
      input_.erase(input_.begin(), input_.begin() + static_cast<std::ptrdiff_t>(used_));
      used_ = 0;
    }
    const std::size_t before = input_.size();
    if (before >= kMostInput) return readable_.pause();
    input_.resize(kMostInput);
    const ssize_t got = ::recv(socket_.get(), input_.data() + before, kMostInput - before, MSG_DONTWAIT);
    const int error = errno;
    input_.resize(before + (got > 0 ? static_cast<std::size_t>(got) : 0));
    if (got > 0) return handler_->on_input();
    if (got < 0 && (error == EAGAIN || error == EINTR)) return;
    fail(got == 0 ? LinkClosed{.why = "the other side has closed the connection", .in_order = true}
                  : LinkClosed{.why = std::strerror(error)});
  }
  void write_again() {
    writable_.pause();
    if (!connecting_) return handler_->on_room();
    connecting_ = false;
    int error = 0;
    socklen_t size = sizeof error;
    ::getsockopt(socket_.get(), SOL_SOCKET, SO_ERROR, &error, &size);
    if (error != 0) return fail({.why = std::strerror(error)});
    readable_.resume();
    handler_->on_open();
  }
  void fail(const LinkClosed& how) {
    close();
    handler_->on_closed(how);
  }

  UniqueFd socket_;
  std::string peer_;
  LinkHandler* handler_;
  bool connecting_;
  bool closed_ = false;
  std::vector<std::byte> input_;
  std::size_t used_ = 0;
  Watch readable_, writable_;
};

class SocketListener final : public LinkListener {
 public:
  SocketListener(Loop& loop, std::unique_ptr<BoundListener> bound, Place local, const LinkOptions& options,
                 LinkAcceptor& acceptor)
      : loop_(loop),
        bound_(std::move(bound)),
        local_(std::move(local)),
        options_(options),
        acceptor_(acceptor),
        readable_(loop, bound_->descriptor(0), Watch::kRead, [this](short) { accept(); }) {}
  Place local() const override { return local_; }

 private:
  void accept() {
    sockaddr_storage from{};
    socklen_t size = sizeof from;
    UniqueFd socket(
        ::accept4(bound_->descriptor(0), reinterpret_cast<sockaddr*>(&from), &size, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (!socket) return;
    const Address peer = Address::from(reinterpret_cast<const sockaddr*>(&from));
    if (!acceptor_.admits(peer)) return;
    acceptor_.on_link(std::make_unique<SocketLink>(loop_, std::move(socket), peer.empty() ? "unix" : peer.to_string(),
                                                   options_, nullptr));
  }

  Loop& loop_;
  std::unique_ptr<BoundListener> bound_;
  Place local_;
  LinkOptions options_;
  LinkAcceptor& acceptor_;
  Watch readable_;
};

}  // namespace

std::expected<std::unique_ptr<Link>, std::string> dial_socket(Loop& loop, const Place& place,
                                                              const LinkOptions& options, LinkHandler& handler) {
  sockaddr_storage to{};
  const Endpoint where = endpoint(place);
  const socklen_t size = where.to_sockaddr(to);
  UniqueFd socket(::socket(to.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!socket) return std::unexpected(std::strerror(errno));
  // A failure shows like one that comes later.
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&to), size) != 0 && errno != EINPROGRESS) {
    return std::unexpected(std::strerror(errno));
  }
  return std::make_unique<SocketLink>(loop, std::move(socket), place.to_string(), options, &handler);
}

std::expected<std::unique_ptr<LinkListener>, std::string> listen_socket(Loop& loop, const Place& place,
                                                                        const LinkOptions& options,
                                                                        LinkAcceptor& acceptor) {
  auto bound = BoundListener::bind(endpoint(place), {}, 1);
  if (!bound) return std::unexpected(bound.error());
  Place local = place;
  local.address = (*bound)->actual().address;
  return std::make_unique<SocketListener>(loop, std::move(*bound), std::move(local), options, acceptor);
}

}  // namespace portolan::transfer
