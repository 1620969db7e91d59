#include "rudp_stream.h"

#include "base/callback.h"
#include "net/rudp_host.h"
#include "net/rudp_link.h"

#include <algorithm>
#include <cstring>

namespace portolan {

RudpStream::RudpStream(RudpHost& host, RudpLink& link) : host_(&host), link_(&link) {
  host.add(*this);
  if (const rudp::Connection* connection = link.connection()) heard_before_ = connection->statistics().packets_received;
}

RudpStream::RudpStream(RudpHost& host, RudpLink& link, rudp::StreamId id) : RudpStream(host, link) {
  state_ = State::open;
  opened(id);
}

RudpStream::~RudpStream() {
  if (link_) link_->release(*this);
  if (host_) host_->remove(*this);
}

rudp::Connection* RudpStream::connection() const noexcept { return link_ && opened_ ? link_->connection() : nullptr; }

void RudpStream::opened(rudp::StreamId id) noexcept {
  id_ = id;
  opened_ = true;
  say_hello();
}

bool RudpStream::say_hello() noexcept {
  rudp::Connection* peer = connection();
  if (!said_hello_ && peer) said_hello_ = peer->write(id_, std::span(&kHello, 1)) == 1;
  return said_hello_;
}

// Of a stream of ours: the peer's answer.
void RudpStream::hear_hello() noexcept {
  if (state_ != State::waiting) return;
  rudp::Connection* peer = connection();
  if (!peer) return;
  const auto data = peer->peek(id_);
  if (data.empty()) {
    if (peer->ended(id_)) fail(NetError::closed, "the peer closed the stream before it had accepted it");
    return;
  }
  if (data.front() != kHello) return fail(NetError::protocol, "the peer does not serve streams here");
  peer->consume(id_, 1);
  state_ = State::open;
}

// ---- As a socket ---------------------------------------------------------------------------------------------

void RudpStream::bind(IoEvent::Handler handler, void* owner) noexcept {
  handler_ = handler;
  owner_ = owner;
}

void RudpStream::want(short events) noexcept {
  wanted_ = events;
  if (host_ && (ready() & wanted_)) host_->queue(*this, RudpHost::When::next_turn);
}

short RudpStream::ready() const noexcept {
  if (failure_ != NetError::none) return IoEvent::kRead | IoEvent::kWrite;
  rudp::Connection* peer = connection();
  if (state_ == State::waiting || !peer) return 0;
  short events = 0;
  if (readable()) events |= IoEvent::kRead;
  if (unwanted_ || peer->writable(id_) > 0) events |= IoEvent::kWrite;
  return events;
}

bool RudpStream::readable() const noexcept {
  if (ended_ || failure_ != NetError::none) return true;
  rudp::Connection* peer = connection();
  return peer && (!peer->peek(id_).empty() || peer->ended(id_));
}

std::size_t RudpStream::receive(std::span<std::byte> into) noexcept {
  rudp::Connection* peer = connection();
  if (!peer || ended_ || failure_ != NetError::none) return 0;
  std::size_t bytes = 0;
  while (bytes < into.size()) {
    const auto data = peer->peek(id_);
    if (data.empty()) break;
    const std::size_t count = std::min(data.size(), into.size() - bytes);
    std::memcpy(into.data() + bytes, data.data(), count);
    peer->consume(id_, count);
    bytes += count;
  }
  ended_ = peer->ended(id_);
  return bytes;
}

std::ptrdiff_t RudpStream::send(std::span<const std::byte> data) noexcept {
  rudp::Connection* peer = connection();
  if (!peer || unwanted_ || failure_ != NetError::none) return -1;
  if (!say_hello()) return 0;
  return static_cast<std::ptrdiff_t>(peer->write(id_, data));
}

void RudpStream::finish() noexcept {
  rudp::Connection* peer = connection();
  if (peer && !finished_) peer->finish(id_);
  finished_ = true;
}

Address RudpStream::local() const noexcept { return host_ ? host_->local() : Address(); }

void RudpStream::fail(NetError why, std::string_view message) noexcept {
  if (failure_ != NetError::none) return;
  failure_ = why;
  contain("the failure of a stream", [&] { message_ = message; });
  notify();
}

void RudpStream::notify() noexcept {
  if (host_ && (ready() & wanted_)) host_->queue(*this, RudpHost::When::this_turn);
}

}  // namespace portolan
