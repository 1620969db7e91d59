#include "rudp/seed_message.h"

#include <algorithm>
#include <utility>

namespace portolan::rudp {

SeedMessageSender::SeedMessageSender(const Options& options)
    : max_queued_(options.max_queued), window_(SeedFormat::messages, options.send) {}

bool SeedMessageSender::push(std::span<const std::byte> message) {
  if (message.size() > kSeedLongestMessage || window_.silence() || !window_.room()) return false;
  if (window_.queued() > 0 && window_.queued_bytes() + message.size() > max_queued_) return false;
  std::ranges::copy(message, window_.prepare(message.size()).begin());
  window_.add(SeedKind::data, message.size());
  return true;
}

SeedMessageReceiver::SeedMessageReceiver(const Options& options, SeedMessageSink& sink)
    : options_(options), sink_(sink), reorder_(options.window, options.max_kept) {}

void SeedMessageReceiver::start(std::uint32_t first) {
  reorder_.start(first);
  started_ = true;
}

void SeedMessageReceiver::receive(std::span<const std::byte> datagram, Duration now) {
  const std::optional<SeedPacket> packet = parse_seed(SeedFormat::messages, datagram);
  if (!packet || packet->kind != SeedKind::data || packet->payload.size() > options_.max_message) {
    ++stats_.rejected;
    return;
  }
  // A question is the duplicate of a packet that a former receiver may have had: it begins nothing.
  if (!started_ && !packet->asks()) start(options_.first_sequence.value_or(packet->sequence));
  if (!started_ || place(*packet, now)) {
    acknowledge(*packet);
  } else {
    ++stats_.rejected;
  }
}

// True: it is to be acknowledged.
bool SeedMessageReceiver::place(const SeedPacket& packet, Duration now) {
  using Place = SeedReorder::Place;
  const Place place = reorder_.place(packet.sequence, packet.payload);
  switch (place) {
    case Place::next:
      deliver(packet);
      deliver_kept();
      missing_since_ = now;
      break;
    case Place::ahead:
      if (now < takes_ahead_from_) return false;
      if (reorder_.ahead() == 0) missing_since_ = now;
      if (!options_.ordered) {
        deliver(packet);
      } else if (!reorder_.keep(packet.sequence, packet.payload)) {
        return false;
      }
      break;
    case Place::behind:
      if (options_.ordered) break;
      deliver(packet);
      return true;
    case Place::duplicate: ++stats_.duplicates; return true;
    case Place::given_up: return false;
    case Place::other:
    case Place::outside: break;
  }
  if (place == Place::next || place == Place::ahead) {
    suspicion_.clear();
    return true;
  }
  if (packet.asks()) {
    takes_ahead_from_ = now;
    return true;
  }
  if (!suspicion_.confirmed(packet, now)) return false;
  ++stats_.restarts;
  takes_ahead_from_ = now + kQuiet;
  start(packet.sequence);
  deliver(packet);
  return true;
}

void SeedMessageReceiver::deliver(const SeedPacket& packet) noexcept {
  ++stats_.delivered;
  reorder_.had(packet.sequence, packet.payload);
  sink_.message(packet.payload);
}

void SeedMessageReceiver::deliver_kept() noexcept {
  while (const auto payload = reorder_.take()) {
    ++stats_.delivered;
    sink_.message(*payload);
  }
}

void SeedMessageReceiver::acknowledge(const SeedPacket& packet) noexcept {
  const auto offer = packet.asks() ? std::optional(static_cast<std::uint16_t>(reorder_.window())) : std::nullopt;
  reply_size_ = write_seed_reply(SeedFormat::messages, packet.sequence, offer, reply_.data());
}

std::span<const std::byte> SeedMessageReceiver::next_datagram(Duration now) noexcept {
  if (const auto at = deadline(); at && now >= *at) {
    stats_.given_up += reorder_.skip();
    deliver_kept();
    missing_since_ = now;
  }
  return std::span(reply_).first(std::exchange(reply_size_, 0));
}

std::optional<Duration> SeedMessageReceiver::deadline() const noexcept {
  if (reorder_.ahead() == 0) return std::nullopt;
  return missing_since_ + options_.gap_timeout;
}

}  // namespace portolan::rudp
