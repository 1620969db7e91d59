#include "rudp/messages.h"

#include "rudp/frames.h"

#include <algorithm>

namespace portolan::rudp {

namespace {

constexpr std::size_t kMostDatagrams = 256;  // that wait
constexpr std::uint64_t kEntry = 256;        // bytes that an unfinished message costs beside its own

}  // namespace

bool Messages::send(std::span<const std::byte> data, const MessageOptions& options, std::size_t datagram_room,
                    Duration now) {
  if (options.delivery == Delivery::unreliable) {
    if (data.size() + 3 > datagram_room || datagrams_.size() >= kMostDatagrams) return false;
    datagrams_.emplace_back(data.begin(), data.end());
    return true;
  }
  if (data.size() > std::min<std::uint64_t>(peer_max_message_, kMostBytes)) return false;
  if (held_ + data.size() > kMostBytes) return false;
  if (!outgoing_.empty() && next_number_ - outgoing_.begin()->first >= kMostAhead) return false;
  Outgoing& message = outgoing_[next_number_];
  message.data.assign(data.begin(), data.end());
  message.deadline = options.delivery == Delivery::deadline;
  if (message.deadline) {
    message.lifetime = options.lifetime;
    message.expires = now + options.lifetime;
  }
  held_ += data.size();
  make_ready(next_number_++, message);
  return true;
}

void Messages::make_ready(std::uint64_t number, Outgoing& message) {
  if (message.ready) return;
  message.ready = true;
  // What is lost goes first: it is older.
  message.lost.empty() ? ready_.push_back(number) : ready_.push_front(number);
}

void Messages::drop(std::map<std::uint64_t, Outgoing>::iterator message) {
  held_ -= message->second.data.size();
  outgoing_.erase(message);
}

Duration Messages::next_lifetime() const noexcept {
  if (ready_.empty()) return Duration::zero();
  const auto found = outgoing_.find(ready_.front());
  return found == outgoing_.end() ? Duration::zero() : found->second.lifetime;
}

// type | number | total | offset | length | data
bool Messages::put(Writer& out, SentPacket& packet, std::uint64_t number, const Outgoing& message, std::size_t offset,
                   std::size_t length) {
  const std::size_t header = 1 + varint_size(number) + varint_size(message.data.size()) + varint_size(offset) + 4;
  if (packet.frame_count == SentPacket::kMostFrames) return false;
  // Not a sliver of a message that fits into the next packet whole.
  if (out.room() < header + std::min<std::size_t>(length, 64)) return false;
  length = std::min(length, out.room() - header);
  out.u8(static_cast<std::uint8_t>(message.deadline ? FrameType::message_deadline : FrameType::message));
  out.varint(number);
  out.varint(message.data.size());
  out.varint(offset);
  out.varint(length);
  out.bytes(std::span(message.data).subspan(offset, length));
  packet.frames[packet.frame_count++] = {
      .kind = SentFrame::Kind::message, .length = static_cast<std::uint32_t>(length), .id = number, .offset = offset};
  return true;
}

void Messages::write(Writer& out, SentPacket& packet, Duration now) {
  while (!datagrams_.empty()) {
    const std::vector<std::byte>& data = datagrams_.front();
    const std::size_t size = 1 + varint_size(data.size()) + data.size();
    if (size > out.size() + out.room()) {  // the path's packets have become smaller than it
      ++expired_;
      datagrams_.pop_front();
      continue;
    }
    if (size > out.room()) break;
    out.u8(static_cast<std::uint8_t>(FrameType::datagram));
    out.varint(data.size());
    out.bytes(data);
    datagrams_.pop_front();
  }
  while (!ready_.empty()) {
    const std::uint64_t number = ready_.front();
    const auto found = outgoing_.find(number);
    if (found == outgoing_.end()) {
      ready_.pop_front();
      continue;
    }
    Outgoing& message = found->second;
    if (message.expires <= now) {
      ++expired_;
      drop(found);
      ready_.pop_front();
      continue;
    }
    if (!message.lost.empty()) {
      const Range oldest = message.lost.front();
      if (!put(out, packet, number, message, oldest.begin, oldest.size())) return;
      message.lost.remove(oldest.begin, oldest.begin + packet.frames[packet.frame_count - 1].length);
    } else if (message.sent < message.data.size() || message.data.empty()) {
      if (!put(out, packet, number, message, message.sent, message.data.size() - message.sent)) return;
      message.sent += packet.frames[packet.frame_count - 1].length;
    }
    if (message.lost.empty() && message.sent == message.data.size()) {
      message.ready = false;
      ready_.pop_front();
    }
  }
}

bool Messages::write_probe(Writer& out, SentPacket& packet, Duration now) {
  for (auto& [number, message] : outgoing_) {
    if (message.sent == 0 || message.expires <= now) continue;
    std::uint64_t begin = 0;
    std::uint64_t end = message.sent;
    if (!message.acknowledged.empty()) {
      if (message.acknowledged.front().begin == 0)
        begin = message.acknowledged.front().end;
      else
        end = message.acknowledged.front().begin;
    }
    if (begin < end && put(out, packet, number, message, begin, end - begin)) return true;
  }
  return false;
}

void Messages::on_acknowledged(const SentFrame& frame) {
  const auto found = outgoing_.find(frame.id);
  if (found == outgoing_.end()) return;
  Outgoing& message = found->second;
  message.acknowledged.add(frame.offset, frame.offset + frame.length);
  message.lost.remove(frame.offset, frame.offset + frame.length);
  if (message.acknowledged.total() == message.data.size()) drop(found);
}

void Messages::on_lost(const SentFrame& frame) {
  const auto found = outgoing_.find(frame.id);
  if (found == outgoing_.end()) return;
  Outgoing& message = found->second;
  message.acknowledged.for_missing(frame.offset, frame.offset + frame.length,
                                   [&](std::uint64_t begin, std::uint64_t end) { message.lost.add(begin, end); });
  if (message.data.empty()) message.sent = 0;
  if (!message.lost.empty() || message.data.empty()) make_ready(frame.id, message);
}

Messages::Problem Messages::on_message(Reader& in, bool deadline) {
  const std::uint64_t number = in.varint();
  const std::uint64_t total = in.varint();
  const std::uint64_t offset = in.varint();
  const std::span<const std::byte> data = in.bytes(in.varint());
  if (in.failed()) return "a message frame that ends early";
  if (total > max_message_) return "a message that is longer than allowed";
  if (offset + data.size() > total) return "a piece beyond the end of its message";
  if (done_.contains(number)) return nullptr;
  if (!done_.empty() && number + kMostAhead < done_.back().end) {
    done_.add(number, number + 1);  // its sender gave it up long ago
    return nullptr;
  }
  if (data.size() == total) {  // the most common: in one piece
    if (const auto found = incoming_.find(number); found != incoming_.end()) {
      incoming_bytes_ -= found->second.data.size() + kEntry;
      incoming_.erase(found);
    }
    done_.add(number, number + 1);
    whole_.emplace_back(data.begin(), data.end());
    make_room();
    return nullptr;
  }
  const auto [at, fresh] = incoming_.try_emplace(number);
  Incoming& message = at->second;
  if (fresh) {
    message.deadline = deadline;
    message.data.resize(total);
    incoming_bytes_ += total + kEntry;
  } else if (message.data.size() != total) {
    return "a message whose length changes";
  }
  std::ranges::copy(data, message.data.begin() + static_cast<std::ptrdiff_t>(offset));
  message.received.add(offset, offset + data.size());
  if (message.received.total() == total) {
    incoming_bytes_ -= total + kEntry;
    whole_.push_back(std::move(message.data));
    incoming_.erase(at);
    done_.add(number, number + 1);
  }
  make_room();
  return incoming_bytes_ > kMostBytes ? "more unfinished messages than allowed" : nullptr;
}

void Messages::make_room() {
  for (auto at = incoming_.begin(); incoming_bytes_ > kMostBytes && at != incoming_.end();) {
    if (!at->second.deadline) {
      ++at;
      continue;
    }
    incoming_bytes_ -= at->second.data.size() + kEntry;
    done_.add(at->first, at->first + 1);
    at = incoming_.erase(at);
  }
  // What is so far behind its sender has given up, or it breaks the protocol.
  while (!incoming_.empty() && !done_.empty() && incoming_.begin()->first + kMostAhead < done_.back().end) {
    incoming_bytes_ -= incoming_.begin()->second.data.size() + kEntry;
    incoming_.erase(incoming_.begin());
  }
  // Numbers of messages that never came are as good as done when they are so far behind.
  if (!done_.empty() && done_.back().end > kMostAhead && done_.front().end < done_.back().end - kMostAhead)
    done_.add(0, done_.back().end - kMostAhead);
}

Messages::Problem Messages::on_datagram(Reader& in) {
  const std::span<const std::byte> data = in.bytes(in.varint());
  if (in.failed()) return "a datagram frame that ends early";
  whole_.emplace_back(data.begin(), data.end());
  return nullptr;
}

}  // namespace portolan::rudp
