// A rudp connection that carries streams of services, and its streams by their numbers.
//
// Belongs to its host, and goes when the connection ends. One worker's thread; never destroyed from inside a call of a
// stream.
#pragma once

#include "net/rudp_stream.h"

#include <memory>
#include <unordered_map>
#include <vector>

namespace portolan {

class RudpLink final : public rudp::ConnectionHandler {
 public:
  // Without a connection yet: attach follows.
  RudpLink(RudpHost& host, const rudp::ConnectionOptions& options, const Address& to);
  ~RudpLink();

  void attach(rudp::Connection& connection) noexcept { connection_ = &connection; }
  rudp::Connection* connection() const noexcept { return connection_; }
  const rudp::ConnectionOptions& options() const noexcept { return options_; }
  const Address& to() const noexcept { return to_; }

  // Begins a stream; null when the peer allows no more now.
  std::unique_ptr<RudpStream> begin();
  // Takes one over that the peer has opened and the host was told of.
  std::unique_ptr<RudpStream> accept(rudp::StreamId id);
  void refuse(rudp::StreamId id, RudpStream::Code code) noexcept;
  // A stream was given up before it was accepted, and nothing was heard from the peer meanwhile: no more begin here.
  bool suspect() const noexcept { return suspect_; }
  // Nobody is interested in it any more, and all is delivered.
  bool idle() const noexcept { return streams_.empty() && waiting_.empty() && undelivered_ == 0; }
  bool delivered() const noexcept { return undelivered_ == 0; }
  Duration idle_since() const noexcept { return idle_since_; }
  // Ends it with this failure for its streams.
  void give_up(NetError why, std::string_view message) noexcept;

  // ---- For a stream ----
  void release(RudpStream& stream) noexcept;

  // ---- ConnectionHandler ----
  void on_connected(rudp::Connection& connection) noexcept override;
  void on_stream(rudp::Connection& connection, rudp::StreamId id) noexcept override;
  void on_readable(rudp::Connection& connection, rudp::StreamId id) noexcept override;
  void on_writable(rudp::Connection& connection, rudp::StreamId id) noexcept override;
  void on_delivered(rudp::Connection& connection, rudp::StreamId id) noexcept override;
  void on_reset(rudp::Connection& connection, rudp::StreamId id, std::uint64_t code) noexcept override;
  void on_stop(rudp::Connection& connection, rudp::StreamId id, std::uint64_t code) noexcept override;
  void on_message(rudp::Connection& connection, std::span<const std::byte> data) noexcept override;
  void on_closed(rudp::Connection& connection, const rudp::CloseReason& why) noexcept override;

 private:
  struct Entry {
    RudpStream* stream = nullptr;  // null: nobody's yet, or any more
    bool accepting = false;        // the host was told of it
    bool undelivered = false;      // let go of, with something under way
  };
  RudpStream* find(rudp::StreamId id) noexcept;
  void drop_if_over(rudp::StreamId id) noexcept;
  void fail_all(NetError why, std::string_view message) noexcept;

  RudpHost& host_;
  const rudp::ConnectionOptions options_;
  const Address to_;
  rudp::Connection* connection_ = nullptr;
  std::unordered_map<rudp::StreamId, Entry> streams_;
  std::vector<RudpStream*> waiting_;  // for the connection, to be opened
  std::size_t undelivered_ = 0;
  Duration idle_since_{};
  bool suspect_ = false;
};

}  // namespace portolan
