// A backend: what is known of it and changes. And what the configuration says of it: BackendSettings.
//
// A Backend is shared by all workers and generations of a service, found by its address (RelayState), and lives as long
// as a set that has it. Everything in it may be used by any thread; only transitions take a lock, that of the part that
// changes. Settings belong to a generation and are passed in.
#pragma once

#include "limits/rate_limit.h"
#include "plugins/relay/breaker.h"
#include "plugins/relay/ejection.h"
#include "plugins/relay/health.h"

#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

namespace portolan::relay {

inline constexpr std::uint32_t kMaxWeight = 256;

struct BackendSettings {
  std::string address;             // "tcp://10.0.0.7:8080"
  std::string name;                // empty: the address without its transport
  std::uint32_t weight = 1;        // 0..kMaxWeight; 0 is drained
  bool backup = false;             // chosen when no other can be
  std::uint32_t max_sessions = 0;  // 0: no limit
  double rate = 0;                 // new sessions per second; 0: no limit
  friend bool operator==(const BackendSettings&, const BackendSettings&) = default;
};

// The name of a backend that was given none.
constexpr std::string_view backend_name(std::string_view address) noexcept {
  const std::size_t end = address.find("://");
  return end == std::string_view::npos ? address : address.substr(end + 3);
}

class Backend {
 public:
  explicit Backend(std::string address) : address_(std::move(address)) {}
  Backend(const Backend&) = delete;
  Backend& operator=(const Backend&) = delete;

  const std::string& address() const noexcept { return address_; }

  // Sessions that are open or being dialled. The order of these and of Waiters' count is what makes sure that a place
  // that becomes free is noticed by somebody who begins to wait at the same moment.
  std::uint32_t sessions() const noexcept { return sessions_.load(std::memory_order_seq_cst); }
  // Takes a place, unless `limit` (0: none) are taken. A try that fails was never seen by anybody.
  bool take_place(std::uint32_t limit) noexcept {
    std::uint32_t count = sessions_.load(std::memory_order_relaxed);
    do {
      if (limit != 0 && count >= limit) return false;
    } while (!sessions_.compare_exchange_weak(count, count + 1, std::memory_order_seq_cst));
    return true;
  }
  void give_place_back() noexcept { sessions_.fetch_sub(1, std::memory_order_seq_cst); }

  // An operator's weight stands over the configured one until a configuration with another weight comes.
  std::uint32_t weight(std::uint32_t configured) const noexcept {
    const std::uint32_t order = weight_order_.load(std::memory_order_relaxed);
    return order >> 16U == configured + 1 ? order & 0xffffU : configured;
  }
  void order_weight(std::uint32_t weight, std::uint32_t configured) noexcept {
    weight_order_.store((configured + 1) << 16U | weight, std::memory_order_relaxed);
  }

  // An operator's order, which a reload does not lift.
  bool drained() const noexcept { return drained_.load(std::memory_order_relaxed); }
  Duration undrained_at() const noexcept { return Duration(undrained_at_.load(std::memory_order_relaxed)); }
  // False: it was so already.
  bool order_drain(bool drained, Duration now) noexcept {
    if (drained_.exchange(drained, std::memory_order_relaxed) == drained) return false;
    if (!drained) undrained_at_.store(now.count(), std::memory_order_relaxed);
    return true;
  }

  // The exponentially weighted mean, an eighth for each new value (as TCP's round-trip time, RFC 6298).
  void connect_took(Duration took) noexcept {
    const std::int64_t old = connect_time_.load(std::memory_order_relaxed);
    connect_time_.store(old == 0 ? took.count() : old + (took.count() - old) / 8, std::memory_order_relaxed);
  }
  Duration connect_time() const noexcept { return Duration(connect_time_.load(std::memory_order_relaxed)); }

  Health health;
  Ejection ejection;
  Breaker breaker;
  RateState rate{0};

  // Since it is known.
  std::atomic<std::uint64_t> chosen{0};
  std::atomic<std::uint64_t> connected{0};
  std::atomic<std::uint64_t> failed{0};        // dials
  std::atomic<std::uint64_t> closed_early{0};  // connected, but ended by the backend before a byte of its own
  std::atomic<std::uint64_t> retried{0};       // sessions that came from a failed attempt elsewhere, or here

 private:
  const std::string address_;
  std::atomic<std::uint32_t> sessions_{0};
  std::atomic<std::uint32_t> weight_order_{0};  // above: the configured weight plus 1 that it is for; below: the order
  std::atomic<bool> drained_{false};
  std::atomic<std::int64_t> undrained_at_{0};
  std::atomic<std::int64_t> connect_time_{0};
};

}  // namespace portolan::relay
