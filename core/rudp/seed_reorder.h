// The numbers that a seed receiver has had, and the packets that came before their turn.
//
// A ring around the next expected number: so many before it, to know a duplicate from what is new (or from another packet
// under the same number: its payload's hash differs), and as many from it on, to keep. Numbers outside are nobody's.
// Bounded by `window` packets and `most_bytes`; packets are kept only from the first that is out of order on, and no
// allocation after they have grown. Owned by a receiver, on its thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace portolan::rudp {

class SeedReorder {
 public:
  // `window`: packets; a power of two is used whole.
  SeedReorder(std::uint32_t window, std::size_t most_bytes);

  enum class Place : std::uint8_t {
    next,       // the expected one
    ahead,      // to be kept until its turn
    duplicate,  // had already
    other,      // another packet had this number already
    passed,     // behind the expected one, and never had
    outside,
  };
  void start(std::uint32_t expected) noexcept;  // forgets all
  Place place(std::uint32_t sequence, std::span<const std::byte> payload) const noexcept;
  // Of Place::ahead. False: no room for its bytes.
  bool keep(std::uint32_t sequence, std::span<const std::byte> payload);
  // Any number within the ring was had now: take() passes over it.
  void had(std::uint32_t sequence, std::span<const std::byte> payload) noexcept;
  // The expected one, when it was kept, and the next is expected from then on. Valid until the next call.
  std::optional<std::span<const std::byte>> take() noexcept;
  void skip() noexcept;  // what is missing up to the first that is kept

  std::uint32_t expected() const noexcept { return expected_; }
  std::uint32_t window() const noexcept { return window_; }
  std::size_t kept() const noexcept { return kept_; }
  std::size_t kept_bytes() const noexcept { return kept_bytes_; }

  static std::uint32_t hash(std::span<const std::byte> payload) noexcept;

 private:
  enum class State : std::uint8_t { missing, kept, had };
  struct Entry {
    std::uint32_t hash = 0;
    State state = State::missing;
  };
  Entry& entry(std::uint32_t sequence) noexcept { return entries_[sequence & (2 * window_ - 1)]; }
  const Entry& entry(std::uint32_t sequence) const noexcept { return entries_[sequence & (2 * window_ - 1)]; }
  void advance() noexcept;

  const std::uint32_t window_;
  const std::size_t most_bytes_;
  std::uint32_t expected_ = 0;
  std::size_t kept_ = 0;
  std::size_t kept_bytes_ = 0;
  std::vector<Entry> entries_;                    // [expected - window, expected + window)
  std::vector<std::vector<std::byte>> payloads_;  // [expected, expected + window)
};

// A packet that cannot belong to what went before: from a peer that began again, or a straggler. A peer repeats itself when
// it is not answered, a straggler does not: the second copy is believed, when nothing that fits came between.
class SeedSuspicion {
 public:
  bool confirmed(std::uint32_t sequence, std::span<const std::byte> payload) noexcept;
  void clear() noexcept { seen_ = false; }

 private:
  bool seen_ = false;
  std::uint32_t sequence_ = 0;
  std::uint32_t hash_ = 0;
};

}  // namespace portolan::rudp
