#include "transfer/progress.h"

#include <fmt/format.h>

#include <array>

namespace portolan::transfer {
namespace {

constexpr Duration kWindow = std::chrono::seconds(5);
constexpr Duration kLeast = std::chrono::milliseconds(100);  // between samples
constexpr Duration kLongest = std::chrono::hours(24 * 365);

}  // namespace

void ProgressMeter::note(std::uint64_t new_bytes, Duration now) {
  if (samples_.size() >= 2 && now - samples_[samples_.size() - 2].at < kLeast) samples_.pop_back();
  samples_.push_back({now, new_bytes});
  // One from before the window stays, so that the rate is of all of it.
  while (samples_.size() > 2 && now - samples_[1].at >= kWindow) samples_.pop_front();
}

double ProgressMeter::rate() const noexcept {
  if (samples_.size() < 2) return 0;
  const auto& first = samples_.front();
  const auto& last = samples_.back();
  const double seconds = std::chrono::duration<double>(last.at - first.at).count();
  return seconds > 0 ? static_cast<double>(last.bytes - first.bytes) / seconds : 0;
}

std::optional<Duration> ProgressMeter::time_for(std::uint64_t bytes) const noexcept {
  const double each = rate();
  if (each < 1) return std::nullopt;
  const double seconds = static_cast<double>(bytes) / each;
  if (seconds > std::chrono::duration<double>(kLongest).count()) return std::nullopt;
  return std::chrono::duration_cast<Duration>(std::chrono::duration<double>(seconds));
}

std::string bytes_text(std::uint64_t bytes) {
  constexpr std::array<std::string_view, 5> kUnits = {"KiB", "MiB", "GiB", "TiB", "PiB"};
  if (bytes < 1024) return fmt::format("{} B", bytes);
  double value = static_cast<double>(bytes) / 1024;
  std::size_t unit = 0;
  while (value >= 1023.95 && unit + 1 < kUnits.size()) {
    value /= 1024;
    ++unit;
  }
  return fmt::format("{:.1f} {}", value, kUnits[unit]);
}

std::string rate_text(double bytes_per_second) {
  return fmt::format("{}/s", bytes_text(static_cast<std::uint64_t>(bytes_per_second)));
}

std::string time_text(Duration time) {
  const auto seconds = std::chrono::ceil<std::chrono::seconds>(time).count();
  if (seconds < 3600) return fmt::format("{}:{:02}", seconds / 60, seconds % 60);
  return fmt::format("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
}

}  // namespace portolan::transfer
