#include "transfer/rudp_link.h"

#include "net/rudp_socket.h"
#include "net/rudp_stream.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

namespace portolan::transfer {
namespace {

using rudp::CloseReason;
using rudp::Connection;
using rudp::StreamId;

constexpr std::size_t kMostInput = 256 * 1024;

LinkClosed closed(const CloseReason& why) {
  using Kind = CloseReason::Kind;
  switch (why.kind) {
    case Kind::local: return {.why = "closed", .in_order = true};
    case Kind::peer:
      if (why.code == 0) return {.why = "the other side has closed the connection", .in_order = true};
      return {.why = fmt::format("the other side has closed the connection: {}", why.text)};
    case Kind::forgotten: return {.why = "the other side no longer knows the connection"};
    case Kind::idle: return {.why = "the other side has fallen silent"};
    case Kind::no_answer: return {.why = "nobody answers"};
    case Kind::refused: return {.why = "the other side takes no connections from here", .final = true};
    case Kind::key: return {.why = "the keys of the two sides are not the same, or one has none", .final = true};
    case Kind::version: return {.why = "the other side speaks no version of rudp that is spoken here", .final = true};
    case Kind::protocol: return {.why = fmt::format("the other side broke the protocol: {}", why.text)};
    case Kind::limit: return {.why = "too many packets came that the key does not open"};
  }
  return {.why = "closed"};
}

// A connection whose link has gone: it ends by itself.
class Abandoned final : public rudp::ConnectionHandler {};
Abandoned abandoned;

// Either side's end of a connection, and of its first stream.
class RudpLink : public Link, public rudp::ConnectionHandler {
 public:
  RudpLink() { input_.reserve(kMostInput); }
  ~RudpLink() override { RudpLink::close(); }
  RudpLink(const RudpLink&) = delete;
  RudpLink& operator=(const RudpLink&) = delete;

  void set_handler(LinkHandler& handler) noexcept override { handler_ = &handler; }
  std::span<const std::byte> peek() const noexcept override { return std::span(input_).subspan(used_); }
  void consume(std::size_t bytes) noexcept override {
    used_ += bytes;
    take_input();
  }
  std::size_t write(std::span<const std::byte> data) noexcept override {
    return connection_ && stream_ ? connection_->write(*stream_, data) : 0;
  }
  void close() noexcept override {
    if (ended_) return;
    if (Connection* connection = std::exchange(connection_, nullptr)) {
      connection->set_handler(abandoned);
      connection->close(0, "");
    }
  }
  std::string peer() const override { return connection_ ? connection_->peer().to_string() : std::string(); }
  LinkFigures figures() const noexcept override {
    if (!connection_) return {};
    const rudp::ConnectionStatistics statistics = connection_->statistics();
    return {.rtt = statistics.smoothed_rtt,
            .loss = statistics.loss,
            .bytes_sent = statistics.bytes_sent,
            .retransmitted = statistics.stream_bytes_retransmitted};
  }

 protected:
  void on_readable(Connection&, StreamId stream) noexcept override {
    if (stream != stream_ || !handler_) return;
    if (!greeted_ && !take_greeting()) return;
    take_input();
    if (input_.size() > used_) handler_->on_input();
    if (connection_ && connection_->ended(stream)) {
      lose({.why = "the other side has closed the connection", .in_order = true});
    }
  }
  void on_reset(Connection&, StreamId stream, std::uint64_t code) noexcept override {
    if (stream != stream_ || !handler_) return;
    switch (code) {
      case RudpStream::kRefused: return lose({.why = "the other side has refused the session"});
      case RudpStream::kProtocol: return lose({.why = "the other side serves no such streams", .final = true});
      default: return lose({.why = "the other side has reset the connection"});
    }
  }
  void on_writable(Connection&, StreamId stream) noexcept override {
    if (stream == stream_ && handler_) handler_->on_room();
  }
  void on_closed(Connection&, const CloseReason& why) noexcept override {
    // What came before the end can still be read from inside this call.
    ended_ = true;
    if (handler_ && !lost_) handler_->on_closed(closed(why));
    connection_ = nullptr;
  }
  // As on every stream of a rudp:// listener (net/rudp_stream.h): each side begins with one byte.
  void begin(StreamId stream) noexcept {
    stream_ = stream;
    connection_->write(stream, std::span(&RudpStream::kHello, 1));
  }
  // False: it has not come, or another did.
  bool take_greeting() noexcept {
    const auto piece = connection_->peek(*stream_);
    if (piece.empty()) return false;
    greeted_ = piece.front() == RudpStream::kHello;
    if (greeted_) {
      connection_->consume(*stream_, 1);
      return true;
    }
    lose({.why = "the other side serves no such streams", .final = true});
    return false;
  }
  // What came before can still be read from inside on_closed.
  void lose(const LinkClosed& how) noexcept {
    if (!std::exchange(lost_, true)) handler_->on_closed(how);
    close();
  }
  // A connection shows what lies in one piece, and a message may lie in two: here it does not.
  void take_input() noexcept {
    if (!connection_ || !stream_ || !greeted_) return;
    input_.erase(input_.begin(), input_.begin() + static_cast<std::ptrdiff_t>(std::exchange(used_, 0)));
    while (input_.size() < kMostInput) {
      const auto piece = connection_->peek(*stream_);
      if (piece.empty()) break;
      const std::size_t some = std::min(piece.size(), kMostInput - input_.size());
      input_.insert(input_.end(), piece.begin(), piece.begin() + static_cast<std::ptrdiff_t>(some));
      connection_->consume(*stream_, some);
    }
  }

  Connection* connection_ = nullptr;
  std::vector<std::byte> input_;
  std::size_t used_ = 0;
  std::optional<StreamId> stream_;
  LinkHandler* handler_ = nullptr;
  bool greeted_ = false;
  bool lost_ = false;
  bool ended_ = false;
};

class DialedLink final : public RudpLink, public rudp::EndpointHandler {
 public:
  explicit DialedLink(LinkHandler& handler) { handler_ = &handler; }
  // The socket goes first: its connections refer to this object.
  ~DialedLink() override {
    DialedLink::close();
    socket_.reset();
  }

  std::expected<void, std::string> open(Loop& loop, const Address& address, const LinkOptions& options) {
    Address local = *Address::parse(address.is_v4() ? "0.0.0.0" : "::");
    auto socket = RudpSocket::open(loop, local, {}, *this);
    if (!socket) return std::unexpected(socket.error());
    socket_ = std::move(*socket);
    connection_ = socket_->connect(address, options.rudp, *this);
    if (!connection_) return std::unexpected("no memory is left");
    return {};
  }

 private:
  void on_connected(Connection& connection) noexcept override {
    const auto stream = connection.open_stream();
    if (stream) begin(*stream);
    handler_->on_open();
  }
  std::unique_ptr<RudpSocket> socket_;
};

class RudpListener;

class AcceptedLink final : public RudpLink {
 public:
  AcceptedLink(RudpListener& listener, Connection& connection) : listener_(listener) { connection_ = &connection; }

 private:
  void on_stream(Connection&, StreamId stream) noexcept override;
  void on_closed(Connection& connection, const CloseReason& why) noexcept override;

  RudpListener& listener_;
};

class RudpListener final : public LinkListener, public rudp::EndpointHandler {
 public:
  explicit RudpListener(LinkAcceptor& acceptor) : acceptor_(acceptor) {}
  ~RudpListener() override {
    waiting_.clear();
    socket_.reset();
  }

  std::expected<void, std::string> open(Loop& loop, const Address& address, const LinkOptions& options) {
    auto socket = RudpSocket::open(loop, address, {.connection = options.rudp, .accepts = true}, *this);
    if (!socket) return std::unexpected(socket.error());
    socket_ = std::move(*socket);
    return {};
  }
  Place local() const override {
    return {.carrier = Carrier::rudp, .name = {}, .address = socket_->local(), .path = {}};
  }

  void stream_opened(AcceptedLink& link) noexcept {
    const auto found = find(link);
    if (found == waiting_.end()) return;
    std::unique_ptr<Link> taken = std::move(*found);
    waiting_.erase(found);
    acceptor_.on_link(std::move(taken));
  }
  // One that never opened a stream.
  void forget(AcceptedLink& link) noexcept {
    if (const auto found = find(link); found != waiting_.end()) waiting_.erase(found);
  }

 private:
  rudp::ConnectionHandler* on_connection(Connection& connection) noexcept override {
    if (!acceptor_.admits(connection.peer())) return nullptr;
    return waiting_.emplace_back(std::make_unique<AcceptedLink>(*this, connection)).get();
  }
  std::vector<std::unique_ptr<AcceptedLink>>::iterator find(const AcceptedLink& link) {
    return std::ranges::find_if(waiting_, [&](const auto& one) { return one.get() == &link; });
  }

  LinkAcceptor& acceptor_;
  std::vector<std::unique_ptr<AcceptedLink>> waiting_;  // for their stream
  std::unique_ptr<RudpSocket> socket_;
};

void AcceptedLink::on_stream(Connection&, StreamId stream) noexcept {
  if (stream_) return;  // a transfer has one
  begin(stream);
  listener_.stream_opened(*this);
}

void AcceptedLink::on_closed(Connection& connection, const CloseReason& why) noexcept {
  if (stream_) return RudpLink::on_closed(connection, why);
  ended_ = true;
  connection_ = nullptr;
  listener_.forget(*this);
}

}  // namespace

std::expected<std::unique_ptr<Link>, std::string> dial_rudp(Loop& loop, const Address& address,
                                                            const LinkOptions& options, LinkHandler& handler) {
  auto link = std::make_unique<DialedLink>(handler);
  if (auto opened = link->open(loop, address, options); !opened) return std::unexpected(opened.error());
  return link;
}

std::expected<std::unique_ptr<LinkListener>, std::string> listen_rudp(Loop& loop, const Address& address,
                                                                      const LinkOptions& options,
                                                                      LinkAcceptor& acceptor) {
  auto listener = std::make_unique<RudpListener>(acceptor);
  if (auto opened = listener->open(loop, address, options); !opened) return std::unexpected(opened.error());
  return listener;
}

}  // namespace portolan::transfer
