#include "rudp_dialer.h"

#include "base/log.h"
#include "base/net_error.h"

#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

namespace portolan {

namespace {

// A connection without streams stays so long, for the next one.
constexpr Duration kIdle = std::chrono::seconds(30);

Address any_address(const Address& like) { return Address::parse(like.is_v6() ? "[::]:0" : "0.0.0.0:0").value(); }

}  // namespace

class RudpDialer::Host final : public RudpHost {
 public:
  explicit Host(Loop& loop) : RudpHost(loop), idle_(loop, [this] { close_idle(); }) {}

  std::expected<void, std::string> open(const Address& local) {
    auto socket = RudpSocket::open(loop_, local, {}, *this);
    if (!socket) return std::unexpected(socket.error());
    socket_ = std::move(*socket);
    socket_->watch_unreachable([this](const Address& to, int error_number) { unreachable(to, error_number); });
    return {};
  }

  std::unique_ptr<RudpStream> dial(const Address& to, const rudp::ConnectionOptions& options) {
    for (const auto& [key, link] : links_) {
      if (link->to() != to || !(link->options() == options)) continue;
      if (auto stream = link->begin()) return stream;
    }
    RudpLink* link = add_link(options, to);
    if (!link) return nullptr;
    if (!options.key && to.scope() != AddressScope::loopback && !std::exchange(told_, true))
      log::warning("the link to rudp://{} has no key: what goes over it is not protected", to.to_string());
    rudp::Connection* connection = socket_->connect(to, options, *link);
    if (!connection) {
      drop_link(*link);
      return nullptr;
    }
    link->attach(*connection);
    return link->begin();
  }

 private:
  // A peer opens no streams to who has dialed it.
  void accept(RudpLink& link, rudp::StreamId id) noexcept override { link.refuse(id, RudpStream::kProtocol); }

  // During a handshake, what TCP would be told by a reset. Later on it is no more than a rumour.
  void unreachable(const Address& to, int error_number) {
    std::vector<RudpLink*> failed;
    for (const auto& [key, link] : links_)
      if (link->to() == to && link->connection() && !link->connection()->connected()) failed.push_back(link.get());
    for (RudpLink* link : failed) link->give_up(net_error_of(error_number), std::strerror(error_number));
  }

  void settled() noexcept override {
    if (!links_.empty() && !idle_.running()) idle_.start(kIdle);
  }

  void close_idle() noexcept {
    const Duration now = Loop::now();
    bool left = false;
    for (const auto& [key, link] : links_) {
      if (link->idle() && now - link->idle_since() >= kIdle)
        link->connection()->close(RudpStream::kClosed, {});
      else
        left = true;
    }
    if (left) idle_.start(kIdle);
  }

  LoopTimer idle_;
  bool told_ = false;
};

RudpDialer::RudpDialer(Loop& loop) : loop_(loop) {}
RudpDialer::~RudpDialer() = default;

std::expected<std::unique_ptr<RudpStream>, std::string> RudpDialer::dial(const Address& to, const Address& source,
                                                                         const rudp::ConnectionOptions& options) {
  const Address local = source.empty() ? any_address(to) : source;
  if (local.is_v6() != to.is_v6()) return std::unexpected(std::string(std::strerror(EAFNOSUPPORT)));
  std::unique_ptr<Host>& host = hosts_[local.to_string()];
  if (!host) {
    auto made = std::make_unique<Host>(loop_);
    if (const auto opened = made->open(local); !opened) {
      hosts_.erase(local.to_string());
      return std::unexpected(opened.error());
    }
    host = std::move(made);
  }
  auto stream = host->dial(to, options);
  if (!stream) return std::unexpected(std::string("out of memory"));
  return stream;
}

void RudpDialer::shut_down(std::function<void()> done) {
  auto left = std::make_shared<std::size_t>(hosts_.size() + 1);
  const auto one_done = [left, done = std::move(done)] {
    if (--*left == 0) done();
  };
  for (auto& [key, host] : hosts_) host->shut_down(one_done);
  one_done();
}

}  // namespace portolan
