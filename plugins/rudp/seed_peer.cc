#include "plugins/rudp/seed_peer.h"

#include "plugins/rudp/service.h"

#include <algorithm>
#include <new>

namespace portolan::rudp_service {
namespace {

// Messages, answered by messages: our sender's datagrams have Ack=0 as the peer's have, and each side tells the two apart
// by that.
class MessagePeer final : public SeedPeer, rudp::SeedMessageSink, TimerHandler {
 public:
  MessagePeer(RudpService& service, DatagramPeer& peer)
      : service_(service), peer_(peer), receiver_({}, *this), sender_({}), timer_(service.context().timer(*this)) {}

  void receive(std::span<const std::byte> datagram) noexcept override {
    const Duration now = service_.context().now();
    try {
      const auto packet = rudp::parse_seed(rudp::SeedFormat::messages, datagram);
      if (!packet) return;
      if (packet->kind == rudp::SeedKind::acknowledgement)
        sender_.receive(datagram, now);
      else
        receiver_.receive(datagram, now);
    } catch (const std::bad_alloc&) {
      return;  // as if it had been lost
    }
    go_on(now);
  }

 private:
  void message(std::span<const std::byte> payload) noexcept override {
    const auto answer = service_.answer(payload, peer_);
    if (!answer) return;
    bool taken = false;
    try {
      taken = sender_.push(*answer);
    } catch (const std::bad_alloc&) {
    }
    if (!taken) service_.count(Count::unanswered);
  }
  void on_timer() noexcept override { go_on(service_.context().now()); }

  void go_on(Duration now) noexcept {
    for (auto out = receiver_.next_datagram(now); !out.empty(); out = receiver_.next_datagram(now)) peer_.reply(out);
    for (auto out = sender_.next_datagram(now); !out.empty(); out = sender_.next_datagram(now)) peer_.reply(out);
    // It does not acknowledge: there is nobody to answer to.
    if (sender_.failure()) return peer_.end();
    const auto deadline =
        std::min(receiver_.deadline().value_or(Duration::max()), sender_.deadline().value_or(Duration::max()));
    if (deadline == Duration::max())
      timer_->stop();
    else
      timer_->start(std::max(deadline - now, Duration::zero()), false);
  }

  RudpService& service_;
  DatagramPeer& peer_;
  rudp::SeedMessageReceiver receiver_;
  rudp::SeedMessageSender sender_;
  TimerHandle timer_;
};

class FilePeer final : public SeedPeer, rudp::SeedFileSink {
 public:
  FilePeer(RudpService& service, DatagramPeer& peer)
      : service_(service), peer_(peer), receiver_({}, *this), name_(peer.info().peer) {}
  ~FilePeer() override {
    if (file_) abandon();
  }

  void receive(std::span<const std::byte> datagram) noexcept override {
    try {
      receiver_.receive(datagram, service_.context().now());
    } catch (const std::bad_alloc&) {
      return;
    }
    for (auto out = receiver_.next_datagram(); !out.empty(); out = receiver_.next_datagram()) peer_.reply(out);
  }

 private:
  // What fails may throw for want of memory, too, and that is no other than what a full disk is.
  template <typename Step>
  bool step(Step&& next) noexcept {
    std::expected<void, std::string> result;
    try {
      result = next();
    } catch (const std::bad_alloc&) {
      result = std::unexpected(std::string());
    }
    return done(result);
  }
  bool begin() noexcept override {
    return step([this] { return file_.begin(service_.settings().folder, name_, service_.settings().keep_free); });
  }
  bool write(std::span<const std::byte> block) noexcept override {
    return step([&]() -> std::expected<void, std::string> {
      if (file_.size() + block.size() > service_.settings().max_file)
        return std::unexpected(std::string("it is longer than max_file"));
      return file_.write(block);
    });
  }
  bool finish() noexcept override {
    if (!step([this] { return file_.finish(); })) return false;
    service_.finished(file_, name_);
    file_ = {};
    return true;
  }
  void abandon() noexcept override { done(std::unexpected(std::string("its sender stopped before the end"))); }
  bool done(const std::expected<void, std::string>& result) noexcept {
    if (result) return true;
    service_.failed(name_, result.error());
    file_ = {};
    return false;
  }

  RudpService& service_;
  DatagramPeer& peer_;
  rudp::SeedFileReceiver receiver_;
  std::string name_;  // of the peer
  ReceivedFile file_;
};

}  // namespace

SeedPeer* SeedPeer::of_messages(RudpService& service, DatagramPeer& peer) noexcept {
  try {
    return new MessagePeer(service, peer);
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}

SeedPeer* SeedPeer::of_files(RudpService& service, DatagramPeer& peer) noexcept {
  try {
    return new FilePeer(service, peer);
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}

}  // namespace portolan::rudp_service
