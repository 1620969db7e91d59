#include "rudp_link.h"

#include "base/callback.h"
#include "net/rudp_host.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace portolan {

namespace {

struct Failure {
  NetError error;
  std::string sentence;
};

// Into the one taxonomy of network failures.
Failure failure_of(const rudp::CloseReason& why, const rudp::ConnectionOptions& options) {
  using Kind = rudp::CloseReason::Kind;
  const auto with_text = [&](std::string_view sentence) {
    return why.text.empty() ? std::string(sentence) : fmt::format("{} ({})", sentence, why.text);
  };
  switch (why.kind) {
    case Kind::local: return {NetError::closed, "the connection was closed here"};
    case Kind::peer: return {NetError::closed, with_text("the peer closed the connection")};
    case Kind::forgotten: return {NetError::reset, "the peer no longer knows the connection"};
    case Kind::idle:
      return {NetError::timed_out,
              fmt::format("nothing was heard of the peer for {} s",
                          std::chrono::duration_cast<std::chrono::seconds>(options.idle_timeout).count())};
    case Kind::no_answer: return {NetError::timed_out, "no answer"};
    case Kind::refused: return {NetError::refused, with_text("the peer takes no connection")};
    case Kind::key: return {NetError::protocol, with_text("the keys are not the same, or one side has none")};
    case Kind::version: return {NetError::protocol, with_text("the peer speaks another version of rudp")};
    case Kind::protocol: return {NetError::protocol, with_text("the peer broke the protocol")};
    case Kind::limit: return {NetError::protocol, "too many packets could not be opened"};
  }
  return {NetError::closed, why.text};
}

}  // namespace

RudpLink::RudpLink(RudpHost& host, const rudp::ConnectionOptions& options, const Address& to)
    : host_(host), options_(options), to_(to), idle_since_(Loop::now()) {}

RudpLink::~RudpLink() { fail_all(NetError::closed, "the connection was closed here"); }

// ---- Streams -------------------------------------------------------------------------------------------------

std::unique_ptr<RudpStream> RudpLink::begin() {
  if (!connection_ || suspect_) return nullptr;
  const auto id = connection_->open_stream();
  // Before the peer has said how many it allows, they wait for it.
  if (!id && connection_->connected()) return nullptr;
  auto stream = std::make_unique<RudpStream>(host_, *this);
  if (id) {
    streams_[*id].stream = stream.get();
    stream->opened(*id);
  } else {
    waiting_.push_back(stream.get());
  }
  return stream;
}

std::unique_ptr<RudpStream> RudpLink::accept(rudp::StreamId id) {
  const auto found = streams_.find(id);
  if (!connection_ || found == streams_.end() || !found->second.accepting || found->second.stream) return nullptr;
  auto stream = std::make_unique<RudpStream>(host_, *this, id);
  found->second.stream = stream.get();
  found->second.accepting = false;
  return stream;
}

void RudpLink::refuse(rudp::StreamId id, RudpStream::Code code) noexcept {
  if (!streams_.erase(id) || !connection_) return;
  connection_->reset(id, code);
  connection_->stop(id, code);
  if (idle()) idle_since_ = Loop::now();
}

void RudpLink::release(RudpStream& stream) noexcept {
  stream.link_ = nullptr;
  std::erase(waiting_, &stream);
  const auto found = streams_.find(stream.id_);
  if (connection_ && connection_->connected() && stream.state_ == RudpStream::State::waiting &&
      stream.failure_ == NetError::none && connection_->statistics().packets_received == stream.heard_before_)
    suspect_ = true;
  if (stream.opened_ && connection_ && found != streams_.end() && found->second.stream == &stream) {
    const bool cut = stream.cut_ || stream.failure_ != NetError::none || stream.state_ == RudpStream::State::waiting;
    found->second.stream = nullptr;
    if (cut) {
      connection_->reset(stream.id_, RudpStream::kReset);
    } else if (!stream.finished_) {
      connection_->finish(stream.id_);
    }
    if (!stream.ended_ && !connection_->ended(stream.id_))
      connection_->stop(stream.id_, cut ? RudpStream::kReset : RudpStream::kClosed);
    found->second.undelivered = !cut && !stream.delivered_;
    found->second.undelivered ? void(++undelivered_) : void(streams_.erase(found));
  }
  if (idle()) idle_since_ = Loop::now();
  host_.link_changed();
}

RudpStream* RudpLink::find(rudp::StreamId id) noexcept {
  const auto found = streams_.find(id);
  return found == streams_.end() ? nullptr : found->second.stream;
}

// What was let go of has been delivered, or never will be.
void RudpLink::drop_if_over(rudp::StreamId id) noexcept {
  const auto found = streams_.find(id);
  if (found == streams_.end() || !found->second.undelivered) return;
  streams_.erase(found);
  --undelivered_;
  if (idle()) idle_since_ = Loop::now();
  host_.link_changed();
}

void RudpLink::fail_all(NetError why, std::string_view message) noexcept {
  const auto streams = std::exchange(streams_, {});
  const auto waiting = std::exchange(waiting_, {});
  undelivered_ = 0;
  const auto fail = [&](RudpStream* stream) {
    stream->link_ = nullptr;
    stream->fail(why, message);
  };
  for (const auto& [id, entry] : streams)
    if (entry.stream) fail(entry.stream);
  for (RudpStream* stream : waiting) fail(stream);
}

void RudpLink::give_up(NetError why, std::string_view message) noexcept {
  suspect_ = true;
  fail_all(why, message);
  if (connection_) connection_->close(RudpStream::kClosed, {});
}

// ---- From the connection -------------------------------------------------------------------------------------

void RudpLink::on_connected(rudp::Connection& connection) noexcept {
  for (RudpStream* stream : std::exchange(waiting_, {})) {
    const auto id = connection.open_stream();
    bool opened = false;
    if (id) opened = contain("a stream", [&] { streams_[*id].stream = stream; });
    if (opened) {
      stream->opened(*id);
    } else {
      stream->link_ = nullptr;
      stream->fail(NetError::refused, "the peer takes no more streams now");
    }
  }
}

void RudpLink::on_stream(rudp::Connection& connection, rudp::StreamId id) noexcept {
  if (!contain("a stream of a peer", [&] { streams_[id]; })) connection.reset(id, RudpStream::kRefused);
}

void RudpLink::on_readable(rudp::Connection& connection, rudp::StreamId id) noexcept {
  const auto found = streams_.find(id);
  if (found == streams_.end()) return;
  Entry& entry = found->second;
  if (RudpStream* stream = entry.stream) {
    stream->hear_hello();
    return stream->notify();
  }
  if (entry.accepting || entry.undelivered) return;
  const auto data = connection.peek(id);
  if (data.empty() && !connection.ended(id)) return;
  if (data.empty() || data.front() != RudpStream::kHello) return refuse(id, RudpStream::kProtocol);
  connection.consume(id, 1);
  entry.accepting = true;
  if (!host_.arrived(*this, id)) refuse(id, RudpStream::kRefused);
}

void RudpLink::on_writable(rudp::Connection&, rudp::StreamId id) noexcept {
  if (RudpStream* stream = find(id)) {
    stream->say_hello();
    stream->notify();
  }
}

void RudpLink::on_delivered(rudp::Connection&, rudp::StreamId id) noexcept {
  if (RudpStream* stream = find(id)) stream->delivered_ = true;
  drop_if_over(id);
}

void RudpLink::on_reset(rudp::Connection&, rudp::StreamId id, std::uint64_t code) noexcept {
  RudpStream* stream = find(id);
  if (!stream) {
    // Nobody's yet: it is given up on both sides.
    if (const auto found = streams_.find(id); found != streams_.end() && !found->second.undelivered)
      refuse(id, RudpStream::kReset);
    return;
  }
  if (stream->state_ != RudpStream::State::waiting) return stream->fail(NetError::reset, "the peer reset the stream");
  code == RudpStream::kProtocol ? stream->fail(NetError::protocol, "the peer does not serve streams here")
                                : stream->fail(NetError::refused, "the peer takes no more sessions now");
}

void RudpLink::on_stop(rudp::Connection&, rudp::StreamId id, std::uint64_t) noexcept {
  if (RudpStream* stream = find(id)) {
    stream->unwanted_ = true;
    stream->notify();
  }
  drop_if_over(id);
}

void RudpLink::on_message(rudp::Connection&, std::span<const std::byte> data) noexcept { host_.message(*this, data); }

void RudpLink::on_closed(rudp::Connection&, const rudp::CloseReason& why) noexcept {
  connection_ = nullptr;
  contain("the end of a connection", [&] {
    const Failure failure = failure_of(why, options_);
    fail_all(failure.error, failure.sentence);
  });
  host_.closed(*this);  // which deletes it
}

}  // namespace portolan
