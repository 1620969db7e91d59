#include "rudp/seed_file.h"

#include <system_error>

namespace portolan::rudp {

// ---- The sender -----------------------------------------------------------------------------------------------

SeedFileSender::SeedFileSender(const SeedSendOptions& options, SeedFileSource& source)
    : source_(source), window_(SeedFormat::files, options) {}

// Two ahead of what was sent: the window sees whether there is more than one packet to come.
void SeedFileSender::pull() {
  while (phase_ == Phase::blocks && window_.room() && window_.unsent() < 2) {
    const auto size = source_.read(window_.prepare(kSeedBlock));
    if (!size) {
      phase_ = Phase::unreadable;
      error_number_ = size.error();
    } else if (*size == 0) {
      phase_ = Phase::last_blocks;
    } else {
      window_.add(SeedKind::data, *size);
      bytes_read_ += *size;
    }
  }
  if (phase_ == Phase::last_blocks && window_.empty()) {
    window_.prepare(0);
    window_.add(SeedKind::fin, 0);
    phase_ = Phase::fin;
  }
}

std::span<const std::byte> SeedFileSender::next_datagram(Duration now) {
  pull();
  if (phase_ == Phase::unreadable) return {};
  return window_.next_datagram(now);
}

std::optional<Duration> SeedFileSender::deadline() const noexcept {
  return phase_ == Phase::unreadable ? std::nullopt : window_.deadline();
}

std::optional<std::string> SeedFileSender::failure() const {
  if (phase_ == Phase::unreadable)
    return "the file could not be read: " + std::generic_category().message(error_number_);
  if (window_.silence()) return window_.silence()->text();
  return std::nullopt;
}

// ---- The receiver ---------------------------------------------------------------------------------------------

SeedFileReceiver::SeedFileReceiver(const Options& options, SeedFileSink& sink)
    : options_(options),
      sink_(sink),
      // Blocks are short: the window alone bounds them.
      reorder_(options.window, SIZE_MAX) {}

void SeedFileReceiver::receive(std::span<const std::byte> datagram, Duration now) {
  const std::optional<SeedPacket> packet = parse_seed(SeedFormat::files, datagram);
  reply_count_ = reply_next_ = 0;
  if (packet && packet->kind == SeedKind::data) {
    on_data(*packet, now);
  } else if (packet && packet->kind == SeedKind::fin) {
    on_fin(*packet, now);
  }
  if (reply_count_ == 0) ++stats_.unanswered;
}

void SeedFileReceiver::on_data(const SeedPacket& packet, Duration now) {
  using Place = SeedReorder::Place;
  if (phase_ == Phase::waiting) {
    // A question is the duplicate of a packet that a former receiver may have had: it begins nothing.
    if (packet.asks()) return acknowledge(packet);
    if (!first_ever(packet)) return;
    return begin(packet, now);
  }
  const Place place = reorder_.place(packet.sequence, packet.payload);
  if (phase_ == Phase::receiving && (place == Place::next || place == Place::ahead)) {
    suspicion_.clear();
    last_new_ = now;
    if (place == Place::next) return on_block(packet);
    if (now >= keeps_from_ && reorder_.keep(packet.sequence, packet.payload)) acknowledge(packet);
    return;
  }
  if (packet.asks()) {
    keeps_from_ = now;
    return acknowledge(packet);
  }
  if (begins_another(packet, now)) {
    if (phase_ == Phase::receiving) sink_.abandon();
    return begin(packet, now);
  }
  if (place != Place::duplicate || phase_ == Phase::refused) return;
  // Its sender may repeat the first block of a finished file because it sends that file again: see begins_another.
  if (phase_ == Phase::finished && packet.sequence == first_) return;
  ++stats_.duplicates;
  acknowledge(packet);
}

bool SeedFileReceiver::first_ever(const SeedPacket& packet) const noexcept {
  return options_.first_sequence ? packet.sequence == *options_.first_sequence : packet.sequence <= 1;
}

bool SeedFileReceiver::begins_another(const SeedPacket& packet, Duration now) noexcept {
  const std::uint32_t sequence = packet.sequence;
  const bool had = seed_distance(first_, sequence) >= 0 && seed_distance(sequence, reorder_.expected()) > 0;
  const bool same = sequence == first_ && seed_hash(packet.payload) == first_hash_;
  if (phase_ == Phase::receiving) {
    const bool within = seed_distance(sequence, reorder_.expected()) <= static_cast<std::int32_t>(reorder_.window());
    return sequence == first_ && !(same && within) && suspicion_.confirmed(packet, now);
  }
  // Numbers may begin anew, or go on behind the fin. A refused file's sender repeats the block that it stands at.
  const bool goes_on = sequence == reorder_.expected() || (fin_ && sequence == *fin_ + 1);
  if (sequence != first_ && (phase_ == Phase::refused || had || !(goes_on || first_ever(packet)))) return false;
  if (!same || now - last_new_ >= kQuiet) return true;
  return suspicion_.confirmed(packet, now);
}

void SeedFileReceiver::begin(const SeedPacket& packet, Duration now) {
  last_new_ = now;
  keeps_from_ = phase_ == Phase::waiting ? now : now + kQuiet;
  first_ = packet.sequence;
  first_hash_ = seed_hash(packet.payload);
  fin_ = std::nullopt;
  suspicion_.clear();
  reorder_.start(first_);
  phase_ = sink_.begin() ? Phase::receiving : Phase::refused;
  if (phase_ == Phase::refused) return;
  if (packet.kind == SeedKind::fin) return finish(packet.sequence);
  on_block(packet);
}

bool SeedFileReceiver::write(std::span<const std::byte> block) noexcept {
  if (!sink_.write(block)) {
    phase_ = Phase::refused;
    return false;
  }
  ++stats_.blocks;
  return true;
}

void SeedFileReceiver::on_block(const SeedPacket& packet) noexcept {
  if (!write(packet.payload)) return;
  reorder_.had(packet.sequence, packet.payload);
  acknowledge(packet);
  while (const auto block = reorder_.take())
    if (!write(*block)) return;
  if (fin_ && ends(*fin_)) finish(*fin_);
}

// By its number, or that of the last block.
bool SeedFileReceiver::ends(std::uint32_t fin) const noexcept {
  const std::uint32_t expected = reorder_.expected();
  return reorder_.ahead() == 0 && (fin == expected || (fin + 1 == expected && expected != first_));
}

void SeedFileReceiver::on_fin(const SeedPacket& packet, Duration now) {
  const bool empty_file = packet.sequence == options_.first_sequence.value_or(0);
  if (phase_ == Phase::receiving) {
    if (ends(packet.sequence)) return finish(packet.sequence);
    const std::int32_t ahead = seed_distance(reorder_.expected(), packet.sequence);
    if (ahead > 0 && ahead < static_cast<std::int32_t>(reorder_.window())) {
      fin_ = packet.sequence;
    } else if (reorder_.ahead() == 0 && suspicion_.confirmed(packet, now)) {
      finish(packet.sequence);
    }
  } else if (phase_ == Phase::finished && fin_ == packet.sequence) {
    ++stats_.duplicates;
    acknowledge(packet);
  } else if (empty_file && (phase_ == Phase::waiting || suspicion_.confirmed(packet, now))) {
    begin(packet, now);
  }
}

void SeedFileReceiver::finish(std::uint32_t fin) noexcept {
  fin_ = fin;
  phase_ = sink_.finish() ? Phase::finished : Phase::refused;
  if (phase_ == Phase::refused) return;
  ++stats_.files;
  suspicion_.clear();
  acknowledge({SeedKind::fin, fin, {}});
}

void SeedFileReceiver::acknowledge(const SeedPacket& packet) noexcept {
  const auto offer = packet.asks() ? std::optional(static_cast<std::uint16_t>(reorder_.window())) : std::nullopt;
  Reply& reply = replies_[reply_count_++];
  reply.size = write_seed_reply(SeedFormat::files, packet.sequence, offer, reply.bytes.data());
}

std::span<const std::byte> SeedFileReceiver::next_datagram() noexcept {
  if (reply_next_ == reply_count_) return {};
  const Reply& reply = replies_[reply_next_++];
  return std::span(reply.bytes).first(reply.size);
}

}  // namespace portolan::rudp
