// Our own transport alone at both ends of the link: a file on one stream, or messages with a deadline.
#include "event/loop.h"
#include "net/rudp_socket.h"
#include "rudp/pre_shared_key.h"

#include "link_peer.h"

#include <csignal>
#include <memory>
#include <string_view>

namespace {

using namespace portolan;
using namespace portolan::rudp;
using namespace portolan::bench::peer;

constexpr std::string_view kKey = "hex:000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
// Two round trips at most: repairs are for messages that have less time than three (fec_policy.h).
constexpr auto kLifetime = std::chrono::milliseconds(200);
constexpr auto kIdle = std::chrono::seconds(60);

ConnectionOptions options_of(Redundancy redundancy, bool with_key = true) {
  ConnectionOptions options;
  if (with_key) options.key = *key_of(kKey);
  options.redundancy = redundancy;
  options.idle_timeout = kIdle;
  options.send_buffer = 8 * 1024 * 1024;
  return options;
}

std::span<const std::byte> as_bytes(std::span<const char> chars) { return std::as_bytes(chars); }

// Either end: the socket, the loop, and the one connection.
class End : public EndpointHandler, public ConnectionHandler {
 public:
  explicit End(const ConnectionOptions& options) : options_(options) {}

  int listen(const char* port) {
    open(*Address::parse(std::string("0.0.0.0:") + port), true);
    loop_.run();
    return 0;
  }
  int connect(const char* host, const char* port) {
    const Address to = *Address::parse(std::string(host) + ":" + port);
    open(*Address::parse(to.is_v4() ? "0.0.0.0:0" : "[::]:0"), false);
    connection_ = socket_->connect(to, options_, *this);
    began();
    loop_.run();
    return 0;
  }
  ConnectionHandler* on_connection(Connection& connection) noexcept override {
    connection_ = &connection;
    return this;
  }
  void on_closed(Connection&, const CloseReason& why) noexcept override {
    if (why.kind == CloseReason::Kind::peer || why.kind == CloseReason::Kind::local) return loop_.stop();
    std::fprintf(stderr, "closed: %s\n", why.text.c_str());
    std::exit(1);
  }

 protected:
  ~End() = default;
  virtual void began() noexcept {}
  Loop loop_;
  ConnectionOptions options_;
  std::unique_ptr<RudpSocket> socket_;
  Connection* connection_ = nullptr;

 private:
  void open(const Address& local, bool accepts) {
    auto socket = RudpSocket::open(loop_, local, EndpointOptions{.connection = options_, .accepts = accepts}, *this);
    if (!socket) {
      std::fprintf(stderr, "link_rudp: %s\n", socket.error().c_str());
      std::exit(1);
    }
    socket_ = std::move(*socket);
  }
};

class Sender final : public End {
 public:
  Sender(const char* path, bool with_key) : End(options_of(Redundancy::fec, with_key)), file_(map_file(path)) {}

 private:
  void began() noexcept override {
    stream_ = *connection_->open_stream();
    connection_->write(stream_, as_bytes(big_endian(file_.size())));
    on_writable(*connection_, stream_);
  }
  void on_writable(Connection& connection, StreamId) noexcept override {
    while (sent_ < file_.size()) {
      const std::size_t taken = connection.write(stream_, as_bytes(file_.subspan(sent_)));
      if (taken == 0) return;
      sent_ += taken;
    }
    connection.finish(stream_);
  }
  void on_readable(Connection& connection, StreamId stream) noexcept override {
    if (!connection.peek(stream).empty()) std::exit(0);
  }

  std::span<const char> file_;
  std::size_t sent_ = 0;
  StreamId stream_ = 0;
};

class Receiver final : public End {
 public:
  Receiver(const char* path, bool with_key) : End(options_of(Redundancy::fec, with_key)), file_(path) {}

 private:
  void on_readable(Connection& connection, StreamId stream) noexcept override {
    for (;;) {
      const auto data = connection.peek(stream);
      if (data.empty()) return;
      const bool whole = file_.take(reinterpret_cast<const char*>(data.data()), data.size());
      connection.consume(stream, data.size());
      if (!whole) continue;
      const char done = kDone;
      connection.write(stream, as_bytes(std::span(&done, 1)));
      connection.finish(stream);
      return;
    }
  }
  void on_delivered(Connection&, StreamId) noexcept override { loop_.stop(); }
  FileReceiver file_;
};

class Speaker final : public End {
 public:
  Speaker(int count, Redundancy redundancy) : End(options_of(redundancy)), left_(count) {}

 private:
  void on_connected(Connection&) noexcept override {
    source_ = MessageSource();
    say();
  }
  void say() {
    const auto now = std::chrono::steady_clock::now();
    while (left_ > 0 && source_.due() <= now) {
      const Message message = source_.next();
      connection_->send_message(as_bytes(message), {.delivery = Delivery::deadline, .lifetime = kLifetime});
      --left_;
    }
    if (left_ == 0) return ending_ ? std::exit(0) : wait(kLifetime * 2, true);
    wait(source_.due() - now, false);
  }
  void wait(Duration time, bool ending) {
    ending_ = ending;
    timer_.start(std::max<Duration>(time, std::chrono::microseconds(50)));
  }

  MessageSource source_;
  int left_;
  bool ending_ = false;
  LoopTimer timer_{loop_, [this] { say(); }};
};

class Hearer final : public End {
 public:
  Hearer(const char* path, Redundancy redundancy) : End(options_of(redundancy)), file_(path) {}

 private:
  void on_message(Connection&, std::span<const std::byte> data) noexcept override {
    if (data.size() == kMessageBytes) file_.add(reinterpret_cast<const char*>(data.data()));
  }
  LatencyFile file_;
};

}  // namespace

int main(int argc, char** argv) {
  const std::string_view mode = argc > 1 ? argv[1] : "";
  const auto redundancy = [&](int at) {
    const std::string_view name = argc > at ? argv[at] : "";
    return name == "fec" ? Redundancy::fec : name == "twice" ? Redundancy::twice : Redundancy::none;
  };
  const auto with_key = [&](int at) { return argc > at && std::string_view(argv[at]) == "key"; };
  if (argc >= 5 && mode == "send") return Sender(argv[2], with_key(5)).connect(argv[3], argv[4]);
  if (argc >= 4 && mode == "receive") return Receiver(argv[2], with_key(4)).listen(argv[3]);
  if (argc >= 5 && mode == "say") return Speaker(std::atoi(argv[2]), redundancy(5)).connect(argv[3], argv[4]);
  if (argc >= 4 && mode == "hear") return Hearer(argv[2], redundancy(4)).listen(argv[3]);
  std::fprintf(stderr,
               "usage: link_rudp send FILE HOST PORT [key]; receive FILE PORT [key]; say COUNT HOST PORT "
               "[fec|twice|none]; hear FILE "
               "PORT [fec|twice|none]\n");
  return 2;
}
