// What is sent: packets are built in trains of equal size, as pacing and the windows allow.
#include "rudp/endpoint.h"
#include "rudp/engine.h"

#include <algorithm>

namespace portolan::rudp {

namespace {

constexpr std::size_t kMostSegments = 64;        // that UDP_SEGMENT takes
constexpr std::uint64_t kLeastTail = 64 * 1024;  // of a stream's end that is protected
constexpr unsigned kMostChallenges = 5;

}  // namespace

Train ConnectionEngine::to_peer(std::span<const std::byte> data, std::size_t segment) const {
  return {.to = peer_, .from = local_, .data = data, .segment = segment};
}

bool ConnectionEngine::transmit(Train& train, std::span<std::byte> buffer, Duration now) {
  now_ = now;
  switch (state_) {
    case State::connecting: return now >= initial_due_at_ && build_initial(train, buffer, now);
    case State::half_open: return accept_due_ && build_accept(train, buffer);
    case State::closing: return close_due_ && write_close(train, buffer);
    case State::draining:
    case State::closed: return false;
    case State::open: break;
  }
  if (write_path_frames(train, buffer)) return true;
  if (recovery_.window_open() && write_mtu_probe(train, buffer)) return true;
  update_redundancy();
  const std::size_t segment = mtu_.size();
  // A probe or what pacing lets out; an acknowledgement leaves whatever they say.
  std::size_t allowed = 0;
  if (recovery_.next_send_at() <= now && recovery_.window_open())
    allowed = recovery_.probing() ? segment : recovery_.train_bytes(now);
  const std::size_t most = std::min(kMostSegments, buffer.size() / segment);
  std::size_t size = 0;
  for (std::size_t count = 0; count < most; ++count) {
    const bool may_send = size < allowed && recovery_.window_open() && (count == 0 || !recovery_.probing());
    if (!(may_send && has_content()) && !acknowledger_.due(now)) break;
    const std::size_t built = build_packet(buffer.subspan(size, segment), may_send);
    size += built;
    if (built < segment) break;
  }
  if (size == 0) {
    if (allowed > 0 && !has_content()) recovery_.on_app_limited();
    return false;
  }
  train = to_peer(buffer.first(size), std::min(segment, size));
  return true;
}

bool ConnectionEngine::has_content() const noexcept {
  return ping_due_ || recovery_.probing() || !twice_.empty() || messages_.wants_to_send() || streams_.wants_to_send() ||
         (fec_encoder_ && fec_encoder_->front());
}

void ConnectionEngine::begin_header(Writer& out) const {
  out.u8(static_cast<std::uint8_t>(packet_type::kData | (sealer_->key_phase() ? 1 : 0)));
  out.u64(peer_id_);
  out.u32(static_cast<std::uint32_t>(recovery_.next_number()));
}

// `packet` has header and frames in its first `size` bytes, and room for the trailer. Its whole size.
std::size_t ConnectionEngine::seal(std::span<std::byte> packet, std::size_t size) {
  const std::size_t whole = size + sealer_->overhead();
  const auto sealed = sealer_->seal(recovery_.next_number(), packet.first(kDataHeader),
                                    packet.subspan(kDataHeader, whole - kDataHeader));
  if (!sealed) {
    end(CloseReason::Kind::limit, 0, to_string(sealed.error()));
    return 0;
  }
  ++packets_sent_;
  bytes_sent_ += whole;
  last_sent_at_ = now_;
  return whole;
}

// One packet into `out`, which is as long as it may be: its size, 0 when there is nothing to send. `content`: more than an
// acknowledgement.
std::size_t ConnectionEngine::build_packet(std::span<std::byte> out, bool content) {
  const std::size_t room = out.size() - kDataHeader - sealer_->overhead();
  Writer header(out);
  begin_header(header);
  SentPacket packet;
  std::optional<FecSource> source;
  std::size_t limit = room;
  const bool redundant = content && wants_redundancy();
  if (redundant && fec_encoder_ && (source = fec_encoder_->next()))
    limit = std::min(max_protected_frames(room), kMostProtected);
  Writer frames(out.subspan(kDataHeader, room));
  if (source) {
    frames.u8(static_cast<std::uint8_t>(FrameType::fec_source));
    frames.varint(source->block);
    frames.varint(source->index);
  }
  const std::size_t prefix = frames.size();
  Writer body(out.subspan(kDataHeader + prefix, std::min(limit, room - prefix)));
  // The second copy of a full packet leaves no room for anything else.
  const bool copy = content && !twice_.empty();
  if (!copy && (acknowledger_.due(now_) || (content && acknowledger_.waits()))) acknowledger_.write(body, now_);
  const std::size_t acknowledgement = body.size();
  if (content) write_content(body, packet);
  const bool counts = body.size() > acknowledgement || source;
  if (body.size() == 0 && !source) return 0;

  const std::span<const std::byte> content_frames = body.written();
  if (source) fec_encoder_->add(recovery_.next_number(), content_frames, now_);
  // The second copy is the next packet, so that one loss does not take both. A datagram must not come twice.
  if (redundant && options_.redundancy == Redundancy::twice && !copy && !packet.datagrams && packet.frame_count > 0) {
    twice_.assign(content_frames.begin() + static_cast<std::ptrdiff_t>(acknowledgement), content_frames.end());
    twice_packet_ = packet;
  }
  const std::size_t size = seal(out, kDataHeader + prefix + body.size());
  if (size == 0) return 0;
  packet.bytes = static_cast<std::uint32_t>(size);
  recovery_.on_sent(packet, counts, now_);
  // Who only acknowledges is never acknowledged: but for its keys, and what it remembers, it has to be (RFC 9000, section 13.2.4).
  if (recovery_.uncounted_in_row() >= kPingAfter) ping_due_ = true;
  return size;
}

void ConnectionEngine::write_content(Writer& out, SentPacket& packet) {
  const std::size_t before = out.size();
  if (ping_due_) {
    out.u8(static_cast<std::uint8_t>(FrameType::ping));
    ping_due_ = false;
  }
  if (!twice_.empty()) {
    const bool fits = out.room() >= twice_.size();  // not when the path's datagrams have become smaller
    if (fits) {
      out.bytes(twice_);
      packet = twice_packet_;
    }
    twice_.clear();
    if (fits) return;
  }
  // Repairs have packets of their own: a packet that is protected holds none.
  if (fec_encoder_ && !wants_redundancy()) {
    while (const auto repair = fec_encoder_->front()) {
      const std::size_t size = kMostFecRepair + repair->symbol.size();
      if (size > out.size() + out.room()) {  // the path's packets have become smaller than it
        fec_encoder_->pop();
        continue;
      }
      if (size > out.room()) break;
      out.u8(static_cast<std::uint8_t>(FrameType::fec_repair));
      out.varint(repair->block);
      out.varint(repair->sources);
      out.varint(repair->repairs);
      out.varint(repair->index);
      out.varint(repair->symbol.size());
      out.bytes(repair->symbol);
      fec_encoder_->pop();
    }
  }
  streams_.write_control(out, packet);
  if (messages_.wants_to_send()) {
    packet.datagrams = messages_.has_datagrams();
    messages_.write(out, packet, now_);
  }
  streams_.write_data(out, packet);
  if (recovery_.probing() && packet.frame_count == 0) {
    // Nothing new: what was sent first is what the peer waits for.
    if (!streams_.write_probe(out, packet)) messages_.write_probe(out, packet, now_);
  }
  if (out.size() == before && recovery_.probing()) out.u8(static_cast<std::uint8_t>(FrameType::ping));
}

// ---- Redundancy ----------------------------------------------------------------------------------------------

void ConnectionEngine::update_redundancy() {
  if (!fec_encoder_) return;
  fec_policy_.on_loss(recovery_.loss(), recovery_.loss_burst());
  const Duration lifetime = messages_.next_lifetime();
  fec_policy_.on_path(recovery_.rtt().smoothed(), lifetime);
  fec_policy_.set_budget(lifetime > Duration::zero() ? options_.redundancy_budget
                                                     : std::min(options_.redundancy_budget, FecPolicy::kBulkBudget));
}

// What goes next is worth more than one try: a message whose time ends, or the end of a stream.
bool ConnectionEngine::wants_redundancy() const noexcept {
  if (options_.redundancy == Redundancy::none) return false;
  if (messages_.next_lifetime() > Duration::zero()) return true;
  return !messages_.wants_to_send() && streams_.tail(kLeastTail);
}

// ---- Packets of their own ------------------------------------------------------------------------------------

bool ConnectionEngine::write_path_frames(Train& train, std::span<std::byte> buffer) {
  const std::size_t challenge_size = kDataHeader + 1 + 8 + sealer_->overhead();
  if (candidate_ && now_ >= candidate_->due_at && candidate_->bytes + challenge_size > 3 * candidate_->received)
    candidate_->due_at = now_ + recovery_.probe_timeout();  // more has to come from there first
  const bool challenge = candidate_ && now_ >= candidate_->due_at && candidate_->sent < kMostChallenges;
  if (!response_ && !challenge) return false;
  Writer out(buffer.first(kBaseDatagram));
  begin_header(out);
  Address to;
  Address from;
  if (response_) {
    out.u8(static_cast<std::uint8_t>(FrameType::path_response));
    out.u64(response_->data);
    to = response_->to;
    from = response_->from;
    response_.reset();
  } else {
    // Not filled up: to an address that is not proven goes less than came from there.
    out.u8(static_cast<std::uint8_t>(FrameType::path_challenge));
    out.u64(candidate_->challenge);
    to = candidate_->peer;
    from = candidate_->local;
    ++candidate_->sent;
    candidate_->bytes += challenge_size;
    candidate_->due_at = now_ + recovery_.probe_timeout();
  }
  const std::size_t size = seal(buffer, out.size());
  if (size == 0) return false;
  recovery_.on_sent(SentPacket{.bytes = static_cast<std::uint32_t>(size), .frames = {}}, false, now_);
  train = {.to = to, .from = from, .data = buffer.first(size), .segment = size};
  return true;
}

bool ConnectionEngine::write_mtu_probe(Train& train, std::span<std::byte> buffer) {
  const std::size_t size = mtu_.probe(now_);
  if (size == 0 || size > buffer.size()) return false;
  Writer out(buffer.first(size - sealer_->overhead()));
  begin_header(out);
  out.u8(static_cast<std::uint8_t>(FrameType::ping));
  out.zeros(out.room());
  if (seal(buffer, out.size()) == 0) return false;
  mtu_.on_probe_sent();
  recovery_.on_sent(SentPacket{.bytes = static_cast<std::uint32_t>(size), .mtu_probe = true, .frames = {}}, true, now_);
  train = to_peer(buffer.first(size), size);
  train.probe = true;
  return true;
}

bool ConnectionEngine::write_close(Train& train, std::span<std::byte> buffer) {
  Writer out(buffer.first(kBaseDatagram));
  begin_header(out);
  out.bytes(close_frame_);
  const std::size_t size = seal(buffer, out.size());
  close_due_ = false;
  if (size == 0) return false;
  recovery_.on_sent(SentPacket{.bytes = static_cast<std::uint32_t>(size), .frames = {}}, false, now_);
  train = to_peer(buffer.first(size), size);
  return true;
}

}  // namespace portolan::rudp
