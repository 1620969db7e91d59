#include "config/nearest.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstddef>
#include <limits>
#include <vector>

namespace portolan {
namespace {

constexpr std::size_t kLongestWord = 64;

std::size_t edits(std::string_view a, std::string_view b) {
  // Three rows of the usual table: the one before the last is for swapped letters.
  std::vector<std::size_t> before(b.size() + 1);
  std::vector<std::size_t> last(b.size() + 1);
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) last[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t change = a[i - 1] == b[j - 1] ? 0 : 1;
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, last[j - 1] + change});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) row[j] = std::min(row[j], before[j - 2] + 1);
    }
    before.swap(last);
    last.swap(row);
  }
  return last[b.size()];
}

}  // namespace

std::string_view nearest(std::string_view word, std::span<const std::string_view> known) {
  if (word.empty() || word.size() > kLongestWord) return {};
  std::string_view best;
  std::size_t best_edits = std::numeric_limits<std::size_t>::max();
  for (const std::string_view candidate : known) {
    // A third of the letters may be wrong, or the word may be cut short (max_session, idle).
    const std::size_t allowed = std::max<std::size_t>(1, std::max(word.size(), candidate.size()) / 3);
    std::size_t distance = edits(word, candidate);
    if (distance > allowed && word.size() >= 4 && (candidate.starts_with(word) || word.starts_with(candidate))) {
      distance = allowed;
    }
    if (distance <= allowed && distance < best_edits) {
      best = candidate;
      best_edits = distance;
    }
  }
  return best;
}

std::string suggestion(std::string_view word, std::span<const std::string_view> known, std::string_view what) {
  if (known.empty()) return {};
  if (const std::string_view best = nearest(word, known); !best.empty()) {
    return fmt::format("; did you mean \"{}\"?", best);
  }
  return fmt::format("; {} are: {}", what, fmt::join(known, ", "));
}

}  // namespace portolan
