// The numbers that a seed receiver has had, and the packets that came before their turn.
//
// A ring around the next expected number: so many before it, to tell a duplicate from what is new (or from another
// packet under the same number: its payload's hash differs), and as many from it on, to keep. Bounded by `window`
// packets and `most_bytes`; the ring of what is kept is there from the first such packet on, and its places keep what
// ordinary packets need. Owned by a receiver, on its thread.
#pragma once

#include "plugin/descriptor.h"
#include "rudp/seed_format.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace portolan::rudp {

class SeedReorder {
 public:
  // `window`: packets, rounded up to a power of two, 16384 at most.
  SeedReorder(std::uint32_t window, std::size_t most_bytes);

  enum class Place : std::uint8_t {
    next,       // the expected one
    ahead,      // within the window, and not had yet
    duplicate,  // had already
    other,      // another packet had this number already
    behind,     // before the expected one, within the window, and never had
    given_up,   // the same, and skip passed over it
    outside,
  };
  Place place(std::uint32_t sequence, std::span<const std::byte> payload) const noexcept;

  void start(std::uint32_t expected);  // forgets all
  // It was delivered. The expected number moves on over all that were, up to what is missing or kept.
  void had(std::uint32_t sequence, std::span<const std::byte> payload) noexcept;
  // Of Place::ahead. False: no room for its bytes.
  bool keep(std::uint32_t sequence, std::span<const std::byte> payload);
  // The expected one, when it was kept; it was had, then. Valid until the next call.
  std::optional<std::span<const std::byte>> take() noexcept;
  std::uint32_t skip() noexcept;  // what is missing, up to the first that is not: how many

  std::uint32_t expected() const noexcept { return expected_; }
  std::uint32_t window() const noexcept { return window_; }
  std::uint32_t ahead() const noexcept { return ahead_; }  // packets that something is missing before
  std::size_t kept_bytes() const noexcept { return kept_bytes_; }

 private:
  enum class State : std::uint8_t { missing, kept, had, skipped };
  struct Entry {
    std::uint32_t hash = 0;
    State state = State::missing;
  };
  Entry& entry(std::uint32_t sequence) noexcept { return entries_[sequence & (2 * window_ - 1)]; }
  const Entry& entry(std::uint32_t sequence) const noexcept { return entries_[sequence & (2 * window_ - 1)]; }
  void step() noexcept;
  void step_over_had() noexcept;

  const std::uint32_t window_;
  const std::size_t most_bytes_;
  std::uint32_t expected_ = 0;
  std::uint32_t ahead_ = 0;
  std::size_t kept_bytes_ = 0;
  std::vector<Entry> entries_;                    // of [expected - window, expected + window)
  std::vector<std::vector<std::byte>> payloads_;  // of [expected, expected + window), from the first that is kept on
  std::vector<std::byte> taken_;
};

// Of a payload, to tell packets apart, not to withstand anybody.
std::uint32_t seed_hash(std::span<const std::byte> payload) noexcept;

// Packets that cannot belong to what went before: from a peer that began again, or stragglers. Who is not answered
// repeats itself after a while, and a straggler's copies come together: a packet is believed when it comes again after
// a while, and nothing that fits came between.
class SeedSuspicion {
 public:
  bool confirmed(const SeedPacket& packet, Duration now) noexcept;
  void clear() noexcept { seen_ = false; }

 private:
  bool seen_ = false;
  SeedKind kind_ = SeedKind::data;
  std::uint32_t sequence_ = 0;
  std::uint32_t hash_ = 0;
  Duration at_{};
};

}  // namespace portolan::rudp
