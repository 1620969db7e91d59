// A socket of rudp whose connections carry streams of services: a listener's (rudp_port.h), or one for dialing
// (rudp_dialer.h). Gives streams their turns, as the loop does for descriptors.
//
// Streams may outlive it: they have failed then. One worker's thread.
#pragma once

#include "net/rudp_link.h"
#include "net/rudp_socket.h"

#include <functional>
#include <memory>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

namespace portolan {

class RudpHost : public rudp::EndpointHandler {
 public:
  explicit RudpHost(Loop& loop);
  virtual ~RudpHost();
  RudpHost(const RudpHost&) = delete;
  RudpHost& operator=(const RudpHost&) = delete;

  // Nobody's stream is here, and all has been delivered.
  bool quiet() const noexcept;
  // Calls `task` from the loop once it is quiet.
  void when_quiet(std::function<void()> task);
  // Waits until what was written is delivered, but not for long, closes all connections and calls `done` from the loop.
  void shut_down(std::function<void()> done);
  Address local() const noexcept { return socket_ ? socket_->local() : Address(); }

  // ---- For streams and links ----
  enum class When : std::uint8_t { this_turn, next_turn };
  void add(RudpStream& stream) { streams_.insert(&stream); }
  void remove(RudpStream& stream) noexcept;
  void queue(RudpStream& stream, When when) noexcept;
  // A stream of the peer that has said hello: false refuses it.
  bool arrived(RudpLink& link, rudp::StreamId id) noexcept;
  virtual void message(RudpLink& link, std::span<const std::byte> data) noexcept {
    (void)link;
    (void)data;
  }
  void closed(RudpLink& link) noexcept;
  void link_changed() noexcept;

 protected:
  // A stream that has arrived, in a turn of its own: link.accept or link.refuse.
  virtual void accept(RudpLink& link, rudp::StreamId id) noexcept = 0;
  // A link goes.
  virtual void forget(RudpLink& link) noexcept { (void)link; }
  // A link has gone, or become idle.
  virtual void settled() noexcept {}

  RudpLink* add_link(const rudp::ConnectionOptions& options, const Address& to) noexcept;
  void drop_link(RudpLink& link) noexcept { links_.erase(&link); }

  Loop& loop_;
  std::unordered_map<RudpLink*, std::unique_ptr<RudpLink>> links_;
  std::unique_ptr<RudpSocket> socket_;

 private:
  void take_turns() noexcept;
  void look_after_end() noexcept;

  std::unordered_set<RudpStream*> streams_;
  std::vector<RudpStream*> queue_;  // null: it has gone
  std::vector<RudpStream*> turns_;  // of which each is called now
  std::vector<std::pair<RudpLink*, rudp::StreamId>> arrived_;
  LoopTask soon_;
  LoopTimer later_;
  LoopTask quiet_;
  LoopTimer end_;  // of waiting for the end
  std::function<void()> when_quiet_;
  std::function<void()> ended_;
  bool closing_ = false;
};

}  // namespace portolan
