// The faults of a service, and what one direction of one session makes of them.
//
// A FaultSet is immutable and shared by reference between workers and sessions: a change makes another one, with the next
// version, and a session takes it when it sees it. No set at all (null) is no faults, and costs a comparison.
// ActiveFaults is the choice of one direction of one session out of a set, with what it has to remember; its owner's thread.
#pragma once

#include "plugins/relay/fault.h"
#include "plugins/relay/random.h"

#include <expected>
#include <memory>
#include <ranges>
#include <span>
#include <string>
#include <vector>

namespace portolan::relay {

class FaultSet {
 public:
  using Shared = std::shared_ptr<const FaultSet>;
  static constexpr std::size_t kMaxFaults = 32;

  // Draws a seed for each fault that has none. Refused: two of one name, more than kMaxFaults.
  static std::expected<Shared, std::string> make(std::vector<Fault> faults, std::uint64_t version = 1);
  // Another set, of the next version; what is not touched goes on as it was.
  std::expected<Shared, std::string> with(Fault fault) const;
  std::expected<Shared, std::string> without(std::string_view name) const;

  std::uint64_t version() const noexcept { return version_; }
  std::span<const Fault> faults() const noexcept { return faults_; }
  // Whether a session needs an engine in this direction at all.
  bool applies(FaultDirection direction, Carrier carrier) const noexcept;
  std::string to_json() const;  // an array

 private:
  FaultSet(std::vector<Fault> faults, std::uint64_t version) : faults_(std::move(faults)), version_(version) {}

  std::vector<Fault> faults_;
  std::uint64_t version_;
};

// One fault at work. What the numbers are is up to the kind.
struct ActiveFault {
  ActiveFault(const Fault& of, Random numbers, Duration now) noexcept;

  bool cuts() const noexcept;  // ends what passes: reset, close_after, black_hole
  // What is left until after_bytes; for ever when it has none.
  std::int64_t until_cut() const noexcept;
  void passed(std::int64_t size) noexcept;
  void strike(Duration now) noexcept;    // when its time has come
  Duration strikes_at() const noexcept;  // max() when it has struck, or never does by itself

  void draw_slice() noexcept;  // slicer: the size of the next one

  // bandwidth. A link that has been idle for a while has saved up at most its burst: it began to send what came to it at
  // `ready` at link_start, has sent `size` of it a link_time later, and is free from then on.
  Duration link_start(Duration ready) const noexcept;
  Duration link_time(std::int64_t size) const noexcept;
  std::int64_t link_sends(Duration time) const noexcept;

  const Fault* fault;
  Random random;
  bool applies;           // drawn once
  bool struck = false;    // a cut that cuts
  Duration since;         // it is at work from here on
  Duration free_at;       // bandwidth: when the link is free; slicer: when the next slice may leave
  std::int64_t done = 0;  // cuts: bytes that passed; corrupt: of the current block
  std::int64_t left = 0;  // slicer: of the current slice; corrupt: where in the block a byte is changed
};

class ActiveFaults {
 public:
  ActiveFaults(FaultSet::Shared set, Carrier carrier, FaultDirection direction, std::uint64_t session, Duration now);

  // A fault that is in both sets goes on where it was.
  void change(FaultSet::Shared set, Duration now);
  std::uint64_t version() const noexcept { return set_ ? set_->version() : 0; }

  // Those that the draw has not spared, and of these the ones of a kind.
  auto all() noexcept { return active_ | std::views::filter(&ActiveFault::applies); }
  auto of(FaultKind kind) noexcept {
    return active_ | std::views::filter(
                         [kind](const ActiveFault& active) { return active.applies && active.fault->kind == kind; });
  }
  auto of(FaultKind kind) const noexcept {
    return active_ | std::views::filter(
                         [kind](const ActiveFault& active) { return active.applies && active.fault->kind == kind; });
  }
  bool none() const noexcept;
  bool has(FaultKind kind) const noexcept { return !of(kind).empty(); }

  void strike(Duration now) noexcept;
  bool struck(FaultKind kind) const noexcept;
  Duration strikes_at() const noexcept;  // the next of those that have not

  // How late something is that comes now: the sum of the latencies.
  Duration draw_latency() noexcept;
  // The most that draw_latency says.
  Duration longest_latency() const noexcept;

 private:
  FaultSet::Shared set_;
  std::vector<ActiveFault> active_;
  Carrier carrier_;
  FaultDirection direction_;
  std::uint64_t session_;
};

// `time` later than `now`; for ever when that is beyond the clock.
constexpr Duration later(Duration now, Duration time) noexcept {
  const bool beyond = now > Duration::zero() && time > Duration::max() - now;
  return beyond ? Duration::max() : now + time;
}

}  // namespace portolan::relay
